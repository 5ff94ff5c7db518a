//! `GET /metrics`: every family in one list. Labels name queues, endpoints, trades and reasons, of which there are a
//! few dozen; never a user, a market or a wallet.

use std::collections::BTreeMap;

use super::actor_state::{ChainWatcherState, LeaseKeeperState};
use super::{HealthDeps, in_time};
use crate::actors::root::ActorHealth;
use crate::actors::supervise::Observed;
use crate::domain::money::units::Timestamp;
use crate::metrics::{Exposition, Metrics};
use crate::polymarket::Gate;
use crate::polymarket::http::breaker;
use crate::queue;
use crate::queue::Depth;

pub(super) async fn page(deps: &HealthDeps) -> String {
    let now = deps.clock.now();
    let mut page = Exposition::default();
    page.gauge("polymarketspy_build_info", "The running program; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    database(&mut page, deps, now).await;
    page.histogram(
        "polymarketspy_detection_lag_seconds",
        "From a fill's time to its being seen in the canonical feed; fills read again after a stop included.",
    )
    .distribution(&[], &deps.metrics.detection);
    chain(&mut page, deps.chain().await);
    copying(&mut page, &deps.metrics);
    ledger(&mut page, &deps.metrics);
    upstreams(&mut page, &deps.gate);
    let roll = deps.actors().await;
    page.gauge("polymarketspy_root_up", "Whether the root actor answers; it watches all others.")
        .sample(&[], u8::from(roll.is_some()));
    actors(&mut page, &deps.metrics, &roll.unwrap_or_default(), now);
    page.gauge("polymarketspy_live_sockets", "Pages of this process with an open websocket.")
        .sample(&[], deps.metrics.live_sockets.value());
    page.finish()
}

async fn database(page: &mut Exposition, deps: &HealthDeps, now: Timestamp) {
    let depths = in_time(queue::depths(&deps.db)).await.and_then(Result::ok);
    page.gauge("polymarketspy_database_up", "Whether the database answers within two seconds.")
        .sample(&[], u8::from(depths.is_some()));
    // What does not answer once is not waited for again: a scrape has ten seconds in all.
    let Some(depths) = depths else { return };
    queues(page, &depths, now);
    if let Some(bytes) = in_time(deps.db.size_bytes()).await.and_then(Result::ok) {
        page.gauge("polymarketspy_database_size_bytes", "Size of the database.").sample(&[], bytes);
    }
    if let Some(open) = in_time(deps.db.count_dead_letters()).await.and_then(Result::ok) {
        page.gauge("polymarketspy_dead_letters", "Failed work that waits for somebody.").sample(&[], open);
    }
    if let Some(newest) = in_time(deps.db.newest_trade_time()).await.and_then(Result::ok).flatten() {
        page.gauge("polymarketspy_last_canonical_event_timestamp_seconds", "Time of the fill that was detected last.")
            .seconds(&[], newest.millis());
    }
    if let Some(backup) =
        in_time(deps.db.audits(Some("backup"), None, 1)).await.and_then(Result::ok).unwrap_or_default().pop()
    {
        page.gauge(
            "polymarketspy_last_backup_timestamp_seconds",
            "When the last backup was made; absent before the first.",
        )
        .seconds(&[], backup.created_at.millis());
    }
}

fn queues(page: &mut Exposition, depths: &[Depth], now: Timestamp) {
    let mut family = page.gauge("polymarketspy_queue_jobs", "Open jobs, those in work and those not due yet included.");
    for depth in depths {
        family.sample(&[("queue", depth.queue.as_str())], depth.open);
    }
    let mut family = page.gauge("polymarketspy_queue_leased_jobs", "Open jobs that somebody has taken.");
    for depth in depths {
        family.sample(&[("queue", depth.queue.as_str())], depth.leased);
    }
    let mut family = page.gauge("polymarketspy_queue_oldest_due_seconds", "Age of the job that is due for longest.");
    for depth in depths {
        let age = depth.oldest_due.map_or(0, |due| now.millis_since(due).max(0));
        family.seconds(&[("queue", depth.queue.as_str())], age);
    }
    let mut family =
        page.gauge("polymarketspy_queue_stuck", "1 when a job is due for over a minute and nobody takes it.");
    for depth in depths {
        family.sample(&[("queue", depth.queue.as_str())], u8::from(depth.stuck_for_ms(now).is_some()));
    }
}

/// Nothing where no node is set.
fn chain(page: &mut Exposition, watcher: Option<ChainWatcherState>) {
    let Some(watcher) = watcher else { return };
    page.gauge("polymarketspy_chain_connected", "Whether the node of ALCHEMY_WS_URL sends us fills.")
        .sample(&[], u8::from(watcher.connected));
    let Some(seen) = watcher.hindsight else { return };
    page.gauge("polymarketspy_chain_unconfirmed_fills", "Fills of the last day that the API has not confirmed.")
        .sample(&[], seen.unconfirmed);
    if let Some(lead) = seen.lead {
        page.gauge(
            "polymarketspy_chain_lead_seconds",
            "How far the chain led the API in the last day; below zero: it did not.",
        )
        .seconds(&[("quantile", "0.5")], lead.p50_ms)
        .seconds(&[("quantile", "0.9")], lead.p90_ms);
    }
}

fn copying(page: &mut Exposition, metrics: &Metrics) {
    page.histogram(
        "polymarketspy_decision_lag_seconds",
        "From the moment an attempt was due, which is its window and its latency after the detection, to its commit.",
    )
    .distribution(&[], &metrics.decision);
    page.histogram(
        "polymarketspy_book_fetch_seconds",
        "From asking for a group's book to having it, tries again included.",
    )
    .distribution(&[], &metrics.book_fetch);
    let mut family = page.counter("polymarketspy_copy_attempts_total", "Committed attempts.");
    for (scope, decision, n) in metrics.attempts.by_decision() {
        family.sample(&[("portfolio", scope.as_str()), ("decision", decision.as_str())], n);
    }
    let help = "Reasons of committed attempts that were skipped; an attempt may have several.";
    let mut family = page.counter("polymarketspy_copy_attempt_reasons_total", help);
    for (reason, n) in metrics.attempts.by_reason() {
        family.sample(&[("reason", reason.as_str())], n);
    }
}

fn ledger(page: &mut Exposition, metrics: &Metrics) {
    page.counter("polymarketspy_ledger_commits_total", "Ledger commits that wrote something.")
        .sample(&[], metrics.commit_size.count());
    page.counter("polymarketspy_ledger_commit_failures_total", "Ledger commits that failed.")
        .sample(&[], metrics.commits_failed.value());
    page.histogram("polymarketspy_ledger_commit_requests", "Requests that one ledger commit wrote.")
        .distribution(&[], &metrics.commit_size);
    page.histogram("polymarketspy_ledger_commit_seconds", "How long a ledger commit took, failed ones included.")
        .distribution(&[], &metrics.commit);
}

fn upstreams(page: &mut Exposition, gate: &Gate) {
    let totals = gate.totals();
    let labels = |endpoint: &crate::polymarket::Endpoint| {
        [("upstream", endpoint.upstream().as_str()), ("endpoint", endpoint.as_str())]
    };
    let mut family = page.counter("polymarketspy_upstream_requests_total", "Requests that went out.");
    for (endpoint, total) in &totals {
        family.sample(&labels(endpoint), total.requests);
    }
    let help = "Requests that brought no usable answer, refusals for going too fast included.";
    let mut family = page.counter("polymarketspy_upstream_request_errors_total", help);
    for (endpoint, total) in &totals {
        family.sample(&labels(endpoint), total.errors);
    }
    let mut family = page.counter("polymarketspy_upstream_rate_limited_total", "Requests refused with status 429.");
    for (endpoint, total) in &totals {
        family.sample(&labels(endpoint), total.rate_limited);
    }
    let help = "From leave to send to the last byte of the answer, or to the failure.";
    let mut family = page.histogram("polymarketspy_upstream_request_seconds", help);
    for (endpoint, total) in &totals {
        family.distribution(&labels(endpoint), &total.took);
    }
    let observed = gate.observe();
    let mut family =
        page.gauge("polymarketspy_upstream_breaker_state", "1 for the state that an upstream's breaker is in.");
    for upstream in &observed.upstreams {
        for state in breaker::STATES {
            let labels = [("upstream", upstream.upstream.as_str()), ("state", state)];
            family.sample(&labels, u8::from(upstream.breaker.state == state));
        }
    }
    page.gauge("polymarketspy_upstream_limiter_waiting", "Calls that wait for leave to go out.")
        .sample(&[("priority", "interactive")], observed.waiting_interactive)
        .sample(&[("priority", "bulk")], observed.waiting_bulk);
}

/// Actors of one trade are one: there is a poller for every user.
#[derive(Default)]
struct Trade {
    n: u32,
    silent: u32,
    /// Of the one that was active last the longest ago.
    last_activity: Option<Timestamp>,
}

fn actors(page: &mut Exposition, metrics: &Metrics, roll: &[ActorHealth], now: Timestamp) {
    let mut trades: BTreeMap<&str, Trade> = BTreeMap::new();
    for actor in roll {
        let trade = trades.entry(actor.name.job()).or_default();
        trade.n += 1;
        trade.silent += u32::from(actor.silences > 0);
        let active = actor.observed.as_ref().and_then(|observed| observed.last_activity);
        trade.last_activity = match (trade.last_activity, active) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let mut family = page.gauge("polymarketspy_actors", "Running actors by trade.");
    for (name, trade) in &trades {
        family.sample(&[("actor", name)], trade.n);
    }
    let mut family = page.gauge("polymarketspy_actors_silent", "Actors that did not answer when last asked.");
    for (name, trade) in &trades {
        family.sample(&[("actor", name)], trade.silent);
    }
    let help = "Since an actor of the trade last did what it is for; of several the longest.";
    let mut family = page.gauge("polymarketspy_actor_last_activity_seconds", help);
    for (name, trade) in &trades {
        if let Some(active) = trade.last_activity {
            family.seconds(&[("actor", name)], now.millis_since(active).max(0));
        }
    }
    let mut restarts = metrics.restarts.by_trade();
    for name in trades.keys() {
        restarts.entry((*name).to_owned()).or_default();
    }
    let mut family = page.counter("polymarketspy_actor_restarts_total", "Restarts of actors after a panic or a stop.");
    for (name, n) in &restarts {
        family.sample(&[("actor", name)], n);
    }
    let of = |trade: &str| roll.iter().find(|actor| actor.name.job() == trade)?.observed.as_ref();
    if let Some(bucket) = of("snapshotter").and_then(|snapshotter| snapshotter.last_activity) {
        let help = "Since the minute that the portfolios of this worker were last written down for.";
        page.gauge("polymarketspy_portfolio_snapshot_age_seconds", help).seconds(&[], now.millis_since(bucket).max(0));
    }
    // There is a lease keeper where several workers may share the database.
    if let Some(keeper) = of("lease_keeper").map(Observed::read::<LeaseKeeperState>) {
        page.gauge("polymarketspy_leases_held", "Leases that this worker holds.").sample(&[], keeper.held.len());
    }
}
