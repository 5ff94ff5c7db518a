//! Keeps every ledger: the only writer of `copy_attempt`, `executable_fill` and `ledger_entry`.
//!
//! Takes   `RecordAttempt` from the executors, `RecordEntries` from the ingestor and the settler, `PricesChanged`,
//!         `SnapshotsStored`, `DirectoryChanged`, and questions: `ReadView`, `Holdings`, `HeldAssets`, `TakeSnapshots`.
//! Sends   `Announce` to the live hub after each commit; rings for `q_portfolio_apply`.
//! Timer   none: a commit starts when requests wait and none is in flight, and the next takes all that came meanwhile.
//! Truth   the ledger: each portfolio is its checkpoint and the entries after it. What is accepted is folded at once,
//!         so that the next decision sees it; if its commit fails, the portfolio is read from the database again.

mod commit_queue;
mod load;

pub(super) use self::load::checkpoint_key;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Response, Supervised};
use tokio::sync::{Mutex, oneshot};

use self::{
    commit_queue::{CommitQueue, Landing, Request, moved},
    load::{LoadError, Loaded},
};
use super::{
    live_hub::{Announce, LiveFact, PortfolioChanged},
    root::DirectoryChanged,
    supervise::{Guard, Observed, Panicked, back_off, observable, spawn_io, start_guarded},
};
use crate::{
    clock::Clock,
    db::{Audit, Committed, Db, DbError, Directory, LedgerWrite},
    domain::{
        attempt::CopyAttempt,
        figures::Figures,
        ids::{AssetId, FollowedUserId, MarketId},
        ledger::{EntryType, LedgerEntry, PortfolioId, PortfolioScope},
        mark::Mark,
        portfolio::{Lot, Portfolio, PortfolioError, ViewQuery},
        portfolio_checkpoint::PortfolioCheckpoint,
        portfolio_view::PortfolioView,
        units::{ShareMicros, Timestamp, UsdcMicros},
    },
    queue::{JobFence, NewJob, Queue, in_process::Bell},
};

/// Executors keep many requests in flight; a full mailbox would only reorder them.
const MAILBOX: usize = 4096;

/// How long changes of a portfolio are gathered before its checkpoint is written.
const APPLY_AFTER_MS: i64 = 5_000;

/// Waits between tries to load what the database did not give.
const LOAD_AGAIN: Duration = Duration::from_millis(200);
const LOAD_AGAIN_MAX: Duration = Duration::from_secs(10);

/// Writes a decision down, if the portfolio is still the one it was made on.
#[derive(Message, Debug)]
#[rtype(result = "Result<Accepted, Refused>")]
pub struct RecordAttempt {
    pub attempt: CopyAttempt,
    pub entries: Vec<LedgerEntry>,
    pub portfolio_version: u64,
    pub finishes: Vec<JobFence>,
}

/// The portfolio holds the copy already, and the next decision may stand on it; its commit is under way.
#[derive(Debug)]
pub struct Accepted(oneshot::Receiver<Result<Recorded, Refused>>);

/// Where the answer after the commit goes.
type Answer = oneshot::Sender<Result<Recorded, Refused>>;

/// Writes entries that come of no decision of ours: a leader's fill, a settlement.
#[derive(Message, Debug, Default)]
#[rtype(result = "Result<Recorded, Refused>")]
pub struct RecordEntries {
    pub entries: Vec<LedgerEntry>,
    pub finishes: Vec<JobFence>,
    pub audits: Vec<Audit>,
    pub jobs: Vec<NewJob>,
    /// The version that the entries were worked out from, when they depend on what was held.
    pub made_on: Option<(PortfolioId, u64)>,
}

/// What became of a request, after its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    New,
    /// It was in the ledger before; its job is finished now.
    Known,
}

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the portfolio has moved on since the decision")]
    Stale,
    #[error("the job belongs to somebody else by now")]
    FenceLost,
    #[error("the commit failed: {error}")]
    Failed { error: String, transient: bool },
    #[error("the entries do not fit the portfolio: {0}")]
    Impossible(#[from] PortfolioError),
    #[error("the ledger writer restarted before the commit was known")]
    Restarted,
}

/// What a decision may know, once the portfolio is loaded.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<PortfolioView, Refused>")]
pub struct ReadView {
    pub portfolio: PortfolioId,
    pub leader: FollowedUserId,
    pub market: MarketId,
    pub asset: Option<AssetId>,
    /// The market's outcomes in outcome order, where sets are asked for.
    pub outcomes: Vec<AssetId>,
}

