//! The simulated exchange itself: markets, profiles, the feed of rows, the chain, and planned faults.
//!
//! It owns no thread and no socket. Routes read it; traders, tests and replays change it.

pub(super) mod chain;
pub(super) mod exchange;
pub(super) mod fault;
pub(super) mod feed;
pub(super) mod market;
pub(super) mod market_catalog;
pub(super) mod movements;
pub(super) mod new_market;
pub(super) mod positions;
pub(super) mod quirks;
pub(super) mod row_json;
mod rows;
pub(super) mod token_ids;
pub(super) mod trading;
