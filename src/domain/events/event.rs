//! What a leader did, as we keep it (spec sections 2 and 3).

use serde::{Deserialize, Serialize};

use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// Where an event was seen. Only the Data API is canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    DataApi,
    Alchemy,
}
text_enum!(Source { DataApi => "DATA_API", Alchemy => "ALCHEMY" });

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Buy,
    Sell,
}
text_enum!(Side { Buy => "BUY", Sell => "SELL" });

/// The kind of a row that is no trade. `Other` keeps the API's own word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivityKind {
    Merge,
    Split,
    Redeem,
    Conversion,
    Migration,
    /// A multi-leg trade, kept with the API's word `TRADE` and never copied.
    Combo,
    Other(String),
}

/// A canonical fill of a followed user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeEvent {
    pub id: EventId,
    pub source_id: String,
    pub tx_hash: String,
    pub profile_wallet: Wallet,
    pub proxy_wallet: Option<Wallet>,
    pub followed_user: FollowedUserId,
    pub market: MarketId,
    pub asset: AssetId,
    pub side: Side,
    /// The row's average price.
    pub price: PriceMicros,
    pub shares: ShareMicros,
    /// Gross cash, fee apart; never negative.
    pub notional: UsdcMicros,
    /// Inferred from the row: `None` when the row cannot tell, zero for a maker.
    pub fee: Option<UsdcMicros>,
    /// Block time, whole seconds.
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

/// A canonical row that is no plain trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityEvent {
    pub id: EventId,
    pub source_id: String,
    pub profile_wallet: Wallet,
    pub proxy_wallet: Option<Wallet>,
    pub followed_user: FollowedUserId,
    pub kind: ActivityKind,
    pub payload: ActivityPayload,
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

/// The part of an activity row that money may depend on, and the row itself. Stored as `payload_json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityPayload {
    pub tx_hash: String,
    pub condition_id: Option<MarketId>,
    pub token_id: Option<AssetId>,
    /// Complete sets for MERGE and SPLIT; never trusted for REDEEM.
    pub share_micros: ShareMicros,
    /// The cash the row states, never negative.
    pub cash_micros: UsdcMicros,
    /// The row's own text.
    pub row: String,
}

impl ActivityKind {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Merge => "MERGE",
            Self::Split => "SPLIT",
            Self::Redeem => "REDEEM",
            Self::Conversion => "CONVERSION",
            Self::Migration => "MIGRATION",
            Self::Combo => "TRADE",
            Self::Other(text) => text,
        }
    }

    pub fn from_text(text: &str) -> Self {
        match text {
            "MERGE" => Self::Merge,
            "SPLIT" => Self::Split,
            "REDEEM" => Self::Redeem,
            "CONVERSION" => Self::Conversion,
            "MIGRATION" => Self::Migration,
            "TRADE" => Self::Combo,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The kind of group this row joins, if any: what could be copied, or must be shown as not copied.
    pub fn group_kind(&self) -> Option<super::group::GroupKind> {
        use super::group::GroupKind;
        match self {
            Self::Merge => Some(GroupKind::Merge),
            Self::Split => Some(GroupKind::Split),
            Self::Conversion | Self::Migration => Some(GroupKind::Conversion),
            Self::Redeem | Self::Combo | Self::Other(_) => None,
        }
    }
}