/// The lots of one portfolio, in one market or in all.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held, Refused>")]
pub struct Holdings {
    pub portfolio: PortfolioId,
    pub market: Option<MarketId>,
}

#[derive(Debug, Clone)]
pub struct Held {
    /// For `RecordEntries::made_on`.
    pub version: u64,
    pub lots: Vec<Lot>,
}

/// Everything that is held in any portfolio: what wants a price, and which markets to watch.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<HeldEverywhere, Refused>")]
pub struct HeldAssets;

#[derive(Debug, Clone, Default)]
pub struct HeldEverywhere {
    pub assets: BTreeSet<AssetId>,
    /// With the portfolios that hold something in them.
    pub markets: BTreeMap<MarketId, BTreeSet<PortfolioId>>,
}

/// Prices of assets are known, and stored.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct PricesChanged(pub Arc<Vec<(AssetId, Mark)>>);

/// The state of these portfolios (of all, for `None`) at a moment when all of it is committed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Vec<Snapshot>, Refused>")]
pub struct TakeSnapshots {
    pub portfolios: Option<Vec<PortfolioId>>,
    /// The minute the snapshots are for; `None` when only the checkpoint is wanted.
    pub bucket: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub portfolio: PortfolioId,
    pub figures: Figures,
    /// With the minute's snapshot in its baselines.
    pub checkpoint: PortfolioCheckpoint,
}

/// These snapshots are stored: the loss baselines follow them.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct SnapshotsStored {
    pub bucket: Timestamp,
    pub equities: Vec<(PortfolioId, UsdcMicros)>,
}

/// Answered when everything accepted so far is committed or refused.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), Refused>")]
pub struct Flush;

/// What the writer needs of the house.
#[derive(Debug, Clone)]
pub struct LedgerWriterDeps {
    pub db: Db,
    pub clock: Clock,
    pub bell: Bell,
    pub live: Recipient<Announce>,
}

pub struct LedgerWriter {
    deps: LedgerWriterDeps,
    /// Held by every commit and every load. A commit outlives the actor that began it: after a restart, loading must
    /// wait for it, or the running state would miss its entries for ever.
    turn: Arc<Mutex<()>>,
    portfolios: BTreeMap<PortfolioId, Slot>,
    /// Until the users are known, nobody can be told about all portfolios.
    users_known: bool,
    /// Questions about all portfolios, for when all are loaded.
    patient: Vec<Deferred>,
    commits: CommitQueue,
    commit_is_due: bool,
    asked: Vec<SnapshotRequest>,
    /// Taken with the commit in flight, good once it has landed.
    taken: Vec<(SnapshotRequest, Vec<Snapshot>)>,
    /// Above every version given out before.
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
    /// An apply job for this portfolio is queued and has not been looked at yet.
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

#[derive(Message)]
#[rtype(result = "()")]
struct CommitDue;

#[derive(Message)]
#[rtype(result = "()")]
struct CommitLanded(Result<(Vec<LedgerWrite>, Result<Committed, DbError>), Panicked>);

#[derive(Message)]
#[rtype(result = "()")]
struct PortfolioLoaded {
    portfolio: PortfolioId,
    tries: u32,
    result: Result<Result<Loaded, LoadError>, Panicked>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct UsersKnown(Result<Result<Directory, DbError>, Panicked>);

impl LedgerWriter {
    pub fn start(deps: LedgerWriterDeps, guard: &Guard) -> Addr<Self> {
        start_guarded(guard, "ledger_writer", Self::new(deps, Arc::default()))
    }

    fn new(deps: LedgerWriterDeps, turn: Arc<Mutex<()>>) -> Self {
        // A million entries a second would be needed to reach a version that the next start gives out.
        let version_floor = u64::try_from(deps.clock.now().millis()).unwrap_or(0) << 10;
        Self {
            deps,
            turn,
            portfolios: BTreeMap::new(),
            users_known: false,
            patient: Vec::new(),
            commits: CommitQueue::default(),
            commit_is_due: false,
            asked: Vec::new(),
            taken: Vec::new(),
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
                "uncommitted": self.commits.len(),
                "counts": self.counts,
            }),
            last_activity: self.counts.last_commit,
        }
    }

    fn open(&mut self, portfolio: PortfolioId) -> Option<&mut Running> {
        match self.portfolios.get_mut(&portfolio) {
            Some(Slot::Open(running)) => Some(running),
            _ => None,
        }
    }

