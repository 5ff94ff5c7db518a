//! The checks of a decision as a page explains them: title, value, limit, and the distance between the two.

use serde::Serialize;

use crate::domain::decision::check::{Check, CheckName, CheckUnit, ReasonCode, Verdict};
use crate::domain::events::event::Side;

/// One check as the explanation shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CheckView {
    /// The check.
    pub name: CheckName,
    /// The name of the check in words.
    pub title: &'static str,
    /// The meaning of the value, in a few words.
    pub about: &'static str,
    /// The unit of the values.
    pub unit: CheckUnit,
    /// The side of the limit on which the value has to be.
    pub bound: Bound,
    /// The value, in its unit.
    pub value: Option<i64>,
    /// The limit, in the same unit as the value.
    pub limit: Option<i64>,
    /// The distance of the value from the limit, in its unit; negative when the value is beyond it. Null where a distance
    /// means nothing.
    pub margin: Option<i64>,
    /// Whether the check passed.
    pub verdict: Verdict,
    /// The reason code when this check fails.
    pub code: ReasonCode,
}

/// The side of the limit on which a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Bound {
    AtMost,
    AtLeast,
    Below,
    /// The value has to be yes.
    Is,
}

impl CheckView {
    /// Describes `check`. `side` is that of the group; `None` for complete sets.
    pub fn new(check: &Check, side: Option<Side>) -> Self {
        let bound = bound(check.name, side);
        let (title, about) = words(check.name);
        let distance = |value: i64, limit: i64| match bound {
            Bound::AtMost | Bound::Below => limit.checked_sub(value),
            Bound::AtLeast => value.checked_sub(limit),
            Bound::Is => None,
        };
        // "At least one micro-share" asks only whether there are any, so a distance means nothing.
        let counts = !matches!(check.name, CheckName::PositionHeld | CheckName::Liquidity | CheckName::SetsApplicable);
        let margin = check.value.zip(check.limit).filter(|_| counts).and_then(|(value, limit)| distance(value, limit));
        Self {
            name: check.name,
            title,
            about,
            unit: check.unit,
            bound,
            value: check.value,
            limit: check.limit,
            margin,
            verdict: check.verdict,
            code: check.code,
        }
    }
}

fn bound(name: CheckName, side: Option<Side>) -> Bound {
    match name {
        CheckName::EngineEnabled
        | CheckName::UserEnabled
        | CheckName::OpensEnabled
        | CheckName::LeaderOpens
        | CheckName::MarketAllowed
        | CheckName::MarketKnown
        | CheckName::CategoryWanted
        | CheckName::CategoryAllowed
        | CheckName::MarketOpen
        | CheckName::BookAvailable => Bound::Is,
        CheckName::PriceVersusTheirFill | CheckName::PriceVersusMid if side == Some(Side::Sell) => Bound::AtLeast,
        CheckName::SignalAge
        | CheckName::TheirPriceHigh
        | CheckName::ClosesSoonEnough
        | CheckName::Spread
        | CheckName::PriceVersusTheirFill
        | CheckName::PriceVersusMid
        | CheckName::TotalExposure
        | CheckName::MarketExposure
        | CheckName::LeaderExposure
        | CheckName::Cash => Bound::AtMost,
        CheckName::TargetAboveMinimum
        | CheckName::PositionHeld
        | CheckName::VenueMinimum
        | CheckName::TheirPriceLow
        | CheckName::TheirNotional
        | CheckName::TimeToClose
        | CheckName::Depth
        | CheckName::Liquidity
        | CheckName::SetsApplicable => Bound::AtLeast,
        CheckName::DailyLoss | CheckName::WeeklyLoss | CheckName::Drawdown => Bound::Below,
    }
}

