//! The chain as a trigger: fills of followed wallets seen in logs, seconds before the Data API shows them.
//!
//! In    a websocket of a Polygon node.
//! Out   `ChainNews`: decoded fills, heads, subscriptions confirmed. None of it ever moves a portfolio.
//! Fails `ChainError`; a log that cannot be read is news too, and the stream goes on.

pub mod blocks;
pub mod feed;
pub mod order_filled;
pub mod socket;
#[cfg(test)]
mod tests;

/// Why the chain cannot be watched, or a message of it cannot be read. Never holds the url: it carries the key.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the node closed the connection")]
    Closed,
    #[error("nobody listens any more")]
    Unwanted,
    #[error("no block for `{0}` s")]
    Silent(u64),
    #[error("the node refused request `{request}`: {message}")]
    Refused { request: u64, message: String },
    #[error("the node did not confirm the subscription within `{0}` s")]
    NotSubscribed(u64),
    #[error("unreadable message: {0}")]
    Unreadable(String),
    #[error("log `{place}` is no fill we can read: {reason}")]
    BadLog { place: String, reason: String },
}

impl ChainError {
    /// The same error with other words, where the words came from outside.
    pub(crate) fn map_text(self, map: impl Fn(String) -> String) -> Self {
        match self {
            Self::Unreachable(text) => Self::Unreachable(map(text)),
            Self::Broken(text) => Self::Broken(map(text)),
            Self::Unreadable(text) => Self::Unreadable(map(text)),
            Self::Refused { request, message } => Self::Refused { request, message: map(message) },
            Self::BadLog { place, reason } => Self::BadLog { place: map(place), reason: map(reason) },
            error @ (Self::Closed | Self::Unwanted | Self::Silent(_) | Self::NotSubscribed(_)) => error,
        }
    }
}
