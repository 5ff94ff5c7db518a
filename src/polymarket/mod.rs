//! Polymarket over HTTP: what its pages say, as our types; and asking for them without being a nuisance.
//!
//! In    answers of the Data API v2, the CLOB and Gamma.
//! Out   drafts of events, books, midpoints, market facts, payouts. Text becomes micros here and nowhere else.
//! Fails `PolymarketError`; a single row that cannot be read is a `BadRow` and the rest of its page goes on.

pub mod activity;
pub mod draft;
pub mod fee;
pub mod number;
