//! `GET /health`: the health of the worker, in one answer that a script can read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::actor_state::PriceRefresherState;
use super::assessment::Status;
use super::{HealthDeps, in_time};
use crate::actors::supervise::Observed;
use crate::clock::is_far_off;
use crate::db::WriteFailure;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Depth, Queue};

/// The answer of `GET /health`. Its field names are a contract (spec 13).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// `down`: the database or the root actor does not answer, or no write has succeeded for 30 s. `degraded`: the worker
    /// works, but an operator should look at it.
    pub status: Status,
    /// The time of the newest detected fill.
    last_canonical_event_time: Option<Timestamp>,
    /// `null` when no node is configured: polling only is not a fault.
    ws_connected: Option<bool>,
    /// Number of open jobs.
    queue_depths: BTreeMap<Queue, i64>,
    /// How far the venue's clock is ahead of ours; `null` before its first answer. Over 30 s it degrades the health.
    venue_clock_offset_ms: Option<i64>,
    /// Queues that no worker consumes.
    stuck_queues: Vec<Queue>,
    /// Since when no write succeeds, and why; `null` while writes succeed. The worker writes at least every ten seconds.
    failing_writes: Option<FailingWrites>,
}

/// Why and for how long nothing could be written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailingWrites {
    for_seconds: u64,
    /// The database's own words.
    cause: String,
}

impl Report {
    pub async fn of(deps: &HealthDeps) -> Self {
        let depths = in_time(queue::depths(&deps.db)).await.and_then(Result::ok);
        // When the database did not answer once, do not wait for it again.
        let newest = match &depths {
            Some(_) => in_time(deps.db.newest_trade_time()).await.and_then(Result::ok),
            None => None,
        };
        let actors = deps.actors().await;
        let ws_connected = match &deps.chain_watcher {
            Some(_) => Some(deps.chain().await.is_some_and(|watcher| watcher.connected)),
            None => None,
        };
        let venue_clock_offset_ms = deps.gate.venue().measured_ms();
        let now = deps.clock.now();
        let is_stuck = |depth: &&Depth| depth.stuck_for_ms(now).is_some();
        let stuck_queues: Vec<Queue> = depths.iter().flatten().filter(is_stuck).map(|depth| depth.queue).collect();
        let failure = deps.db.write_failure();
        let status = match (&depths, newest, &actors) {
            _ if failure.as_ref().is_some_and(WriteFailure::is_down) => Status::Down,
            (Some(_), Some(_), Some(actors)) => {
                let silent = actors.iter().any(|actor| actor.silences > 1);
                let unpriced = actors.iter().filter(|actor| actor.name.job() == "price_refresher").any(|actor| {
                    let observed = actor.observed.as_ref().map(Observed::read::<PriceRefresherState>);
                    observed.is_some_and(|prices| prices.is_troubled(now))
                });
                let well = !unpriced
                    && failure.is_none()
                    && !is_far_off(venue_clock_offset_ms)
                    && stuck_queues.is_empty()
                    && ws_connected != Some(false)
                    && !silent;
                if well { Status::Ok } else { Status::Degraded }
            }
            _ => Status::Down,
        };
        Self {
            status,
            last_canonical_event_time: newest.flatten(),
            ws_connected,
            venue_clock_offset_ms,
            queue_depths: depths.into_iter().flatten().map(|depth| (depth.queue, depth.open)).collect(),
            stuck_queues,
            failing_writes: failure
                .map(|failure| FailingWrites { for_seconds: failure.lasts.as_secs(), cause: failure.cause }),
        }
    }
}
