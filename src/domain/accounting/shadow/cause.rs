//! The row that causes shadow entries.

use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::money::ids::{EventId, FollowedUserId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// The row that causes entries of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    pub event: EventId,
    pub leader: FollowedUserId,
    /// Which positions include the row.
    pub event_time: Timestamp,
    /// The date of the entries, so that a replay writes the same ones.
    pub detect_time: Timestamp,
}

impl Cause {
    /// Returns the cause of a fill's entries.
    pub fn of_trade(trade: &TradeEvent) -> Self {
        Self {
            event: trade.id,
            leader: trade.followed_user,
            event_time: trade.event_time,
            detect_time: trade.detect_time,
        }
    }

    /// Returns the cause of an activity's entries.
    pub fn of_activity(activity: &ActivityEvent) -> Self {
        Self {
            event: activity.id,
            leader: activity.followed_user,
            event_time: activity.event_time,
            detect_time: activity.detect_time,
        }
    }

    pub(super) fn ref_id(&self) -> String {
        format!("event:{}", self.event)
    }

    pub(super) fn moves(&self, kind: EntryType, shares: ShareMicros, cash: UsdcMicros) -> LedgerEntry {
        LedgerEntry {
            portfolio: PortfolioId::ShadowUser(self.leader),
            attributed_user: Some(self.leader),
            market: None,
            asset: None,
            kind,
            shares,
            cash,
            price: None,
            ref_id: self.ref_id(),
            created_at: self.detect_time,
        }
    }
}
