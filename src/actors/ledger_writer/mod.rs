//! Writes all ledgers: the only writer of `copy_attempt`, `executable_fill` and `ledger_entry` (spec 8).
//!
//! Takes   [`RecordAttempt`] from the executors, [`RecordEntries`] from the ingestor and the settler,
//!         [`PricesChanged`], [`SnapshotsStored`], `DirectoryChanged`, `LeasesChanged`, and queries: [`ReadView`],
//!         [`Holdings`], [`HeldAssets`], [`TakeSnapshots`].
//! Sends   [`Announce`] to the live hub after each commit; wakes the consumers of `q_portfolio_apply`.
//! Timer   only to repeat a load that failed. A commit starts when requests wait and no commit is in flight; the next
//!         one takes all requests that arrived in the meantime.
//! Truth   the ledger: each portfolio is its checkpoint and the entries after it. An accepted request is folded at
//!         once, so that the next decision sees it; if its commit fails, the portfolio is read from the database again.

mod commit_queue;
mod commits;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Response, Supervised};
use tokio::sync::{Mutex, oneshot};

use self::{
    commit_queue::{CommitQueue, Request, moved},
    commits::CommitDue,
};
use super::{
    live_hub::Announce,
    supervise::{Incarnation, Observed, SupervisorContext, observable, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Audit, Db, LedgerWrite, PositionCheck};
use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::mark::{Mark, Quote};
use crate::domain::accounting::portfolio::{Lot, Portfolio, PortfolioError};
use crate::domain::accounting::shadow::correction::Correction;
use crate::domain::accounting::totals::Figures;
use crate::domain::accounting::view::PortfolioView;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::events::lease::Leases;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::metrics::Metrics;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{JobFence, NewJob};

/// Executors have many requests in flight; a full mailbox would only change their order.
const MAILBOX: usize = 4096;

/// Asks to record a decision, if the portfolio still has the version on which the decision was made.
#[derive(Message, Debug)]
#[rtype(result = "Result<Accepted, Refused>")]
pub struct RecordAttempt {
    pub attempt: CopyAttempt,
    pub entries: Vec<LedgerEntry>,
    pub portfolio_version: u64,
    pub finishes: Vec<JobFence>,
    /// The best prices of the book on which it was decided: the newest mark of the asset.
    pub quote: Option<(AssetId, Quote)>,
}

/// The running portfolio contains the copy, and the next decision may use it; the commit is not finished yet.
#[derive(Debug)]
pub struct Accepted(oneshot::Receiver<Result<Recorded, Refused>>);

/// The channel for the answer after the commit.
type Answer = oneshot::Sender<Result<Recorded, Refused>>;

/// Asks to write entries without a decision: a leader's fill, a settlement.
#[derive(Message, Debug, Default)]
#[rtype(result = "Result<Recorded, Refused>")]
pub struct RecordEntries {
    pub entries: Vec<LedgerEntry>,
    pub finishes: Vec<JobFence>,
    pub audits: Vec<Audit>,
    pub jobs: Vec<NewJob>,
    /// Key and JSON.
    pub checkpoints: Vec<(String, String)>,
    /// Openings and adjustments that are new, or from which a late row took shares back.
    pub corrections: Vec<Correction>,
    /// The position check whose entries these are.
    pub check: Option<PositionCheck>,
    /// The leader whose opening this is, and when it was booked.
    pub opened: Option<(FollowedUserId, Timestamp)>,
    /// The portfolio and version from which the entries were computed, when they depend on its holdings.
    pub made_on: Option<(PortfolioId, u64)>,
}

/// The result of a request, after its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It was written.
    New,
    /// It was in the ledger before; its job is finished now.
    Known,
}

/// Why a request was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the portfolio has changed since the decision")]
    Stale,
    #[error("another worker holds the job now")]
    FenceLost,
    #[error("the commit failed: {error}")]
    Failed { error: String, transient: bool },
    #[error("the entries do not fit the portfolio: {0}")]
    Impossible(#[from] PortfolioError),
    #[error("the ledger writer restarted before the result of the commit was known")]
    Restarted,
}

/// Asks for the view of a portfolio that a decision uses. The answer waits until the portfolio is loaded.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<PortfolioView, Refused>")]
pub struct ReadView {
    pub portfolio: PortfolioId,
    pub leader: FollowedUserId,
    pub market: MarketId,
    pub asset: Option<AssetId>,
    /// The outcomes of the market in outcome order, when complete sets are needed; otherwise empty.
    pub outcomes: Vec<AssetId>,
}

/// Asks for the lots of one portfolio, in one market or in all.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held, Refused>")]
pub struct Holdings {
    pub portfolio: PortfolioId,
    pub market: Option<MarketId>,
}

/// The lots of a portfolio, and the version of the portfolio that holds them.
#[derive(Debug, Clone)]
pub struct Held {
    /// For [`RecordEntries::made_on`].
    pub version: u64,
    pub cash: UsdcMicros,
    pub lots: Vec<Lot>,
}

/// Asks for the assets and markets held in any portfolio: the assets need prices, the markets are watched.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<HeldEverywhere, Refused>")]
pub struct HeldAssets;

