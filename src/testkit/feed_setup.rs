//! What a test of an actor of the feed side needs: a fresh database, the exchange, and receivers for its messages.
//! Used by the tests of the poller, the reconciler, the chain watcher, the ingestor, the grouper and the root.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Recipient};
use tokio::sync::mpsc;

use crate::actors::live_hub::Announce;
use crate::actors::supervise::{Failure, SupervisorContext};
use crate::clock::Clock;
use crate::db::{Db, Directory, FollowedUser, PollWrite};
use crate::domain::config::effective::{ConfigPatch, SystemPatch};
use crate::domain::events::event::{ActivityEvent, Side, TradeEvent};
use crate::domain::money::ids::{AssetId, EventId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::polymarket::Polymarket;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, Queue};
use crate::simulator::SimMarket;
use crate::testkit::wait::within;
use crate::testkit::{TestDb, TestExchange};

/// A database, an exchange, and what an actor is started with. Its clock is the system's.
pub struct FeedSetup {
    pub db: Db,
    pub exchange: TestExchange,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub supervisor: SupervisorContext,
    pub live: Recipient<Announce>,
    pub announced: Received<Announce>,
    pub failures: mpsc::UnboundedReceiver<Failure>,
    _test_db: TestDb,
}

/// Receives every message of one kind, in order.
pub struct Received<M>(mpsc::UnboundedReceiver<M>);

/// The actor behind a [`Received`].
struct Receiver<M>(mpsc::UnboundedSender<M>);

impl<M: Message<Result = ()> + Send + Unpin + 'static> Actor for Receiver<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Handler<M> for Receiver<M> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Context<Self>) {
        let _ = self.0.send(message);
    }
}

/// Returns an address for messages of one kind, and the messages that it receives.
pub fn receiver<M: Message<Result = ()> + Send + Unpin + 'static>() -> (Recipient<M>, Received<M>) {
    let (sender, received) = mpsc::unbounded_channel();
    (Receiver(sender).start().recipient(), Received(received))
}

impl<M> Received<M> {
    pub async fn next(&mut self) -> M {
        within(self.0.recv()).await.expect("an actor still has the address")
    }
}

impl FeedSetup {
    pub async fn new() -> Self {
        let test_db = TestDb::sqlite().await;
        let (supervisor, failures) = SupervisorContext::new(Clock::System);
        let (live, announced) = receiver();
        Self {
            db: test_db.db.clone(),
            exchange: TestExchange::start(),
            clock: Clock::System,
            wakeups: Wakeups::new(),
            supervisor,
            live,
            announced,
            failures,
            _test_db: test_db,
        }
    }

    pub fn polymarket(&self) -> Polymarket {
        self.exchange.polymarket(self.clock)
    }

    pub async fn configure(&self, system: SystemPatch) {
        let patch = ConfigPatch { system, ..ConfigPatch::default() };
        self.db.save_global(&patch, "test", self.clock.now()).await.unwrap();
    }

    pub async fn follow(&self, wallet: &Wallet) -> FollowedUser {
        let _ = self.db.follow("leader", wallet, "test", self.clock.now()).await.unwrap();
        self.db.followed_user_by_wallet(wallet).await.unwrap().unwrap()
    }

    pub async fn directory(&self) -> Arc<Directory> {
        Arc::new(self.db.directory().await.unwrap())
    }

    pub fn market(&self, slug: &str) -> SimMarket {
        self.exchange.add_market(slug)
    }

    pub async fn jobs(&self, queue: Queue) -> Vec<Job> {
        queue::peek_open(&self.db, queue).await.unwrap()
    }

    /// Records rows as if a poll had returned them.
    pub async fn record(&self, user: &FollowedUser, trades: Vec<TradeEvent>, activities: Vec<ActivityEvent>) {
        let now = self.clock.now();
        let (dead, new_wallets, checkpoints) = (Vec::new(), Vec::new(), Vec::new());
        let write = PollWrite { user: user.id, fence: None, trades, activities, dead, new_wallets, checkpoints, now };
        self.db.record_poll(write).await.unwrap();
        self.wakeups.notify(Queue::GroupEvents);
        self.wakeups.notify(Queue::IngestEvents);
    }

    /// Polls all rows that the exchange has of a user, and records them.
    pub async fn read(&self, user: &FollowedUser) {
        let now = self.clock.now();
        let window = self.polymarket().activity_window(&user.profile_wallet, Timestamp::EPOCH, now).await.unwrap();
        assert_eq!(window.bad, []);
        let wallet = &user.profile_wallet;
        let trades = window.trades.into_iter().map(|row| row.into_event(user.id, wallet.clone(), now)).collect();
        let rows = window.activities.into_iter().map(|row| row.into_event(user.id, wallet.clone(), now)).collect();
        self.record(user, trades, rows).await;
    }

    /// Waits until a queue is empty.
    pub async fn drained(&self, queue: Queue) {
        within(async {
            while !self.jobs(queue).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Returns a fill of 10 shares at 0.50. `n` makes its id and its transaction hash.
pub fn trade(user: &FollowedUser, n: u32, side: Side, detect_time: Timestamp) -> TradeEvent {
    let source_id = format!("test:{n}");
    TradeEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        tx_hash: format!("0x{n:064x}"),
        profile_wallet: user.profile_wallet.clone(),
        proxy_wallet: None,
        followed_user: user.id,
        market: MarketId::parse(&format!("0x{}", "ab".repeat(32))).unwrap(),
        asset: AssetId::parse("1234").unwrap(),
        side,
        price: PriceMicros::new(500_000).unwrap(),
        shares: ShareMicros(10_000_000),
        notional: UsdcMicros(5_000_000),
        fee: None,
        event_time: detect_time,
        detect_time,
    }
}
