//! What a test of an actor of the copying side needs: a fresh database with two leaders, groups, attempts and entries.
//! Used by the tests of the executors, the ledger writer, the snapshotter, the settler, the book fetcher and the
//! prices.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Recipient, ResponseFuture};
use tokio::sync::oneshot;

use crate::actors::ledger_writer::{LedgerWriter, LedgerWriterDeps, RecordAttempt};
use crate::actors::live_hub::{Announce, LiveFact};
use crate::actors::supervise::SupervisorContext;
use crate::clock::Clock;
use crate::db::{ClosedGroupWrite, Db, Directory};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::events::lease::Leases;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, JobScope, Queue};
use crate::testkit::TestDb;
use crate::testkit::facts::{executed_attempt, trade_group};
use crate::testkit::samples::{asset, at, market_id, price};

/// A database with two leaders, alice and bob, and what an actor is started with. The clock begins at [`at`]`(0)`.
pub struct CopySetup {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub supervisor: SupervisorContext,
    pub live: actix::Addr<AnnouncementLog>,
    pub alice: FollowedUserId,
    pub bob: FollowedUserId,
    _test_db: TestDb,
}

/// Keeps every announced fact, in order.
#[derive(Default)]
pub struct AnnouncementLog {
    facts: Vec<LiveFact>,
    waiting: Option<(usize, oneshot::Sender<()>)>,
}

/// Answered when this many attempts were announced since the last [`TakeAnnounced`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct UntilAttempts(pub usize);

/// Returns the announced facts and forgets them.
#[derive(Message)]
#[rtype(result = "Vec<LiveFact>")]
pub struct TakeAnnounced;

impl CopySetup {
    pub async fn new() -> Self {
        let test_db = TestDb::sqlite().await;
        let db = test_db.db.clone();
        let clock = Clock::starting_at(at(0));
        let (supervisor, failures) = SupervisorContext::new(clock);
        // Kept open for the whole test, because a restart that a test provokes must not count as a failure.
        std::mem::forget(failures);
        for n in 1..=2 {
            let wallet = Wallet::parse(&format!("0x{n:040x}")).unwrap();
            let _ = db.follow(&format!("leader {n}"), &wallet, "test", at(0)).await.unwrap();
        }
        let users = db.followed_users().await.unwrap();
        let live = AnnouncementLog::default().start();
        let (alice, bob) = (users[0].id, users[1].id);
        Self { db, clock, wakeups: Wakeups::new(), supervisor, live, alice, bob, _test_db: test_db }
    }

    pub fn ledger_writer(&self) -> actix::Addr<LedgerWriter> {
        let live: Recipient<Announce> = self.live.clone().recipient();
        let (db, wakeups, leases) = (self.db.clone(), self.wakeups.clone(), Arc::new(Leases::All));
        let deps = LedgerWriterDeps { db, clock: self.clock, wakeups, live, leases, metrics: Arc::default() };
        LedgerWriter::start(deps, &self.supervisor)
    }

    pub async fn directory(&self) -> Arc<Directory> {
        Arc::new(self.db.directory().await.unwrap())
    }

    /// Closes a group; both of its copy jobs are due at once.
    pub async fn close(&self, group: &EventGroup) {
        self.close_due(group, at(0)).await;
    }

    pub async fn close_due(&self, group: &EventGroup, copy_due: Timestamp) {
        let write = ClosedGroupWrite { group: group.clone(), members: Vec::new(), finishes: Vec::new(), copy_due };
        self.db.close_groups(&[write], at(0)).await.unwrap();
        self.wakeups.notify(Queue::CopyAttemptUser);
        self.wakeups.notify(Queue::CopyAttemptGlobal);
    }

    /// Claims the one job of the queue.
    pub async fn claim(&self, queue: Queue) -> Job {
        queue::claim(&self.db, queue, &JobScope::All, self.clock.now(), 60_000, 1).await.unwrap().pop().unwrap()
    }

