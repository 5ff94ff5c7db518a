//! The simulation behind its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::simulator::simulation::Simulation;

/// The one [`Simulation`] of a simulator. Tests, sockets, HTTP routes and the timer lock it from their own threads, each
/// for microseconds. The bot has no such shared state.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Simulation>>);

impl Shared {
    pub fn new(simulation: Simulation) -> Self {
        Self(Arc::new(Mutex::new(simulation)))
    }

    /// Locks the simulation. A panic in a test's closure leaves it usable for the rest of that test.
    pub fn lock(&self) -> MutexGuard<'_, Simulation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
