//! A small house for the tests of actors that write: a database in a temp folder, leaders, groups and attempts.

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
use crate::domain::decision::explanation::{DecisionKind, Explanation};
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::events::lease::Leases;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, AttemptId, FollowedUserId, GroupId, GroupKey, MarketId, Wallet};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UsdcMicros};
use crate::polymarket::{Polymarket, PolymarketSettings};
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, JobScope, Queue};
use crate::simulator::{Host, NewMarket, Simulator, SimulatorHandle, SimulatorSettings};
use crate::testkit::samples::{asset, at, market_id, price};

pub struct House {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub supervisor: SupervisorContext,
    pub live: actix::Addr<Heard>,
    pub alice: FollowedUserId,
    pub bob: FollowedUserId,
    _folder: tempfile::TempDir,
}

/// Keeps what was announced.
#[derive(Default)]
pub struct Heard {
    facts: Vec<LiveFact>,
    waiting: Option<(usize, oneshot::Sender<()>)>,
}

/// Answered when so many attempts have been announced since they were last taken.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UntilAttempts(pub usize);

#[derive(Message)]
#[rtype(result = "Vec<LiveFact>")]
pub struct TakeHeard;

impl House {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}/test.db", folder.path().display())).await.unwrap();
        db.migrate().await.unwrap();
        let clock = Clock::starting_at(at(0));
        let (supervisor, failures) = SupervisorContext::new(clock);
        // The receiver lives as long as the test: actors that are restarted on purpose must not end anything.
        std::mem::forget(failures);
        for n in 1..=2 {
            let wallet = Wallet::parse(&format!("0x{n:040x}")).unwrap();
            let _ = db.follow(&format!("leader {n}"), &wallet, "test", at(0)).await.unwrap();
        }
        let users = db.followed_users().await.unwrap();
        let live = Heard::default().start();
        let (alice, bob) = (users[0].id, users[1].id);
        Self { db, clock, wakeups: Wakeups::new(), supervisor, live, alice, bob, _folder: folder }
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

    /// Closes a group with both of its jobs, due at once.
    pub async fn close(&self, group: &EventGroup) {
        self.close_due(group, at(0)).await;
    }

    pub async fn close_due(&self, group: &EventGroup, copy_due: Timestamp) {
        let write = ClosedGroupWrite { group: group.clone(), members: Vec::new(), finishes: Vec::new(), copy_due };
        self.db.close_groups(&[write], at(0)).await.unwrap();
        self.wakeups.notify(Queue::CopyAttemptUser);
        self.wakeups.notify(Queue::CopyAttemptGlobal);
    }

    /// Takes the one job there is in the queue.
    pub async fn claim(&self, queue: Queue) -> Job {
        queue::claim(&self.db, queue, &JobScope::All, self.clock.now(), 60_000, 1).await.unwrap().pop().unwrap()
    }

    pub async fn entries(&self, portfolio: PortfolioId) -> Vec<LedgerEntry> {
        let placed = self.db.entries_after(portfolio, 0, 100_000).await.unwrap();
        placed.into_iter().map(|placed| placed.entry).collect()
    }

    /// The portfolio as a full fold of its ledger has it.
    pub async fn folded(&self, portfolio: PortfolioId) -> Portfolio {
        let mut folded = Portfolio::new(portfolio);
        for entry in self.entries(portfolio).await {
            folded.apply(&entry).unwrap();
        }
        folded
    }
}

/// A simulated exchange with one market, and a client of it.
pub struct Exchange {
    pub simulator: SimulatorHandle,
    pub polymarket: Polymarket,
    pub market: Market,
}

impl Exchange {
    pub fn start(clock: Clock) -> Self {
        let simulator = Simulator::start(SimulatorSettings { now: clock, ..SimulatorSettings::default() }).unwrap();
        let market = simulator.world(|world| world.add_market(NewMarket::binary("will-it-rain"))).facts;
        let settings =
            PolymarketSettings::new(&simulator.data_api_base(), &simulator.clob_base(), &simulator.gamma_base());
        Self { polymarket: Polymarket::new(settings, clock), simulator, market }
    }

