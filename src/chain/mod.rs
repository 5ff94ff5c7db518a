//! The chain as a trigger: finds fills of followed wallets in logs, seconds before the Data API shows them.
//!
//! In    a websocket to a Polygon node.
//! Out   [`ChainNews`](feed::ChainNews): decoded fills, heads, confirmed subscriptions. None of it ever changes a
//!       portfolio.
//! Fails [`ChainError`]. A log that cannot be read is reported as news, and the stream goes on.

pub mod blocks;
pub mod feed;
pub mod order_filled;
pub mod socket;
#[cfg(test)]
mod tests;

/// Why the chain cannot be watched, or a message of the node cannot be read. Never holds the URL, because the URL
/// contains the API key.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the node closed the connection")]
    Closed,
    #[error("the list of wallets to watch has no sender any more")]
    Unwanted,
    #[error("no new block for `{0}` s")]
    Silent(u64),
    #[error("the node refused request `{request}`: {message}")]
    Refused { request: u64, message: String },
    #[error("the node did not confirm the subscription within `{0}` s")]
    NotSubscribed(u64),
    #[error("unreadable message: {0}")]
    Unreadable(String),
    #[error("log `{place}` cannot be read as a fill: {reason}")]
    BadLog { place: String, reason: String },
}

impl ChainError {
    /// Applies `map` to every text in the error that came from outside.
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
