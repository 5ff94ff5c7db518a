//! `GET /metrics`: every family of metrics in one list. Labels name queues, endpoints, jobs of actors and reasons, of
//! which there are a few dozen; never a user, a market or a wallet, of which there is no limit.

use std::collections::BTreeMap;

use super::actor_state::{ChainWatcherState, LeaseKeeperState, PriceRefresherState, ReconcilerState};
use super::{HealthDeps, in_time};
use crate::actors::root::ActorHealth;
use crate::actors::supervise::Observed;
use crate::db::{Db, DbError, FollowedUser, StorageState};
use crate::domain::accounting::shadow::exactness::ExactnessState;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::units::Timestamp;
use crate::metrics::{Exposition, Metrics};
use crate::polymarket::Gate;
use crate::polymarket::http::breaker;
use crate::queue;
use crate::queue::Depth;

/// Returns the whole page in the Prometheus text format.
pub(super) async fn page(deps: &HealthDeps) -> String {
    let now = deps.clock.now();
    let mut page = Exposition::default();
    page.gauge("polymarketspy_build_info", "The running program; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    database(&mut page, deps, now).await;
    books(&mut page, deps).await;
    page.histogram(
        "polymarketspy_detection_lag_seconds",
        "Time from a fill to its detection in the canonical feed, including fills read after a stop.",
    )
    .distribution(&[], &deps.metrics.detection);
    reading(&mut page, deps);
    chain(&mut page, deps.chain().await);
    copying(&mut page, &deps.metrics);
    ledger(&mut page, &deps.metrics);
    upstreams(&mut page, &deps.gate);
    let registry = deps.actors().await;
    page.gauge("polymarketspy_root_up", "Whether the root actor answers; it watches all others.")
        .sample(&[], u8::from(registry.is_some()));
    actors(&mut page, &deps.metrics, &registry.unwrap_or_default(), now);
    page.counter("polymarketspy_refused_attempts_total", "Wrong tokens and wrong login links.")
        .sample(&[], deps.metrics.refused_attempts.value());
    page.gauge("polymarketspy_live_sockets", "Pages of this process with an open websocket.")
        .sample(&[], deps.metrics.live_sockets.value());
    page.finish()
}

async fn database(page: &mut Exposition, deps: &HealthDeps, now: Timestamp) {
    let depths = in_time(queue::depths(&deps.db)).await.and_then(Result::ok);
    page.gauge("polymarketspy_database_up", "Whether the database answers within two seconds.")
        .sample(&[], u8::from(depths.is_some()));
    let failing_ms = deps.db.write_failure().map_or(0, |failure| failure.lasts.as_millis());
    page.gauge(
        "polymarketspy_database_writes_failing_seconds",
        "Time since which no write succeeds; 0 while writes do.",
    )
    .seconds(&[], i64::try_from(failing_ms).unwrap_or(i64::MAX));
    // When the database did not answer once, do not wait for it again: a scrape has ten seconds in all.
    let Some(depths) = depths else { return };
    queues(page, &depths, now);
    if let Some(storage) = in_time(deps.db.storage_state()).await.and_then(Result::ok) {
        self::storage(page, &storage);
    }
    if let Some(open) = in_time(deps.db.count_dead_letters()).await.and_then(Result::ok) {
        page.gauge("polymarketspy_dead_letters", "Failed jobs that wait for an operator.").sample(&[], open);
    }
    if let Some(newest) = in_time(deps.db.newest_trade_time()).await.and_then(Result::ok).flatten() {
        page.gauge("polymarketspy_last_canonical_event_timestamp_seconds", "Time of the newest detected fill.")
            .seconds(&[], newest.millis());
    }
    if let Some(unsettled) = in_time(deps.db.unsettled_markets()).await.and_then(Result::ok) {
        let late = unsettled.iter().filter(|market| market.is_late(now));
        let (disputed, other): (Vec<_>, Vec<_>) = late.partition(|market| market.stage == ResolutionStage::Disputed);
        page.gauge("polymarketspy_unsettled_markets", "Held markets that ended hours ago and have no payouts.")
            .sample(&[("disputed", "true")], disputed.len())
            .sample(&[("disputed", "false")], other.len());
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

/// Adds the state of the leaders' books; none when the database does not answer in time.
async fn books(page: &mut Exposition, deps: &HealthDeps) {
    let Some(Ok((states, drift))) = in_time(states_of_books(&deps.db)).await else { return };
    let help = "Followed leaders by the state of their books against the venue's positions.";
    let mut family = page.gauge("polymarketspy_books_leaders", help);
    for state in ExactnessState::ALL {
        family.sample(&[("state", state.as_str())], states.get(state).copied().unwrap_or_default());
    }
    let help = "Absolute differences between shadows and positions, in millionths of a USDC.";
    page.gauge("polymarketspy_books_drift_micros", help).sample(&[], drift);
}

async fn states_of_books(db: &Db) -> Result<(BTreeMap<ExactnessState, u64>, i64), DbError> {
    let (mut states, mut drift) = (BTreeMap::new(), 0_i64);
    for user in db.followed_users().await?.into_iter().filter(FollowedUser::enabled) {
        *states.entry(db.books_record(user.id).await?.exactness().state()).or_default() += 1;
        let newest = db.position_checks(user.id, 1).await?.pop();
        let open = newest.filter(|check| check.outcome.is_drifting());
        drift = drift.saturating_add(open.map_or(0, |check| check.drift_value().0));
    }
    Ok((states, drift))
}

/// Adds what is known of the database's size and disk.
fn storage(page: &mut Exposition, storage: &StorageState) {
    page.gauge("polymarketspy_database_size_bytes", "Size of the database.").sample(&[], storage.size_bytes);
    if let Some(bytes) = storage.free_bytes {
        page.gauge("polymarketspy_disk_free_bytes", "What can be written before the disk of the database is full.")
            .sample(&[], bytes);
    }
    if let Some(bytes) = storage.growth_bytes_per_day {
        page.gauge("polymarketspy_database_growth_bytes_per_day", "Growth of the database over the last seven days.")
            .sample(&[], bytes);
    }
    if let Some(days) = storage.days_left {
        page.gauge("polymarketspy_disk_days_left", "Days until the disk of the database is full at this growth.")
            .sample(&[], days);
    }
}

fn queues(page: &mut Exposition, depths: &[Depth], now: Timestamp) {
    let mut family = page.gauge("polymarketspy_queue_jobs", "Open jobs, including claimed ones and those not due yet.");
    for depth in depths {
        family.sample(&[("queue", depth.queue.as_str())], depth.open);
    }
    let mut family = page.gauge("polymarketspy_queue_leased_jobs", "Open jobs that a worker has claimed.");
    for depth in depths {
        family.sample(&[("queue", depth.queue.as_str())], depth.leased);
    }
    let mut family = page.gauge("polymarketspy_queue_oldest_due_seconds", "Time since the oldest due job became due.");
    for depth in depths {
        let age = depth.oldest_due.map_or(0, |due| now.millis_since(due).max(0));
        family.seconds(&[("queue", depth.queue.as_str())], age);
    }
    let mut family = page
        .gauge("polymarketspy_queue_stuck", "1 when a job has been due for over a minute and no worker claimed it.");
    for depth in depths {
        family.sample(&[("queue", depth.queue.as_str())], u8::from(depth.stuck_for_ms(now).is_some()));
    }
}

/// Adds what is known about the rows that were read and about the venue's clock.
fn reading(page: &mut Exposition, deps: &HealthDeps) {
    let help = "Rows that appeared after their time had been read, by the reader that found them.";
    let mut family = page.counter("polymarketspy_late_rows_total", help);
    for (reader, n) in deps.metrics.late_rows.by_reader() {
        family.sample(&[("reader", reader.as_str())], n);
    }
    let help = "Answers of the Data API that were not taken, because their rows are of other wallets.";
    page.counter("polymarketspy_answers_refused_total", help).sample(&[], deps.metrics.answers_refused.value());
    let help = "Rows that could not be read and were not kept, because a poll or an hour brought too many.";
    page.counter("polymarketspy_unreadable_rows_left_out_total", help)
        .sample(&[], deps.metrics.unreadable_left_out.value());
    if let Some(offset_ms) = deps.gate.venue().measured_ms() {
        let help = "How far the venue's clock is ahead of ours; absent before its first answer.";
        page.gauge("polymarketspy_venue_clock_offset_seconds", help).seconds(&[], offset_ms);
    }
}

/// Adds the families of the chain watcher; none when no node is configured.
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
            "How much earlier the chain showed fills than the API in the last day; negative when it was later.",
        )
        .seconds(&[("quantile", "0.5")], lead.p50_ms)
        .seconds(&[("quantile", "0.9")], lead.p90_ms);
    }
}

