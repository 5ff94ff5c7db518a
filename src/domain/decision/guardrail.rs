//! The checks of a decision other than size and losses (spec 7.1, 7.3, 7.4, 7.5 and 7.7).

use super::check::{Check, CheckName, Checks, ReasonCode};
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::accounting::view::PortfolioView;
use crate::domain::config::effective::Guardrails;
use crate::domain::events::event::Side;
use crate::domain::events::group::EventGroup;
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::money::units::{PriceMicros, Timestamp, UnitError, UsdcMicros};

/// Checks how long after its earliest event the group is decided: through restarts, retries and pauses. Only opening
/// trades can be too late.
pub fn signal_age(group: &EventGroup, guardrails: &Guardrails, now: Timestamp) -> Check {
    let age = now.millis_since(group.event_time);
    let limit = guardrails.max_signal_age_seconds.saturating_mul(1_000);
    Check::at_most(CheckName::SignalAge, age, limit, ReasonCode::SignalTooOld)
}

/// Checks that the market is open and takes orders, and stays open for long enough. An end date in the past of an open
/// market says nothing about its close.
pub fn time_to_close(market: &Market, guardrails: &Guardrails, now: Timestamp, checks: &mut Checks) {
    let code = ReasonCode::MarketTooCloseToClose;
    let limit = guardrails.no_new_opens_within_minutes_to_close.saturating_mul(60_000);
    checks.add(Check::flag(CheckName::MarketOpen, market.is_open(), code));
    checks.add(match market.closes_after(now) {
        Some(close) => Check::at_least(CheckName::TimeToClose, close.millis_since(now), limit, code),
        None => Check::unknown(CheckName::TimeToClose, limit, code),
    });
}

/// The prices of the book and the prices that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    pub best_bid: PriceMicros,
    pub best_ask: PriceMicros,
    pub mid: PriceMicros,
    /// The worst price that we accept, measured from the leader's price.
    pub limit_by_reference: PriceMicros,
    /// The worst price that we accept, measured from the middle of the book.
    pub limit_by_mid: PriceMicros,
    /// The stricter of the two: the worst price of a level that we take.
    pub limit: PriceMicros,
}

/// Returns the prices of this book, and the worst price that an order of `side` accepts.
pub fn quote(book: &OrderBook, side: Side, reference: PriceMicros, guardrails: &Guardrails) -> Quote {
    let mid = book.mid();
    let (by_reference, by_mid) = (guardrails.max_worsening_vs_their_fill, guardrails.max_over_mid);
    let (limit_by_reference, limit_by_mid) = match side {
        Side::Buy => (reference.plus(by_reference), mid.plus(by_mid)),
        Side::Sell => (reference.minus(by_reference), mid.minus(by_mid)),
    };
    let limit = match side {
        Side::Buy => limit_by_reference.min(limit_by_mid),
        Side::Sell => limit_by_reference.max(limit_by_mid),
    };
    Quote { best_bid: book.best_bid(), best_ask: book.best_ask(), mid, limit_by_reference, limit_by_mid, limit }
}

/// Checks the spread, then the best opposite price against the leader's fill and against the middle.
pub fn book_prices(book: &OrderBook, side: Side, quote: &Quote, guardrails: &Guardrails, checks: &mut Checks) {
    let spread = book.spread().micros();
    let best = book.best_against(side).micros();
    let within = |name, limit: PriceMicros, code| match side {
        Side::Buy => Check::at_most(name, best, limit.micros(), code),
        Side::Sell => Check::at_least(name, best, limit.micros(), code),
    };
    checks.add(Check::at_most(CheckName::Spread, spread, guardrails.max_spread.micros(), ReasonCode::SpreadTooWide));
    checks.add(within(CheckName::PriceVersusTheirFill, quote.limit_by_reference, ReasonCode::PriceWorseThanTheirFill));
    checks.add(within(CheckName::PriceVersusMid, quote.limit_by_mid, ReasonCode::PriceTooFarOverMid));
}

/// Checks that the notional within the limit price covers the target times the multiplier, which is rounded up.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn depth(within_limit: UsdcMicros, target: UsdcMicros, guardrails: &Guardrails) -> Result<Check, UnitError> {
    let wanted = target.part_rounded_up(guardrails.min_depth_multiplier)?;
    Ok(Check::at_least(CheckName::Depth, within_limit.0, wanted.0, ReasonCode::InsufficientDepth))
}

/// Returns the reason code of the risk caps in a portfolio of this scope.
pub fn risk_code(scope: PortfolioScope) -> ReasonCode {
    match scope {
        PortfolioScope::ExecGlobal => ReasonCode::RiskCapGlobal,
        PortfolioScope::ExecUser | PortfolioScope::ShadowUser => ReasonCode::RiskCapUser,
    }
}

/// Checks the exposure after a copy that costs `cost`, fee included, and the cash.
///
/// The caps are parts of the equity before the copy. An exposure equal to its cap is allowed. Only the shared bankroll
/// limits the part of one leader.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn risk_caps(
    portfolio: &PortfolioView,
    cost: UsdcMicros,
    guardrails: &Guardrails,
    checks: &mut Checks,
) -> Result<(), UnitError> {
    let scope = portfolio.id.scope();
    let code = risk_code(scope);
    let exposure = |name, now: UsdcMicros, cap| {
        Ok::<_, UnitError>(Check::at_most(name, now.plus(cost)?.0, portfolio.equity.part(cap)?.0, code))
    };
    checks.add(exposure(CheckName::TotalExposure, portfolio.exposure_total, guardrails.max_total_exposure)?);
    checks.add(exposure(CheckName::MarketExposure, portfolio.exposure_market, guardrails.max_exposure_per_market)?);
    if scope == PortfolioScope::ExecGlobal {
        checks.add(exposure(CheckName::LeaderExposure, portfolio.exposure_leader, guardrails.max_exposure_per_user)?);
    }
    checks.add(Check::at_most(CheckName::Cash, cost.0, portfolio.cash.0, code));
    Ok(())
}
