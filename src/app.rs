//! The one place where concrete things meet: builds everything, wires every address, owns start and stop.
//!
//! In    `AppSettings`: where the database and the upstreams are, where pages are served.
//! Out   `App`: the running bot. `run`, `demo`, `load` and every end-to-end test build it here.
//! Fails `AppError` when the database or the pages cannot be had; nothing is left running then.
//!
//! Start goes from the ledger writer outward to the pollers, then the web; stop walks back.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::actors::book_fetcher::{BookFetcher, BookFetcherDeps};
use crate::actors::chain_watcher::{ChainWatcher, ChainWatcherDeps};
use crate::actors::executor::ExecutorDeps;
use crate::actors::grouper::{Grouper, GrouperDeps};
use crate::actors::ingestor::{Ingestor, IngestorDeps};
use crate::actors::ledger_writer::{Flush, LedgerWriter, LedgerWriterDeps};
use crate::actors::live_hub::LiveHub;
use crate::actors::poller::{Poller, PollerDeps};
use crate::actors::price_refresher::{PriceRefresher, PriceRefresherDeps};
use crate::actors::reconciler::{Reconciler, ReconcilerDeps};
use crate::actors::root::{LookAtDirectory, PollerPost, Root, RootDeps};
use crate::actors::settler::{Settler, SettlerDeps};
use crate::actors::snapshotter::{Snapshotter, SnapshotterDeps, WriteCheckpoints};
use crate::actors::supervise::{Failure, Guard, Leash};
use crate::actors::{global_executor, user_executor};
use crate::clock::Clock;
use crate::config::{ChainSettings, DatabaseSettings, Settings, WebSettings};
use crate::db::{Db, DbError, Ownership};
use crate::polymarket::{Polymarket, PolymarketSettings};
use crate::queue::{self, in_process::Bell};
use crate::web::server::{self, WebDeps, WebServer, WebStartError};

