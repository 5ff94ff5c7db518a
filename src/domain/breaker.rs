//! Circuit breakers: losses beyond which nothing new is opened (spec section 7.3).

use super::check::{Check, CheckName, Checks, ReasonCode};
use super::effective_config::Guardrails;
use super::portfolio_view::PortfolioView;
use super::units::{Bps, UnitError, UsdcMicros};

/// Loss of the day, loss of the week, fall from the peak. A loss that equals its limit trips.
///
/// # Errors
/// `UnitError::Overflow`.
pub fn breakers(portfolio: &PortfolioView, guardrails: &Guardrails, checks: &mut Checks) -> Result<(), UnitError> {
    let (now, from) = (portfolio.equity, portfolio.baselines);
    // The peak comes from snapshots a minute apart; equity may have gone above it since.
    let peak = from.peak.max(now);
    checks.add(loss(CheckName::DailyLoss, from.day_start, now, guardrails.daily_loss_limit)?);
    checks.add(loss(CheckName::WeeklyLoss, from.week_start, now, guardrails.weekly_loss_limit)?);
    checks.add(loss(CheckName::Drawdown, peak, now, guardrails.max_drawdown_limit)?);
    Ok(())
}

/// The limit is rounded up to micros: a whole number of micros reaches `bps` of `from` exactly when it reaches that.
fn loss(name: CheckName, from: UsdcMicros, now: UsdcMicros, limit: Bps) -> Result<Check, UnitError> {
    let limit = from.part_rounded_up(limit)?;
    Ok(Check::below(name, from.minus(now)?.0, limit.0, ReasonCode::CircuitBreakerTripped))
}
