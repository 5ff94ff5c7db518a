//! The composition root: builds every part of the bot, connects them, and owns start and stop.
//!
//! In    [`AppSettings`]: where the database and the upstreams are, where pages are served, which role to run.
//! Out   [`App`]: the running bot. `run`, `demo`, `load` and every end-to-end test build it here.
//! Fails [`AppError`] when the database cannot be used or the pages cannot be served; nothing is left running then.
//!
//! Start goes from the worker to the web, and so does stop: database connections that the web's threads opened end with
//! those threads, and the worker's last writes need some of them. On its own database the worker sends its facts to the
//! pages directly; on a shared database each process reads them from the database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::actors::file_watch::{FileWatch, FileWatchDeps};
use crate::actors::live_feed::{LiveFeed, LiveFeedDeps};
use crate::actors::live_hub::{Announce, LiveHub};
use crate::actors::root::Root;
use crate::actors::supervise::{ActorScope, Failure, SupervisorContext};
use crate::clock::Clock;
use crate::config::{
    ChainSettings, DatabaseSettings, FollowSettings, HealthSettings, RedisSettings, Settings, WebSettings,
};
use crate::db::Inserted;
use crate::db::{Db, DbError, Ownership};
use crate::domain::money::units::Timestamp;
use crate::health::{self, HealthServer, HealthStartError};
use crate::metrics::Metrics;
use crate::polymarket::{Gate, PolymarketSettings};
use crate::queue;
use crate::web::server::http;
use crate::web::server::http::{WebDeps, WebServer, WebStartError};

#[cfg(test)]
mod tests;
mod worker;

use worker::{Worker, WorkerDeps};

/// How long a start reads the pages of a SQLite database for damage. `doctor` takes a minute.
const CHECKED_WITHIN: Duration = Duration::from_secs(2);

/// The settings of the whole bot. Each part gets only its own.
#[derive(Debug, Clone)]
pub struct AppSettings {
    pub role: Role,
    pub database: DatabaseSettings,
    pub redis: RedisSettings,
    pub polymarket: PolymarketSettings,
    pub chain: ChainSettings,
    pub follow: FollowSettings,
    pub web: WebSettings,
    pub health: HealthSettings,
}

/// Which parts of the bot a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Worker and web in one process.
    Both,
    /// Reads the market, decides and writes.
    Worker,
    /// Serves the pages.
    Web,
}

impl Role {
    pub const fn works(self) -> bool {
        matches!(self, Self::Both | Self::Worker)
    }

    pub const fn serves(self) -> bool {
        matches!(self, Self::Both | Self::Web)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the bot cannot use its database")]
    Db(#[from] DbError),
    #[error(
        "setting `REDIS_URL` is missing; it should be a redis:// address when worker and web run as separate processes"
    )]
    NoRedis,
    #[error("the pages cannot be served")]
    Web(#[from] WebStartError),
    #[error(transparent)]
    Health(#[from] HealthStartError),
}

/// A running bot. Stop it with [`App::stop`]; when it is only dropped, the next start finishes the work in flight.
pub struct App {
    db: Db,
    ownership: Option<Ownership>,
    worker: Option<Worker>,
    live_hub: Addr<LiveHub>,
    web: Option<WebServer>,
    health: Option<HealthServer>,
    failures: UnboundedReceiver<Failure>,
    /// The scope of the live hub, which ends after the other actors.
    hub_scope: ActorScope,
}

impl AppSettings {
    pub fn new(settings: &Settings) -> Self {
        let upstreams = &settings.upstreams;
        Self {
            role: Role::Both,
            database: settings.database.clone(),
            redis: settings.redis.clone(),
            polymarket: PolymarketSettings::new(&upstreams.data_api, &upstreams.clob, &upstreams.gamma),
            chain: settings.chain.clone(),
            follow: settings.follow.clone(),
            web: settings.web.clone(),
            health: settings.health.clone(),
        }
    }
}

impl App {
    /// Opens the database, takes over the work that an earlier process left, and starts every actor and the web.
    ///
    /// # Errors
    /// [`AppError`] when Redis is needed and not set, the database cannot be used, or an address is taken.
    pub async fn build(settings: &AppSettings, clock: Clock) -> Result<Self, AppError> {
        if settings.role != Role::Both && settings.redis.url.is_none() {
            return Err(AppError::NoRedis);
        }
        Self::build_on(async || Db::connect(settings.database.url.reveal()).await, settings, clock).await
    }

    /// Does what [`build`](Self::build) does, on the database that `open` opens.
    ///
    /// # Errors
    /// [`AppError`] when the database cannot be used, or an address is taken.
    pub(crate) async fn build_on(
        open: impl AsyncFnOnce() -> Result<Db, DbError>,
        settings: &AppSettings,
        clock: Clock,
    ) -> Result<Self, AppError> {
        // Before any other part: a bot that cannot be monitored does not start.
        let health_listener = match settings.role.works() {
            true => health::listen(&settings.health)?,
            false => None,
        };
        let metrics = Arc::new(Metrics::default());
        let db = open().await?;
        let ownership = take_over(&db, settings, clock.now()).await?;
        let (supervisor, failures) = SupervisorContext::new(clock);
        let (root_ctx, root) = Root::reserve_address();
        let supervisor = supervisor.reporting_to(&root);
        let (hub_supervisor, hub_scope) = supervisor.scope();
        watch_file(&db, clock, &hub_supervisor);
        let live_hub = LiveHub::start(clock, &hub_supervisor);
        let pages = live_recipient(settings, &db, clock, &live_hub, &hub_supervisor);
        let worker = match settings.role.works() {
            true => {
                let deps = WorkerDeps {
                    db: db.clone(),
                    clock,
                    redis: settings.redis.url.clone(),
                    pages,
                    polymarket: &settings.polymarket,
                    chain: &settings.chain,
                    supervisor: supervisor.clone(),
                    root_ctx,
                    metrics: metrics.clone(),
                };
                Some(Worker::start(deps).await?)
            }
            false => None,
        };
        let web = match settings.role.serves() {
            true => {
                let gate = match &worker {
                    Some(worker) => worker.gate(),
                    None => Gate::new(&settings.polymarket.limits, clock),
                };
                let (redis, polymarket) = (settings.redis.clone(), settings.polymarket.clone());
                let (db, live, metrics) = (db.clone(), live_hub.clone(), metrics.clone());
                let deps = WebDeps { db, redis, clock, live, supervisor, metrics, polymarket, gate };
                Some(serve_pages(&settings.web, deps).await?)
            }
            false => None,
        };
        let health = match (health_listener, &worker) {
            (Some(listener), Some(worker)) => {
                Some(health::serve(listener, worker.health_deps(db.clone(), clock, metrics))?)
            }
            _ => None,
        };
        Ok(Self { db, ownership, worker, live_hub, web, health, failures, hub_scope })
    }

    /// Returns the link that signs one browser in, once. `None` when this process serves no pages, and when users sign
    /// in with GitHub.
    pub fn login_link(&self) -> Option<&str> {
        self.web.as_ref().and_then(|web| web.login_link.as_deref())
    }

    /// Returns the address of the pages for browsers. `None` when this process serves no pages.
    pub fn url(&self) -> Option<&str> {
        self.web.as_ref().map(|web| web.url.as_str())
    }

    /// Returns the socket address that the pages are served on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(|web| web.addr)
    }

    /// Returns the socket address that health and metrics are served on.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|health| health.addr)
    }