    /// Folds the entries, so that whoever asks next sees them. The portfolios they move must be open.
    fn fold(&mut self, write: &LedgerWrite, ctx: &mut Context<Self>) -> Result<(), Refused> {
        for entry in &write.entries {
            let applied = self.open(entry.portfolio).map_or(Ok(()), |running| running.portfolio.apply(entry));
            if let Err(error) = applied {
                // The entries before this one are folded but will never be written.
                let moved: BTreeSet<_> = moved(write).collect();
                self.commits.refuse_waiting(&moved);
                self.distrust(moved, ctx);
                return Err(Refused::Impossible(error));
            }
        }
        self.mark_by_fills(&write.entries);
        Ok(())
    }

    fn enqueue(&mut self, write: LedgerWrite, answer: Answer, ctx: &mut Context<Self>) {
        self.commits.push(Request { write, answer, gives: Recorded::New });
        if !self.commit_is_due {
            // Handled after everything that is in the mailbox now: one commit takes it all.
            self.commit_is_due = true;
            ctx.notify(CommitDue);
        }
    }

    /// A leader's fill is the last trade seen for our copies too.
    fn mark_by_fills(&mut self, entries: &[LedgerEntry]) {
        for entry in entries {
            let (PortfolioId::ShadowUser(leader), EntryType::TradeFill) = (entry.portfolio, entry.kind) else {
                continue;
            };
            let (Some(asset), Some(price)) = (&entry.asset, entry.price) else { continue };
            for ours in [PortfolioId::ExecUser(leader), PortfolioId::ExecGlobal] {
                let marked = self.open(ours).map(|running| running.portfolio.set_mark(asset, Mark::LastTrade(price)));
                if let Some(Err(error)) = marked {
                    tracing::error!(portfolio = %ours, %asset, %error, "a mark does not fit");
                }
            }
        }
    }