/// The holdings of all portfolios.
#[derive(Debug, Clone, Default)]
pub struct HeldEverywhere {
    pub assets: BTreeSet<AssetId>,
    /// The markets with holdings, and the portfolios that hold them.
    pub markets: BTreeMap<MarketId, BTreeSet<PortfolioId>>,
}

/// New prices of assets are stored.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct PricesChanged(pub Arc<Vec<(AssetId, Mark)>>);

/// Asks for the state of these portfolios (of all, for `None`) at a moment when all of it is committed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Vec<Snapshot>, Refused>")]
pub struct TakeSnapshots {
    pub portfolios: Option<Vec<PortfolioId>>,
    /// The minute of the snapshots; `None` when only the checkpoint is needed.
    pub bucket: Option<Timestamp>,
}

/// The state of one portfolio.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub portfolio: PortfolioId,
    pub figures: Figures,
    /// Number of held assets whose mark is stale.
    pub stale_assets: usize,
    /// For what the holdings would bring. Empty when only the checkpoint is asked for.
    pub lots: Vec<Lot>,
    /// Its baselines contain the snapshot of the minute.
    pub checkpoint: PortfolioCheckpoint,
}

/// These snapshots are stored: the loss baselines are updated from them.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct SnapshotsStored {
    pub bucket: Timestamp,
    /// The equity of each portfolio, and whether all of its held assets had fresh marks.
    pub equities: Vec<(PortfolioId, UsdcMicros, bool)>,
}

/// Answered when everything accepted so far is committed or refused.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), Refused>")]
pub struct Flush;

/// The parts of the worker that the ledger writer uses.
#[derive(Debug, Clone)]
pub struct LedgerWriterDeps {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub live: Recipient<Announce>,
    /// The leases at the start; `LeasesChanged` replaces them.
    pub leases: Arc<Leases>,
    pub metrics: Arc<Metrics>,
}

pub struct LedgerWriter {
    deps: LedgerWriterDeps,
    incarnation: Incarnation,
    /// Held by every commit and every load. A commit continues when the actor that started it restarts. After the
    /// restart, loading must wait for it: otherwise the running state would miss its entries for ever.
    db_lock: Arc<Mutex<()>>,
    /// The leases of this worker. Only their portfolios are opened, and none is written after its lease has moved.
    leases: Arc<Leases>,
    portfolios: BTreeMap<PortfolioId, Slot>,
    /// Portfolios that failed to load; snapshots of all portfolios omit them.
    broken: BTreeSet<PortfolioId>,
    /// Until the users are known, queries about all portfolios are not answered.
    users_known: bool,
    /// Queries about all portfolios, which wait until all are loaded.
    when_all_open: Vec<Deferred>,
    commits: CommitQueue,
    commit_is_due: bool,
    /// Requests that wait for a moment when everything is committed or in one commit.
    snapshot_requests: Vec<SnapshotRequest>,
    /// Snapshots taken with the commit in flight; they are valid when it succeeds.
    snapshots_in_flight: Vec<(SnapshotRequest, Vec<Snapshot>)>,
    /// Higher than every version returned before.
    version_floor: u64,
    counts: Counts,
}

enum Slot {
    Loading(Vec<Deferred>),
    Open(Box<Running>),
}

struct Running {
    portfolio: Portfolio,
    /// The last committed ledger entry.
    position: i64,
    /// An apply job for this portfolio is queued, and no snapshot has been taken since.
    apply_queued: bool,
}

/// Work that waits for a portfolio to be loaded.
type Deferred = Box<dyn FnOnce(&mut LedgerWriter, &mut Context<LedgerWriter>)>;

struct SnapshotRequest {
    wanted: TakeSnapshots,
    answer: oneshot::Sender<Result<Vec<Snapshot>, Refused>>,
}

#[derive(Debug, Clone, Default, serde::Serialize)]
struct Counts {
    commits: u64,
    requests: u64,
    largest_commit: usize,
    reloads: u64,
    #[serde(skip)]
    last_commit: Option<Timestamp>,
}

impl LedgerWriter {
    pub fn start(deps: LedgerWriterDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        let leases = deps.leases.clone();
        start_supervised(supervisor, "ledger_writer", Self::new(deps, Arc::default(), leases))
    }

    fn new(deps: LedgerWriterDeps, db_lock: Arc<Mutex<()>>, leases: Arc<Leases>) -> Self {
        // Only a million entries a second would reach the versions of the next start.
        let version_floor = u64::try_from(deps.clock.now().millis()).unwrap_or(0) << 10;
        Self {
            deps,
            incarnation: Incarnation::default(),
            db_lock,
            leases,
            portfolios: BTreeMap::new(),
            broken: BTreeSet::new(),
            users_known: false,
            when_all_open: Vec::new(),
            commits: CommitQueue::default(),
            commit_is_due: false,
            snapshot_requests: Vec::new(),
            snapshots_in_flight: Vec::new(),
            version_floor,
            counts: Counts::default(),
        }
    }

