//! The simulated exchange on loopback, and clients of it.

use std::ops::Deref;

use crate::clock::Clock;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::polymarket::{Polymarket, PolymarketSettings};
use crate::simulator::{Host, NewMarket, SimMarket, Simulator, SimulatorHandle, SimulatorSettings};
use crate::testkit::copy_setup::group;

/// A simulated exchange, which ends with the test. It is used as the [`SimulatorHandle`] that it holds.
pub struct TestExchange(SimulatorHandle);

impl Deref for TestExchange {
    type Target = SimulatorHandle;

    fn deref(&self) -> &SimulatorHandle {
        &self.0
    }
}

impl TestExchange {
    pub fn start() -> Self {
        Self::with(SimulatorSettings::default())
    }

    pub fn at(clock: Clock) -> Self {
        Self::with(SimulatorSettings { now: clock, ..SimulatorSettings::default() })
    }

    pub fn with(settings: SimulatorSettings) -> Self {
        Self(Simulator::start(settings).unwrap())
    }

    /// Adds a market with two outcomes, a book around one half and no fee.
    pub fn add_market(&self, slug: &str) -> SimMarket {
        self.with(|exchange| exchange.add_market(NewMarket::binary(slug)))
    }

    pub fn polymarket_settings(&self) -> PolymarketSettings {
        PolymarketSettings::new(&self.data_api_base(), &self.clob_base(), &self.gamma_base())
    }

    pub fn polymarket(&self, clock: Clock) -> Polymarket {
        Polymarket::new(self.polymarket_settings(), clock)
    }
}

/// A simulated exchange with one market, and a client of it.
pub struct OneMarketExchange {
    pub simulator: TestExchange,
    pub polymarket: Polymarket,
    pub market: Market,
}

impl OneMarketExchange {
    pub fn start(clock: Clock) -> Self {
        let simulator = TestExchange::at(clock);
        let market = simulator.add_market("will-it-rain").facts;
        Self { polymarket: simulator.polymarket(clock), simulator, market }
    }

    pub fn asset(&self, index: usize) -> AssetId {
        self.market.outcomes[index].asset.clone()
    }

    /// Returns a group of `leader` in this market, detected `detected` ms after the start of the test's time.
    pub fn group(&self, leader: FollowedUserId, detected: i64) -> EventGroup {
        let action = GroupAction::Trade { asset: self.asset(0), side: Side::Buy };
        EventGroup { market: self.market.id.clone(), action, ..group(leader, 10, Side::Buy, detected) }
    }

    /// Returns how many requests `host` has received whose path begins with `part`.
    pub fn n_asked(&self, host: Host, part: &str) -> usize {
        self.simulator.with(|exchange| exchange.n_requests(host, part))
    }
}
