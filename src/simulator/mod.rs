//! An exchange on loopback that speaks Polymarket's wire: Data API v2, CLOB, Gamma, and a Polygon node's websocket. It
//! also has a GitHub to sign in at.
//!
//! It serves `demo` and tests in place of the real exchange; the bot does not know that it exists. Trades come from
//! recorded rows served unchanged (`replay`), from a test that calls [`Exchange`], or from traders generated from a seed
//! (`traders`). The same seed has the same markets, fills and prices.
//!
//! Imports go one way. From the bottom: `rng`, `settings` and `http` (values without sockets); `state`; `routes`,
//! `traders` and `replay`; `simulation`; `server`; `history`.

mod error;
pub mod history;
mod http;
mod replay;
mod rng;
pub mod routes;
mod server;
mod settings;
mod simulation;
mod state;
#[cfg(test)]
mod tests;
mod traders;

pub use self::error::SimulatorError;
pub use self::http::cache::CacheSettings;
pub use self::http::request::{Host, LoggedRequest, Request};
pub use self::http::response::Response;
pub use self::replay::{Recording, first_exchange_recording, recordings};
pub use self::settings::{NodeSettings, SimulatorSettings};
pub use self::state::chain::{CTF_EXCHANGE, Chain, NEG_RISK_EXCHANGE, ORDER_FILLED};
pub use self::state::exchange::{Exchange, Profile, wallet_of};
pub use self::state::fault::{Fault, FaultKind, RetryAfter, Times, Wait};
pub use self::state::feed::{Role, Row, RowKey};
pub use self::state::market::{Category, Phase, Quotes, SimMarket, price};
pub use self::state::movements::Movement;
pub use self::state::new_market::NewMarket;
pub use self::state::quirks::{MarketQuirks, ResolutionAnswer};
pub use self::state::token_ids::{Combo, StructuralId};
pub use self::state::trading::{Fill, Part, Transaction};
pub use self::traders::{TraderSettings, leader_name};

use crate::domain::money::ids::Wallet;

use self::server::Server;
use self::server::shared::Shared;
use self::simulation::Simulation;

/// Starts simulators.
pub struct Simulator;

/// A running simulator. Dropping it stops it.
pub struct SimulatorHandle {
    shared: Shared,
    server: Server,
}

/// A simulator without a server: requests are calls. Time passes for it when [`tick`](Self::tick) is called.
#[derive(Clone)]
pub struct CalledSimulator {
    shared: Shared,
}

impl CalledSimulator {
    /// Returns an exchange that listens on no port.
    pub fn new(settings: SimulatorSettings) -> Self {
        Self { shared: Shared::new(Simulation::new(settings)) }
    }

    /// Locks the exchange and lets `act` read or change it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Exchange) -> R) -> R {
        act(&mut self.shared.lock().exchange)
    }

    /// Answers a request at once; a planned delay is the caller's to wait.
    pub fn answer(&self, request: &Request) -> (Response, Wait) {
        self.shared.lock().answer(request)
    }

    /// Lets the traders act up to the present.
    pub fn tick(&self) {
        self.shared.lock().tick();
    }

    /// Lets `millis` milliseconds pass for the exchange at once.
    pub fn advance(&self, millis: i64) {
        self.shared.lock().advance(millis);
    }

    /// Lets traders trade from now on.
    pub fn start_trading(&self, settings: TraderSettings) {
        self.shared.lock().start_trading(settings);
    }

    /// Lets the traders rest.
    pub fn stop_trading(&self) {
        self.shared.lock().stop_trading();
    }

    /// Returns the wallets of the traders, by number.
    pub fn leaders(&self) -> Vec<Wallet> {
        self.shared.lock().leaders()
    }
}

impl Simulator {
    /// Listens on a free port of 127.0.0.1, in a thread of the simulator.
    ///
    /// # Errors
    /// [`SimulatorError`] when the operating system refuses the port or the thread.
    pub fn start(settings: SimulatorSettings) -> Result<SimulatorHandle, SimulatorError> {
        let shared = Shared::new(Simulation::new(settings));
        let server = Server::start(shared.clone())?;
        Ok(SimulatorHandle { shared, server })
    }
}

impl SimulatorHandle {
    /// Returns the base address of the Data API.
    pub fn data_api_base(&self) -> String {
        format!("http://{}/data", self.server.address)
    }

    /// Returns the base address of the CLOB.
    pub fn clob_base(&self) -> String {
        format!("http://{}/clob", self.server.address)
    }

    /// Returns the base address of Gamma.
    pub fn gamma_base(&self) -> String {
        format!("http://{}/gamma", self.server.address)
    }

    /// Returns the base address of the sign-in pages; GitHub's API is below it at `api/v3`.
    pub fn github_base(&self) -> String {
        format!("http://{}/github", self.server.address)
    }

    /// Returns the address of the Polygon node's websocket.
    pub fn chain_ws_url(&self) -> String {
        format!("ws://{}/chain", self.server.address)
    }

    /// Locks the exchange and lets `act` read or change it. All that tests and `demo` do goes through it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Exchange) -> R) -> R {
        act(&mut self.shared.lock().exchange)
    }

    /// Lets `millis` milliseconds pass for the exchange at once.
    pub fn advance(&self, millis: i64) {
        self.simulation(|simulation| simulation.advance(millis));
    }

    /// Lets traders trade from now on.
    pub fn start_trading(&self, settings: TraderSettings) {
        self.simulation(|simulation| simulation.start_trading(settings));
    }

    /// Lets the traders rest.
    pub fn stop_trading(&self) {
        self.simulation(Simulation::stop_trading);
    }

    fn simulation<R>(&self, act: impl FnOnce(&mut Simulation) -> R) -> R {
        act(&mut self.shared.lock())
    }
}
