//! The health of the bot: `{"status"}` for all requests, the parts for signed-in visitors.

use std::time::Duration;

use actix::Recipient;
use actix_web::{HttpResponse, http::StatusCode, web::Data};
use serde::Serialize;

use super::worker;
use super::worker::WorkerReport;
use crate::actors::live_hub::HealthChanged;
use crate::clock::{Clock, is_far_off};
use crate::db::{ChainLag, Db, WriteFailure};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::{ChainWatcherState, ConfirmationStats, PriceRefresherState};
use crate::health::assessment::Status;
use crate::queue;
use crate::queue::Queue;
use crate::web::auth::session_store::Sessions;
use crate::web::auth::user::CurrentUser;
use crate::web::live::messages::{GetStreamPosition, LiveFigures, StreamPosition};
use crate::web::shell::display_names::Names;

/// A worker whose last report is older than this is silent.
pub(in crate::web) const WORKER_SILENCE_MILLIS: i64 = 45_000;
/// How long the route waits for the database; its answer must come within two seconds.
const PATIENCE: Duration = Duration::from_secs(1);
const CHAIN_ACTOR: &str = "chain_watcher";
const PRICE_ACTOR: &str = "price_refresher";

/// `/api/health` with a session, and the page's panel.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct HealthView {
    /// `ok`, `degraded` or `down`.
    pub status: Status,
    /// The parts of the bot.
    pub parts: Vec<PartView>,
    /// The queues of jobs.
    pub queues: Vec<QueueView>,
    /// How far chain sight led the API in the last day; null while the chain is not watched.
    pub chain: Option<ConfirmationStats>,
}

/// One part of the bot, for example the database.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PartView {
    /// The name of the part.
    pub part: String,
    /// The leader's label when the part exists once for every followed user.
    pub user_label: Option<String>,
    /// False when the part needs a look.
    pub healthy: bool,
    /// One line, empty when there is nothing to add.
    pub detail: String,
}

/// A queue and its open jobs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct QueueView {
    /// The name of the queue.
    pub queue: Queue,
    /// Number of open jobs.
    pub open: i64,
    /// When the oldest open job became due.
    pub oldest_due: Option<Timestamp>,
}

/// `/api/health` without a session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::web) struct BareHealth {
    /// `ok`, `degraded` or `down`.
    status: Status,
}

impl BareHealth {
    pub const DEGRADED: Self = Self { status: Status::Degraded };
}

impl HealthView {
    /// Reads the state of the database, the queues and the workers. It never fails: a database that does not answer is a
    /// troubled part.
    pub async fn load(db: &Db, live: &LiveFigures, now: Timestamp) -> Self {
        let depths = queue::depths(db).await;
        if let Err(error) = &depths {
            // Each further question would wait for the same database.
            return Self::without_database(&error.to_string());
        }
        let failure = db.write_failure();
        let mut parts = vec![database(failure.as_ref())];
        if failure.is_none() && db.is_read_only().await.unwrap_or_default() {
            parts.push(PartView::new("writes", false, "the database is read-only: nothing is recorded"));
        }
        parts.extend(depths.as_ref().map(|depths| jobs(depths, now)).ok());
        let mut stats = None;
        for worker in worker::workers(db, now).await {
            parts.push(actors(&worker, now));
            parts.extend(prices(&worker, now));
            parts.extend(clock(&worker));
            let own_stats = confirmation_stats(&worker);
            parts.extend(chain(&worker, own_stats.as_ref()));
            stats = stats.or(own_stats);
        }
        // Only troubled parts are listed: a part that works again needs no line.
        let troubled: Vec<_> = live.health.values().filter(|part| !part.healthy).collect();
        let labels = if troubled.is_empty() { Names::default() } else { Names::load(db, []).await.unwrap_or_default() };
        parts.extend(troubled.into_iter().map(|part| live_part(part, &labels)));
        let status = match parts.iter().all(|part| part.healthy) {
            _ if failure.is_some_and(|failure| failure.is_down()) => Status::Down,
            true => Status::Ok,
            false => Status::Degraded,
        };
        let queues = depths.unwrap_or_default().into_iter().map(|depth| QueueView {
            queue: depth.queue,
            open: depth.open,
            oldest_due: depth.oldest_due,
        });
        Self { status, parts, queues: queues.collect(), chain: stats }
    }