fn copying(page: &mut Exposition, metrics: &Metrics) {
    page.histogram(
        "polymarketspy_decision_lag_seconds",
        "Time from the moment an attempt was due (detection plus window plus latency) to its commit.",
    )
    .distribution(&[], &metrics.decision);
    page.histogram(
        "polymarketspy_book_fetch_seconds",
        "Time from requesting a group's book to having it, including retries.",
    )
    .distribution(&[], &metrics.book_fetch);
    let mut family = page.counter("polymarketspy_copy_attempts_total", "Committed attempts.");
    for (scope, decision, n) in metrics.attempts.by_decision() {
        family.sample(&[("portfolio", scope.as_str()), ("decision", decision.as_str())], n);
    }
    let help = "Reasons of committed attempts that skipped; an attempt may have several.";
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
    page.histogram("polymarketspy_ledger_commit_requests", "Number of requests in one ledger commit.")
        .distribution(&[], &metrics.commit_size);
    page.histogram("polymarketspy_ledger_commit_seconds", "Duration of a ledger commit, including failed ones.")
        .distribution(&[], &metrics.commit);
}

fn upstreams(page: &mut Exposition, gate: &Gate) {
    let totals = gate.totals();
    let labels = |endpoint: &crate::polymarket::Endpoint| {
        [("upstream", endpoint.upstream().as_str()), ("endpoint", endpoint.as_str())]
    };
    let mut family = page.counter("polymarketspy_upstream_requests_total", "Requests sent.");
    for (endpoint, total) in &totals {
        family.sample(&labels(endpoint), total.requests);
    }
    let help = "Requests without a usable answer, including those refused by a rate limit.";
    let mut family = page.counter("polymarketspy_upstream_request_errors_total", help);
    for (endpoint, total) in &totals {
        family.sample(&labels(endpoint), total.errors);
    }
    let mut family = page.counter("polymarketspy_upstream_rate_limited_total", "Requests refused with status 429.");
    for (endpoint, total) in &totals {
        family.sample(&labels(endpoint), total.rate_limited);
    }
    let help = "Time from the permission to send to the last byte of the answer, or to the failure.";
    let mut family = page.histogram("polymarketspy_upstream_request_seconds", help);
    for (endpoint, total) in &totals {
        family.distribution(&labels(endpoint), &total.took);
    }
    let observed = gate.observe();
    let mut family =
        page.gauge("polymarketspy_upstream_breaker_state", "1 for the current state of an upstream's circuit breaker.");
    for upstream in &observed.upstreams {
        for state in breaker::STATES {
            let labels = [("upstream", upstream.upstream.as_str()), ("state", state)];
            family.sample(&labels, u8::from(upstream.breaker.state == state));
        }
    }
    page.gauge("polymarketspy_upstream_limiter_waiting", "Requests that wait for the rate limiter.")
        .sample(&[("priority", "interactive")], observed.waiting_interactive)
        .sample(&[("priority", "bulk")], observed.waiting_bulk);
}

