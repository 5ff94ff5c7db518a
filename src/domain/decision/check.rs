//! Checks and reason codes: the words in which a decision explains itself (spec section 7).

use serde::{Deserialize, Serialize};

use crate::domain::money::text_enum::text_enum;

/// Why a group was not copied. The texts are a contract: the set may grow, never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonCode {
    EnginePaused,
    UserDisabled,
    MarketBlacklisted,
    SignalTooOld,
    NotEnoughPositionToSell,
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
    MarketBlacklisted => "MARKET_BLACKLISTED",
    SignalTooOld => "SIGNAL_TOO_OLD",
    NotEnoughPositionToSell => "NOT_ENOUGH_POSITION_TO_SELL",
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Pass,
    Fail,
    /// The fact is not known; it passes and is shown as unknown.
    Unknown,
}
text_enum!(Verdict { Pass => "PASS", Fail => "FAIL", Unknown => "UNKNOWN" });

/// What a check's value and limit count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckUnit {
    /// 1 is yes, 0 is no.
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

/// One check of the decision, in the spec's order, with what it saw and what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: CheckName,
    pub unit: CheckUnit,
    pub value: Option<i64>,
    pub limit: Option<i64>,
    pub verdict: Verdict,
    /// The code this check gives when it fails.
    pub code: ReasonCode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckName {
    EngineEnabled,
    UserEnabled,
    MarketAllowed,
    SignalAge,
    TargetAboveMinimum,
    PositionHeld,
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
    MarketAllowed => "MARKET_ALLOWED",
    SignalAge => "SIGNAL_AGE",
    TargetAboveMinimum => "TARGET_ABOVE_MINIMUM",
    PositionHeld => "POSITION_HELD",
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

/// The checks made so far on the way to a decision, and the codes of those that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    list: Vec<Check>,
    failed: Option<SkipReasons>,
}

/// Reason codes in the order of the spec's steps, each once, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipReasons {
    first: ReasonCode,
    rest: Vec<ReasonCode>,
}

/// A BUY in the shared bankroll has the most checks; room for them all at once.
const CHECKS_MOST: usize = 20;

impl Checks {
    pub fn new() -> Self {
        Self { list: Vec::with_capacity(CHECKS_MOST), failed: None }
    }

    #[inline]
    pub fn add(&mut self, check: Check) {
        self.list.push(check);
        if check.failed() {
            self.note(check.code);
        }
    }

    pub fn any_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// In the order they were made.
    pub fn list(&self) -> &[Check] {
        &self.list
    }

    pub fn into_list(self) -> Vec<Check> {
        self.list
    }

    /// The failed codes, for the decision that ends here.
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
    pub fn only(code: ReasonCode) -> Self {
        Self { first: code, rest: Vec::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    pub fn contains(&self, code: ReasonCode) -> bool {
        self.iter().any(|reason| reason == code)
    }
}

impl CheckName {
    #[inline]
    pub const fn unit(self) -> CheckUnit {
        match self {
            Self::EngineEnabled | Self::UserEnabled | Self::MarketAllowed | Self::MarketOpen | Self::BookAvailable => {
                CheckUnit::Flag
            }
            Self::SignalAge | Self::TimeToClose => CheckUnit::Millis,
            Self::PositionHeld | Self::Liquidity | Self::SetsApplicable => CheckUnit::Shares,
            Self::Spread | Self::PriceVersusTheirFill | Self::PriceVersusMid => CheckUnit::Price,
            Self::TargetAboveMinimum
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
    /// Passes when `is` holds, shown as 1 against a wanted 1.
    #[inline]
    pub fn flag(name: CheckName, is: bool, code: ReasonCode) -> Self {
        Self::new(name, i64::from(is), 1, is, code)
    }

    /// Passes up to and with the limit.
    #[inline]
    pub fn at_most(name: CheckName, value: i64, limit: i64, code: ReasonCode) -> Self {
        Self::new(name, value, limit, value <= limit, code)
    }

    /// Passes from the limit on.
    #[inline]
    pub fn at_least(name: CheckName, value: i64, limit: i64, code: ReasonCode) -> Self {
        Self::new(name, value, limit, value >= limit, code)
    }

    /// Passes below the limit only.
    #[inline]
    pub fn below(name: CheckName, value: i64, limit: i64, code: ReasonCode) -> Self {
        Self::new(name, value, limit, value < limit, code)
    }

    /// Passes because the value is not known, and says so.
    pub fn unknown(name: CheckName, limit: i64, code: ReasonCode) -> Self {
        Self { name, unit: name.unit(), value: None, limit: Some(limit), verdict: Verdict::Unknown, code }
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