    pub async fn entries(&self, portfolio: PortfolioId) -> Vec<LedgerEntry> {
        let placed = self.db.entries_after(portfolio, 0, 100_000).await.unwrap();
        placed.into_iter().map(|placed| placed.entry).collect()
    }

    /// Returns the portfolio as a full fold of its ledger.
    pub async fn folded(&self, portfolio: PortfolioId) -> Portfolio {
        let mut folded = Portfolio::new(portfolio);
        for entry in self.entries(portfolio).await {
            folded.apply(&entry).unwrap();
        }
        folded
    }
}

impl Actor for AnnouncementLog {
    type Context = Context<Self>;
}

impl Handler<Announce> for AnnouncementLog {
    type Result = ();

    fn handle(&mut self, Announce(facts): Announce, _: &mut Context<Self>) {
        self.facts.extend(facts);
        self.answer();
    }
}

impl AnnouncementLog {
    fn answer(&mut self) {
        let n = self.facts.iter().filter(|fact| matches!(fact, LiveFact::AttemptRecorded(_))).count();
        if let Some((_, waiting)) = self.waiting.take_if(|(wanted, _)| n >= *wanted) {
            let _ = waiting.send(());
        }
    }
}

impl Handler<UntilAttempts> for AnnouncementLog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, UntilAttempts(n): UntilAttempts, _: &mut Context<Self>) -> Self::Result {
        let (answer, reached) = oneshot::channel();
        self.waiting = Some((n, answer));
        self.answer();
        Box::pin(async { reached.await.unwrap() })
    }
}

impl Handler<TakeAnnounced> for AnnouncementLog {
    type Result = Vec<LiveFact>;

    fn handle(&mut self, _: TakeAnnounced, _: &mut Context<Self>) -> Vec<LiveFact> {
        std::mem::take(&mut self.facts)
    }
}

/// Returns a group of 100 shares of asset `n` at 0.50, in market `n / 10`, detected `detected` ms after [`at`]`(0)`.
pub fn group(leader: FollowedUserId, n: usize, side: Side, detected: i64) -> EventGroup {
    let key = format!("{leader}:{}:{side}:{}", asset(n), at(detected).iso());
    trade_group(&key, leader, market_id(n / 10), asset(n), side, at(detected))
}

/// Returns a copy of `group` as the ledger writer receives it: the attempt and its one entry.
pub fn attempt_and_entries(portfolio: PortfolioId, group: &EventGroup) -> (CopyAttempt, Vec<LedgerEntry>) {
    let attempt = executed_attempt(portfolio, group, at(0));
    let GroupAction::Trade { asset, .. } = &group.action else { panic!("`{}` is not a group of trades", group.key) };
    let (shares, cash) = (attempt.filled_shares.0, -attempt.filled_notional.0);
    let ref_id = format!("copy:{}", attempt.id);
    let entry = fill(portfolio, group.followed_user, &group.market, asset, shares, cash, &ref_id);
    (attempt, vec![entry])
}

/// Returns the order to record a copy of `group` that was decided at `portfolio_version` and finishes `job`.
pub fn record(portfolio: PortfolioId, group: &EventGroup, portfolio_version: u64, job: Option<&Job>) -> RecordAttempt {
    let (attempt, entries) = attempt_and_entries(portfolio, group);
    RecordAttempt {
        attempt,
        entries,
        portfolio_version,
        finishes: job.iter().map(|job| job.fence()).collect(),
        quote: None,
    }
}

/// Returns a `TRADE_FILL` entry at 0.50.
pub fn fill(
    portfolio: PortfolioId,
    leader: FollowedUserId,
    market: &MarketId,
    asset: &AssetId,
    shares: i64,
    cash: i64,
    ref_id: &str,
) -> LedgerEntry {
    LedgerEntry {
        portfolio,
        attributed_user: Some(leader),
        market: Some(market.clone()),
        asset: Some(asset.clone()),
        kind: EntryType::TradeFill,
        shares: ShareMicros(shares),
        cash: UsdcMicros(cash),
        price: Some(price(500_000)),
        ref_id: ref_id.to_owned(),
        created_at: at(0),
    }
}
