//! The decision: would a small copy of this group have been possible and prudent (spec section 7).

use serde::{Deserialize, Serialize};

use super::event::text_enum;
use super::units::{PriceMicros, ShareMicros, Timestamp};

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
pub enum DecisionKind {
    Execute,
    Skip,
}
text_enum!(DecisionKind { Execute => "EXECUTE", Skip => "SKIP" });

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

/// Everything a visitor needs to follow the decision; stored as `explain_json`. The book stands in `book_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub decided_at: Timestamp,
    pub checks: Vec<Check>,
    pub best_bid_micros: Option<PriceMicros>,
    pub best_ask_micros: Option<PriceMicros>,
    pub mid_micros: Option<PriceMicros>,
    pub limit_price_micros: Option<PriceMicros>,
    pub target_share_micros: Option<ShareMicros>,
    pub fee_micros: i64,
}