    /// Adds a part that does not work.
    fn with_trouble(mut self, part: PartView) -> Self {
        self.parts.push(part);
        if self.status == Status::Ok {
            self.status = Status::Degraded;
        }
        self
    }

    /// Returns the health while the database does not answer, which is all that is known then.
    fn without_database(error: &str) -> Self {
        let part = PartView::new("database", false, format!("it does not answer: {error}"));
        Self { status: Status::Down, parts: vec![part], queues: Vec::new(), chain: None }
    }
}

/// Returns the line of a database that can be read.
fn database(failure: Option<&WriteFailure>) -> PartView {
    let detail =
        failure.map(|failure| format!("no write succeeds since {} s: {}", failure.lasts.as_secs(), failure.cause));
    PartView::new("database", failure.is_none(), detail.unwrap_or_default())
}

/// All queues in one line; a stuck one is named.
fn jobs(depths: &[queue::Depth], now: Timestamp) -> PartView {
    let stuck = depths.iter().find(|depth| depth.stuck_for_ms(now).is_some());
    let open: i64 = depths.iter().map(|depth| depth.open).sum();
    let detail = match stuck {
        Some(depth) => format!("nobody takes the jobs of {}", depth.queue),
        None if open == 0 => "nothing waits".to_owned(),
        None => format!("{open} waiting"),
    };
    PartView::new("jobs", stuck.is_none(), detail)
}

fn actors(worker: &WorkerReport, now: Timestamp) -> PartView {
    let age = now.millis_since(worker.at);
    let silent = worker.actors.iter().find(|actor| actor.silences > 1);
    let restarts: u32 = worker.actors.iter().map(|actor| actor.restarts).sum();
    let detail = match silent {
        _ if age > WORKER_SILENCE_MILLIS => format!("no sign of the worker for {} s", age / 1000),
        Some(actor) => format!("{} does not answer", actor.name),
        None if restarts == 0 => format!("{} running", worker.actors.len()),
        None => format!("{} running, {restarts} restarts", worker.actors.len()),
    };
    PartView::new("actors", age <= WORKER_SILENCE_MILLIS && silent.is_none(), detail)
}

/// Returns the line about the worker's clock; `None` while it agrees with the venue's, or no answer has shown it.
fn clock(worker: &WorkerReport) -> Option<PartView> {
    let offset_ms = worker.venue_offset_ms.filter(|_| is_far_off(worker.venue_offset_ms))?;
    let way = if offset_ms > 0 { "behind" } else { "ahead of" };
    let detail = format!("our clock is {} s {way} Polymarket's: set it", offset_ms.unsigned_abs() / 1_000);
    Some(PartView::new("clock", false, detail))
}

/// Returns the line about the chain. Without a chain socket the bot works, only later; the line says so and is healthy.
/// The watcher itself reports a socket that is down, so this function does not.
fn chain(worker: &WorkerReport, seen: Option<&ConfirmationStats>) -> Option<PartView> {
    if !worker.actors.iter().any(|actor| actor.name == CHAIN_ACTOR) {
        return Some(PartView::new("chain", true, "off: polling alone; set ALCHEMY_WS_URL to see fills sooner"));
    }
    let seen = seen?;
    let detail = match (seen.unconfirmed, &seen.lead) {
        (0, None) => return None,
        (0, Some(lead)) => {
            format!("{} fills seen ahead of the API, half of them by {} or more", lead.n_fills, seconds(lead))
        }
        (n, _) => format!("{n} fills of the last day are on chain and not in the API"),
    };
    Some(PartView::new("chain", seen.unconfirmed == 0, detail))
}

