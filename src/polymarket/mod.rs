//! Polymarket over HTTP: what its pages say, as our types; and asking for them without being a nuisance.
//!
//! In    answers of the Data API v2, the CLOB and Gamma.
//! Out   drafts of events, books, midpoints, market facts, payouts. Text becomes micros here and nowhere else.
//! Fails `PolymarketError`; a single row that cannot be read is a `BadRow` and the rest of its page goes on.

pub mod activity;
pub mod backoff;
mod book_scan;
pub mod book_text;
pub mod books;
pub mod breaker;
pub mod client;
pub mod draft;
pub mod endpoint;
pub mod error;
pub mod events;
pub mod fee;
pub mod feed;
pub mod gamma;
pub mod gate;
pub mod limiter;
pub mod markets;
pub mod number;
mod ordinal;
pub mod positions;
pub mod profiles;
pub mod resolutions;
pub mod settings;
pub mod status;
pub mod traders;
pub mod traffic;

#[cfg(test)]
mod tests;

pub use activity::{ActivityPage, BadRow, WireRow};
pub use book_text::BookAnswer;
pub use client::Polymarket;
pub use draft::{ActivityDraft, TradeDraft, Window};
pub use endpoint::{Endpoint, Priority, Upstream};
pub use error::PolymarketError;
pub use feed::ActivityQuery;
pub use gate::{Gate, GateObserved};
pub use positions::Position;
pub use profiles::{Profile, ProfileMatch};
pub use resolutions::Resolution;
pub use settings::{LimitSettings, PolymarketSettings};
pub use traders::{Lately, Trader, TraderMatch};