/// What the bot is built from. Each part is given its own.
#[derive(Debug, Clone)]
pub struct AppSettings {
    pub database: DatabaseSettings,
    pub polymarket: PolymarketSettings,
    pub chain: ChainSettings,
    pub web: WebSettings,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the bot cannot use its database")]
    Db(#[from] DbError),
    #[error("the pages cannot be served")]
    Web(#[from] WebStartError),
}

/// A running bot. Stop it with `stop`; dropped, it leaves what is in flight to the next start.
pub struct App {
    db: Db,
    ownership: Ownership,
    ledger_writer: Addr<LedgerWriter>,
    live_hub: Addr<LiveHub>,
    snapshotter: Addr<Snapshotter>,
    root: Addr<Root>,
    web: WebServer,
    failures: UnboundedReceiver<Failure>,
    /// Everything that makes new work.
    outer: Leash,
    /// The ledger writer and the live hub, which outlive it.
    inner: Leash,
}

impl AppSettings {
    pub fn new(settings: &Settings) -> Self {
        let upstreams = &settings.upstreams;
        Self {
            database: settings.database.clone(),
            polymarket: PolymarketSettings::new(&upstreams.data_api, &upstreams.clob, &upstreams.gamma),
            chain: settings.chain.clone(),
            web: settings.web.clone(),
        }
    }
}

impl App {
    /// Opens the database, takes over the work an earlier process left, and starts every actor and the web.
    ///
    /// # Errors
    /// `AppError`.
    pub async fn build(settings: &AppSettings, clock: Clock) -> Result<Self, AppError> {
        let db = Db::connect(settings.database.url.reveal()).await?;
        let ownership = db.own().await?;
        db.migrate().await?;
        // Whoever leased a job was this process's predecessor: nobody else runs on our database.
        queue::release_all(&db).await?;
        let directory = Arc::new(db.directory().await?);
        let bell = Bell::new();
        let polymarket = Polymarket::new(settings.polymarket.clone(), clock);

        let (guard, failures) = Guard::new(clock);
        let (root_seat, root) = Root::seat();
        let guard = guard.reporting_to(&root);
        let (inner_guard, inner) = guard.leash();
        let (outer_guard, outer) = guard.leash();
        let guard = &outer_guard;

        let live_hub = LiveHub::start(clock, &inner_guard);
        let live = live_hub.clone().recipient();
        let deps = LedgerWriterDeps { db: db.clone(), clock, bell: bell.clone(), live: live.clone() };
        let ledger_writer = LedgerWriter::start(deps, &inner_guard);
        let deps = BookFetcherDeps { db: db.clone(), clock, polymarket: polymarket.clone() };
        let book_fetcher = BookFetcher::start(deps, guard);

        let executor_deps = ExecutorDeps {
            db: db.clone(),
            clock,
            bell: bell.clone(),
            directory,
            market: book_fetcher.clone().recipient(),
            book: book_fetcher.clone().recipient(),
            view: ledger_writer.clone().recipient(),
            record: ledger_writer.clone().recipient(),
        };
        let global_executor = global_executor::start(executor_deps.clone(), guard);
        let grouper = Grouper::start(GrouperDeps { db: db.clone(), clock, bell: bell.clone() }, guard);
        let deps = IngestorDeps {
            db: db.clone(),
            polymarket: polymarket.clone(),
            clock,
            bell: bell.clone(),
            ledger: ledger_writer.clone().recipient(),
            holdings: ledger_writer.clone().recipient(),
            markets: book_fetcher.clone().recipient(),
        };
        Ingestor::start(deps, guard);
        let deps = PriceRefresherDeps {
            db: db.clone(),
            clock,
            polymarket: polymarket.clone(),
            held: ledger_writer.clone().recipient(),
            prices: ledger_writer.clone().recipient(),
        };
        PriceRefresher::start(deps, guard);
        let deps = SettlerDeps {
            db: db.clone(),
            clock,
            polymarket: polymarket.clone(),
            held: ledger_writer.clone().recipient(),
            holdings: ledger_writer.clone().recipient(),
            record: ledger_writer.clone().recipient(),
            prices: ledger_writer.clone().recipient(),
        };
        Settler::start(deps, guard);
        let deps = SnapshotterDeps {
            db: db.clone(),
            clock,
            bell: bell.clone(),
            take: ledger_writer.clone().recipient(),
            stored: ledger_writer.clone().recipient(),
        };
        let snapshotter = Snapshotter::start(deps, &inner_guard);
        let deps = ReconcilerDeps { db: db.clone(), clock, bell: bell.clone(), live: live.clone() };
        let reconciler = Reconciler::start(deps, guard);

        let poller_deps = PollerDeps { db: db.clone(), polymarket, clock, bell: bell.clone(), live: live.clone() };
        let mut listeners = vec![
            ledger_writer.clone().recipient(),
            book_fetcher.recipient(),
            global_executor.recipient(),
            grouper.recipient(),
        ];
        match &settings.chain.ws_url {
            Some(url) => {
                let deps = ChainWatcherDeps {
                    db: db.clone(),
                    clock,
                    bell: bell.clone(),
                    live: live.clone(),
                    reconciler: reconciler.clone().recipient(),
                    url: url.clone(),
                    exchanges: settings.chain.exchanges.clone(),
                };
                listeners.push(ChainWatcher::start(deps, guard).recipient());
            }
            None => tracing::info!(service = "worker", "no ALCHEMY_WS_URL: fills are seen by polling alone"),
        }
        let deps = RootDeps {
            db: db.clone(),
            clock,
            live,
            guard: guard.clone(),
            start_poller: Rc::new(move |user, directory, guard| {
                let poller = Poller::start(poller_deps.clone(), user.clone(), directory.clone(), guard);
                PollerPost { windows: poller.clone().recipient(), directory: poller.recipient() }
            }),
            start_executor: Rc::new(move |user, directory, guard| {
                let deps = ExecutorDeps { directory: directory.clone(), ..executor_deps.clone() };
                user_executor::start(user.id, deps, guard).recipient()
            }),
            reconciler: reconciler.recipient(),
            listeners,
        };
        Root::start_at(root_seat, deps, guard);

        let deps = WebDeps { db: db.clone(), clock, live: live_hub.clone(), guard: guard.clone() };
        let web = server::start(&settings.web, deps).await?;
        tracing::info!(service = "web", address = %web.addr, "serving pages");
        Ok(Self { db, ownership, ledger_writer, live_hub, snapshotter, root, web, failures, outer, inner })
    }

    /// Lets one browser in, once.
    pub fn login_link(&self) -> &str {
        &self.web.login_link
    }

    /// Where pages are served.
    pub fn address(&self) -> SocketAddr {
        self.web.addr
    }

    /// The hub that announces what was committed.
    pub fn live_hub(&self) -> &Addr<LiveHub> {
        &self.live_hub
    }

    /// Looks at once whether users or configuration changed; without it the bot notices within a second.
    pub fn look_at_directory(&self) {
        self.root.do_send(LookAtDirectory);
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
        self.web.stop().await;
        drop(self.outer);
        // An actor that is gone has nothing left to commit; a commit that fails is in the log, and its work is still open.
        let _ = self.ledger_writer.send(Flush).await;
        // Without checkpoints the next start reads more entries, and comes to the same.
        let _ = self.snapshotter.send(WriteCheckpoints).await;
        drop(self.inner);
        self.db.close().await;
        drop(self.ownership);
    }
}