    /// Starts the next commit, and answers who asked for snapshots as soon as all is committed.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        let all_open = self.users_known && self.portfolios.values().all(|slot| matches!(slot, Slot::Open(_)));
        if all_open {
            for work in std::mem::take(&mut self.patient) {
                work(self, ctx);
            }
        }
        if self.commits.is_flying() {
            return;
        }
        let snapshots_now = !self.asked.is_empty() && all_open && self.commits.takes_all();
        let mut writes = self.commits.take(snapshots_now);
        if snapshots_now {
            for request in std::mem::take(&mut self.asked) {
                let snapshots = self.snapshots(&request.wanted);
                self.taken.push((request, snapshots));
            }
        }
        if writes.is_empty() {
            return self.answer_snapshots();
        }
        self.add_apply_jobs(&mut writes);
        self.counts.largest_commit = self.counts.largest_commit.max(writes.len());
        let (db, turn, now) = (self.deps.db.clone(), self.turn.clone(), self.deps.clock.now());
        let commit = async move {
            let _turn = turn.lock().await;
            let result = db.commit_all(&writes, now).await;
            (writes, result)
        };
        spawn_io(ctx, commit, CommitLanded);
    }

    fn add_apply_jobs(&mut self, writes: &mut [LedgerWrite]) {
        let due = self.deps.clock.now().plus_millis(APPLY_AFTER_MS);
        for write in writes {
            let moved: BTreeSet<_> = moved(write).collect();
            for portfolio in moved {
                if let Some(running) = self.open(portfolio).filter(|running| !running.apply_queued) {
                    running.apply_queued = true;
                    write.jobs.push(NewJob::for_portfolio(portfolio, due));
                }
            }
        }
    }

    fn landed(&mut self, landing: Landing, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if !landing.written.is_empty() {
            self.counts.commits += 1;
            self.counts.requests += landing.written.len() as u64;
            self.counts.last_commit = Some(now);
        }
        let moved: BTreeSet<_> = landing.written.iter().flat_map(moved).collect();
        for portfolio in &moved {
            if let (Some(last), Some(running)) = (landing.last_entry, self.open(*portfolio)) {
                running.position = running.position.max(last);
            }
        }
        if !moved.is_empty() {
            self.deps.bell.ring(Queue::PortfolioApply);
        }
        let attempts = landing.written.into_iter().filter_map(|write| write.attempt);
        let mut facts: Vec<_> = attempts.map(|attempt| LiveFact::AttemptRecorded(Arc::new(attempt))).collect();
        facts.extend(moved.iter().filter_map(|portfolio| self.changed(*portfolio, now)));
        if !facts.is_empty() {
            self.deps.live.do_send(Announce(facts));
        }
        if landing.is_complete {
            self.answer_snapshots();
        } else {
            // They hold entries that are not there, or not yet.
            self.asked.extend(self.taken.drain(..).map(|(request, _)| request));
        }
        self.distrust(landing.distrusted, ctx);
    }

    fn changed(&mut self, portfolio: PortfolioId, at: Timestamp) -> Option<LiveFact> {
        let figures = self.open(portfolio)?.portfolio.figures();
        Some(LiveFact::PortfolioChanged(PortfolioChanged {
            portfolio,
            equity: figures.equity,
            cash: figures.cash,
            exposure: figures.exposure,
            unrealized: figures.unrealized,
            realized: figures.realized,
            at,
        }))
    }

    fn snapshots(&mut self, wanted: &TakeSnapshots) -> Vec<Snapshot> {
        let portfolios = match &wanted.portfolios {
            Some(portfolios) => portfolios.clone(),
            None => self.portfolios.keys().copied().collect(),
        };
        let snapshot = |id| {
            let running = self.open(id)?;
            running.apply_queued = false;
            let figures = running.portfolio.figures();
            // The position is that of the last commit until this one has landed.
            let mut checkpoint = running.portfolio.checkpoint(running.position);
            if let Some(bucket) = wanted.bucket {
                checkpoint.history.note(bucket, figures.equity);
            }
            Some(Snapshot { portfolio: id, figures, checkpoint })
        };
        portfolios.into_iter().filter_map(snapshot).collect()
    }

    fn answer_snapshots(&mut self) {
        for (request, mut snapshots) in std::mem::take(&mut self.taken) {
            for snapshot in &mut snapshots {
                if let Some(running) = self.open(snapshot.portfolio) {
                    snapshot.checkpoint.position = running.position;
                }
            }
            let _ = request.answer.send(Ok(snapshots));
        }
    }

    /// Forgets the running state of these portfolios and reads them from the database again.
    fn distrust(&mut self, portfolios: BTreeSet<PortfolioId>, ctx: &mut Context<Self>) {
        for portfolio in portfolios {
            if let Some(running) = self.open(portfolio) {
                let given_out = running.portfolio.version();
                self.version_floor = self.version_floor.max(given_out);
                tracing::warn!(%portfolio, "running state is read from the ledger again");
                self.counts.reloads += 1;
                self.load(portfolio, 0, ctx);
            }
        }
    }

    /// Runs `work` when the portfolio is open, which may be at once.
    fn when_open(&mut self, portfolio: PortfolioId, ctx: &mut Context<Self>, work: Deferred) {
        match self.portfolios.get_mut(&portfolio) {
            Some(Slot::Open(_)) => work(self, ctx),
            Some(Slot::Loading(deferred)) => deferred.push(work),
            None => {
                self.portfolios.insert(portfolio, Slot::Loading(vec![work]));
                self.load(portfolio, 0, ctx);
            }
        }
    }

    fn load(&mut self, portfolio: PortfolioId, tries: u32, ctx: &mut Context<Self>) {
        if !matches!(self.portfolios.get(&portfolio), Some(Slot::Loading(_))) {
            self.portfolios.insert(portfolio, Slot::Loading(Vec::new()));
        }
        let (db, turn) = (self.deps.db.clone(), self.turn.clone());
        let load = async move {
            let _turn = turn.lock().await;
            load::load(&db, portfolio).await
        };
        spawn_io(ctx, load, move |result| PortfolioLoaded { portfolio, tries, result });
    }

    fn loaded(&mut self, id: PortfolioId, loaded: Loaded, ctx: &mut Context<Self>) {
        let Some(Slot::Loading(deferred)) = self.portfolios.remove(&id) else { return };
        let Loaded { mut portfolio, position, bankroll } = loaded;
        self.version_floor += 1;
        portfolio.continue_from_version(self.version_floor);
        let is_new = portfolio.history().opening_micros.is_none() && id.scope() != PortfolioScope::ShadowUser;
        self.portfolios.insert(id, Slot::Open(Box::new(Running { portfolio, position, apply_queued: false })));
        if is_new {
            let entries = vec![opening_deposit(id, bankroll, self.deps.clock.now())];
            let write = LedgerWrite { entries, ..LedgerWrite::default() };
            match self.fold(&write, ctx) {
                Ok(()) => self.enqueue(write, oneshot::channel().0, ctx),
                Err(error) => tracing::error!(portfolio = %id, %error, "the opening deposit does not fit"),
            }
        }
        for work in deferred {
            self.when_open(id, ctx, work);
        }
        self.advance(ctx);
    }

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
        let RecordEntries { entries, finishes, audits, jobs, made_on: _ } = request;
        let write = LedgerWrite { entries, finishes, audits, jobs, ..LedgerWrite::default() };
        match self.fold(&write, ctx) {
            Ok(()) => self.enqueue(write, answer, ctx),
            Err(refused) => drop(answer.send(Err(refused))),
        }
    }
}