    fn observed(&self) -> Observed {
        let loading = self.portfolios.values().filter(|slot| matches!(slot, Slot::Loading(_))).count();
        Observed {
            state: serde_json::json!({
                "portfolios": self.portfolios.len(),
                "loading": loading,
                "broken": self.broken.iter().map(PortfolioId::to_string).collect::<Vec<_>>(),
                "uncommitted": self.commits.len(),
                "counts": self.counts,
            }),
            last_activity: self.counts.last_commit,
        }
    }

    /// Returns a portfolio, if it is open.
    fn open(&mut self, portfolio: PortfolioId) -> Option<&mut Running> {
        match self.portfolios.get_mut(&portfolio) {
            Some(Slot::Open(running)) => Some(running),
            _ => None,
        }
    }

    /// Folds the entries, so that the next query sees them. Their portfolios must be open.
    ///
    /// # Errors
    /// [`Refused::Impossible`] when an entry does not fit its portfolio; then the portfolios are loaded again.
    fn fold(&mut self, write: &LedgerWrite, ctx: &mut Context<Self>) -> Result<(), Refused> {
        for entry in &write.entries {
            let running = self.open(entry.portfolio).expect("entries are only written to open portfolios");
            if let Err(error) = running.portfolio.apply(entry) {
                // The entries before this one are folded but will never be written.
                let moved: BTreeSet<_> = moved(write).collect();
                self.commits.refuse_waiting(&moved);
                self.reload(moved, ctx);
                return Err(Refused::Impossible(error));
            }
        }
        self.mark_by_fills(&write.entries);
        Ok(())
    }

    /// Queues a folded request for the next commit.
    fn enqueue(&mut self, write: LedgerWrite, answer: Answer, ctx: &mut Context<Self>) {
        self.commits.push(Request { write, answer, outcome: Recorded::New });
        if !self.commit_is_due {
            // This message is handled after all that are in the mailbox now, so that one commit takes them all.
            self.commit_is_due = true;
            ctx.notify(CommitDue);
        }
    }

    /// Folds and queues entries, as soon as their portfolios are open.
    fn record_entries(&mut self, request: RecordEntries, answer: Answer, ctx: &mut Context<Self>) {
        let needed = request.entries.iter().map(|entry| entry.portfolio).chain(request.made_on.map(|(id, _)| id));
        let closed = needed.into_iter().find(|id| !matches!(self.portfolios.get(id), Some(Slot::Open(_))));
        if let Some(closed) = closed {
            let work: Deferred = Box::new(move |writer, ctx| writer.record_entries(request, answer, ctx));
            return self.when_open(closed, ctx, work);
        }
        if let Some((portfolio, version)) = request.made_on
            && self.open(portfolio).is_none_or(|running| running.portfolio.version() != version)
        {
            return drop(answer.send(Err(Refused::Stale)));
        }
        let RecordEntries { entries, finishes, audits, jobs, checkpoints, corrections, check, opened, made_on: _ } =
            request;
        let attempt = None;
        let write = LedgerWrite { attempt, entries, finishes, audits, jobs, checkpoints, corrections, check, opened };
        match self.fold(&write, ctx) {
            Ok(()) => self.enqueue(write, answer, ctx),
            Err(refused) => drop(answer.send(Err(refused))),
        }
    }
}

impl Accepted {
    /// Waits for the commit.
    ///
    /// # Errors
    /// When the decision was not written; [`Refused`] tells why.
    pub async fn committed(self) -> Result<Recorded, Refused> {
        self.0.await.unwrap_or(Err(Refused::Restarted))
    }
}

impl Actor for LedgerWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.find_users(ctx);
    }
}

impl Supervised for LedgerWriter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone(), self.db_lock.clone(), self.leases.clone());
    }
}

observable!(LedgerWriter);

impl Handler<RecordAttempt> for LedgerWriter {
    type Result = Result<Accepted, Refused>;

    fn handle(&mut self, request: RecordAttempt, ctx: &mut Context<Self>) -> Self::Result {
        let RecordAttempt { attempt, entries, portfolio_version, finishes, quote } = request;
        let version = self.open(attempt.portfolio).map(|running| running.portfolio.version());
        if version != Some(portfolio_version) {
            return Err(Refused::Stale);
        }
        let (decided_in, leader) = (attempt.portfolio, attempt.followed_user);
        let write = LedgerWrite { attempt: Some(attempt), entries, finishes, ..LedgerWrite::default() };
        self.fold(&write, ctx)?;
        if let Some(quote) = &quote {
            self.mark_by_book(decided_in, leader, quote);
        }
        let (answer, committed) = oneshot::channel();
        self.enqueue(write, answer, ctx);
        Ok(Accepted(committed))
    }
}

impl Handler<RecordEntries> for LedgerWriter {
    type Result = Response<Result<Recorded, Refused>>;

    fn handle(&mut self, request: RecordEntries, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, committed) = oneshot::channel();
        self.record_entries(request, answer, ctx);
        Response::fut(async { committed.await.unwrap_or(Err(Refused::Restarted)) })
    }
}

mod loading;
mod marking;
mod queries;
#[cfg(test)]
mod tests;
