//! The page System: the parts of the bot, their state, and the dead letters.

use std::collections::BTreeMap;

use actix::Recipient;
use actix_web::{
    HttpResponse,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};

use super::dead_letters;
use super::dead_letters::DeadLettersView;
use crate::clock::Clock;
use crate::db::{Db, DbError, RowNumbers, SeenFill, UnconfirmedFill};
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::health::actor_state::ChainWatcherState;
use crate::health::assessment::Status;
use crate::queue;
use crate::queue::Depth;
use crate::web::live::messages::{GetStreamPosition, StreamPosition};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::health::{HealthView, WORKER_SILENCE_MILLIS};
use crate::web::views::latency::LatencyView;
use crate::web::views::upstreams::{EndpointView, PolledUser, ReadingView, SnapshotAge, UpstreamView};
use crate::web::views::worker::WorkerReport;
use crate::web::views::{latency, worker};

const DAY_MS: i64 = 24 * 3_600_000;
const UNCONFIRMED_SHOWN: i64 = 10;
/// A day, and two hours for a backup that takes long.
const BACKUP_WITHIN_MS: i64 = DAY_MS + 2 * 3_600_000;

/// The page, and `/api/status`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StatusView {
    /// One sentence.
    pub summary: String,
    /// The health of the bot.
    pub health: HealthView,
    /// The queues of jobs.
    pub queues: Vec<QueueState>,
    /// The open dead letters.
    pub dead_letters: DeadLettersView,
    /// The newest detected fill.
    pub last_event: Option<SeenFill>,
    /// The progress of reading the activity of each followed user.
    pub users: Vec<PolledUser>,
    /// The intervals of reading, and the venue's clock.
    pub reading: ReadingView,
    /// The last time that a span was read again on request.
    pub last_backfill: Option<Backfill>,
    /// The websocket to the chain.
    pub chain: ChainState,
    /// The upstream services and their breakers.
    pub upstreams: Vec<UpstreamView>,
    /// The requests to each endpoint.
    pub endpoints: Vec<EndpointView>,
    /// The running workers.
    pub workers: Vec<WorkerState>,
    /// The leases and their holders.
    pub leases: Vec<LeaseState>,
    /// The percentiles of each step between a fill and its copy.
    pub latencies: Vec<LatencyView>,
    /// The age of the newest snapshot of each portfolio.
    pub snapshots: Vec<SnapshotAge>,
    /// The database.
    pub database: DatabaseState,
    /// The version of the program.
    pub version: &'static str,
}

/// A queue and its jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct QueueState {
    /// The name of the queue.
    pub queue: &'static str,
    /// Number of open jobs.
    pub open: i64,
    /// Number of open jobs that a worker has claimed.
    pub leased: i64,
    /// When the oldest open job became due.
    pub oldest_due: Option<Timestamp>,
    /// The time since the oldest job became due; null while no job is due.
    pub late_ms: Option<i64>,
    /// True when no worker claims its jobs.
    pub stuck: bool,
}

/// The last time that a span was read again on request.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Backfill {
    /// When it was requested.
    pub asked_at: Timestamp,
    /// The visitor: an e-mail, `login link`, or `token:` and the name of a token.
    pub who: String,
}

/// The websocket to the chain, from the last report of its watcher.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct ChainState {
    /// False without a node: fills are then found by polling alone.
    pub watched: bool,
    /// Whether the websocket is connected.
    pub connected: bool,
    /// When the node confirmed the subscription.
    pub watching_since: Option<Timestamp>,
    /// The number of the newest block.
    pub last_block: Option<u64>,
    /// Number of watched wallets.
    pub wallets: Option<usize>,
    /// Number of failed connections in a row.
    pub failures: Option<u32>,
    /// Fills seen on chain that the API does not show.
    pub unconfirmed: Vec<UnconfirmedFillView>,
}

/// A fill that was seen on chain and not yet at the API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UnconfirmedFillView {
    /// The hash of the transaction on the chain.
    pub tx_hash: String,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// Hostile text.
    pub followed_user_label: String,
    /// The wallet.
    pub wallet: Wallet,
    /// `BUY` or `SELL`.
    pub side: &'static str,
    /// Price times shares, in millionths of a USDC.
    pub notional_micros: UsdcMicros,
    /// When we saw it first.
    pub detect_time: Timestamp,
}

/// A worker and its actors. Silent and restarted actors come first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WorkerState {
    /// The id of the worker; empty when there is only one.
    pub id: String,
    /// When it reported last.
    pub at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// The version of the program.
    pub version: String,
    /// Whether its last report is too old.
    pub silent: bool,
    /// Number of restarts.
    pub restarts: u32,
    /// Number of requests of decisions and pages that wait for the rate limit.
    pub waiting_interactive: u32,
    /// Number of polls that wait for the rate limit.
    pub waiting_bulk: u32,
    /// Its actors.
    pub actors: Vec<ActorState>,
}

