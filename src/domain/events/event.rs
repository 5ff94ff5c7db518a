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
    /// Collateral and the buckets between two lines of a range event become one position above and one below.
    DirectionalSplit,
    /// The reverse of a directional split.
    DirectionalMerge,
    /// Buckets of a range event become the position of one line.
    ThresholdCompose,
    /// The reverse of a threshold compose.
    ThresholdDecompose,
    /// A multi-leg trade. It is stored with the word of the API, `TRADE`, and never copied.
    Combo,
    Other(String),
}

/// What a kind of row can do to the positions of a leader (spec 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionEffect {
    Moves,
    /// Rewards, rebates, transfers of cash, and combos, which are left out of the books.
    Nothing,
    /// A kind that we do not know: the books are not exact until a position check agrees.
    Unknown,
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
            Self::DirectionalSplit => "DIRECTIONAL_SPLIT",
            Self::DirectionalMerge => "DIRECTIONAL_MERGE",
            Self::ThresholdCompose => "THRESHOLD_COMPOSE",
            Self::ThresholdDecompose => "THRESHOLD_DECOMPOSE",
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
            "DIRECTIONAL_SPLIT" => Self::DirectionalSplit,
            "DIRECTIONAL_MERGE" => Self::DirectionalMerge,
            "THRESHOLD_COMPOSE" => Self::ThresholdCompose,
            "THRESHOLD_DECOMPOSE" => Self::ThresholdDecompose,
            "TRADE" => Self::Combo,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns what rows of this kind can do to the positions of a leader.
    pub fn position_effect(&self) -> PositionEffect {
        match self {
            Self::Combo => PositionEffect::Nothing,
            Self::Other(text) => match text.as_str() {
                "REWARD" | "YIELD" | "MAKER_REBATE" | "TAKER_REBATE" | "REFERRAL_REWARD" | "DEPOSIT" | "WITHDRAWAL"
                | "TIP" => PositionEffect::Nothing,
                _ => PositionEffect::Unknown,
            },
            _ => PositionEffect::Moves,
        }
    }

    /// Returns whether rows of this kind belong to a whole range event, whose positions say what moved.
    pub const fn is_range(&self) -> bool {
        matches!(
            self,
            Self::DirectionalSplit | Self::DirectionalMerge | Self::ThresholdCompose | Self::ThresholdDecompose
        )
    }
}

impl ActivityEvent {
    /// Returns whether the row belongs to a combo: combos of every kind are left out of the books (spec 5).
    pub fn is_combo(&self) -> bool {
        let condition = self.payload.condition_id.as_ref();
        let token = self.payload.token_id.as_ref();
        self.kind == ActivityKind::Combo
            || condition.is_some_and(MarketId::is_combo)
            || token.is_some_and(AssetId::is_combo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_keeps_its_word() {
        let words = ["MERGE", "SPLIT", "REDEEM", "CONVERSION", "MIGRATION", "DIRECTIONAL_SPLIT", "DIRECTIONAL_MERGE"];
        for word in words.into_iter().chain(["THRESHOLD_COMPOSE", "THRESHOLD_DECOMPOSE", "TRADE", "REWARD", "NEW"]) {
            assert_eq!(ActivityKind::from_text(word).as_str(), word);
        }
    }

    #[test]
    fn a_kind_that_nothing_is_known_of_may_have_moved_a_position() {
        let effect = |word: &str| ActivityKind::from_text(word).position_effect();
        for word in
            ["REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE", "REFERRAL_REWARD", "DEPOSIT", "WITHDRAWAL", "TIP"]
        {
            assert_eq!(effect(word), PositionEffect::Nothing, "{word}");
        }
        assert_eq!(effect("TRADE"), PositionEffect::Nothing, "a combo");
        for word in ["MERGE", "SPLIT", "REDEEM", "CONVERSION", "MIGRATION", "DIRECTIONAL_SPLIT", "THRESHOLD_COMPOSE"] {
            assert_eq!(effect(word), PositionEffect::Moves, "{word}");
        }
        assert_eq!(effect("AIRDROP"), PositionEffect::Unknown);
    }
}
