//! The holdings and the value of each portfolio: ledger, running portfolios, snapshots and prices.

pub(super) mod baselines;
pub(super) mod corrections;
pub(super) mod curves;
pub(super) mod drawdown_resets;
pub(super) mod integrity;
pub(super) mod ledger;
pub(super) mod ledger_check;
pub(super) mod ledger_request;
pub(super) mod portfolio_snapshots;
pub(super) mod position_checks;
pub(super) mod prices;
pub(super) mod running_portfolio;
pub(super) mod transfers;