impl Accepted {
    /// Waits for the commit.
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
        *self = Self::new(self.deps.clone(), self.turn.clone());
    }
}

observable!(LedgerWriter);

impl Handler<RecordAttempt> for LedgerWriter {
    type Result = Result<Accepted, Refused>;

    fn handle(&mut self, request: RecordAttempt, ctx: &mut Context<Self>) -> Self::Result {
        let RecordAttempt { attempt, entries, portfolio_version, finishes } = request;
        let version = self.open(attempt.portfolio).map(|running| running.portfolio.version());
        if version != Some(portfolio_version) {
            return Err(Refused::Stale);
        }
        let write = LedgerWrite { attempt: Some(attempt), entries, finishes, ..LedgerWrite::default() };
        self.fold(&write, ctx)?;
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

impl Handler<ReadView> for LedgerWriter {
    type Result = Response<Result<PortfolioView, Refused>>;

    fn handle(&mut self, read: ReadView, ctx: &mut Context<Self>) -> Self::Result {
        let now = self.deps.clock.now();
        self.ask(read.portfolio, ctx, move |running| {
            running.portfolio.view(&ViewQuery {
                leader: read.leader,
                market: &read.market,
                asset: read.asset.as_ref(),
                outcomes: &read.outcomes,
                now,
            })
        })
    }
}

impl Handler<Holdings> for LedgerWriter {
    type Result = Response<Result<Held, Refused>>;

    fn handle(&mut self, asked: Holdings, ctx: &mut Context<Self>) -> Self::Result {
        self.ask(asked.portfolio, ctx, move |running| {
            let lots = match &asked.market {
                Some(market) => running.portfolio.lots_in(market),
                None => running.portfolio.lots().collect(),
            };
            Held { version: running.portfolio.version(), lots }
        })
    }
}

impl Handler<HeldAssets> for LedgerWriter {
    type Result = Response<Result<HeldEverywhere, Refused>>;

    fn handle(&mut self, _: HeldAssets, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, held) = oneshot::channel();
        self.patient.push(Box::new(|writer, _| drop(answer.send(writer.held_everywhere()))));
        self.advance(ctx);
        Response::fut(async { held.await.map_err(|_| Refused::Restarted) })
    }
}

impl Handler<PricesChanged> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, PricesChanged(prices): PricesChanged, _: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let mut facts = Vec::new();
        for id in self.portfolios.keys().copied().collect::<Vec<_>>() {
            let Some(running) = self.open(id) else { continue };
            let before = running.portfolio.figures();
            for (asset, mark) in prices.iter() {
                if let Err(error) = running.portfolio.set_mark(asset, *mark) {
                    tracing::error!(portfolio = %id, %asset, %error, "a mark does not fit");
                }
            }
            if running.portfolio.figures() != before {
                facts.extend(self.changed(id, now));
            }
        }
        if !facts.is_empty() {
            self.deps.live.do_send(Announce(facts));
        }
    }
}

impl Handler<TakeSnapshots> for LedgerWriter {
    type Result = Response<Result<Vec<Snapshot>, Refused>>;

    fn handle(&mut self, wanted: TakeSnapshots, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, taken) = oneshot::channel();
        self.asked.push(SnapshotRequest { wanted, answer });
        self.advance(ctx);
        Response::fut(async { taken.await.unwrap_or(Err(Refused::Restarted)) })
    }
}

impl Handler<SnapshotsStored> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, stored: SnapshotsStored, _: &mut Context<Self>) {
        for (id, equity) in stored.equities {
            if let Some(running) = self.open(id) {
                running.portfolio.note_snapshot(stored.bucket, equity);
            }
        }
    }
}

impl Handler<Flush> for LedgerWriter {
    type Result = Response<Result<(), Refused>>;

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, taken) = oneshot::channel();
        let wanted = TakeSnapshots { portfolios: Some(Vec::new()), bucket: None };
        self.asked.push(SnapshotRequest { wanted, answer });
        self.advance(ctx);
        Response::fut(async { taken.await.unwrap_or(Err(Refused::Restarted)).map(drop) })
    }
}

