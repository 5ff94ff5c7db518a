//! Polymarket over HTTP: what its pages say, as our types; and asking for them without being a nuisance.
//!
//! In    answers of the Data API v2, the CLOB and Gamma.
//! Out   drafts of events, books, midpoints, market facts, payouts. Text becomes micros here and nowhere else.
//! Fails `PolymarketError`; a single row that cannot be read is a `BadRow` and the rest of its page goes on.

pub mod api;
pub mod http;
#[cfg(test)]
mod tests;
pub mod wire;

pub use api::activity_feed::ActivityQuery;
pub use api::positions::Position;
pub use api::profiles::{Profile, ProfileMatch};
pub use api::resolutions::Resolution;
pub use api::traders::{Lately, Trader, TraderMatch};
pub use http::client::Polymarket;
pub use http::endpoint::{Endpoint, Priority, Upstream};
pub use http::error::PolymarketError;
pub use http::gate::{Gate, GateObserved};
pub use http::settings::{LimitSettings, PolymarketSettings};
pub use wire::activity::{ActivityPage, BadRow, WireRow};
pub use wire::book_text::BookAnswer;
pub use wire::draft::{ActivityDraft, TradeDraft, Window};
