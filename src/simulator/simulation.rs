//! The exchange with its traders and a GitHub, and the time that passes for them.

use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;

use super::http::request::Request;
use super::http::response::Answer;
use super::routes;
use super::routes::github::GitHub;
use super::settings::SimulatorSettings;
use super::state::exchange::Exchange;
use super::state::fault::Wait;
use super::traders::{LifeSettings, Traders};

/// All that a running simulator has. It moves time: traders act and blocks are announced.
///
/// The exchange does not know the traders; they push fills into it like a test does.
pub struct Simulation {
    pub exchange: Exchange,
    traders: Traders,
    github: GitHub,
}

impl Simulation {
    pub fn new(settings: SimulatorSettings) -> Self {
        Self { exchange: Exchange::new(settings), traders: Traders::default(), github: GitHub::default() }
    }

    /// Lets `millis` milliseconds pass at once.
    pub fn advance(&mut self, millis: i64) {
        self.exchange.run_ahead(millis);
        self.tick();
    }

    /// Brings traders and blocks up to the exchange's present time.
    pub fn tick(&mut self) {
        let now = self.exchange.now();
        self.trade_until(now);
        self.exchange.chain.advance(now);
    }

    /// Lets traders trade from now on. Traders that traded before keep what they hold and go on at the new rate.
    pub fn start_trading(&mut self, settings: LifeSettings) {
        let now = self.exchange.now();
        self.start_trading_at(settings, now);
    }

    /// Like [`start_trading`](Self::start_trading), but from an earlier time. [`trade_until`](Self::trade_until) then
    /// catches up, which makes a history.
    pub fn start_trading_at(&mut self, settings: LifeSettings, at: Timestamp) {
        self.traders.start(&mut self.exchange, settings, at);
    }

    /// Lets the traders rest.
    pub fn stop_trading(&mut self) {
        self.traders.stop();
    }

    /// Lets resting traders go on at the rate that they had.
    pub fn resume_trading(&mut self) {
        self.traders.resume();
    }

    /// Lets the traders act up to and including `until`.
    pub fn trade_until(&mut self, until: Timestamp) {
        self.traders.act_until(&mut self.exchange, until);
    }

    /// Returns the wallets of the traders, by number.
    pub fn leaders(&self) -> Vec<Wallet> {
        self.traders.wallets()
    }

    /// Answers a request, with planned faults and the cache. Returns the answer and how long to delay it.
    pub fn answer(&mut self, request: &Request) -> (Answer, Wait) {
        routes::answer(&mut self.exchange, &mut self.github, request)
    }
}
