//! A machine, the leaders that it follows, and the markets that they trade in.

use std::future::Future;

use polymarketspy::clock::Clock;
use polymarketspy::db::{AttemptFilter, Inserted, ListedAttempt};
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::simulator::{Fill, NewMarket, SimMarket, SimulatorSettings, wallet_of};
use polymarketspy::testkit::simulation::{Machine, MachineSettings};

pub struct Leader {
    pub id: FollowedUserId,
    pub wallet: Wallet,
}

pub struct Scene {
    pub machine: Machine,
    pub leaders: Vec<Leader>,
}

/// Runs a life on this thread, in time that moves on when nothing can run.
pub fn in_virtual_time<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(life)
}

impl Scene {
    pub fn new(seed: u64, shared: bool) -> Self {
        let start = Timestamp::parse_iso("2026-11-25T10:00:00Z").unwrap();
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

    pub fn add_market(&self, slug: &str) -> SimMarket {
        self.machine.exchange.with(|exchange| exchange.add_market(NewMarket::binary(slug)))
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
}