    /// Returns the bot's handle to its database.
    pub fn database(&self) -> &Db {
        &self.db
    }

    /// Returns the hub that sends committed facts to the pages.
    pub fn live_hub(&self) -> &Addr<LiveHub> {
        &self.live_hub
    }

    /// Makes the root read users and configuration now; without this call it notices a change within a second.
    pub fn look_at_directory(&self) {
        if let Some(worker) = &self.worker {
            worker.look_at_directory();
        }
    }

    /// Waits until an actor keeps failing. The caller must then end the process; the database holds the unfinished
    /// work.
    pub async fn failed(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            // All senders are gone: no actor is left that could fail.
            None => std::future::pending().await,
        }
    }

    /// Stops claiming work, commits what was decided, and closes the database.
    pub async fn stop(self) {
        if let Some(worker) = self.worker {
            worker.stop().await;
        }
        if let Some(web) = self.web {
            web.stop().await;
        }
        // Last, so that monitoring sees `/health` report the stop before the server is gone.
        if let Some(health) = self.health {
            health.stop().await;
        }
        drop(self.hub_scope);
        self.db.close().await;
        drop(self.ownership);
    }
}

/// Starts the watch on the file of a SQLite database.
fn watch_file(db: &Db, clock: Clock, supervisor: &SupervisorContext) {
    if let Some(file) = db.file().cloned() {
        FileWatch::start(FileWatchDeps { db: db.clone(), file, clock, supervisor: supervisor.clone() });
    }
}

/// Starts the pages, and logs where they are served.
///
/// # Errors
/// [`WebStartError`].
async fn serve_pages(settings: &WebSettings, deps: WebDeps) -> Result<WebServer, WebStartError> {
    let web = http::start(settings, deps).await?;
    tracing::info!(service = "web", address = %web.addr, "serving pages");
    Ok(web)
}

/// Migrates the database. A worker first takes ownership of it, releases the jobs that an earlier process had claimed,
/// and follows the traders that the settings name.
///
/// # Errors
/// [`DbError`] when another process owns the database, a page of it is damaged, or a statement fails.
async fn take_over(db: &Db, settings: &AppSettings, now: Timestamp) -> Result<Option<Ownership>, DbError> {
    let ownership = match settings.role.works() {
        true => db.own().await?,
        false => None,
    };
    if settings.role.works()
        && let Some(read) = db.check_pages(CHECKED_WITHIN).await?
    {
        tracing::info!(service = "worker", "the database: {read}");
    }
    db.migrate().await?;
    if ownership.is_some() {
        // Only an earlier process can have claimed these jobs, because no other process uses a database that we own.
        queue::release_all(db).await?;
    }
    if settings.role.works() {
        queue::bring_forward(db, now).await?;
        follow_named(db, &settings.follow, now).await?;
    }
    Ok(ownership)
}

/// Returns the recipient through which the pages of this process get committed facts.
fn live_recipient(
    settings: &AppSettings,
    db: &Db,
    clock: Clock,
    live_hub: &Addr<LiveHub>,
    supervisor: &SupervisorContext,
) -> Recipient<Announce> {
    let hub = live_hub.clone().recipient();
    // A worker that does not share its database sends its facts to the pages itself.
    let reads_along = settings.role.serves() && (db.is_shared() || !settings.role.works());
    if !reads_along {
        return hub;
    }
    let deps = LiveFeedDeps { db: db.clone(), clock, redis: settings.redis.url.clone(), hub };
    LiveFeed::start(deps, supervisor).recipient()
}

/// Follows the traders that the settings name and that the database has never had.
///
/// # Errors
/// [`DbError`] when a user cannot be stored.
async fn follow_named(db: &Db, settings: &FollowSettings, now: Timestamp) -> Result<(), DbError> {
    for trader in &settings.traders {
        if let Inserted::New(user) = db.follow_if_unknown(&trader.label, &trader.wallet, "settings", now).await? {
            tracing::info!(service = "worker", user_id = %user, wallet = %trader.wallet, "following a trader from FOLLOW");
        }
    }
    Ok(())
}
