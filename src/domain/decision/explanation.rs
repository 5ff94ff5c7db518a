//! The stored form of a decision: its kind, and every figure that it depended on (spec 7).

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::exit::ExitBasis;
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// Whether a group was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecisionKind {
    Execute,
    Skip,
}
text_enum!(DecisionKind { Execute => "EXECUTE", Skip => "SKIP" });

/// Everything that a reader needs to follow the decision. Stored as `explain_json`; the book is in `book_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    pub decided_at: Timestamp,
    pub checks: Vec<Check>,
    /// The leader's notional times the copied part, before minimum and cap; trades only.
    pub raw_notional_micros: Option<UsdcMicros>,
    /// The largest target that the copy was allowed to have; trades only.
    pub cap_notional_micros: Option<UsdcMicros>,
    pub best_bid_micros: Option<PriceMicros>,
    pub best_ask_micros: Option<PriceMicros>,
    pub mid_micros: Option<PriceMicros>,
    pub limit_price_micros: Option<PriceMicros>,
    pub target_share_micros: Option<ShareMicros>,
    /// How long the venue holds an order in this market, added to the wait before the book was fetched. Missing where it is
    /// not known, and where no book is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taker_delay_ms: Option<i64>,
    /// The cash of a BUY as the venue takes it; missing where its order rules are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_notional_micros: Option<UsdcMicros>,
    /// The shares of a SELL as the venue takes them; missing where its order rules are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_share_micros: Option<ShareMicros>,
    /// How an exit was sized, where the configuration says PROPORTIONAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitBasis>,
    /// Counted as cost in the caps. For a skipped copy, the fee that it would have paid.
    pub fee_micros: i64,
}
