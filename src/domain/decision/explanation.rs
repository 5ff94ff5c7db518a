//! The stored form of a decision: its kind, and every figure that it depended on (spec 7).

use serde::{Deserialize, Serialize};

use super::check::Check;
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
    /// Counted as cost in the caps. For a skipped copy, the fee that it would have paid.
    pub fee_micros: i64,
}
