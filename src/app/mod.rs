//! The one place where concrete things meet: builds everything, wires every address, owns start and stop.
//!
//! In    `AppSettings`: where the database and the upstreams are, where pages are served, which role to play.
//! Out   `App`: the running bot. `run`, `demo`, `load` and every end-to-end test build it here.
//! Fails `AppError` when the database or the pages cannot be had; nothing is left running then.
//!
//! Start goes from the worker to the web, and so does stop: connections that the web's threads opened end with them, and
//! the worker's last writes need some. On a database of its own the worker tells the pages directly what it did; on a
//! shared one each process reads it from there.

use std::net::SocketAddr;
use std::sync::Arc;

use actix::{Addr, Recipient};
use tokio::sync::mpsc::UnboundedReceiver;

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

/// What the bot is built from. Each part is given its own.
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

/// Which part of the bot a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Worker and web in one.
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
        "setting `REDIS_URL` is missing; it should be a redis:// address where worker and web are processes of their own"
    )]
    NoRedis,
    #[error("the pages cannot be served")]
    Web(#[from] WebStartError),
    #[error(transparent)]
    Health(#[from] HealthStartError),
}

/// A running bot. Stop it with `stop`; dropped, it leaves what is in flight to the next start.
pub struct App {
    db: Db,
    ownership: Option<Ownership>,
    worker: Option<Worker>,
    live_hub: Addr<LiveHub>,
    web: Option<WebServer>,
    health: Option<HealthServer>,
    failures: UnboundedReceiver<Failure>,
    /// The live hub, which outlives the others.
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
    /// Opens the database, takes over the work an earlier process left, and starts every actor and the web.
    ///
    /// # Errors
    /// `AppError`.
    pub async fn build(settings: &AppSettings, clock: Clock) -> Result<Self, AppError> {
        if settings.role != Role::Both && settings.redis.url.is_none() {
            return Err(AppError::NoRedis);
        }
        // Before anything works: a bot that cannot be watched does not start.
        let health_listener = match settings.role.works() {
            true => health::listen(&settings.health)?,
            false => None,
        };
        let metrics = Arc::new(Metrics::default());
        let db = Db::connect(settings.database.url.reveal()).await?;
        let ownership = take_over(&db, settings, clock.now()).await?;
        let (supervisor, failures) = SupervisorContext::new(clock);
        let (root_ctx, root) = Root::reserve_address();
        let supervisor = supervisor.reporting_to(&root);
        let (hub_supervisor, hub_scope) = supervisor.scope();
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
                let web = http::start(&settings.web, deps).await?;
                tracing::info!(service = "web", address = %web.addr, "serving pages");
                Some(web)
            }
            false => None,
        };
        let health = match (health_listener, &worker) {
            (Some(listener), Some(worker)) => {
                let health = health::serve(listener, worker.health_deps(db.clone(), clock, metrics))?;
                tracing::info!(service = "worker", address = %health.addr, "serving health and metrics");
                Some(health)
            }
            _ => None,
        };
        Ok(Self { db, ownership, worker, live_hub, web, health, failures, hub_scope })
    }

    /// Lets one browser in, once. `None` where no pages are served, and where people sign in with GitHub.
    pub fn login_link(&self) -> Option<&str> {
        self.web.as_ref().and_then(|web| web.login_link.as_deref())
    }

    /// The pages' address for browsers. `None` where no pages are served.
    pub fn url(&self) -> Option<&str> {
        self.web.as_ref().map(|web| web.url.as_str())
    }

    /// Where pages are served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(|web| web.addr)
    }

    /// Where health and metrics are served.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|health| health.addr)
    }

    /// The database as this bot holds it.
    pub fn database(&self) -> &Db {
        &self.db
    }

    /// The hub that announces what was committed.
    pub fn live_hub(&self) -> &Addr<LiveHub> {
        &self.live_hub
    }

    /// Looks at once whether users or configuration changed; without it the bot notices within a second.
    pub fn look_at_directory(&self) {
        if let Some(worker) = &self.worker {
            worker.look_at_directory();
        }
    }

    /// Waits until an actor keeps failing. The process must end then: the database knows what was unfinished.
    pub async fn failed(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Nobody is left who could fail.
            None => std::future::pending().await,
        }
    }

    /// Stops taking work, lets what was decided be committed, and closes the database.
    pub async fn stop(self) {
        if let Some(worker) = self.worker {
            worker.stop().await;
        }
        if let Some(web) = self.web {
            web.stop().await;
        }
        // Last, so that whoever watches sees it go down and not vanish.
        if let Some(health) = self.health {
            health.stop().await;
        }
        drop(self.hub_scope);
        self.db.close().await;
        drop(self.ownership);
    }
}

/// Migrates the database. A worker takes it over first, with the jobs that an earlier process left, and follows the
/// traders that the settings name.
async fn take_over(db: &Db, settings: &AppSettings, now: Timestamp) -> Result<Option<Ownership>, DbError> {
    let ownership = match settings.role.works() {
        true => db.own().await?,
        false => None,
    };
    db.migrate().await?;
    if ownership.is_some() {
        // Only an earlier process can have leased these jobs: no other process runs on a database that we own.
        queue::release_all(db).await?;
    }
    if settings.role.works() {
        follow_named(db, &settings.follow, now).await?;
    }
    Ok(ownership)
}

/// Returns the recipient that shows the pages of this process what was committed.
fn live_recipient(
    settings: &AppSettings,
    db: &Db,
    clock: Clock,
    live_hub: &Addr<LiveHub>,
    supervisor: &SupervisorContext,
) -> Recipient<Announce> {
    let hub = live_hub.clone().recipient();
    // A worker whose database is its own tells the pages itself.
    let reads_along = settings.role.serves() && (db.is_shared() || !settings.role.works());
    if !reads_along {
        return hub;
    }
    let deps = LiveFeedDeps { db: db.clone(), clock, redis: settings.redis.url.clone(), hub };
    LiveFeed::start(deps, supervisor).recipient()
}

/// Follows whom the settings name and the database never knew.
async fn follow_named(db: &Db, settings: &FollowSettings, now: Timestamp) -> Result<(), DbError> {
    for trader in &settings.traders {
        if let Inserted::New(user) = db.follow_if_unknown(&trader.label, &trader.wallet, "settings", now).await? {
            tracing::info!(service = "worker", user_id = %user, wallet = %trader.wallet, "followed, as FOLLOW says");
        }
    }
    Ok(())
}
