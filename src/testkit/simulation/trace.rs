//! What happened in a simulation, as one number: two runs of one seed must have the same.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// Every step in its order and at its time.
#[derive(Debug)]
pub struct Trace {
    hasher: Mutex<(DefaultHasher, u64)>,
    begun: tokio::time::Instant,
    /// Prints each step; with 2, also the functions of ours that took it.
    printed: u8,
}

impl Trace {
    /// Returns an empty trace; it prints its steps when the environment has `SIMULATION_TRACE`, 1 or 2.
    pub fn new() -> Self {
        let printed = std::env::var("SIMULATION_TRACE").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { hasher: Mutex::default(), begun: tokio::time::Instant::now(), printed }
    }

    /// Adds a step.
    pub fn note(&self, step: fmt::Arguments<'_>) {
        let (at, text) = (self.begun.elapsed().as_millis(), step.to_string());
        match self.printed {
            0 => {}
            1 => eprintln!("{at:>9} {text}"),
            _ => eprintln!("{at:>9} {text} by {}", callers()),
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

/// Returns the functions of ours on the stack, innermost first, without those of the simulation itself.
fn callers() -> String {
    let stack = std::backtrace::Backtrace::force_capture().to_string();
    let ours = |line: &&str| {
        let inside = line.contains("polymarketspy::") && !line.contains("::testkit::") && !line.contains("::sql::");
        inside && !line.contains("supervise")
    };
    let name = |line: &str| line.split_once(": ").map_or("", |(_, name)| name).replace("polymarketspy::", "");
    stack.lines().filter(ours).take(4).map(name).collect::<Vec<_>>().join(" < ")
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}
