//! Fetches the price of every held asset that has no payout, each half minute (spec 9).
//!
//! Takes   the jobs of `q_prices`, one for each half minute; `LeasesChanged`.
//! Sends   `PricesChanged` to the ledger writer, after the prices are stored.
//! Timer   at each half minute; a failed round is tried again sooner.
//! Truth   `market_price_snapshot`. A missed half minute stays missed: no upstream tells past prices.

mod prices;

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised};

use self::prices::{Memory, Refreshed, prices_of};
use super::{
    lease_keeper::LeasesChanged,
    ledger_writer::{HeldAssets, PricesChanged},
    supervise::{IoResult, Observed, SupervisorContext, observable, or_panic, spawn_io, start_supervised},
};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::money::units::Timestamp;
use crate::polymarket::Polymarket;
use crate::queue;
use crate::queue::{Job, JobScope, NewJob, Queue};

const BUCKET_MS: i64 = 30_000;
/// Longer than a bulk request may take, retries included.
const LEASE_MS: i64 = 120_000;
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct PriceRefresherDeps {
    pub db: Db,
    pub clock: Clock,
    /// The jobs of this worker.
    pub scope: JobScope,
    pub polymarket: Polymarket,
    pub held: Recipient<HeldAssets>,
    pub prices: Recipient<PricesChanged>,
}

pub struct PriceRefresher {
    deps: PriceRefresherDeps,
    refreshing: bool,
    /// The leases changed during a round, so another round follows.
    again: bool,
    next: Option<SpawnHandle>,
    last: Option<Refreshed>,
    /// Since when fewer open held assets are priced than held.
    unpriced_since: Option<Timestamp>,
    failures: u64,
    memory: Rc<RefCell<Memory>>,
}

impl PriceRefresher {
    pub fn start(deps: PriceRefresherDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "price_refresher", Self::new(deps))
    }

    fn new(deps: PriceRefresherDeps) -> Self {
        let (last, memory) = (None, Rc::default());
        Self { deps, refreshing: false, again: false, next: None, last, unpriced_since: None, failures: 0, memory }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "refreshing": self.refreshing,
                "held": self.last.map(|last| last.held),
                "priced": self.last.map(|last| last.priced),
                "unpriced_since": self.unpriced_since,
                "failures": self.failures,
            }),
            last_activity: self.last.map(|last| last.bucket),
        }
    }

    fn refresh(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let bucket = bucket_of(now);
        let until_next = bucket.plus_millis(BUCKET_MS).millis_since(now).max(1).unsigned_abs();
        self.look_in(Duration::from_millis(until_next), ctx);
        if !std::mem::replace(&mut self.refreshing, true) {
            let (deps, memory) = (self.deps.clone(), self.memory.clone());
            spawn_io(ctx, async move { refresh(&deps, &memory, bucket).await }, Self::round_ended);
        }
    }

    fn round_ended(&mut self, round: IoResult<Option<Refreshed>, String>, ctx: &mut Context<Self>) {
        self.refreshing = false;
        if std::mem::take(&mut self.again) {
            self.refresh(ctx);
        }
        match or_panic(round, "refreshing prices") {
            Ok(Some(refreshed)) => {
                let lacks = refreshed.priced < refreshed.held;
                self.unpriced_since = if lacks { self.unpriced_since.or(Some(refreshed.bucket)) } else { None };
                self.last = Some(refreshed);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error, "prices could not be refreshed");
                self.failures += 1;
                self.look_in(AGAIN, ctx);
            }
        }
    }

    fn look_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.next.take() {
            ctx.cancel_future(timer);
        }
        self.next = Some(ctx.run_later(wait, |refresher, ctx| refresher.refresh(ctx)));
    }
}

fn bucket_of(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.millis().div_euclid(BUCKET_MS) * BUCKET_MS)
}

/// Enqueues a job for the bucket, claims all due jobs, and fetches prices for the newest: those of older buckets can no
/// longer be fetched. Returns `None` when there was no job to claim.
///
/// # Errors
/// The text of the failure when the database, the ledger writer or Polymarket fails.
async fn refresh(
    deps: &PriceRefresherDeps,
    memory: &RefCell<Memory>,
    bucket: Timestamp,
) -> Result<Option<Refreshed>, String> {
    let now = deps.clock.now();
    let payload = bucket.millis().to_string();
    // With several workers, each fetches the prices of what its own portfolios hold.
    let key = match &deps.scope {
        JobScope::HeldBy(worker) => format!("{}:{}", worker.as_str(), bucket.iso()),
        _ => bucket.iso(),
    };
    let job = NewJob { queue: Queue::Prices, key, followed_user: None, payload, due: now };
    queue::enqueue(&deps.db, &[job], now).await.map_err(|error| error.to_string())?;
    let claimed = queue::claim(&deps.db, Queue::Prices, &deps.scope, now, LEASE_MS, 1000).await;
    let jobs = claimed.map_err(|error| error.to_string())?;
    let Some(newest) = jobs.iter().filter_map(wanted_bucket).max() else { return Ok(None) };
    let fences: Vec<_> = jobs.iter().map(Job::fence).collect();
    match prices_of(deps, memory, newest, &fences).await {
        Ok(refreshed) => Ok(Some(refreshed)),
        Err(error) => {
            for job in &jobs {
                if let Err(error) = queue::fail(&deps.db, job, &error, deps.clock.now(), &mut Chance).await {
                    tracing::error!(%error, key = job.key, "a failed price job keeps its lease until that runs out");
                }
            }
            Err(error)
        }
    }
}

fn wanted_bucket(job: &Job) -> Option<Timestamp> {
    job.payload.parse().ok().map(Timestamp::from_millis)
}

impl Actor for PriceRefresher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.refresh(ctx);
    }
}

impl Supervised for PriceRefresher {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(PriceRefresher);

impl Handler<LeasesChanged> for PriceRefresher {
    type Result = ();

    /// Fetches prices at once: a new lease may come with portfolios that hold other assets.
    fn handle(&mut self, _: LeasesChanged, ctx: &mut Context<Self>) {
        self.again = self.refreshing;
        self.refresh(ctx);
    }
}

#[cfg(test)]
mod tests;
