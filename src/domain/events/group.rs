//! The fills of one leader, asset and side inside one window: the unit that we copy (spec 6).
//! [`Windows`](super::group_windows::Windows) gathers them.

use super::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use super::global_order::GroupPlace;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, GroupId, GroupKey, MarketId};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// The kind of a group, without what it trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    Trade,
    Merge,
    Split,
    Conversion,
    /// A sale that a person asked for. It has no members.
    Close,
}
text_enum!(GroupKind {
    Trade => "TRADE",
    Merge => "MERGE",
    Split => "SPLIT",
    Conversion => "CONVERSION",
    Close => "CLOSE",
});

/// The action of the leader that the group sums up, or the sale that a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupAction {
    Trade {
        asset: AssetId,
        side: Side,
    },
    Merge,
    Split,
    Conversion,
    /// Sell our whole lot of this asset and the group's leader.
    Close {
        asset: AssetId,
    },
}

/// A closed group. Its id is derived from its key.
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
    /// Share-weighted average price of the fills, rounded half up; trades only.
    pub reference_price: Option<PriceMicros>,
    pub window_start: Timestamp,
    /// The earliest detect time of the members.
    pub detect_time: Timestamp,
    /// The earliest event time of the members.
    pub event_time: Timestamp,
}

impl EventGroup {
    /// Returns the place of the group in the global order.
    pub fn place(&self) -> GroupPlace {
        GroupPlace { detect_time: self.detect_time, event_time: self.event_time, key: self.key.clone() }
    }
}

/// An event that belongs to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    Trade(EventId),
    Activity(EventId),
}

impl ActivityKind {
    /// Returns the kind of group that a row of this kind joins: a row that could be copied, or that pages must show as
    /// not copied. `None` for a row that joins no group.
    pub fn group_kind(&self) -> Option<GroupKind> {
        match self {
            Self::Merge => Some(GroupKind::Merge),
            Self::Split => Some(GroupKind::Split),
            Self::Conversion => Some(GroupKind::Conversion),
            _ => None,
        }
    }
}

impl GroupAction {
    /// Returns the kind of this action.
    pub const fn kind(&self) -> GroupKind {
        match self {
            Self::Trade { .. } => GroupKind::Trade,
            Self::Merge => GroupKind::Merge,
            Self::Split => GroupKind::Split,
            Self::Conversion => GroupKind::Conversion,
            Self::Close { .. } => GroupKind::Close,
        }
    }

    /// Returns the asset that a copy of this action buys or sells in a book; `None` for actions on complete sets.
    pub const fn asset(&self) -> Option<&AssetId> {
        match self {
            Self::Trade { asset, .. } | Self::Close { asset } => Some(asset),
            Self::Merge | Self::Split | Self::Conversion => None,
        }
    }

    /// Returns what a copy of this action does in a book: a close sells. `None` for actions on complete sets.
    pub const fn book_side(&self) -> Option<Side> {
        match self {
            Self::Trade { side, .. } => Some(*side),
            Self::Close { .. } => Some(Side::Sell),
            Self::Merge | Self::Split | Self::Conversion => None,
        }
    }
}

impl EventGroup {
    /// Returns the group of a close by hand that was asked for at `at`: a group without members, reference price and
    /// size, which sells the whole lot of `leader` in `asset` (spec 6).
    pub fn close_by_hand(leader: FollowedUserId, market: MarketId, asset: AssetId, at: Timestamp) -> Self {
        let action = GroupAction::Close { asset };
        let key = group_key(leader, &action, &market, at);
        Self {
            id: GroupId::of(&key),
            key,
            followed_user: leader,
            market,
            action,
            notional: UsdcMicros::ZERO,
            shares: ShareMicros::ZERO,
            reference_price: None,
            window_start: at,
            detect_time: at,
            event_time: at,
        }
    }
}

/// The fields of an event that grouping needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEvent {
    pub member: Member,
    pub followed_user: FollowedUserId,
    pub market: MarketId,
    pub action: GroupAction,
    /// Gross cash of a fill, or the cash that the row states.
    pub notional: UsdcMicros,
    /// Complete sets for MERGE and SPLIT.
    pub shares: ShareMicros,
    /// `None` for all but trades.
    pub price: Option<PriceMicros>,
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

