//! Checks and reason codes, with which a decision is explained (spec 7).

use serde::{Deserialize, Serialize};

use crate::domain::money::text_enum::text_enum;

/// Why a group was not copied. The texts are a contract: codes may be added, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonCode {
    EnginePaused,
    UserDisabled,
    OpensPaused,
    MarketBlacklisted,
    SignalTooOld,
    MarketUnknown,
    MarketFiltered,
    NotEnoughPositionToSell,
    BelowVenueMinimum,
    MarketTooCloseToClose,
    CircuitBreakerTripped,
    BookUnavailable,
    SpreadTooWide,
    PriceWorseThanTheirFill,
    PriceTooFarOverMid,
    InsufficientDepth,
    NoLiquidityWithinBounds,
    RiskCapUser,
    RiskCapGlobal,
    MergeSplitNotApplicable,
}
text_enum!(ReasonCode {
    EnginePaused => "ENGINE_PAUSED",
    UserDisabled => "USER_DISABLED",
    OpensPaused => "OPENS_PAUSED",
    MarketBlacklisted => "MARKET_BLACKLISTED",
    SignalTooOld => "SIGNAL_TOO_OLD",
    MarketUnknown => "MARKET_UNKNOWN",
    MarketFiltered => "MARKET_FILTERED",
    NotEnoughPositionToSell => "NOT_ENOUGH_POSITION_TO_SELL",
    BelowVenueMinimum => "BELOW_VENUE_MINIMUM",
    MarketTooCloseToClose => "MARKET_TOO_CLOSE_TO_CLOSE",
    CircuitBreakerTripped => "CIRCUIT_BREAKER_TRIPPED",
    BookUnavailable => "BOOK_UNAVAILABLE",
    SpreadTooWide => "SPREAD_TOO_WIDE",
    PriceWorseThanTheirFill => "PRICE_WORSE_THAN_THEIR_FILL",
    PriceTooFarOverMid => "PRICE_TOO_FAR_OVER_MID",
    InsufficientDepth => "INSUFFICIENT_DEPTH",
    NoLiquidityWithinBounds => "NO_LIQUIDITY_WITHIN_BOUNDS",
    RiskCapUser => "RISK_CAP_USER",
    RiskCapGlobal => "RISK_CAP_GLOBAL",
    MergeSplitNotApplicable => "MERGE_SPLIT_NOT_APPLICABLE",
});

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Pass,
    Fail,
    /// The fact is not known: the check passes and is shown as unknown.
    Unknown,
}
text_enum!(Verdict { Pass => "PASS", Fail => "FAIL", Unknown => "UNKNOWN" });

/// The unit of the value and the limit of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckUnit {
    /// 1 for yes, 0 for no.
    Flag,
    Millis,
    Usdc,
    Shares,
    Price,
    Bps,
}
text_enum!(CheckUnit {
    Flag => "FLAG", Millis => "MS", Usdc => "USDC_MICROS", Shares => "SHARE_MICROS", Price => "PRICE_MICROS", Bps => "BPS",
});

/// One check of a decision, with the value that it saw and the limit that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: CheckName,
    pub unit: CheckUnit,
    pub value: Option<i64>,
    pub limit: Option<i64>,
    pub verdict: Verdict,
    /// The reason code when this check fails.
    pub code: ReasonCode,
}

/// The name of a check. The texts are a contract, as those of [`ReasonCode`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckName {
    EngineEnabled,
    UserEnabled,
    OpensEnabled,
    LeaderOpens,
    MarketAllowed,
    SignalAge,
    MarketKnown,
    TheirPriceLow,
    TheirPriceHigh,
    TheirNotional,
    ClosesSoonEnough,
    CategoryWanted,
    CategoryAllowed,
    TargetAboveMinimum,
    PositionHeld,
    VenueMinimum,
    MarketOpen,
    TimeToClose,
    DailyLoss,
    WeeklyLoss,
    Drawdown,
    BookAvailable,
    Spread,
    PriceVersusTheirFill,
    PriceVersusMid,
    Depth,
    Liquidity,
    TotalExposure,
    MarketExposure,
    LeaderExposure,
    Cash,
    SetsApplicable,
}
text_enum!(CheckName {
    EngineEnabled => "ENGINE_ENABLED",
    UserEnabled => "USER_ENABLED",
    OpensEnabled => "OPENS_ENABLED",
    LeaderOpens => "LEADER_OPENS",
    MarketAllowed => "MARKET_ALLOWED",
    SignalAge => "SIGNAL_AGE",
    MarketKnown => "MARKET_KNOWN",
    TheirPriceLow => "THEIR_PRICE_LOW",
    TheirPriceHigh => "THEIR_PRICE_HIGH",
    TheirNotional => "THEIR_NOTIONAL",
    ClosesSoonEnough => "CLOSES_SOON_ENOUGH",
    CategoryWanted => "CATEGORY_WANTED",
    CategoryAllowed => "CATEGORY_ALLOWED",
    TargetAboveMinimum => "TARGET_ABOVE_MINIMUM",
    PositionHeld => "POSITION_HELD",
    VenueMinimum => "VENUE_MINIMUM",
    MarketOpen => "MARKET_OPEN",
    TimeToClose => "TIME_TO_CLOSE",
    DailyLoss => "DAILY_LOSS",
    WeeklyLoss => "WEEKLY_LOSS",
    Drawdown => "DRAWDOWN",
    BookAvailable => "BOOK_AVAILABLE",
    Spread => "SPREAD",
    PriceVersusTheirFill => "PRICE_VERSUS_THEIR_FILL",
    PriceVersusMid => "PRICE_VERSUS_MID",
    Depth => "DEPTH",
    Liquidity => "LIQUIDITY",
    TotalExposure => "TOTAL_EXPOSURE",
    MarketExposure => "MARKET_EXPOSURE",
    LeaderExposure => "LEADER_EXPOSURE",
    Cash => "CASH",
    SetsApplicable => "SETS_APPLICABLE",
});