    pub fn asset(&self, index: usize) -> AssetId {
        self.market.outcomes[index].asset.clone()
    }

    /// A group of `leader` in this market.
    pub fn group(&self, leader: FollowedUserId, detected: i64) -> EventGroup {
        let action = GroupAction::Trade { asset: self.asset(0), side: Side::Buy };
        EventGroup { market: self.market.id.clone(), action, ..group(leader, 10, Side::Buy, detected) }
    }

    pub fn n_asked(&self, host: Host, part: &str) -> usize {
        self.simulator.world(|world| world.n_heard(host, part))
    }
}

impl Actor for Heard {
    type Context = Context<Self>;
}

impl Handler<Announce> for Heard {
    type Result = ();

    fn handle(&mut self, Announce(facts): Announce, _: &mut Context<Self>) {
        self.facts.extend(facts);
        self.answer();
    }
}

impl Heard {
    fn answer(&mut self) {
        let n = self.facts.iter().filter(|fact| matches!(fact, LiveFact::AttemptRecorded(_))).count();
        if let Some((_, waiting)) = self.waiting.take_if(|(wanted, _)| n >= *wanted) {
            let _ = waiting.send(());
        }
    }
}

impl Handler<UntilAttempts> for Heard {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, UntilAttempts(n): UntilAttempts, _: &mut Context<Self>) -> Self::Result {
        let (answer, reached) = oneshot::channel();
        self.waiting = Some((n, answer));
        self.answer();
        Box::pin(async { reached.await.unwrap() })
    }
}

impl Handler<TakeHeard> for Heard {
    type Result = Vec<LiveFact>;

    fn handle(&mut self, _: TakeHeard, _: &mut Context<Self>) -> Vec<LiveFact> {
        std::mem::take(&mut self.facts)
    }
}

/// A BUY of 100 shares of asset `n` at 0.50, in market `n / 10`, first seen `detected` ms after the start.
pub fn group(leader: FollowedUserId, n: usize, side: Side, detected: i64) -> EventGroup {
    let key = GroupKey::from_text(&format!("{leader}:{}:{side}:{}", asset(n), at(detected).iso()));
    EventGroup {
        id: GroupId::of(&key),
        key,
        followed_user: leader,
        market: market_id(n / 10),
        action: GroupAction::Trade { asset: asset(n), side },
        notional: UsdcMicros(50_000_000),
        shares: ShareMicros(100_000_000),
        reference_price: Some(price(500_000)),
        window_start: at(detected),
        detect_time: at(detected),
        event_time: at(detected),
    }
}

/// A copy of `group` as the ledger gets it: 10 shares for 5 USDC.
pub fn attempt(portfolio: PortfolioId, group: &EventGroup) -> (CopyAttempt, Vec<LedgerEntry>) {
    let id = AttemptId::of(&portfolio.to_string(), &group.key);
    let (shares, cash) = (ShareMicros(10_000_000), UsdcMicros(5_000_000));
    let attempt = CopyAttempt {
        id,
        portfolio,
        followed_user: group.followed_user,
        group_id: group.id,
        group_key: group.key.clone(),
        decision: DecisionKind::Execute,
        reasons: Vec::new(),
        target_notional: cash,
        filled_notional: cash,
        filled_shares: shares,
        vwap: Some(price(500_000)),
        filled_ratio: Bps::WHOLE,
        their_reference_price: group.reference_price,
        mid_at_decision: Some(price(500_000)),
        config_version: "0".repeat(16),
        explanation: Explanation::default(),
        fills: Vec::new(),
        created_at: at(0),
    };
    let GroupAction::Trade { asset, .. } = &group.action else { panic!("a trade") };
    let entry = fill(portfolio, group.followed_user, &group.market, asset, shares.0, -cash.0, &format!("copy:{id}"));
    (attempt, vec![entry])
}

pub fn record(portfolio: PortfolioId, group: &EventGroup, portfolio_version: u64, job: Option<&Job>) -> RecordAttempt {
    let (attempt, entries) = attempt(portfolio, group);
    RecordAttempt { attempt, entries, portfolio_version, finishes: job.iter().map(|job| job.fence()).collect() }
}

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
