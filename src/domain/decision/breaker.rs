//! Circuit breakers: losses beyond which no new position is opened (spec 7.3).

use super::check::{Check, CheckName, Checks, ReasonCode};
use crate::domain::accounting::view::{Baselines, PortfolioView};
use crate::domain::config::effective::Guardrails;
use crate::domain::money::units::{UnitError, UsdcMicros};

/// One of the three measured losses, with the limit that trips its breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub name: CheckName,
    /// Negative for a gain.
    pub lost: UsdcMicros,
    /// Rounded up: a whole number of micros reaches the bps of the limit exactly when it reaches this amount.
    pub limit: UsdcMicros,
}

impl Loss {
    /// Returns whether the breaker trips. A loss that equals its limit trips it.
    pub fn is_tripped(&self) -> bool {
        self.lost >= self.limit
    }
}

/// Returns the loss of the day, the loss of the week and the fall from the peak, in this order. A loss whose baseline is
/// not known yet is left out: its breaker does not trip.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn losses(equity: UsdcMicros, from: Baselines, guardrails: &Guardrails) -> Result<Vec<Loss>, UnitError> {
    // The peak comes from snapshots a minute apart; equity may have risen above it since the last one.
    let peak = Some(from.peak.max(equity));
    let measured = [
        (CheckName::DailyLoss, from.day_start, guardrails.daily_loss_limit),
        (CheckName::WeeklyLoss, from.week_start, guardrails.weekly_loss_limit),
        (CheckName::Drawdown, peak, guardrails.max_drawdown_limit),
    ];
    let known = measured.into_iter().filter_map(|(name, from, limit)| Some((name, from?, limit)));
    known
        .map(|(name, from, limit)| Ok(Loss { name, lost: from.minus(equity)?, limit: from.part_rounded_up(limit)? }))
        .collect()
}

/// Adds the losses to the checks of a decision.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn breakers(portfolio: &PortfolioView, guardrails: &Guardrails, checks: &mut Checks) -> Result<(), UnitError> {
    for loss in losses(portfolio.equity, portfolio.baselines, guardrails)? {
        checks.add(Check::below(loss.name, loss.lost.0, loss.limit.0, ReasonCode::CircuitBreakerTripped));
    }
    Ok(())
}
