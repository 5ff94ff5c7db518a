//! What can go wrong between us and Polymarket.

use std::time::Duration;

use super::endpoint::{Endpoint, Upstream};

/// A call that brought no answer we can use.
///
/// Plain values throughout, so that a failure can travel as a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolymarketError {
    #[error("{endpoint} could not be reached: {reason}")]
    Unreachable { endpoint: Endpoint, reason: String },
    #[error("{endpoint} did not answer within `{}` ms", .after.as_millis())]
    TimedOut { endpoint: Endpoint, after: Duration },
    #[error("{endpoint} asks us to slow down")]
    RateLimited { endpoint: Endpoint, retry_after: Option<Duration> },
    /// 5xx, and the 425 of a matching engine that restarts.
    #[error("{endpoint} is out of order with status `{status}`: {said}")]
    Unavailable { endpoint: Endpoint, status: u16, retry_after: Option<Duration>, said: String },
    /// Our request is wrong, or the thing is not there.
    #[error("{endpoint} refused with status `{status}`: {said}")]
    Refused { endpoint: Endpoint, status: u16, said: String },
    /// An answer of the right status whose body is not what it should be: cut, empty, HTML.
    #[error("{endpoint} answered what we cannot read: {reason}")]
    Malformed { endpoint: Endpoint, reason: String },
    #[error("{endpoint} answered more than `{limit}` bytes")]
    TooLarge { endpoint: Endpoint, limit: usize },
    /// The breaker is open or the upstream asked for a rest longer than this call may wait.
    #[error("{upstream} rests for `{}` ms after repeated failures", .retry_after.as_millis())]
    Resting { upstream: Upstream, retry_after: Duration },
    /// A walk over pages that leads back to where it was, or never ends.
    #[error("{endpoint} pages without end")]
    EndlessPages { endpoint: Endpoint },
}

impl PolymarketError {
    /// Whether asking again later may help.
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

    /// How long the other side, or our breaker, wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Resting { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the other side says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}