/// The checks that a decision has made so far, and the codes of those that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    list: Vec<Check>,
    failed: Option<SkipReasons>,
}

/// Reason codes in the order of the spec's steps, each once. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipReasons {
    first: ReasonCode,
    rest: Vec<ReasonCode>,
}

/// Capacity for the checks of a BUY in the shared bankroll, which has the most, so that the list is allocated once.
const CHECKS_MOST: usize = 24;

impl Checks {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self { list: Vec::with_capacity(CHECKS_MOST), failed: None }
    }

    /// Adds a check, and its code if it failed.
    #[inline]
    pub fn add(&mut self, check: Check) {
        self.list.push(check);
        if check.failed() {
            self.note(check.code);
        }
    }

    /// Returns whether a check has failed so far.
    pub fn any_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns the checks in the order in which they were made.
    pub fn list(&self) -> &[Check] {
        &self.list
    }

    pub fn into_list(self) -> Vec<Check> {
        self.list
    }

    /// Returns the codes of the failed checks and forgets them; `None` when no check failed.
    pub fn take_failed(&mut self) -> Option<SkipReasons> {
        self.failed.take()
    }

    #[cold]
    fn note(&mut self, code: ReasonCode) {
        match &mut self.failed {
            None => self.failed = Some(SkipReasons::only(code)),
            Some(reasons) if reasons.contains(code) => {}
            Some(reasons) => reasons.rest.push(code),
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self::new()
    }
}

impl SkipReasons {
    /// Returns a single reason.
    pub fn only(code: ReasonCode) -> Self {
        Self { first: code, rest: Vec::new() }
    }

    /// Returns the codes in the order of the steps.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    pub fn contains(&self, code: ReasonCode) -> bool {
        self.iter().any(|reason| reason == code)
    }
}

impl CheckName {
    /// Returns the unit of the check's value and limit.
    #[inline]
    pub const fn unit(self) -> CheckUnit {
        match self {
            Self::EngineEnabled
            | Self::UserEnabled
            | Self::OpensEnabled
            | Self::LeaderOpens
            | Self::MarketAllowed
            | Self::MarketKnown
            | Self::CategoryWanted
            | Self::CategoryAllowed
            | Self::MarketOpen
            | Self::BookAvailable => CheckUnit::Flag,
            Self::SignalAge | Self::TimeToClose | Self::ClosesSoonEnough => CheckUnit::Millis,
            Self::PositionHeld | Self::Liquidity | Self::SetsApplicable => CheckUnit::Shares,
            Self::Spread
            | Self::PriceVersusTheirFill
            | Self::PriceVersusMid
            | Self::TheirPriceLow
            | Self::TheirPriceHigh => CheckUnit::Price,
            Self::TargetAboveMinimum
            | Self::TheirNotional
            | Self::VenueMinimum
            | Self::DailyLoss
            | Self::WeeklyLoss
            | Self::Drawdown
            | Self::Depth
            | Self::TotalExposure
            | Self::MarketExposure
            | Self::LeaderExposure
            | Self::Cash => CheckUnit::Usdc,
        }
    }
}

impl Check {
    /// Returns a check that passes when `is` is true. Its value is 1 or 0, its limit 1.
    #[inline]
    pub fn flag(name: CheckName, is: bool, code: ReasonCode) -> Self {
        Self::new(name, i64::from(is), 1, is, code)
    }

    /// Returns a check that passes up to the limit, including the limit.
    #[inline]
    pub fn at_most(name: CheckName, value: i64, limit: i64, code: ReasonCode) -> Self {
        Self::new(name, value, limit, value <= limit, code)
    }

    /// Returns a check that passes from the limit upward, including the limit.
    #[inline]
    pub fn at_least(name: CheckName, value: i64, limit: i64, code: ReasonCode) -> Self {
        Self::new(name, value, limit, value >= limit, code)
    }

    /// Returns a check that passes below the limit, excluding the limit.
    #[inline]
    pub fn below(name: CheckName, value: i64, limit: i64, code: ReasonCode) -> Self {
        Self::new(name, value, limit, value < limit, code)
    }

    /// Returns a check that passes because its value is not known, with [`Verdict::Unknown`].
    pub fn unknown(name: CheckName, limit: i64, code: ReasonCode) -> Self {
        Self { name, unit: name.unit(), value: None, limit: Some(limit), verdict: Verdict::Unknown, code }
    }

    /// Returns a check that fails because its value is not known.
    pub fn missing(name: CheckName, limit: i64, code: ReasonCode) -> Self {
        Self { name, unit: name.unit(), value: None, limit: Some(limit), verdict: Verdict::Fail, code }
    }

    pub fn failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }

    #[inline]
    fn new(name: CheckName, value: i64, limit: i64, passes: bool, code: ReasonCode) -> Self {
        let verdict = if passes { Verdict::Pass } else { Verdict::Fail };
        Self { name, unit: name.unit(), value: Some(value), limit: Some(limit), verdict, code }
    }
}