/// A group whose window is over, and its members in order of (detect_time, event_time, member).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedGroup {
    pub group: EventGroup,
    pub members: Vec<Member>,
}

/// The events that share windows: the fills of a leader in one asset, whatever their side, because a fill of one side
/// closes the group of the other; and the rows of one other kind in one market.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WindowKey {
    Fills(FollowedUserId, AssetId),
    Rows(FollowedUserId, GroupKind, MarketId),
}

impl PendingEvent {
    /// Returns the fill as an event to be grouped.
    pub fn from_trade(trade: &TradeEvent) -> Self {
        Self {
            member: Member::Trade(trade.id),
            followed_user: trade.followed_user,
            market: trade.market.clone(),
            action: GroupAction::Trade { asset: trade.asset.clone(), side: trade.side },
            notional: trade.notional,
            shares: trade.shares,
            price: Some(trade.price),
            event_time: trade.event_time,
            detect_time: trade.detect_time,
        }
    }

    /// Returns the row as an event to be grouped. `None` for a kind that forms no group, and for a row without a
    /// condition, because it does not say what to copy.
    pub fn from_activity(activity: &ActivityEvent) -> Option<Self> {
        let action = match activity.kind.group_kind()? {
            GroupKind::Merge => GroupAction::Merge,
            GroupKind::Split => GroupAction::Split,
            GroupKind::Conversion => GroupAction::Conversion,
            GroupKind::Trade | GroupKind::Close => return None,
        };
        Some(Self {
            member: Member::Activity(activity.id),
            followed_user: activity.followed_user,
            market: activity.payload.condition_id.clone()?,
            action,
            notional: activity.payload.cash_micros,
            shares: activity.payload.share_micros,
            price: None,
            event_time: activity.event_time,
            detect_time: activity.detect_time,
        })
    }

    pub(super) fn window_key(&self) -> WindowKey {
        match &self.action {
            GroupAction::Trade { asset, .. } => WindowKey::Fills(self.followed_user, asset.clone()),
            other => WindowKey::Rows(self.followed_user, other.kind(), self.market.clone()),
        }
    }
}

impl ClosedGroup {
    /// Returns the same group with a window that starts one millisecond later, and so with another key.
    ///
    /// Used when an earlier group already has the key: its events were detected in the same millisecond, but these ones
    /// arrived after that group had been closed.
    pub fn moved_by_one_ms(mut self) -> Self {
        let group = &mut self.group;
        group.window_start = group.window_start.plus_millis(1);
        group.key = group_key(group.followed_user, &group.action, &group.market, group.window_start);
        group.id = GroupId::of(&group.key);
        self
    }
}

/// Returns `<followedUserId>:<assetId>:<side>:<windowStartIso>`, with CLOSE as the side of a close by hand, and with kind
/// and condition in the middle for the other kinds.
pub(super) fn group_key(
    user: FollowedUserId,
    action: &GroupAction,
    market: &MarketId,
    window_start: Timestamp,
) -> GroupKey {
    GroupKey::from_text(&match action {
        GroupAction::Trade { asset, side } => format!("{user}:{asset}:{side}:{window_start}"),
        GroupAction::Close { asset } => format!("{user}:{asset}:{}:{window_start}", action.kind()),
        other => format!("{user}:{}:{market}:{window_start}", other.kind()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_by_hand_is_a_group_without_members_at_its_request_time() {
        let at = Timestamp::parse_iso("2026-11-30T12:00:00.123Z").unwrap();
        let market = MarketId::parse(&format!("0x{}", "ab".repeat(32))).unwrap();
        let asset = AssetId::parse("11").unwrap();
        let group = EventGroup::close_by_hand(FollowedUserId(7), market, asset.clone(), at);
        assert_eq!(group.key.as_str(), "7:11:CLOSE:2026-11-30T12:00:00.123Z");
        assert_eq!((group.detect_time, group.event_time, group.reference_price), (at, at, None));
        assert_eq!((group.action.kind(), group.action.asset()), (GroupKind::Close, Some(&asset)));
        assert_eq!(group.action.book_side(), Some(Side::Sell));
    }
}