/// An actor of a worker.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ActorState {
    /// The name of the actor.
    pub name: String,
    /// The leader's label when the actor exists once for every user.
    pub user_label: Option<String>,
    /// The last time that the actor did its work.
    pub last_activity: Option<Timestamp>,
    /// Number of restarts.
    pub restarts: u32,
    /// When the actor was restarted last.
    pub last_restart: Option<Timestamp>,
    /// The cause of the last restart.
    pub last_cause: Option<String>,
    /// Number of `Observe` messages in a row that it has not answered.
    pub silences: u32,
}

/// A lease and its holder.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LeaseState {
    /// The name of the lease.
    pub name: String,
    /// The worker that holds it; null when it is free.
    pub holder: Option<String>,
}

/// The database.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DatabaseState {
    /// `SQLite` or `PostgreSQL`.
    pub kind: &'static str,
    /// The size, in bytes.
    pub size_bytes: i64,
    /// What can be written before the disk is full, in bytes; null where the disk cannot be seen, as that of a PostgreSQL
    /// server.
    pub disk_free_bytes: Option<i64>,
    /// Growth over the last seven days, in bytes a day; null until six hours were watched.
    pub growth_bytes_per_day: Option<i64>,
    /// The days until the disk is full at this growth; null when one of the two is not known or nothing grows.
    pub disk_days_left: Option<i64>,
    /// True when the disk lasts less than two weeks.
    pub disk_short: bool,
    /// The highest row id of each large table.
    pub rows: RowNumbers,
    /// Null before the first backup.
    pub last_backup: Option<Backup>,
}

/// A copy of the database that `polymarketspy backup` made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Backup {
    /// When it was made.
    pub made_at: Timestamp,
    /// The name of the archive.
    pub archive: String,
    /// True when it is older than a nightly backup can be.
    pub late: bool,
}

/// `?before=120&queue=q_prices`: the dead letters to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    before: Option<i64>,
    queue: Option<String>,
}

impl StatusView {
    /// Reads everything that the page shows.
    ///
    /// # Errors
    /// [`WebError::Mistake`] for an unknown queue.
    pub async fn load(
        db: &Db,
        position: &StreamPosition,
        query: &StatusQuery,
        now: Timestamp,
    ) -> Result<Self, WebError> {
        let origin = dead_letters::origin(query.queue.as_deref())?;
        let letters = DeadLettersView::load(db, origin, query.before).await?;
        Ok(Self::read(db, position, letters, now).await?)
    }

    async fn read(
        db: &Db,
        position: &StreamPosition,
        dead_letters: DeadLettersView,
        now: Timestamp,
    ) -> Result<Self, DbError> {
        let health = HealthView::load(db, &position.figures, now).await;
        let workers = worker::workers(db, now).await;
        let users = db.followed_users().await?;
        let labels: BTreeMap<String, String> =
            users.iter().map(|user| (user.id.to_string(), user.label.clone())).collect();
        let backfill = db.audits(Some("backfill"), None, 1).await?.pop();
        Ok(Self {
            summary: summary(&health),
            queues: queue::depths(db).await?.iter().map(|depth| QueueState::of(depth, now)).collect(),
            dead_letters,
            last_event: db.newest_fill_seen().await?,
            users: PolledUser::all(db, &users, &workers).await?,
            reading: ReadingView::slowest(&workers),
            last_backfill: backfill.map(|row| Backfill { asked_at: row.created_at, who: row.audit.who }),
            chain: ChainState::load(db, &workers, &health, now).await?,
            upstreams: UpstreamView::worst(&workers),
            endpoints: EndpointView::summed(&workers),
            latencies: latency::latencies(db, workers.first(), now).await?,
            workers: workers.into_iter().map(|worker| WorkerState::of(worker, &labels, now)).collect(),
            leases: LeaseState::all(db).await?,
            snapshots: SnapshotAge::all(db, &users, now).await?,
            database: DatabaseState::load(db, now).await?,
            version: env!("CARGO_PKG_VERSION"),
            health,
        })
    }
}

/// Returns one sentence about the health of the bot.
fn summary(health: &HealthView) -> String {
    let troubled: Vec<_> = health.parts.iter().filter(|part| !part.healthy).collect();
    match (health.status, troubled.as_slice()) {
        (Status::Down, [part, ..]) => format!("The bot is down: {}: {}.", part.part, part.detail),
        (Status::Down, []) => "The database does not answer.".to_owned(),
        (_, []) => "Everything works.".to_owned(),
        (_, [part]) if part.detail.is_empty() => format!("It works, but {} needs a look.", part.part),
        (_, [part]) => format!("It works, but {} needs a look: {}.", part.part, part.detail),
        (_, [first, rest @ ..]) => {
            format!("It works, but {} parts need a look: {} and {} more.", rest.len() + 1, first.part, rest.len())
        }
    }
}

