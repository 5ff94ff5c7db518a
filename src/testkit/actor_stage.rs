//! A stage for tests of actors: a database of their own, an exchange on loopback, and ears for what is said.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message, Recipient};
use tokio::sync::mpsc;

use crate::actors::live_hub::Announce;
use crate::actors::supervise::SupervisorContext;
use crate::clock::Clock;
use crate::db::{Db, Directory, FollowedUser, PollWrite};
use crate::domain::config::effective::{ConfigPatch, SystemPatch};
use crate::domain::events::event::{ActivityEvent, Side, TradeEvent};
use crate::domain::money::ids::{AssetId, EventId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::polymarket::{Polymarket, PolymarketSettings};
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, Queue};
use crate::simulator::{NewMarket, SimMarket, Simulator, SimulatorHandle, SimulatorSettings};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Stage {
    pub db: Db,
    pub sim: SimulatorHandle,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub supervisor: SupervisorContext,
    pub live: Recipient<Announce>,
    pub announced: Ear<Announce>,
    pub failures: mpsc::UnboundedReceiver<crate::actors::supervise::Failure>,
    _folder: tempfile::TempDir,
}

/// Hears every message of a kind, in order.
pub struct Ear<M>(mpsc::UnboundedReceiver<M>);

struct Listening<M>(mpsc::UnboundedSender<M>);

impl<M: Message<Result = ()> + Send + Unpin + 'static> Actor for Listening<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Handler<M> for Listening<M> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Context<Self>) {
        let _ = self.0.send(message);
    }
}

pub fn ear<M: Message<Result = ()> + Send + Unpin + 'static>() -> (Recipient<M>, Ear<M>) {
    let (said, heard) = mpsc::unbounded_channel();
    (Listening(said).start().recipient(), Ear(heard))
}

impl<M> Ear<M> {
    pub async fn next(&mut self) -> M {
        within(self.0.recv()).await.expect("nobody can speak any more")
    }
}

/// The answer, or a failed test instead of one that hangs.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should have come by now")
}

impl Stage {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}/test.db", folder.path().display())).await.unwrap();
        db.migrate().await.unwrap();
        let (supervisor, failures) = SupervisorContext::new(Clock::System);
        let (live, announced) = ear();
        Self {
            db,
            sim: Simulator::start(SimulatorSettings::default()).unwrap(),
            clock: Clock::System,
            wakeups: Wakeups::new(),
            supervisor,
            live,
            announced,
            failures,
            _folder: folder,
        }
    }

    pub fn polymarket(&self) -> Polymarket {
        let bases = (self.sim.data_api_base(), self.sim.clob_base(), self.sim.gamma_base());
        Polymarket::new(PolymarketSettings::new(&bases.0, &bases.1, &bases.2), self.clock)
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
        self.sim.world(|world| world.add_market(NewMarket::binary(slug)))
    }

    pub async fn jobs(&self, queue: Queue) -> Vec<Job> {
        queue::peek_open(&self.db, queue).await.unwrap()
    }

    /// As if a poll had found these rows.
    pub async fn record(&self, user: &FollowedUser, trades: Vec<TradeEvent>, activities: Vec<ActivityEvent>) {
        let now = self.clock.now();
        let (dead, new_wallets, checkpoints) = (Vec::new(), Vec::new(), Vec::new());
        let write = PollWrite { user: user.id, fence: None, trades, activities, dead, new_wallets, checkpoints, now };
        self.db.record_poll(write).await.unwrap();
        self.wakeups.notify(Queue::GroupEvents);
        self.wakeups.notify(Queue::IngestEvents);
    }

    /// Reads all that the exchange shows of a user, and records it.
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

/// A fill of 10 shares at 0.5, told from others by its number.
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
