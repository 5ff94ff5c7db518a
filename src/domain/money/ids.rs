//! Ids. An id made from content is the same in every database and on every replay.

use std::{fmt, sync::Arc};

use uuid::Uuid;

/// The namespace of our content ids. Changing it would give every event and attempt another id.
const NAMESPACE: Uuid = Uuid::from_u128(0x706f_6c79_6d61_726b_6574_7370_7900_0001);

/// The number of the module that makes combos, the first byte of its ids (venue 0.1).
const COMBO_MODULE: u64 = 3;
/// Those of binary and of neg-risk markets.
const MARKET_MODULES: std::ops::RangeInclusive<u64> = 1..=2;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! content_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_id! {
    /// An outcome token: a decimal number of up to 78 digits. It is kept as text because no integer type holds it.
    AssetId
}
text_id! {
    /// A market, named by its condition: `0x` and 64 lower-case hex digits.
    MarketId
}
text_id! {
    /// An account address: `0x` and 40 lower-case hex digits.
    Wallet
}
text_id! {
    /// The key of an event group: `<followedUserId>:<assetId>:<side>:<windowStartIso>` (spec 6).
    GroupKey
}
content_id! {
    /// A trade or activity event, derived from its source and source id.
    EventId
}
content_id! {
    /// An event group, derived from its key.
    GroupId
}
content_id! {
    /// A copy attempt, derived from portfolio and group key.
    AttemptId
}
content_id! {
    /// A position check, derived from the leader and its time.
    PositionCheckId
}

/// A trader we follow. The database assigns this small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct FollowedUserId(pub i64);

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("`{0}` is not a token id: up to 78 decimal digits")]
    Asset(String),
    #[error("`{0}` is not a condition id: 0x and 62 or 64 hex digits")]
    Market(String),
    #[error("`{0}` is not a wallet: 0x and 40 hex digits")]
    Wallet(String),
}

impl AssetId {
    /// Reads a token id.
    ///
    /// # Errors
    /// [`IdError::Asset`] unless the text is 1 to 78 decimal digits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let digits = !text.is_empty() && text.len() <= 78 && text.bytes().all(|b| b.is_ascii_digit());
        if digits { Ok(Self(text.into())) } else { Err(IdError::Asset(text.chars().take(100).collect())) }
    }

    /// Returns whether the token is a position of a combo: its top byte is the module number 3, and the 64 reserved
    /// bits, from bit 40 on, are zero (venue 0.1). A token of the older ledger is a hash and has bits there.
    pub fn is_combo(&self) -> bool {
        self.module() == Some(COMBO_MODULE)
    }

    /// Returns whether the token is one of the new ledger, Protocol V2, in a binary or neg-risk market (venue 0.1). It may
    /// be the second name of a token of the older ledger.
    pub fn is_on_new_ledger(&self) -> bool {
        self.module().is_some_and(|module| MARKET_MODULES.contains(&module))
    }

    /// Returns the number of the module, from the top byte of a token of the new ledger.
    fn module(&self) -> Option<u64> {
        let [low, next, _, high] = self.words()?;
        (low >> 40 == 0 && next.trailing_zeros() >= 40).then_some(high >> 56)
    }

    /// Returns the number in words of 64 bits, the lowest first; `None` when it does not fit in 256 bits.
    fn words(&self) -> Option<[u64; 4]> {
        let mut words = [0_u64; 4];
        for digit in self.0.bytes() {
            let mut carry = u128::from(digit.saturating_sub(b'0'));
            for word in &mut words {
                let wide = u128::from(*word).saturating_mul(10).saturating_add(carry);
                *word = u64::try_from(wide & u128::from(u64::MAX)).ok()?;
                carry = wide >> 64;
            }
            if carry != 0 {
                return None;
            }
        }
        Some(words)
    }
}

impl MarketId {
    /// Reads a condition id in lower or upper case. The 62 digits of a Protocol V2 condition are padded right with
    /// zeros.
    ///
    /// # Errors
    /// [`IdError::Market`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        match lower_hex(text) {
            Some(hex) if hex.len() == 64 => Ok(Self(format!("0x{hex}").into())),
            Some(hex) if hex.len() == 62 => Ok(Self(format!("0x{hex}00").into())),
            _ => Err(IdError::Market(text.chars().take(100).collect())),
        }
    }

    /// Returns whether the condition is one of a combo: it starts with the module number 3 and, like the token ids
    /// made of it, has zeros in its 64 reserved bits (venue 0.1). A condition of the older ledger is a hash: one in
    /// 256 of those starts with the same byte.
    pub fn is_combo(&self) -> bool {
        const RESERVED: std::ops::Range<usize> = 40..56;
        let zeros = |range: std::ops::Range<usize>| {
            self.0.get(range).is_some_and(|digits| digits.bytes().all(|digit| digit == b'0'))
        };
        self.0.starts_with("0x03") && zeros(RESERVED) && zeros(64..66)
    }
}

impl Wallet {
    /// Reads an address in any case (also checksummed) and keeps it in lower case.
    ///
    /// # Errors
    /// [`IdError::Wallet`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        match lower_hex(text) {
            Some(hex) if hex.len() == 40 => Ok(Self(format!("0x{hex}").into())),
            _ => Err(IdError::Wallet(text.chars().take(100).collect())),
        }
    }
}

