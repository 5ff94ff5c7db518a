//! The worker: every actor of the pipeline, from the ledger writer outward to the pollers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use tokio::sync::Mutex;

use crate::actors::book_fetcher::{BookFetcher, BookFetcherDeps};
use crate::actors::book_sampler::{BookSampler, BookSamplerDeps};
use crate::actors::books_lock::BooksLock;
use crate::actors::chain_watcher::{ChainWatcher, ChainWatcherDeps};
use crate::actors::directory::DirectoryChanged;
use crate::actors::executor::ExecutorDeps;
use crate::actors::grouper::{Grouper, GrouperDeps};
use crate::actors::housekeeper::{Housekeeper, HousekeeperDeps};
use crate::actors::ingestor::{Ingestor, IngestorDeps};
use crate::actors::lease_keeper::{LeaseKeeper, LeaseKeeperDeps, LetGo};
use crate::actors::ledger_writer::{Flush, LedgerWriter, LedgerWriterDeps};
use crate::actors::live_hub::Announce;
use crate::actors::poller::{Poller, PollerDeps, ReadingPace, SpanRead};
use crate::actors::position_checker::{PositionChecker, PositionCheckerDeps};
use crate::actors::price_refresher::{PriceRefresher, PriceRefresherDeps};
use crate::actors::queue_watch::{QueueWatch, QueueWatchDeps};
use crate::actors::reconciler::{Reconciler, ReconcilerDeps};
use crate::actors::redis_relay::{RedisRelay, RedisRelayDeps};
use crate::actors::root::{LookAtDirectory, PollerHandle, PollersChanged, Root, RootDeps};
use crate::actors::settler::{Settler, SettlerDeps};
use crate::actors::snapshotter::{Snapshotter, SnapshotterDeps, WriteCheckpoints};
use crate::actors::supervise::{ActorScope, Observe, SupervisorContext};
use crate::actors::winding_down::{WindingDown, WindingDownDeps};
use crate::actors::{global_executor, user_executor};
use crate::clock::Clock;
use crate::config::{ChainSettings, Secret};
use crate::db::{Db, DbError, Directory, random_worker_id};
use crate::domain::events::lease::{Leases, WorkerId};
use crate::health::HealthDeps;
use crate::metrics::Metrics;
use crate::polymarket::{Gate, Polymarket, PolymarketSettings};
use crate::queue::JobScope;
use crate::queue::wakeup::local::Wakeups;

/// How often an executor looks for groups without a wake-up, in case a wake-up was lost.
const LOOK_ALONE: Duration = Duration::from_secs(60);
/// The same when other workers share the database: their groups come without a wake-up while Redis does not answer.
const LOOK_AMONG_OTHERS: Duration = Duration::from_secs(1);

/// What the worker needs from the composition root.
pub(super) struct WorkerDeps<'a> {
    pub db: Db,
    pub clock: Clock,
    pub redis: Option<Secret>,
    /// The pages of this process.
    pub pages: Recipient<Announce>,
    pub polymarket: &'a PolymarketSettings,
    pub chain: &'a ChainSettings,
    /// The context that reports to the root.
    pub supervisor: SupervisorContext,
    /// The root's context; its address was reserved before the worker started.
    pub root_ctx: actix::Context<Root>,
    pub metrics: Arc<Metrics>,
}

/// A running worker.
pub(super) struct Worker {
    ledger_writer: Addr<LedgerWriter>,
    snapshotter: Addr<Snapshotter>,
    lease_keeper: Option<Addr<LeaseKeeper>>,
    root: Addr<Root>,
    gate: Gate,
    /// `None` when no node is configured.
    chain_watcher: Option<Recipient<Observe>>,
    /// The scope of the actors that make new work; it ends first.
    outer: ActorScope,
    /// The scope of the ledger writer and of the actors that must run until its last commit.
    inner: ActorScope,
}

/// What the actors of the worker have in common.
struct Shared {
    db: Db,
    clock: Clock,
    /// The jobs of this worker.
    scope: JobScope,
    leases: Arc<Leases>,
    wakeups: Wakeups,
    live: Recipient<Announce>,
    polymarket: Polymarket,
    metrics: Arc<Metrics>,
    /// The locks of the leaders' shadows.
    lock: BooksLock,
    pace: ReadingPace,
}

