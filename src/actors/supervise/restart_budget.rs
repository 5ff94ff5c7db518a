//! How often and how soon an actor may be restarted.

use std::{collections::VecDeque, time::Duration};

use rand::Rng;

use crate::chance::Chance;
use crate::domain::money::units::Timestamp;

/// More restarts than this within a minute are a burst: another restart makes no sense.
pub const RESTARTS_ALLOWED: usize = 5;
const WINDOW_MS: i64 = 60_000;

/// Counts restarts in a sliding minute.
#[derive(Debug, Default)]
pub struct RestartBudget(VecDeque<Timestamp>);

impl RestartBudget {
    /// Counts a restart at `now`; returns false when the restarts of the last minute are a burst.
    pub fn allows(&mut self, now: Timestamp) -> bool {
        while self.0.front().is_some_and(|first| now.millis_since(*first) >= WINDOW_MS) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() <= RESTARTS_ALLOWED
    }

    /// Returns the number of restarts in the last minute.
    pub fn recent(&self) -> usize {
        self.0.len()
    }
}

/// Returns how long to wait before try number `attempt` (from 1): `first`, doubled with each try, up to `most`. A
/// jitter of up to 20 % is added or subtracted, so that actors that failed together do not all restart together.
pub fn back_off(first: Duration, most: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(most);
    doubled.mul_f64(Chance.random_range(0.8..1.2))
}
