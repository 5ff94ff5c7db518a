//! What happened in a simulation, as one number: two runs of one seed must have the same.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// Every step in its order and at its time.
#[derive(Debug)]
pub struct Trace {
    hasher: Mutex<(DefaultHasher, u64)>,
    begun: tokio::time::Instant,
    /// Prints each step.
    printed: bool,
}

impl Trace {
    /// Returns an empty trace; it prints its steps when the environment has `SIMULATION_TRACE`.
    pub fn new() -> Self {
        let printed = std::env::var_os("SIMULATION_TRACE").is_some();
        Self { hasher: Mutex::default(), begun: tokio::time::Instant::now(), printed }
    }

    /// Adds a step.
    pub fn note(&self, step: fmt::Arguments<'_>) {
        let (at, text) = (self.begun.elapsed().as_millis(), step.to_string());
        if self.printed {
            eprintln!("{at:>9} {text}");
        }
        let mut hashed = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        (at, text).hash(&mut hashed.0);
        hashed.1 += 1;
    }

    /// Returns the number of all steps so far, and how many they are.
    pub fn sum(&self) -> (u64, u64) {
        let hashed = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        (hashed.0.finish(), hashed.1)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}