impl Worker {
    /// Starts every actor of the pipeline, each before those that send to it.
    ///
    /// # Errors
    /// [`DbError`] when users and configuration cannot be read.
    pub async fn start(deps: WorkerDeps<'_>) -> Result<Self, DbError> {
        let WorkerDeps { db, clock, redis, pages, polymarket, chain, supervisor, root_ctx, metrics } = deps;
        let directory = Arc::new(db.directory().await?);
        let worker = db.is_shared().then(random_worker_id);
        let leases = Arc::new(worker.clone().map_or(Leases::All, Leases::none));
        let scope = worker.clone().map_or(JobScope::All, JobScope::HeldBy);
        let polymarket = Polymarket::new(polymarket.clone(), clock);
        let gate = polymarket.gate().clone();
        let (inner_supervisor, inner) = supervisor.scope();
        let (supervisor, outer) = supervisor.scope();

        let (wakeups, live, relay) = connect_processes(&db, clock, redis, worker.as_ref(), pages, &inner_supervisor);
        let (lock, pace) = (BooksLock::default(), ReadingPace::default());
        let shared = Shared { db, clock, scope, leases, wakeups, live, polymarket, metrics, lock, pace };
        let ledger_writer = shared.start_ledger_writer(&inner_supervisor);
        let book_fetcher = shared.start_book_fetcher(&supervisor);
        let grouper = shared.start_grouper(&supervisor);
        let ingestor = shared.start_ingestor(&ledger_writer, &book_fetcher, &supervisor);
        let position_checker = shared.start_position_checker(&ledger_writer, &supervisor);
        let price_refresher = shared.start_price_refresher(&ledger_writer, &supervisor);
        let settler = shared.start_settler(&ledger_writer, &supervisor);
        let snapshotter = shared.start_snapshotter(&ledger_writer, &ingestor, &inner_supervisor);
        let reconciler = shared.start_reconciler(&supervisor);
        QueueWatch::start(QueueWatchDeps { db: shared.db.clone(), clock }, &supervisor);
        let housekeeper = shared.start_housekeeper(&supervisor);
        let book_sampler = shared.start_book_sampler(&supervisor);
        let chain_watcher = shared.start_chain_watcher(chain, &reconciler, &supervisor);
        let winding_down = shared.start_winding_down(&supervisor);

        let look_every = if worker.is_some() { LOOK_AMONG_OTHERS } else { LOOK_ALONE };
        let executor_deps = shared.executor_deps(look_every, directory, &ledger_writer, &book_fetcher);
        let mut listeners = vec![ledger_writer.clone().recipient(), book_fetcher.recipient(), grouper.recipient()];
        listeners.push(position_checker.clone().recipient());
        listeners.push(book_sampler.clone().recipient());
        listeners.push(winding_down.clone().recipient());
        listeners.push(reconciler.clone().recipient());
        listeners.extend(chain_watcher.clone().map(Addr::recipient));
        let reading = (reconciler.clone().recipient(), reconciler.recipient());
        let root_deps = shared.root_deps(executor_deps, reading, listeners, &supervisor);
        let root = Root::start_at(root_ctx, root_deps, &supervisor);

        let mut listeners = vec![ledger_writer.clone().recipient(), price_refresher.recipient(), settler.recipient()];
        listeners.push(winding_down.recipient());
        listeners.extend(chain_watcher.clone().map(Addr::recipient));
        listeners.push(root.clone().recipient());
        listeners.push(position_checker.recipient());
        listeners.push(housekeeper.recipient());
        listeners.push(book_sampler.recipient());
        listeners.extend(relay.map(Addr::recipient));
        let lease_keeper = worker.map(|worker| {
            let deps = LeaseKeeperDeps { db: shared.db, clock, wakeups: shared.wakeups, worker, listeners };
            LeaseKeeper::start(deps, &inner_supervisor)
        });
        let chain_watcher = chain_watcher.map(Addr::recipient);
        Ok(Self { ledger_writer, snapshotter, lease_keeper, root, gate, chain_watcher, outer, inner })
    }

    /// Returns what health and metrics are read from.
    pub fn health_deps(&self, db: Db, clock: Clock, metrics: Arc<Metrics>) -> HealthDeps {
        let (root, chain_watcher) = (self.root.clone(), self.chain_watcher.clone());
        HealthDeps { db, clock, metrics, gate: self.gate.clone(), root, chain_watcher }
    }

    /// Returns the gate that every request of this process to Polymarket passes.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    pub fn look_at_directory(&self) {
        self.root.do_send(LookAtDirectory);
    }

    /// Stops claiming work, and commits what was decided.
    pub async fn stop(self) {
        drop(self.outer);
        // Errors are ignored: an actor that has ended has nothing left to commit, and a commit that fails is in the log
        // and leaves its work open.
        let _ = self.ledger_writer.send(Flush).await;
        // Without checkpoints the next start reads more entries, with the same result.
        let _ = self.snapshotter.send(WriteCheckpoints).await;
        if let Some(keeper) = self.lease_keeper {
            let _ = keeper.send(LetGo).await;
        }
        drop(self.inner);
    }
}

