//! The events of a leader, as we store them (spec 2 and 3).

use serde::{Deserialize, Serialize};

use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// The feed that an event came from. Only Polymarket's Data API is canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    PolymarketApi,
    Alchemy,
}
text_enum!(Source { PolymarketApi => "POLYMARKET_API", Alchemy => "ALCHEMY" });

/// The direction of a fill, as the leader traded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Buy,
    Sell,
}
text_enum!(Side { Buy => "BUY", Sell => "SELL" });

/// The kind of a row that is not a plain trade. `Other` keeps the word of the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivityKind {
    Merge,
    Split,
    Redeem,
    Conversion,
    Migration,
    /// A multi-leg trade. It is stored with the word of the API, `TRADE`, and never copied.
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
    /// The average price of the row.
    pub price: PriceMicros,
    pub shares: ShareMicros,
    /// Gross cash without the fee; never negative.
    pub notional: UsdcMicros,
    /// Inferred from the row: `None` when the row does not allow it, zero for a maker.
    pub fee: Option<UsdcMicros>,
    /// Block time, whole seconds.
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

/// A canonical row that is not a plain trade.
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

/// The fields of an activity row that ledger entries may depend on, and the row itself. Stored as `payload_json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityPayload {
    pub tx_hash: String,
    pub condition_id: Option<MarketId>,
    pub token_id: Option<AssetId>,
    /// Complete sets for MERGE and SPLIT; not reliable for REDEEM.
    pub share_micros: ShareMicros,
    /// The cash that the row states, never negative.
    pub cash_micros: UsdcMicros,
    /// The row as the API sent it.
    pub row: String,
}

impl ActivityKind {
    /// Returns the word that the database and the API use.
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

    /// Reads the word that the database and the API use; an unknown one becomes [`Self::Other`].
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
}