/// All actors with the same job: for example, there is a poller for every user.
#[derive(Default)]
struct JobActors {
    n: u32,
    silent: u32,
    /// The oldest last activity among them.
    last_activity: Option<Timestamp>,
}

fn actors(page: &mut Exposition, metrics: &Metrics, registry: &[ActorHealth], now: Timestamp) {
    let mut jobs: BTreeMap<&str, JobActors> = BTreeMap::new();
    for actor in registry {
        let job = jobs.entry(actor.name.job()).or_default();
        job.n += 1;
        job.silent += u32::from(actor.silences > 0);
        let active = actor.observed.as_ref().and_then(|observed| observed.last_activity);
        job.last_activity = match (job.last_activity, active) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let mut family = page.gauge("polymarketspy_actors", "Running actors by job.");
    for (name, job) in &jobs {
        family.sample(&[("actor", name)], job.n);
    }
    let mut family = page.gauge("polymarketspy_actors_silent", "Actors that did not answer when last asked.");
    for (name, job) in &jobs {
        family.sample(&[("actor", name)], job.silent);
    }
    let help = "Time since an actor with this job last did its work; the longest of several.";
    let mut family = page.gauge("polymarketspy_actor_last_activity_seconds", help);
    for (name, job) in &jobs {
        if let Some(active) = job.last_activity {
            family.seconds(&[("actor", name)], now.millis_since(active).max(0));
        }
    }
    let mut restarts = metrics.restarts.by_job();
    for name in jobs.keys() {
        restarts.entry((*name).to_owned()).or_default();
    }
    let mut family = page.counter("polymarketspy_actor_restarts_total", "Restarts of actors after a panic or a stop.");
    for (name, n) in &restarts {
        family.sample(&[("actor", name)], n);
    }
    let of = |job: &str| registry.iter().find(|actor| actor.name.job() == job)?.observed.as_ref();
    if let Some(bucket) = of("snapshotter").and_then(|snapshotter| snapshotter.last_activity) {
        let help = "Time since the minute of this worker's last portfolio snapshots.";
        page.gauge("polymarketspy_portfolio_snapshot_age_seconds", help).seconds(&[], now.millis_since(bucket).max(0));
    }
    if let Some(prices) = of("price_refresher").map(Observed::read::<PriceRefresherState>)
        && let Some((held, priced)) = prices.held.zip(prices.priced)
    {
        let help = "Held assets of open markets, and how many of them have a price.";
        page.gauge("polymarketspy_held_assets", help)
            .sample(&[("state", "open")], held)
            .sample(&[("state", "priced")], priced);
    }
    if let Some(reconciler) = of("reconciler").map(Observed::read::<ReconcilerState>) {
        let help = "How often each leader is read; longer than normal when there are many leaders.";
        let mut family = page.gauge("polymarketspy_reading_interval_seconds", help);
        for interval in &reconciler.intervals {
            family.sample(&[("reader", interval.reader.as_str())], interval.every_s);
        }
    }
    // A lease keeper runs only when several workers may share the database.
    if let Some(keeper) = of("lease_keeper").map(Observed::read::<LeaseKeeperState>) {
        page.gauge("polymarketspy_leases_held", "Leases that this worker holds.").sample(&[], keeper.held.len());
    }
}