const fn words(name: CheckName) -> (&'static str, &'static str) {
    match name {
        CheckName::EngineEnabled => ("Copying is on", "the switch for everybody"),
        CheckName::UserEnabled => ("Leader is on", "the switch of this leader"),
        CheckName::OpensEnabled => ("New positions are on", "the switch for everybody"),
        CheckName::LeaderOpens => ("Leader is not winding down", "exits go on, new positions do not"),
        CheckName::MarketAllowed => ("Market is allowed", "not on the blacklist"),
        CheckName::SignalAge => ("Age of the signal", "from the leader's first fill to our decision"),
        CheckName::MarketKnown => ("Market is known", "its facts could be fetched within 30 s"),
        CheckName::TheirPriceLow => ("Leader's price, lowest", "what the leader paid for a share"),
        CheckName::TheirPriceHigh => ("Leader's price, highest", "what the leader paid for a share"),
        CheckName::TheirNotional => ("Size of the leader's trade", "what the leader paid in all"),
        CheckName::ClosesSoonEnough => ("Closes soon enough", "from the decision to the market's close"),
        CheckName::CategoryWanted => ("Wanted category", "one of the tags that are copied"),
        CheckName::CategoryAllowed => ("Allowed category", "none of the tags that are left out"),
        CheckName::TargetAboveMinimum => ("Room for the smallest copy", "the most one copy may cost"),
        CheckName::PositionHeld => ("Something to sell", "shares held from this leader's copies"),
        CheckName::VenueMinimum => ("Smallest order of the venue", "cash of the order, or its shares at the best bid"),
        CheckName::MarketOpen => ("Market is open", "not closed, not resolved, and taking orders"),
        CheckName::TimeToClose => (
            "Time to close",
            "from the decision to the market's close; unknown once the end date of an open market has passed",
        ),
        CheckName::DailyLoss => ("Loss today", "since 00:00 UTC"),
        CheckName::WeeklyLoss => ("Loss this week", "since Monday 00:00 UTC"),
        CheckName::Drawdown => ("Drawdown", "below the highest equity"),
        CheckName::BookAvailable => ("Order book", "one could be fetched"),
        CheckName::Spread => ("Spread", "best ask less best bid"),
        CheckName::PriceVersusTheirFill => ("Price beside the leader's", "best price on the other side"),
        CheckName::PriceVersusMid => ("Price beside the middle", "best price on the other side"),
        CheckName::Depth => ("Depth", "on offer within the limit price"),
        CheckName::Liquidity => ("Anything to fill", "shares within the limit price"),
        CheckName::TotalExposure => ("Exposure in all", "with this copy"),
        CheckName::MarketExposure => ("Exposure in this market", "with this copy"),
        CheckName::LeaderExposure => ("Exposure to this leader", "with this copy"),
        CheckName::Cash => ("Cash", "what the copy costs, of the cash there is"),
        CheckName::SetsApplicable => ("Sets to copy", "complete sets at the copied share"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_the_room_there_was() {
        let margin = |check: Check, side| CheckView::new(&check, side).margin;
        let (code, buy, sell) = (ReasonCode::SpreadTooWide, Some(Side::Buy), Some(Side::Sell));
        assert_eq!(margin(Check::at_most(CheckName::Spread, 50_000, 20_000, code), buy), Some(-30_000));
        assert_eq!(margin(Check::at_least(CheckName::Depth, 50, 20, code), buy), Some(30));
        assert_eq!(margin(Check::at_most(CheckName::PriceVersusMid, 51, 52, code), buy), Some(1));
        assert_eq!(margin(Check::at_least(CheckName::PriceVersusMid, 51, 52, code), sell), Some(-1));
        assert_eq!(margin(Check::at_least(CheckName::Liquidity, 51, 1, code), sell), None, "some or none");
        assert_eq!(margin(Check::flag(CheckName::MarketOpen, true, code), buy), None);
        assert_eq!(margin(Check::unknown(CheckName::TimeToClose, 20, code), buy), None);
        assert_eq!(margin(Check::at_most(CheckName::Cash, i64::MIN, i64::MAX, code), buy), None, "it does not fit");
    }

    #[test]
    fn every_check_has_words_and_its_bound_agrees_with_its_verdict() {
        let mut titles: Vec<&str> = CheckName::ALL.iter().map(|name| words(*name).0).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), CheckName::ALL.len());
    }
}
