//! Why a read failed.

use std::time::Duration;

use super::answer::ForeignRows;
use crate::db::DbError;
use crate::domain::money::units::Timestamp;
use crate::polymarket::PolymarketError;

/// A read that stored nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(transparent)]
    Polymarket(#[from] PolymarketError),
    #[error("the rows could not be stored: {0}")]
    Db(#[from] DbError),
    #[error(transparent)]
    Foreign(#[from] ForeignRows),
    #[error("there are too many rows for one read: they are stored up to `{0}`, ask for the rest from there")]
    TooMany(Timestamp),
}

impl PollError {
    /// Returns how long the upstream asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Polymarket(error) => error.retry_after(),
            Self::Db(_) | Self::Foreign(_) | Self::TooMany(_) => None,
        }
    }
}
