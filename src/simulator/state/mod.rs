//! The simulated exchange itself: markets, wallets, trades, rows, and what goes wrong on command.

pub(super) mod activity_rows;
pub(super) mod exchange;
pub(super) mod fault;
pub(super) mod market;
pub(super) mod market_catalog;
pub(super) mod new_market;
pub(super) mod positions;
pub(super) mod trading;