impl Handler<CommitDue> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, _: CommitDue, ctx: &mut Context<Self>) {
        self.commit_is_due = false;
        self.advance(ctx);
    }
}

impl Handler<CommitLanded> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, CommitLanded(commit): CommitLanded, ctx: &mut Context<Self>) {
        match commit {
            Ok((writes, result)) => {
                if let Err(error) = &result {
                    tracing::error!(%error, requests = writes.len(), "a ledger commit failed");
                }
                let landing = self.commits.land(writes, result);
                self.landed(landing, ctx);
                self.advance(ctx);
            }
            // What was written and what was not is for the next start to find out.
            Err(panicked) => panic!("a ledger commit: {panicked}"),
        }
    }
}

impl Handler<PortfolioLoaded> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, message: PortfolioLoaded, ctx: &mut Context<Self>) {
        let PortfolioLoaded { portfolio, tries, result } = message;
        let error = match result {
            Ok(Ok(loaded)) => return self.loaded(portfolio, loaded, ctx),
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        tracing::error!(%portfolio, error, tries, "a portfolio cannot be loaded, and will be tried again");
        let wait = back_off(LOAD_AGAIN, LOAD_AGAIN_MAX, tries + 1);
        ctx.run_later(wait, move |writer, ctx| writer.load(portfolio, tries + 1, ctx));
    }
}

impl Handler<UsersKnown> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, UsersKnown(result): UsersKnown, ctx: &mut Context<Self>) {
        match result {
            Ok(Ok(directory)) => {
                self.users_known = true;
                self.open_for(&directory, ctx);
                self.advance(ctx);
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the users cannot be read, and will be tried again");
                ctx.run_later(LOAD_AGAIN, |writer, ctx| writer.find_users(ctx));
            }
            Err(panicked) => panic!("reading the users: {panicked}"),
        }
    }
}

impl Handler<DirectoryChanged> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, ctx: &mut Context<Self>) {
        self.open_for(&directory, ctx);
    }
}

impl LedgerWriter {
    fn find_users(&mut self, ctx: &mut Context<Self>) {
        let db = self.deps.db.clone();
        spawn_io(ctx, async move { db.directory().await }, UsersKnown);
    }

    fn held_everywhere(&self) -> HeldEverywhere {
        let mut held = HeldEverywhere::default();
        for (id, slot) in &self.portfolios {
            let Slot::Open(running) = slot else { continue };
            held.assets.extend(running.portfolio.held_assets().cloned());
            for (market, _) in running.portfolio.exposure_by_market() {
                held.markets.entry(market.clone()).or_default().insert(*id);
            }
        }
        held
    }

    /// Opens the portfolios of everybody, so that pages and snapshots show them before the first copy.
    fn open_for(&mut self, directory: &Directory, ctx: &mut Context<Self>) {
        let of_users =
            directory.users.iter().flat_map(|user| [PortfolioId::ShadowUser(user.id), PortfolioId::ExecUser(user.id)]);
        for portfolio in of_users.chain([PortfolioId::ExecGlobal]) {
            self.when_open(portfolio, ctx, Box::new(|_, _| {}));
        }
    }

    /// Answers from an open portfolio, or as soon as it is open.
    fn ask<T: 'static>(
        &mut self,
        portfolio: PortfolioId,
        ctx: &mut Context<Self>,
        read: impl FnOnce(&Running) -> T + 'static,
    ) -> Response<Result<T, Refused>> {
        if let Some(running) = self.open(portfolio) {
            return Response::reply(Ok(read(running)));
        }
        let (answer, found) = oneshot::channel();
        let work = move |writer: &mut Self, _: &mut Context<Self>| {
            if let Some(running) = writer.open(portfolio) {
                let _ = answer.send(read(running));
            }
        };
        self.when_open(portfolio, ctx, Box::new(work));
        Response::fut(async { found.await.map_err(|_| Refused::Restarted) })
    }
}

/// Each portfolio of ours opens with one, whatever the bankroll is changed to later.
fn opening_deposit(portfolio: PortfolioId, bankroll: UsdcMicros, now: Timestamp) -> LedgerEntry {
    LedgerEntry {
        portfolio,
        attributed_user: None,
        market: None,
        asset: None,
        kind: EntryType::Deposit,
        shares: ShareMicros::ZERO,
        cash: bankroll,
        price: None,
        ref_id: "deposit:opening".to_owned(),
        created_at: now,
    }
}

#[cfg(test)]
mod tests;
