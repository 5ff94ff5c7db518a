//! An exchange on loopback that speaks Polymarket's wires: Data API v2, CLOB, Gamma, and a Polygon node's websocket.
//! Beside it stands a GitHub to sign in at.
//!
//! It stands in at the wire, for `demo` and for tests; nothing in the bot knows that it exists. Life comes from recorded
//! rows pushed as they were, from a test's own hand (`World`), or from a seeded generator (`Life`). The same seed gives
//! the same markets, fills and prices.
//!
//! A `Mutex` guards the one `World`: tests, sockets, HTTP routes and the timer all look at it from their own threads,
//! each for microseconds, and the bot has no such shared state.

pub mod history;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;

pub use crate::simulator::life::replay::{Recording, of_the_first_exchange, recordings};
pub use crate::simulator::life::traders::{LifeSettings, leader_name};
pub use crate::simulator::routes::answer::{Answer, CacheSettings, Heard, Host, Request};
pub use crate::simulator::routes::chain::{CTF_EXCHANGE, Chain, NEG_RISK_EXCHANGE, NodeSettings, ORDER_FILLED};
pub use crate::simulator::state::activity_rows::{Place, Role, Row};
pub use crate::simulator::state::exchange::{Person, World, wallet_of};
pub use crate::simulator::state::fault::{Fault, FaultKind, RetryAfter, Times};
pub use crate::simulator::state::market::{Category, Phase, Quotes, SimMarket, price};
pub use crate::simulator::state::new_market::NewMarket;
pub use crate::simulator::state::trading::{Fill, Part, Transaction};

/// How the exchange behaves. The default is an exact and instant one; `lifelike` has the delays of the real one.
#[derive(Debug, Clone)]
pub struct SimulatorSettings {
    pub seed: u64,
    pub now: Clock,
    /// The Data API shows a row this long after its block, in milliseconds, drawn between the two.
    pub visible_after: (i64, i64),
    /// This part of the rows is shown `late_by` milliseconds later still, behind rows already served.
    pub late_chance: f64,
    pub late_by: i64,
    /// A row lacks its outcome index and event for this long after it is first shown.
    pub complete_after: i64,
    pub cache: CacheSettings,
    pub node: NodeSettings,
}

/// Starts simulators.
pub struct Simulator;

/// A running simulator; dropping it stops it.
pub struct SimulatorHandle {
    shared: Shared,
    server: routes::server::Server,
}

/// The world and its lock.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("the simulator could not listen on loopback")]
    Listen(#[source] std::io::Error),
    #[error("the simulator's thread could not start")]
    Thread(#[source] std::io::Error),
}

impl Simulator {
    /// Listens on a free port of 127.0.0.1 from a thread of its own.
    ///
    /// # Errors
    /// `SimulatorError` when the port or the thread is refused.
    pub fn start(settings: SimulatorSettings) -> Result<SimulatorHandle, SimulatorError> {
        let shared = Shared(Arc::new(Mutex::new(World::new(settings))));
        let server = routes::server::Server::start(shared.clone())?;
        Ok(SimulatorHandle { shared, server })
    }
}

impl SimulatorHandle {
    pub fn data_api_base(&self) -> String {
        format!("http://{}/data", self.server.address)
    }

    pub fn clob_base(&self) -> String {
        format!("http://{}/clob", self.server.address)
    }

    pub fn gamma_base(&self) -> String {
        format!("http://{}/gamma", self.server.address)
    }

    /// Where the sign-in pages are; the API is below `api/v3` of it.
    pub fn github_base(&self) -> String {
        format!("http://{}/github", self.server.address)
    }

    pub fn chain_ws_url(&self) -> String {
        format!("ws://{}/chain", self.server.address)
    }

    /// Looks at the world or changes it. Everything a test or `demo` can do stands on `World`.
    pub fn world<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut self.shared.lock())
    }

    /// Lets leaders trade from now on.
    pub fn start_life(&self, settings: LifeSettings) {
        self.world(|world| world.start_life(settings));
    }

    pub fn stop_life(&self) {
        self.world(World::stop_life);
    }
}

impl Shared {
    /// A panic in a test's closure leaves the world usable for the rest of that test.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            now: Clock::System,
            visible_after: (0, 0),
            late_chance: 0.0,
            late_by: 0,
            complete_after: 0,
            cache: CacheSettings::OFF,
            node: NodeSettings::default(),
        }
    }
}

impl SimulatorSettings {
    /// The delays, caches and half-told rows of the real exchange, but for Gamma's five minutes.
    pub fn lifelike(seed: u64) -> Self {
        Self {
            seed,
            visible_after: (1_500, 6_000),
            late_chance: 0.02,
            late_by: 9_000,
            complete_after: 45_000,
            cache: CacheSettings { lists: 0, ..CacheSettings::RECORDED },
            ..Self::default()
        }
    }
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { block_timestamps: true, get_logs_blocks_max: None, replayed_logs: 0 }
    }
}

pub mod life;
pub mod routes;
mod state;
#[cfg(test)]
mod tests;
