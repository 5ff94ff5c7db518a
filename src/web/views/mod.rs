//! Views that several pages, JSON routes and live frames share.

pub(super) mod activities;
pub(super) mod attempts;
pub(super) mod check_words;
pub(crate) mod health;
pub(super) mod holdings;
pub(super) mod latency;
pub(super) mod leader_feed;
pub(super) mod market_quotes;
pub(super) mod pnl;
pub(super) mod position_comparison;
pub(super) mod risk;
pub(super) mod trades;
pub(super) mod upstreams;
pub(super) mod worker;