/// Returns the wake-ups of this process's queues, and the recipient of committed facts. When Redis is configured, both
/// reach other processes too, through the relay that is started here.
fn connect_processes(
    db: &Db,
    clock: Clock,
    redis: Option<Secret>,
    worker: Option<&WorkerId>,
    pages: Recipient<Announce>,
    supervisor: &SupervisorContext,
) -> (Wakeups, Recipient<Announce>, Option<Addr<RedisRelay>>) {
    let Some(url) = redis else { return (Wakeups::new(), pages, None) };
    let (wakeups, outgoing) = Wakeups::remote();
    let deps = RedisRelayDeps {
        db: db.clone(),
        clock,
        wakeups: wakeups.clone(),
        url,
        worker: worker.cloned().unwrap_or_else(random_worker_id),
        outgoing: Arc::new(Mutex::new(outgoing)),
        pages: Some(pages),
    };
    let relay = RedisRelay::start(deps, supervisor);
    (wakeups, relay.clone().recipient(), Some(relay))
}

impl Shared {
    fn start_ledger_writer(&self, supervisor: &SupervisorContext) -> Addr<LedgerWriter> {
        let deps = LedgerWriterDeps {
            db: self.db.clone(),
            clock: self.clock,
            wakeups: self.wakeups.clone(),
            live: self.live.clone(),
            leases: self.leases.clone(),
            metrics: self.metrics.clone(),
        };
        LedgerWriter::start(deps, supervisor)
    }

    fn start_book_fetcher(&self, supervisor: &SupervisorContext) -> Addr<BookFetcher> {
        let (polymarket, metrics) = (self.polymarket.clone(), self.metrics.clone());
        let deps = BookFetcherDeps { db: self.db.clone(), clock: self.clock, polymarket, metrics };
        BookFetcher::start(deps, supervisor)
    }

    fn start_grouper(&self, supervisor: &SupervisorContext) -> Addr<Grouper> {
        let (scope, wakeups) = (self.scope.clone(), self.wakeups.clone());
        Grouper::start(GrouperDeps { db: self.db.clone(), clock: self.clock, scope, wakeups }, supervisor)
    }

    fn start_ingestor(
        &self,
        ledger: &Addr<LedgerWriter>,
        books: &Addr<BookFetcher>,
        supervisor: &SupervisorContext,
    ) -> Addr<Ingestor> {
        let deps = IngestorDeps {
            db: self.db.clone(),
            polymarket: self.polymarket.clone(),
            clock: self.clock,
            scope: self.scope.clone(),
            wakeups: self.wakeups.clone(),
            ledger: ledger.clone().recipient(),
            holdings: ledger.clone().recipient(),
            markets: books.clone().recipient(),
            lock: self.lock.clone(),
        };
        Ingestor::start(deps, supervisor)
    }

    fn start_position_checker(
        &self,
        ledger: &Addr<LedgerWriter>,
        supervisor: &SupervisorContext,
    ) -> Addr<PositionChecker> {
        let deps = PositionCheckerDeps {
            db: self.db.clone(),
            clock: self.clock,
            polymarket: self.polymarket.clone(),
            leases: self.leases.clone(),
            lock: self.lock.clone(),
            holdings: ledger.clone().recipient(),
            record: ledger.clone().recipient(),
        };
        PositionChecker::start(deps, supervisor)
    }

    fn start_price_refresher(
        &self,
        ledger: &Addr<LedgerWriter>,
        supervisor: &SupervisorContext,
    ) -> Addr<PriceRefresher> {
        let deps = PriceRefresherDeps {
            db: self.db.clone(),
            clock: self.clock,
            scope: self.scope.clone(),
            polymarket: self.polymarket.clone(),
            held: ledger.clone().recipient(),
            prices: ledger.clone().recipient(),
        };
        PriceRefresher::start(deps, supervisor)
    }

    fn start_settler(&self, ledger: &Addr<LedgerWriter>, supervisor: &SupervisorContext) -> Addr<Settler> {
        let deps = SettlerDeps {
            db: self.db.clone(),
            clock: self.clock,
            polymarket: self.polymarket.clone(),
            held: ledger.clone().recipient(),
            holdings: ledger.clone().recipient(),
            record: ledger.clone().recipient(),
            prices: ledger.clone().recipient(),
        };
        Settler::start(deps, supervisor)
    }

    fn start_snapshotter(
        &self,
        ledger: &Addr<LedgerWriter>,
        ingestor: &Addr<Ingestor>,
        supervisor: &SupervisorContext,
    ) -> Addr<Snapshotter> {
        let deps = SnapshotterDeps {
            db: self.db.clone(),
            clock: self.clock,
            scope: self.scope.clone(),
            wakeups: self.wakeups.clone(),
            take: ledger.clone().recipient(),
            stored: ledger.clone().recipient(),
            redeem: ingestor.clone().recipient(),
            holdings: ledger.clone().recipient(),
            record: ledger.clone().recipient(),
        };
        Snapshotter::start(deps, supervisor)
    }

