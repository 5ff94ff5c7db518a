//! The one place that reads the system's time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::money::units::Timestamp;

/// A source of the time: the system's clock, or in tests one that moves with Tokio's clock, which can be paused.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    System,
    Tokio { start: Timestamp, since: tokio::time::Instant },
}

impl Clock {
    /// Returns a clock that reads `start` now and moves with Tokio's time.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Tokio { start, since: tokio::time::Instant::now() }
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Tokio { start, since } => {
                start.plus_millis(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the only place that reads the system's time")]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
