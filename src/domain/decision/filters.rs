//! The market filters: which markets and which trades of a leader may open a position (spec 4.2 and 7.1).

use super::check::{Check, CheckName, Checks, ReasonCode};
use super::decide::Situation;
use crate::domain::config::effective::Sizing;
use crate::domain::events::group::GroupAction;
use crate::domain::money::units::{PriceMicros, ShareMicros, UnitError, UsdcMicros};

/// Adds a check for each filter that is set.
///
/// # Errors
/// [`UnitError::Overflow`].
pub(super) fn filters(situation: &Situation, checks: &mut Checks) -> Result<(), UnitError> {
    let (sizing, code) = (&situation.config.sizing, ReasonCode::MarketFiltered);
    let (low, high) = (sizing.min_price.micros(), sizing.max_price.micros());
    if let Some(price) = price_of(situation)?.map(PriceMicros::micros) {
        if low > 0 {
            checks.add(Check::at_least(CheckName::TheirPriceLow, price, low, code));
        }
        if high < PriceMicros::ONE.micros() {
            checks.add(Check::at_most(CheckName::TheirPriceHigh, price, high, code));
        }
    }
    if sizing.min_leader_notional > UsdcMicros::ZERO {
        let (notional, least) = (situation.group.notional.0, sizing.min_leader_notional.0);
        checks.add(Check::at_least(CheckName::TheirNotional, notional, least, code));
    }
    closes_soon_enough(situation, checks);
    categories(sizing, &situation.market.tags, checks);
    Ok(())
}

/// Returns the price that the leader paid for a share; a SPLIT pays an equal part of a set for each outcome.
fn price_of(situation: &Situation) -> Result<Option<PriceMicros>, UnitError> {
    match situation.group.action {
        GroupAction::Split => {
            let n_outcomes = i64::try_from(situation.market.outcomes.len()).unwrap_or(i64::MAX);
            PriceMicros::average(UsdcMicros(1), ShareMicros(n_outcomes)).map(Some)
        }
        _ => Ok(situation.group.reference_price),
    }
}

fn closes_soon_enough(situation: &Situation, checks: &mut Checks) {
    let minutes = situation.config.sizing.max_minutes_to_close;
    if minutes <= 0 {
        return;
    }
    let (name, code, limit) = (CheckName::ClosesSoonEnough, ReasonCode::MarketFiltered, minutes.saturating_mul(60_000));
    checks.add(match situation.market.closes_after(situation.now) {
        Some(close) => Check::at_most(name, close.millis_since(situation.now), limit, code),
        None => Check::missing(name, limit, code),
    });
}

fn categories(sizing: &Sizing, tags: &[String], checks: &mut Checks) {
    let code = ReasonCode::MarketFiltered;
    if !sizing.only_categories.is_empty() {
        let wanted = sizing.only_categories.first_in(tags).is_some();
        checks.add(Check::flag(CheckName::CategoryWanted, wanted, code));
    }
    if !sizing.not_categories.is_empty() {
        let allowed = sizing.not_categories.first_in(tags).is_none();
        checks.add(Check::flag(CheckName::CategoryAllowed, allowed, code));
    }
}