    fn start_housekeeper(&self, supervisor: &SupervisorContext) -> Addr<Housekeeper> {
        let deps = HousekeeperDeps { db: self.db.clone(), clock: self.clock, leases: self.leases.clone() };
        Housekeeper::start(deps, supervisor)
    }

    fn start_book_sampler(&self, supervisor: &SupervisorContext) -> Addr<BookSampler> {
        let (leases, polymarket) = (self.leases.clone(), self.polymarket.clone());
        BookSampler::start(BookSamplerDeps { db: self.db.clone(), clock: self.clock, leases, polymarket }, supervisor)
    }

    fn start_winding_down(&self, supervisor: &SupervisorContext) -> Addr<WindingDown> {
        let (polymarket, leases) = (self.polymarket.clone(), self.leases.clone());
        let deps = WindingDownDeps { db: self.db.clone(), clock: self.clock, polymarket, leases };
        WindingDown::start(deps, supervisor)
    }

    fn start_reconciler(&self, supervisor: &SupervisorContext) -> Addr<Reconciler> {
        let (scope, wakeups, live) = (self.scope.clone(), self.wakeups.clone(), self.live.clone());
        let (venue, pace) = (self.polymarket.venue().clone(), self.pace.clone());
        let deps = ReconcilerDeps { db: self.db.clone(), clock: self.clock, scope, wakeups, live, venue, pace };
        Reconciler::start(deps, supervisor)
    }

    /// Starts the chain watcher; `None` when no node is configured.
    fn start_chain_watcher(
        &self,
        chain: &ChainSettings,
        reconciler: &Addr<Reconciler>,
        supervisor: &SupervisorContext,
    ) -> Option<Addr<ChainWatcher>> {
        let Some(url) = &chain.ws_url else {
            tracing::info!(service = "worker", "ALCHEMY_WS_URL is not set: fills are found by polling only");
            return None;
        };
        let deps = ChainWatcherDeps {
            db: self.db.clone(),
            clock: self.clock,
            wakeups: self.wakeups.clone(),
            live: self.live.clone(),
            reconciler: reconciler.clone().recipient(),
            url: url.clone(),
            exchanges: chain.exchanges.clone(),
            leases: self.leases.clone(),
        };
        Some(ChainWatcher::start(deps, supervisor))
    }

    fn executor_deps(
        &self,
        look_every: Duration,
        directory: Arc<Directory>,
        ledger: &Addr<LedgerWriter>,
        books: &Addr<BookFetcher>,
    ) -> ExecutorDeps {
        ExecutorDeps {
            db: self.db.clone(),
            clock: self.clock,
            look_every,
            wakeups: self.wakeups.clone(),
            directory,
            market: books.clone().recipient(),
            book: books.clone().recipient(),
            view: ledger.clone().recipient(),
            record: ledger.clone().recipient(),
            metrics: self.metrics.clone(),
            venue: self.polymarket.venue().clone(),
        }
    }

    /// Returns what the root needs: how to start the actors of one user, and the actors that follow the directory.
    fn root_deps(
        &self,
        executor_deps: ExecutorDeps,
        (reconciler, reads): (Recipient<PollersChanged>, Recipient<SpanRead>),
        listeners: Vec<Recipient<DirectoryChanged>>,
        supervisor: &SupervisorContext,
    ) -> RootDeps {
        let poller_deps = PollerDeps {
            db: self.db.clone(),
            polymarket: self.polymarket.clone(),
            clock: self.clock,
            wakeups: self.wakeups.clone(),
            live: self.live.clone(),
            metrics: self.metrics.clone(),
            fence: None,
            pace: self.pace.clone(),
            reads: Some(reads),
        };
        let global_deps = executor_deps.clone();
        RootDeps {
            db: self.db.clone(),
            clock: self.clock,
            live: self.live.clone(),
            wakeups: self.wakeups.clone(),
            supervisor: supervisor.clone(),
            start_poller: Rc::new(move |user, directory, fence, supervisor| {
                let deps = PollerDeps { fence, ..poller_deps.clone() };
                let poller = Poller::start(deps, user.clone(), directory.clone(), supervisor);
                PollerHandle { windows: poller.clone().recipient(), directory: poller.recipient() }
            }),
            start_executor: Rc::new(move |user, directory, supervisor| {
                let deps = ExecutorDeps { directory: directory.clone(), ..executor_deps.clone() };
                user_executor::start(user.id, deps, supervisor).recipient()
            }),
            start_global_executor: Rc::new(move |directory, supervisor| {
                let deps = ExecutorDeps { directory: directory.clone(), ..global_deps.clone() };
                global_executor::start(deps, supervisor).recipient()
            }),
            leases: self.leases.clone(),
            metrics: self.metrics.clone(),
            gate: self.polymarket.gate().clone(),
            started_at: self.clock.now(),
            reconciler,
            listeners,
        }
    }
}