impl GroupKey {
    /// Takes a key as text. [`group`](crate::domain::events::group) builds keys and the database returns them; their
    /// parts are never parsed.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }
}

/// The source that ids of canonical events are made from. The source is called `POLYMARKET_API` since migration 16; its
/// ids go on hashing the name from before, so that a stored row that is read again has the id that it has in jobs, groups
/// and ledger.
pub const HASHED_CANONICAL_SOURCE: &str = "DATA_API";

impl EventId {
    /// Returns the id of the canonical event `source_id`.
    pub fn of_canonical(source_id: &str) -> Self {
        Self::of(HASHED_CANONICAL_SOURCE, source_id)
    }

    /// Returns the id of the event that `source` names `source_id`.
    pub fn of(source: &str, source_id: &str) -> Self {
        Self(content_id(&["event", source, source_id]))
    }
}

impl GroupId {
    /// Returns the id of the group with this key.
    pub fn of(key: &GroupKey) -> Self {
        Self(content_id(&["group", key.as_str()]))
    }
}

impl AttemptId {
    /// Returns the id of the attempt to copy the group `key` in `portfolio`.
    pub fn of(portfolio: &str, key: &GroupKey) -> Self {
        Self(content_id(&["attempt", portfolio, key.as_str()]))
    }
}

impl PositionCheckId {
    /// Returns the id of the check of `user` at this time, in milliseconds since 1970.
    pub fn of(user: FollowedUserId, checked_at_millis: i64) -> Self {
        Self(content_id(&["position_check", &user.to_string(), &checked_at_millis.to_string()]))
    }
}

impl fmt::Display for FollowedUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn content_id(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.join("\n").as_bytes())
}

fn lower_hex(text: &str) -> Option<String> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| hex.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_normalised_once_at_the_edge() {
        let wallet = "0xC2AD03F79ca3f3c17d8c7de2612ce0c89b7d40ed";
        assert_eq!(Wallet::parse(wallet).unwrap().as_str(), wallet.to_ascii_lowercase());
        assert!(Wallet::parse("0x12").is_err());
        assert!(Wallet::parse("c2ad03f79ca3f3c17d8c7de2612ce0c89b7d40edff").is_err());
        let short = format!("0x{}", "AB".repeat(31));
        assert_eq!(MarketId::parse(&short).unwrap().as_str(), format!("0x{}00", "ab".repeat(31)));
        assert!(MarketId::parse("0xzz").is_err());
        assert!(AssetId::parse("").is_err());
        assert!(AssetId::parse(&"9".repeat(79)).is_err());
        assert!(AssetId::parse("12a").is_err());
    }

    #[test]
    fn tokens_of_the_new_ledger_are_known_by_their_ids() {
        let token = |text: &str| AssetId::parse(text).unwrap().is_on_new_ledger();
        // The two names of one outcome, of a recording of October 2026.
        assert!(token("959697278542605042882733264658906812173338753800085791128040226198640394240"));
        assert!(!token("111542660486399282647408117439638950802775541416995149264363091678184762870709"));
        assert!(token("1176710649185715379246236772702433179078596393450958754111917085864706965504"));
        // Neither module, and a combo.
        assert!(!token("559046155902953838595262480008230326675380475253950762106083537792221715628032"));
        assert!(!token("1478180995445884194963783500106018329313736528433258596285541062936163778560"));
        assert!(!token("1") && !token(&"9".repeat(78)));
    }

    #[test]
    fn combos_are_known_by_their_ids() {
        let token = |text: &str| AssetId::parse(text).unwrap().is_combo();
        let condition = |text: &str| MarketId::parse(text).unwrap().is_combo();
        // The combos and some of their legs of a recording of September 2026.
        assert!(token("1478180995445884194963783500106018329313736528433258596285541062936163778560"));
        assert!(token("1534162831021071298618460748655302203595635349916686009303552494548086161408"));
        assert!(!token("1176710649185715379246236772702433179078596393450958754111917085864706965504"));
        assert!(!token("559046155902953838595262480008230326675380475253950762106083537792221715628032"));
        assert!(!token("94778021122783190736558761916530366317508128083553441509802765904460196058083"));
        assert!(!token("1") && !token(&"9".repeat(78)));
        assert!(condition("0x03449eec66c044cecb729af4169b45afbf0000000000000000000000000000"));
        assert!(condition("0x03644e2e16fcbac7ab23cbf9cf68fba6f1000000000000000000000000000000"));
        assert!(!condition("0x013c68ae665fd8c9156655492ae51153160000000000000000000000000000"));
        // A hash that happens to start with the byte of a combo.
        assert!(!condition("0x032979cea439ed92f7bbb382b9f7a5c6d44a1fef7c494a77f4911c28464c0061"));
    }

    #[test]
    fn content_ids_never_change() {
        assert_eq!(EventId::of("DATA_API", "a:b").to_string(), EventId::of("DATA_API", "a:b").to_string());
        assert_ne!(EventId::of("DATA_API", "a:b"), EventId::of("ALCHEMY", "a:b"));
        // Not of the name that canonical events have since migration 16.
        assert_eq!(EventId::of_canonical("a:b"), EventId::of("DATA_API", "a:b"));
    }
}
