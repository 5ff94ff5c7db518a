//! The worker: every actor of the pipeline, from the ledger writer outward to the pollers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use tokio::sync::Mutex;

use crate::actors::book_fetcher::{BookFetcher, BookFetcherDeps};
use crate::actors::chain_watcher::{ChainWatcher, ChainWatcherDeps};
use crate::actors::executor::ExecutorDeps;
use crate::actors::grouper::{Grouper, GrouperDeps};
use crate::actors::ingestor::{Ingestor, IngestorDeps};
use crate::actors::lease_keeper::{LeaseKeeper, LeaseKeeperDeps, LetGo};
use crate::actors::ledger_writer::{Flush, LedgerWriter, LedgerWriterDeps};
use crate::actors::live_hub::Announce;
use crate::actors::poller::{Poller, PollerDeps};
use crate::actors::price_refresher::{PriceRefresher, PriceRefresherDeps};
use crate::actors::queue_watch::{QueueWatch, QueueWatchDeps};
use crate::actors::reconciler::{Reconciler, ReconcilerDeps};
use crate::actors::redis_relay::{BellRelayDeps, RedisRelay};
use crate::actors::root::{LookAtDirectory, PollerHandle, Root, RootDeps};
use crate::actors::settler::{Settler, SettlerDeps};
use crate::actors::snapshotter::{Snapshotter, SnapshotterDeps, WriteCheckpoints};
use crate::actors::supervise::{ActorScope, Observe, SupervisorContext};
use crate::actors::{global_executor, user_executor};
use crate::clock::Clock;
use crate::config::{ChainSettings, Secret};
use crate::db::{Db, DbError, random_worker_id};
use crate::domain::events::lease::Leases;
use crate::health::HealthDeps;
use crate::metrics::Metrics;
use crate::polymarket::{Gate, Polymarket, PolymarketSettings};
use crate::queue::JobScope;
use crate::queue::wakeup::local::Wakeups;

/// Executors are rung for; a look in between finds what a lost ring would have said.
const LOOK_ALONE: Duration = Duration::from_secs(60);
/// Copies of other workers' leaders come without a ring when the bell between processes is out of order.
const LOOK_AMONG_OTHERS: Duration = Duration::from_secs(1);

/// What the worker is built from.
pub(super) struct WorkerDeps<'a> {
    pub db: Db,
    pub clock: Clock,
    pub redis: Option<Secret>,
    /// The pages of this process.
    pub pages: Recipient<Announce>,
    pub polymarket: &'a PolymarketSettings,
    pub chain: &'a ChainSettings,
    /// The guard that reports to the root.
    pub supervisor: SupervisorContext,
    pub reserve_address: actix::Context<Root>,
    pub metrics: Arc<Metrics>,
}

/// A running worker.
pub(super) struct Worker {
    ledger_writer: Addr<LedgerWriter>,
    snapshotter: Addr<Snapshotter>,
    lease_keeper: Option<Addr<LeaseKeeper>>,
    root: Addr<Root>,
    gate: Gate,
    /// Without a node to watch there is none.
    chain_watcher: Option<Recipient<Observe>>,
    /// Everything that makes new work.
    outer: ActorScope,
    /// The ledger writer and those who outlive it.
    inner: ActorScope,
}

