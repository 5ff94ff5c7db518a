//! A copy attempt as it is stored: the decision on one group in one portfolio (spec 2 and 8).

use super::check::ReasonCode;
use super::explanation::{DecisionKind, Explanation};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::market::book_walk::LevelFill;
use crate::domain::money::ids::{AttemptId, FollowedUserId, GroupId, GroupKey};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// One row of `copy_attempt` and its `executable_fill` rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyAttempt {
    pub id: AttemptId,
    pub portfolio: PortfolioId,
    pub followed_user: FollowedUserId,
    pub group_id: GroupId,
    pub group_key: GroupKey,
    pub decision: DecisionKind,
    /// In the order of the spec. Empty only for EXECUTE.
    pub reasons: Vec<ReasonCode>,
    pub target_notional: UsdcMicros,
    pub filled_notional: UsdcMicros,
    pub filled_shares: ShareMicros,
    pub vwap: Option<PriceMicros>,
    pub filled_ratio: Bps,
    /// `None` for a MERGE, SPLIT or CONVERSION, which have no price.
    pub their_reference_price: Option<PriceMicros>,
    pub mid_at_decision: Option<PriceMicros>,
    pub config_version: String,
    pub explanation: Explanation,
    pub fills: Vec<LevelFill>,
    pub created_at: Timestamp,
}
