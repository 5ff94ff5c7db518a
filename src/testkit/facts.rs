//! One group and one attempt. Tests change the fields that they are about by struct update:
//! `EventGroup { shares, ..trade_group(..) }`.

use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::explanation::{DecisionKind, Explanation};
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::money::ids::{AssetId, AttemptId, FollowedUserId, GroupId, GroupKey, MarketId};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};

fn half() -> PriceMicros {
    PriceMicros::new(500_000).unwrap()
}

/// Returns a closed group of trades: 100 shares at 0.50, with all three times at `at`. Its id is derived from `key`.
pub fn trade_group(
    key: &str,
    leader: FollowedUserId,
    market: MarketId,
    asset: AssetId,
    side: Side,
    at: Timestamp,
) -> EventGroup {
    let key = GroupKey::from_text(key);
    EventGroup {
        id: GroupId::of(&key),
        key,
        followed_user: leader,
        market,
        action: GroupAction::Trade { asset, side },
        notional: UsdcMicros(50_000_000),
        shares: ShareMicros(100_000_000),
        reference_price: Some(half()),
        window_start: at,
        detect_time: at,
        event_time: at,
    }
}

/// Returns an executed attempt at `at` to copy `group`: 10 shares for 5 USDC, filled whole, without level fills.
pub fn executed_attempt(portfolio: PortfolioId, group: &EventGroup, at: Timestamp) -> CopyAttempt {
    CopyAttempt {
        id: AttemptId::of(&portfolio.to_string(), &group.key),
        portfolio,
        followed_user: group.followed_user,
        group_id: group.id,
        group_key: group.key.clone(),
        decision: DecisionKind::Execute,
        reasons: Vec::new(),
        target_notional: UsdcMicros(5_000_000),
        filled_notional: UsdcMicros(5_000_000),
        filled_shares: ShareMicros(10_000_000),
        vwap: Some(half()),
        filled_ratio: Bps::WHOLE,
        their_reference_price: group.reference_price,
        mid_at_decision: Some(half()),
        config_version: "0".repeat(16),
        explanation: Explanation::default(),
        fills: Vec::new(),
        created_at: at,
    }
}
