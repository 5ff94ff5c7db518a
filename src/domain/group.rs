//! The fills of one leader, asset and side inside one window: the unit we copy (spec section 6).

use super::event::{Side, text_enum};
use super::ids::{AssetId, EventId, FollowedUserId, GroupId, GroupKey, MarketId};
use super::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    Trade,
    Merge,
    Split,
    /// CONVERSION and MIGRATION rows.
    Conversion,
}
text_enum!(GroupKind { Trade => "TRADE", Merge => "MERGE", Split => "SPLIT", Conversion => "CONVERSION" });

/// What the group does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupAction {
    Trade { asset: AssetId, side: Side },
    Merge,
    Split,
    Conversion,
}

/// A closed group. Its id is made from its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventGroup {
    pub id: GroupId,
    pub key: GroupKey,
    pub followed_user: FollowedUserId,
    pub market: MarketId,
    pub action: GroupAction,
    /// Summed gross cash.
    pub notional: UsdcMicros,
    /// Summed shares; complete sets for MERGE and SPLIT.
    pub shares: ShareMicros,
    /// Share-weighted price of the fills, half up; trades only.
    pub reference_price: Option<PriceMicros>,
    pub window_start: Timestamp,
    /// The earliest among the members.
    pub detect_time: Timestamp,
    /// The earliest among the members.
    pub event_time: Timestamp,
}

/// A member that joined a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    Trade(EventId),
    Activity(EventId),
}

impl GroupAction {
    pub const fn kind(&self) -> GroupKind {
        match self {
            Self::Trade { .. } => GroupKind::Trade,
            Self::Merge => GroupKind::Merge,
            Self::Split => GroupKind::Split,
            Self::Conversion => GroupKind::Conversion,
        }
    }
}
