//! A machine, the leaders that it follows, and the markets that they trade in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Once;

use polymarketspy::clock::Clock;
use polymarketspy::db::{AttemptFilter, Inserted, ListedAttempt};
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, Wallet};
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::simulator::{Fill, NewMarket, Row, SimMarket, SimulatorSettings, wallet_of};
use polymarketspy::testkit::simulation::{Machine, MachineSettings};

pub struct Leader {
    pub id: FollowedUserId,
    pub wallet: Wallet,
}

pub struct Scene {
    pub machine: Machine,
    pub leaders: Vec<Leader>,
}

thread_local! {
    /// Panics on this thread since the last look; `None` on a thread without a simulation.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a life on this thread, in time that moves on when nothing can run.
pub fn in_virtual_time<T>(life: impl Future<Output = T>) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // A thread that ends has no list any more; its panic is printed in any case.
            let _ = PANICS.try_with(|panics| panics.borrow_mut().as_mut().map(|all| all.push(panic.to_string())));
            usual(panic);
        }));
    });
    PANICS.set(Some(Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let result = runtime.block_on(life);
    PANICS.set(None);
    result
}

/// Returns the panics on this thread since the last call. The bot survives them, but none may happen.
pub fn panics() -> Vec<String> {
    PANICS.with_borrow_mut(|panics| panics.as_mut().map(std::mem::take)).unwrap_or_default()
}

impl Scene {
    pub fn new(seed: u64) -> Self {
        Self::at(seed, Timestamp::parse_iso("2026-11-25T10:00:00Z").unwrap(), false)
    }

    pub fn at(seed: u64, start: Timestamp, shared: bool) -> Self {
        let exchange = SimulatorSettings { seed, now: Clock::starting_at(start), ..SimulatorSettings::default() };
        let machine = Machine::new(&MachineSettings { seed, start, shared, exchange });
        Self { machine, leaders: Vec::new() }
    }

    /// Follows a leader of this name. The wallet is derived from the name.
    pub async fn follow(&mut self, name: &str) {
        let wallet = wallet_of(name);
        self.machine.exchange.with(|exchange| exchange.add_profile(&wallet, name));
        let (db, now) = (self.machine.db.clone(), self.machine.clock.now());
        let followed = self.machine.during(async { db.follow(name, &wallet, "test", now).await.unwrap() }).await;
        let Some(Inserted::New(id)) = followed else { panic!("`{name}` is followed already") };
        self.leaders.push(Leader { id, wallet });
    }

    /// Adds a market without a fee.
    pub fn add_market(&self, slug: &str) -> SimMarket {
        self.add(NewMarket::binary(slug))
    }

    pub fn add(&self, market: NewMarket) -> SimMarket {
        self.machine.exchange.with(|exchange| exchange.add_market(market))
    }

    pub fn fill(&self, leader: usize, market: &SimMarket, outcome: usize, side: Side, shares: i64) {
        let fill = Fill::maker(&self.leaders[leader].wallet, market.asset(outcome).unwrap(), side, 500_000, shares);
        self.machine.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    }

    /// Returns every attempt, oldest first.
    pub async fn attempts(&self) -> Vec<ListedAttempt> {
        let mut rows = self.machine.db.attempts_page(&AttemptFilter::default(), None, 10_000).await.unwrap().rows;
        rows.reverse();
        rows
    }

    /// Returns how many shares a wallet holds by all its rows, shown or not.
    pub fn held(&self, wallet: &Wallet, asset: &AssetId) -> i64 {
        self.machine
            .exchange
            .with(|exchange| exchange.holdings(wallet, None).get(asset).map_or(0, |held| held.shares.0))
    }

    /// Returns what a leader holds of each token, and the cash that all their rows moved.
    pub fn truth_of(&self, leader: &Leader) -> (BTreeMap<String, i64>, i64) {
        self.machine.exchange.with(|exchange| {
            let holdings = exchange.holdings(&leader.wallet, Some(exchange.now()));
            let held = holdings.iter().map(|(asset, holding)| (asset.to_string(), holding.shares.0));
            let held = held.filter(|(_, shares)| *shares != 0).collect();
            let now = exchange.now();
            let shown = exchange.rows_of(&leader.wallet).filter(|row| row.visible_at <= now);
            (held, shown.map(received).sum())
        })
    }
}

/// Returns the cash that a row brought its wallet; negative when it was spent.
fn received(row: &Row) -> i64 {
    match (row.kind.as_str(), row.side) {
        ("TRADE", Some(Side::Buy)) | ("SPLIT", _) => -row.cash.0,
        ("TRADE" | "MERGE" | "REDEEM", _) => row.cash.0,
        _ => 0,
    }
}