impl QueueState {
    fn of(depth: &Depth, now: Timestamp) -> Self {
        Self {
            queue: depth.queue.as_str(),
            open: depth.open,
            leased: depth.leased,
            oldest_due: depth.oldest_due,
            late_ms: depth.oldest_due.map(|due| now.millis_since(due)).filter(|late| *late > 0),
            stuck: depth.stuck_for_ms(now).is_some(),
        }
    }
}

impl ChainState {
    async fn load(db: &Db, workers: &[WorkerReport], health: &HealthView, now: Timestamp) -> Result<Self, DbError> {
        let watcher = workers.iter().flat_map(|worker| &worker.actors).find(|actor| actor.name == "chain_watcher");
        let Some(watcher) = watcher else { return Ok(Self::default()) };
        let state: ChainWatcherState = watcher.observed.as_ref().map(worker::ReportedState::read).unwrap_or_default();
        let unconfirmed = match health.chain.as_ref().is_some_and(|seen| seen.unconfirmed > 0) {
            true => db.unconfirmed_fills(now.plus_millis(-DAY_MS), now, UNCONFIRMED_SHOWN).await?,
            false => Vec::new(),
        };
        Ok(Self {
            watched: true,
            connected: state.connected,
            watching_since: state.watching_since,
            last_block: state.last_block,
            wallets: state.wallets,
            failures: state.failures,
            unconfirmed: unconfirmed.into_iter().map(UnconfirmedFillView::of).collect(),
        })
    }
}

impl UnconfirmedFillView {
    fn of(fill: UnconfirmedFill) -> Self {
        Self {
            tx_hash: fill.tx_hash,
            followed_user_id: fill.followed_user,
            followed_user_label: fill.user_label,
            wallet: fill.wallet,
            side: fill.side.as_str(),
            notional_micros: fill.notional,
            detect_time: fill.detect_time,
        }
    }
}

impl WorkerState {
    fn of(worker: WorkerReport, labels: &BTreeMap<String, String>, now: Timestamp) -> Self {
        let mut actors: Vec<ActorState> =
            worker.actors.into_iter().map(|actor| ActorState::of(actor, labels)).collect();
        actors.sort_by_key(|actor| std::cmp::Reverse((actor.silences, actor.restarts)));
        Self {
            silent: now.millis_since(worker.at) > WORKER_SILENCE_MILLIS,
            restarts: actors.iter().map(|actor| actor.restarts).sum(),
            id: worker.id,
            at: worker.at,
            started_at: worker.started_at,
            version: worker.version,
            waiting_interactive: worker.waiting_interactive,
            waiting_bulk: worker.waiting_bulk,
            actors,
        }
    }
}

impl ActorState {
    /// Builds the row of an actor. The name `poller:7` is the poller of user 7.
    fn of(actor: worker::ActorReport, labels: &BTreeMap<String, String>) -> Self {
        let (kind, user) = actor.name.split_once(':').unwrap_or((&actor.name, ""));
        Self {
            user_label: labels.get(user).cloned(),
            name: kind.to_owned(),
            last_activity: actor.observed.and_then(|observed| observed.last_activity),
            restarts: actor.restarts,
            last_restart: actor.last_restart,
            last_cause: actor.last_cause,
            silences: actor.silences,
        }
    }
}

impl LeaseState {
    async fn all(db: &Db) -> Result<Vec<Self>, DbError> {
        Ok(db.lease_holders().await?.into_iter().map(|(name, holder)| Self { name, holder }).collect())
    }
}

impl DatabaseState {
    async fn load(db: &Db, now: Timestamp) -> Result<Self, DbError> {
        let kind = if db.is_shared() { "PostgreSQL" } else { "SQLite" };
        let last_backup = db.audits(Some("backup"), None, 1).await?.pop().map(|row| Backup {
            made_at: row.created_at,
            archive: row.audit.subject,
            late: now.millis_since(row.created_at) > BACKUP_WITHIN_MS,
        });
        let storage = db.storage_state().await?;
        Ok(Self {
            kind,
            size_bytes: storage.size_bytes,
            disk_free_bytes: storage.free_bytes,
            growth_bytes_per_day: storage.growth_bytes_per_day,
            disk_days_left: storage.days_left,
            disk_short: storage.is_short(),
            rows: db.row_numbers().await?,
            last_backup,
        })
    }
}

/// Answers `GET /status`.
///
/// # Errors
/// [`WebError::Mistake`] for an unknown queue.
pub async fn page(context: PageContext, query: Query<StatusQuery>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = StatusView::load(&context.db, &position, &query, context.now()).await?;
    context.page(Page::Status, &position, &view).await
}

/// Answers `GET /api/status`.
///
/// # Errors
/// [`WebError::Mistake`] for an unknown queue.
pub async fn json(
    db: Data<Db>,
    stream: Data<Recipient<GetStreamPosition>>,
    clock: Data<Clock>,
    query: Query<StatusQuery>,
) -> Result<Json<StatusView>, WebError> {
    let position = stream.send(GetStreamPosition).await.map_err(|_| WebError::Busy)?;
    Ok(Json(StatusView::load(&db, &position, &query, clock.now()).await?))
}
