//! Client of Polymarket's public HTTP APIs: requests within our rate limits, and answers as our types.
//!
//! In    answers of the Data API v2, the CLOB and Gamma.
//! Out   drafts of events, books, midpoints, market facts, payouts. Only this module turns decimal text into micros.
//! Fails [`PolymarketError`]; a single row that cannot be read is a [`BadRow`], and the rest of its page is used.
//!
//! Imports go one way: `api` uses `http` and `wire`; those two do not use each other.
#![warn(clippy::missing_errors_doc)]

pub mod api;
pub mod http;
#[cfg(test)]
mod tests;
pub mod wire;

pub use api::activity_feed::ActivityQuery;
pub use api::events::EventMarkets;
pub use api::payouts::{KnownPayouts, PayoutAnswer, PayoutSource};
pub use api::profiles::{Profile, ProfileMatch};
pub use api::resolutions::Resolution;
pub use api::tokens::TokenReference;
pub use api::traders::{RecentActivity, Trader, TraderMatch};
pub use http::client::Polymarket;
pub use http::endpoint::{Endpoint, Priority, Upstream};
pub use http::error::PolymarketError;
pub use http::gate::{Gate, GateObserved};
pub use http::settings::{LimitSettings, PolymarketSettings};
#[cfg(any(test, feature = "testkit"))]
pub use http::tests::in_process::{InProcess, WireAnswer, WireRequest};
pub use wire::activity::{ActivityPage, BadRow, WireRow};
pub use wire::book_text::BookAnswer;
pub use wire::draft::{ActivityDraft, TradeDraft, Window};
pub use wire::positions::Position;
