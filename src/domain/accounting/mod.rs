//! Ledger entries, and the portfolios computed from them.

pub mod checkpoint;
pub mod closed_lots;
pub mod equity_history;
pub(super) mod exposure;
pub mod ledger;
pub mod lot;
pub mod mark;
pub mod portfolio;
mod revaluation;
pub mod settlement;
pub mod shadow;
pub mod sold_now;
pub mod totals;
pub mod view;
