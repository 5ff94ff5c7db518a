//! Errors of requests to Polymarket.

use std::time::Duration;

use super::endpoint::{Endpoint, Upstream};

/// A request without a usable answer.
///
/// All fields are plain values, so that an actor can send the error in a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolymarketError {
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable { endpoint: Endpoint, reason: String },
    #[error("{endpoint} did not answer within `{}` ms", .after.as_millis())]
    TimedOut { endpoint: Endpoint, after: Duration },
    #[error("{endpoint} asks us to slow down")]
    RateLimited { endpoint: Endpoint, retry_after: Option<Duration> },
    /// 5xx, a redirect, and the 425 of a matching engine that restarts (venue 2.1).
    #[error("{endpoint} failed with status `{status}`: {message}")]
    Unavailable { endpoint: Endpoint, status: u16, retry_after: Option<Duration>, message: String },
    /// Our request is wrong, or its subject does not exist.
    #[error("{endpoint} refused with status `{status}`: {message}")]
    Refused { endpoint: Endpoint, status: u16, message: String },
    /// An answer with the right status and an unusable body: cut, empty, HTML.
    #[error("{endpoint} sent an answer that cannot be parsed: {reason}")]
    Malformed { endpoint: Endpoint, reason: String },
    #[error("{endpoint} sent more than `{limit}` bytes")]
    TooLarge { endpoint: Endpoint, limit: usize },
    /// The breaker is open, or the upstream asked for a rest, longer than this call may wait.
    #[error("{upstream} is resting for `{}` ms after failures", .retry_after.as_millis())]
    Resting { upstream: Upstream, retry_after: Duration },
    /// The cursors of the pages lead back to an earlier page, or never end.
    #[error("{endpoint} has endless pages")]
    EndlessPages { endpoint: Endpoint },
}

impl PolymarketError {
    /// Returns whether a later retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Malformed { .. }
            | Self::Resting { .. } => true,
            Self::Refused { .. } | Self::TooLarge { .. } | Self::EndlessPages { .. } => false,
        }
    }

    /// Returns how long the upstream, or our breaker, asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Resting { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Returns whether the upstream answered that the subject does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}