impl Worker {
    /// # Errors
    /// When users and configuration cannot be read.
    pub async fn start(deps: WorkerDeps<'_>) -> Result<Self, DbError> {
        let WorkerDeps { db, clock, redis, pages, polymarket, chain, supervisor, reserve_address, metrics } = deps;
        let directory = Arc::new(db.directory().await?);
        let worker = db.is_shared().then(random_worker_id);
        let leases = Arc::new(worker.clone().map_or(Leases::All, Leases::none));
        let scope = worker.clone().map_or(JobScope::All, JobScope::HeldBy);
        let polymarket = Polymarket::new(polymarket.clone(), clock);
        let gate = polymarket.gate().clone();
        let (inner_guard, inner) = supervisor.scope();
        let (outer_guard, outer) = supervisor.scope();
        let supervisor = &outer_guard;

        // The bell reaches other processes when there can be any and Redis carries it.
        let (wakeups, live, relay) = match (worker.clone(), redis) {
            (worker, Some(url)) => {
                let (wakeups, calls) = Wakeups::remote();
                let calls = Arc::new(Mutex::new(calls));
                let worker = worker.unwrap_or_else(random_worker_id);
                let deps = BellRelayDeps {
                    db: db.clone(),
                    clock,
                    wakeups: wakeups.clone(),
                    url,
                    worker,
                    calls,
                    pages: Some(pages),
                };
                let relay = RedisRelay::start(deps, &inner_guard);
                (wakeups, relay.clone().recipient(), Some(relay))
            }
            _ => (Wakeups::new(), pages, None),
        };
        let deps = LedgerWriterDeps {
            db: db.clone(),
            clock,
            wakeups: wakeups.clone(),
            live: live.clone(),
            leases: leases.clone(),
            metrics: metrics.clone(),
        };
        let ledger_writer = LedgerWriter::start(deps, &inner_guard);
        let deps = BookFetcherDeps { db: db.clone(), clock, polymarket: polymarket.clone(), metrics: metrics.clone() };
        let book_fetcher = BookFetcher::start(deps, supervisor);

        let executor_deps = ExecutorDeps {
            db: db.clone(),
            clock,
            look_every: if worker.is_some() { LOOK_AMONG_OTHERS } else { LOOK_ALONE },
            wakeups: wakeups.clone(),
            directory,
            market: book_fetcher.clone().recipient(),
            book: book_fetcher.clone().recipient(),
            view: ledger_writer.clone().recipient(),
            record: ledger_writer.clone().recipient(),
            metrics: metrics.clone(),
        };
        let deps = GrouperDeps { db: db.clone(), clock, scope: scope.clone(), wakeups: wakeups.clone() };
        let grouper = Grouper::start(deps, supervisor);
        let deps = IngestorDeps {
            db: db.clone(),
            polymarket: polymarket.clone(),
            clock,
            scope: scope.clone(),
            wakeups: wakeups.clone(),
            ledger: ledger_writer.clone().recipient(),
            holdings: ledger_writer.clone().recipient(),
            markets: book_fetcher.clone().recipient(),
        };
        Ingestor::start(deps, supervisor);
        let deps = PriceRefresherDeps {
            db: db.clone(),
            clock,
            scope: scope.clone(),
            polymarket: polymarket.clone(),
            held: ledger_writer.clone().recipient(),
            prices: ledger_writer.clone().recipient(),
        };
        let price_refresher = PriceRefresher::start(deps, supervisor);
        let deps = SettlerDeps {
            db: db.clone(),
            clock,
            polymarket: polymarket.clone(),
            held: ledger_writer.clone().recipient(),
            holdings: ledger_writer.clone().recipient(),
            record: ledger_writer.clone().recipient(),
            prices: ledger_writer.clone().recipient(),
        };
        let settler = Settler::start(deps, supervisor);
        let deps = SnapshotterDeps {
            db: db.clone(),
            clock,
            scope: scope.clone(),
            wakeups: wakeups.clone(),
            take: ledger_writer.clone().recipient(),
            stored: ledger_writer.clone().recipient(),
        };
        let snapshotter = Snapshotter::start(deps, &inner_guard);
        let deps = ReconcilerDeps { db: db.clone(), clock, scope, wakeups: wakeups.clone(), live: live.clone() };
        let reconciler = Reconciler::start(deps, supervisor);

        QueueWatch::start(QueueWatchDeps { db: db.clone(), clock }, supervisor);

        let mut chain_watcher = None;
        let mut listeners = vec![ledger_writer.clone().recipient(), book_fetcher.recipient(), grouper.recipient()];
        let mut lease_listeners =
            vec![ledger_writer.clone().recipient(), price_refresher.recipient(), settler.recipient()];
        match &chain.ws_url {
            Some(url) => {
                let deps = ChainWatcherDeps {
                    db: db.clone(),
                    clock,
                    wakeups: wakeups.clone(),
                    live: live.clone(),
                    reconciler: reconciler.clone().recipient(),
                    url: url.clone(),
                    exchanges: chain.exchanges.clone(),
                    leases: leases.clone(),
                };
                let watcher = ChainWatcher::start(deps, supervisor);
                chain_watcher = Some(watcher.clone().recipient());
                listeners.push(watcher.clone().recipient());
                lease_listeners.push(watcher.recipient());
            }
            None => tracing::info!(service = "worker", "no ALCHEMY_WS_URL: fills are seen by polling alone"),
        }
        let poller_deps = PollerDeps {
            db: db.clone(),
            polymarket,
            clock,
            wakeups: wakeups.clone(),
            live: live.clone(),
            metrics: metrics.clone(),
            fence: None,
        };
        let global_deps = executor_deps.clone();
        let deps = RootDeps {
            db: db.clone(),
            clock,
            live,
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
            leases,
            metrics,
            gate: gate.clone(),
            started_at: clock.now(),
            reconciler: reconciler.recipient(),
            listeners,
        };
        let root = Root::start_at(reserve_address, deps, supervisor);
        lease_listeners.push(root.clone().recipient());
        lease_listeners.extend(relay.map(Addr::recipient));
        let lease_keeper = worker.map(|worker| {
            let deps = LeaseKeeperDeps { db, clock, wakeups, worker, listeners: lease_listeners };
            LeaseKeeper::start(deps, &inner_guard)
        });
        Ok(Self { ledger_writer, snapshotter, lease_keeper, root, gate, chain_watcher, outer, inner })
    }

    /// What health and metrics are read from.
    pub fn health_deps(&self, db: Db, clock: Clock, metrics: Arc<Metrics>) -> HealthDeps {
        let (root, chain_watcher) = (self.root.clone(), self.chain_watcher.clone());
        HealthDeps { db, clock, metrics, gate: self.gate.clone(), root, chain_watcher }
    }

    /// The gate before every call of this process to Polymarket.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    pub fn look_at_directory(&self) {
        self.root.do_send(LookAtDirectory);
    }

    /// Stops taking work, and lets what was decided be committed.
    pub async fn stop(self) {
        drop(self.outer);
        // An actor that is gone has nothing left to commit; a commit that fails is in the log, and its work is still open.
        let _ = self.ledger_writer.send(Flush).await;
        // Without checkpoints the next start reads more entries, and comes to the same.
        let _ = self.snapshotter.send(WriteCheckpoints).await;
        if let Some(keeper) = self.lease_keeper {
            let _ = keeper.send(LetGo).await;
        }
        drop(self.inner);
    }
}