/// Returns the line about the prices of what is held; none when all of it is priced.
fn prices(worker: &WorkerReport, now: Timestamp) -> Option<PartView> {
    let refresher = worker.actors.iter().find(|actor| actor.name == PRICE_ACTOR)?;
    let state = refresher.observed.as_ref()?.read::<PriceRefresherState>();
    let (held, priced) = (state.held?, state.priced?);
    let detail = format!("{priced} of {held} held assets have a price; the others keep their last mark");
    (priced < held).then(|| PartView::new("prices", !state.is_troubled(now), detail))
}

fn seconds(lead: &ChainLag) -> String {
    format!("{}.{} s", lead.p50_ms.max(0) / 1_000, lead.p50_ms.max(0) % 1_000 / 100)
}

fn confirmation_stats(worker: &WorkerReport) -> Option<ConfirmationStats> {
    let watcher = worker.actors.iter().find(|actor| actor.name == CHAIN_ACTOR)?;
    watcher.observed.as_ref()?.read::<ChainWatcherState>().hindsight
}

/// Returns the line of a live health message. The part `poller:7` is the poller of user 7.
fn live_part(changed: &HealthChanged, labels: &Names) -> PartView {
    let (part, user) = match changed.part.split_once(':') {
        Some((part, user)) => (part, user.parse().ok().map(FollowedUserId)),
        None => (changed.part.as_str(), None),
    };
    let user_label = user.map(|user| labels.label(user));
    PartView { user_label, ..PartView::new(part, changed.healthy, changed.detail.clone()) }
}

impl PartView {
    fn new(part: &str, healthy: bool, detail: impl Into<String>) -> Self {
        Self { part: part.to_owned(), user_label: None, healthy, detail: detail.into() }
    }
}

