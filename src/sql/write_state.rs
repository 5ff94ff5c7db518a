//! Whether writes succeed, and since when they do not: health, metrics and the page System read it.
//!
//! The worker writes its own health every ten seconds, so a bot with nothing to do still writes, and a database that
//! refuses writes is noticed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Kind, kind_of};

/// Since when every write of this process has failed.
#[derive(Debug, Default)]
pub struct WriteState(Mutex<Option<Failing>>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    cause: String,
    /// Whether the log says already that health is down.
    is_reported: bool,
}

/// Writes fail, and none has succeeded since the first that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    pub lasts: Duration,
    /// The newest error.
    pub cause: String,
}

impl WriteFailure {
    /// After this long without a successful write the database counts as down.
    pub const DOWN_AFTER: Duration = Duration::from_secs(30);

    /// Returns whether the failure has lasted so long that the database counts as down.
    pub fn is_down(&self) -> bool {
        self.lasts >= Self::DOWN_AFTER
    }
}

impl WriteState {
    /// Returns since when writes fail, and why; `None` while they succeed.
    pub fn failure(&self) -> Option<WriteFailure> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failing.as_ref().map(|failing| WriteFailure { lasts: failing.since.elapsed(), cause: failing.cause.clone() })
    }

    /// Notes that a change was committed.
    pub(super) fn succeeded(&self) {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(failed) = failed {
            tracing::info!(failed_for_s = failed.since.elapsed().as_secs(), "the database can be written again");
        }
    }

    /// Notes that a write failed. Errors that concern one statement only, such as a conflict, do not count.
    pub(super) fn failed(&self, error: &sqlx::Error) {
        if !matches!(kind_of(error), Kind::Unreachable | Kind::Busy | Kind::Impaired | Kind::Damaged) {
            return;
        }
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = error.to_string();
        match failing.as_mut() {
            None => {
                tracing::error!(error = cause, "the database cannot be written; every write is tried again");
                *failing = Some(Failing { since: Instant::now(), cause, is_reported: false });
            }
            Some(failing) => {
                failing.cause = cause;
                let lasts = failing.since.elapsed();
                if lasts >= WriteFailure::DOWN_AFTER && !std::mem::replace(&mut failing.is_reported, true) {
                    let error = &failing.cause;
                    tracing::error!(
                        error,
                        lasts_s = lasts.as_secs(),
                        "no write succeeds; health is down until one does"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_database_is_down_after_thirty_seconds_of_failed_writes_and_up_after_one_success() {
        let state = WriteState::default();
        assert_eq!(state.failure(), None);
        // An error of one statement says nothing about the database.
        state.failed(&sqlx::Error::RowNotFound);
        assert_eq!(state.failure(), None);
        state.failed(&sqlx::Error::Io(std::io::Error::other("first")));
        tokio::time::advance(Duration::from_millis(29_999)).await;
        assert!(!state.failure().unwrap().is_down());
        state.failed(&sqlx::Error::Io(std::io::Error::other("second")));
        tokio::time::advance(Duration::from_millis(1)).await;
        let failure = state.failure().unwrap();
        assert!(failure.is_down() && failure.cause.contains("second"), "{failure:?}");
        state.succeeded();
        assert_eq!(state.failure(), None);
    }
}
