//! What a leader did, as we keep it (spec sections 2 and 3).

use serde::{Deserialize, Serialize};

use super::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use super::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// Implements `as_str`, `Display` and `FromStr` for an enum whose text is a contract.
macro_rules! text_enum {
    ($name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::event::UnknownText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::domain::event::UnknownText { kind: stringify!($name), text: text.to_owned() }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_enum;

/// A text that names no state of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}")]
pub struct UnknownText {
    pub kind: &'static str,
    pub text: String,
}

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