/// Answers `GET /api/health`. The route is open to load balancers, which get the status only.
pub async fn json(
    visitor: Option<CurrentUser>,
    db: Data<Db>,
    stream: Data<Recipient<GetStreamPosition>>,
    sessions: Data<Sessions>,
    clock: Data<Clock>,
) -> HttpResponse {
    let position: StreamPosition = stream.send(GetStreamPosition).await.unwrap_or_default();
    let load = tokio::time::timeout(PATIENCE, HealthView::load(&db, &position.figures, clock.now()));
    let (loaded, no_sessions) = tokio::join!(load, sessions.failure());
    let mut health = loaded.unwrap_or_else(|_| HealthView::without_database("no answer in time"));
    if let Some(cause) = no_sessions {
        let detail = format!("sign-ins are kept in Redis, and it does not work now: {cause}");
        health = health.with_trouble(PartView::new("sessions", false, detail));
    }
    let code = if health.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    match visitor {
        Some(_) => HttpResponse::build(code).json(health),
        None => HttpResponse::build(code).json(BareHealth { status: health.status }),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::worker::ActorReport, *};

    #[test]
    fn the_worker_is_healthy_while_it_reports_and_its_actors_answer() {
        let check = |age: i64, silences: u32, restarts: u32, healthy: bool, detail: &str| {
            let actor =
                |name: &str| ActorReport { name: name.to_owned(), restarts, silences, ..ActorReport::default() };
            let actors_there = vec![actor("poller:1"), actor("grouper")];
            let worker = WorkerReport { actors: actors_there, ..WorkerReport::default() };
            let part = actors(&worker, Timestamp::from_millis(age));
            assert_eq!((part.healthy, part.detail.as_str()), (healthy, detail));
        };
        check(0, 0, 0, true, "2 running");
        check(45_000, 1, 1, true, "2 running, 2 restarts");
        check(45_001, 0, 0, false, "no sign of the worker for 45 s");
        check(0, 2, 0, false, "poller:1 does not answer");
    }

    #[test]
    fn failing_writes_are_said_with_their_cause() {
        let failure =
            WriteFailure { lasts: std::time::Duration::from_millis(12_900), cause: "disk is full".to_owned() };
        let part = database(Some(&failure));
        assert_eq!((part.healthy, part.detail.as_str()), (false, "no write succeeds since 12 s: disk is full"));
        assert_eq!((database(None).healthy, database(None).detail.as_str()), (true, ""));
    }

    #[test]
    fn a_clock_that_is_far_off_needs_a_look() {
        let check = |venue_offset_ms: Option<i64>, expected: Option<&str>| {
            let worker = WorkerReport { venue_offset_ms, ..WorkerReport::default() };
            let part = clock(&worker);
            assert_eq!(
                part.as_ref().map(|part| (part.healthy, part.detail.as_str())),
                expected.map(|text| (false, text))
            );
        };
        check(None, None);
        check(Some(30_000), None);
        check(Some(30_001), Some("our clock is 30 s behind Polymarket's: set it"));
        check(Some(-1_200_000), Some("our clock is 1200 s ahead of Polymarket's: set it"));
    }

    #[test]
    fn the_chain_line_shows_its_lead_and_the_unconfirmed_fills() {
        let check = |kept: serde_json::Value, expected: Option<(bool, &str)>| {
            let state = serde_json::json!({ "hindsight": kept });
            let actors = serde_json::json!([{"name": "chain_watcher", "restarts": 0, "silences": 0,
                "observed": {"state": state, "last_activity": null}}]);
            let worker: WorkerReport =
                serde_json::from_value(serde_json::json!({"at": Timestamp::EPOCH, "actors": actors})).unwrap();
            let part = chain(&worker, confirmation_stats(&worker).as_ref());
            assert_eq!(part.as_ref().map(|part| (part.healthy, part.detail.as_str())), expected);
        };
        let lead = serde_json::json!({"n_fills": 12, "p50_ms": 2_340, "p90_ms": 5_000, "n_api_first": 1});
        check(serde_json::Value::Null, None);
        check(serde_json::json!({"lead": null, "unconfirmed": 0}), None);
        check(
            serde_json::json!({"lead": lead, "unconfirmed": 0}),
            Some((true, "12 fills seen ahead of the API, half of them by 2.3 s or more")),
        );
        check(
            serde_json::json!({"lead": lead, "unconfirmed": 3}),
            Some((false, "3 fills of the last day are on chain and not in the API")),
        );
    }

    #[test]
    fn held_assets_without_a_price_are_said_at_once_and_are_trouble_after_ten_minutes() {
        let check = |priced: usize, for_ms: i64, expected: Option<(bool, &str)>| {
            let since = (priced < 22).then_some(Timestamp::EPOCH);
            let state = serde_json::json!({ "held": 22, "priced": priced, "unpriced_since": since });
            let actors = serde_json::json!([{"name": "price_refresher", "restarts": 0, "silences": 0,
                "observed": {"state": state, "last_activity": null}}]);
            let worker: WorkerReport =
                serde_json::from_value(serde_json::json!({"at": Timestamp::EPOCH, "actors": actors})).unwrap();
            let part = prices(&worker, Timestamp::from_millis(for_ms));
            assert_eq!(part.as_ref().map(|part| (part.healthy, part.detail.as_str())), expected);
        };
        check(22, 0, None);
        let detail = "2 of 22 held assets have a price; the others keep their last mark";
        check(2, 599_999, Some((true, detail)));
        check(2, 600_000, Some((false, detail)));
    }

    #[test]
    fn a_job_that_no_worker_claims_is_trouble() {
        let depth = |open, due: Option<i64>| {
            let due = due.map(Timestamp::from_millis);
            queue::Depth { queue: Queue::GroupEvents, open, leased: 0, oldest_due: due, untaken_since: due }
        };
        let check = |depth, healthy: bool, detail: &str| {
            let part = jobs(&[depth], Timestamp::from_millis(100_000));
            assert_eq!((part.healthy, part.detail.as_str()), (healthy, detail));
        };
        check(depth(0, None), true, "nothing waits");
        check(depth(2, Some(40_000)), true, "2 waiting");
        check(depth(2, Some(39_999)), false, "nobody takes the jobs of q_group_events");
        check(depth(1, Some(200_000)), true, "1 waiting");
    }
}
