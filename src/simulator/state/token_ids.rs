//! The ids of Protocol V2: what the tokens of a market are called on the new ledger, and combos.
//!
//! From the top: module 8 bits, base hash 128, arity 16, reserved 64, resolution chain 16, condition index 16, outcome 8
//! (venue 0.1). Written independently of the bot's own reading of such ids: each checks the other.

use alloy_primitives::U256;

use super::exchange::Exchange;
use super::market::SimMarket;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::simulator::rng::{hash_text, hex_of};

const BINARY: u8 = 1;
const NEG_RISK: u8 = 2;
const COMBO: u8 = 3;
/// Digits of a base hash.
const BASE_DIGITS: usize = 32;

/// A position of several legs: its condition, and the tokens of yes and no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combo {
    pub condition: MarketId,
    pub tokens: [AssetId; 2],
}

/// The place of a market on the new ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructuralId {
    module: u8,
    /// 32 hex digits.
    base: String,
    arity: u16,
    condition_index: u16,
}

impl Combo {
    /// Returns the combo that belongs to this name, the same with every seed.
    pub fn of(name: &str) -> Self {
        let base = tail(&hex_of(0, "combo", hash_text(0, name), 32)).to_owned();
        let id = StructuralId { module: COMBO, base, arity: 0, condition_index: 0 };
        let condition = MarketId::parse(&id.condition());
        let condition = condition.unwrap_or_else(|_| unreachable!("31 bytes of hex are a condition id"));
        Self { condition, tokens: [id.token(0), id.token(1)] }
    }
}

impl StructuralId {
    /// Returns the id of a market that is not neg-risk.
    pub fn binary(condition: &MarketId) -> Self {
        Self { module: BINARY, base: tail(condition.as_str()).to_owned(), arity: 0, condition_index: 0 }
    }

    /// Returns the condition: `0x` and 62 digits.
    pub fn condition(&self) -> String {
        let Self { module, base, arity, condition_index } = self;
        format!("0x{module:02x}{base}{arity:04x}{:016x}{:04x}{condition_index:04x}", 0, 0)
    }

    /// Returns the token of an outcome.
    pub fn token(&self, outcome: u8) -> AssetId {
        let digits = format!("{}{outcome:02x}", self.condition().trim_start_matches("0x"));
        let number = U256::from_str_radix(&digits, 16).unwrap_or_default();
        AssetId::parse(&number.to_string()).unwrap_or_else(|_| unreachable!("256 bits in decimal are a token id"))
    }

    /// Returns what the Data API calls the module.
    pub fn module(&self) -> &'static str {
        if self.module == NEG_RISK { "neg_risk" } else { "binary" }
    }

    /// Reads a token id of the new ledger, with the index of its outcome. `None` for a token of the old one.
    fn read(token: &AssetId) -> Option<(Self, usize)> {
        let digits = format!("{:064x}", U256::from_str_radix(token.as_str(), 10).ok()?);
        let number = |from: usize, to: usize| digits.get(from..to).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let module = u8::try_from(number(0, 2)?).ok()?;
        if !(BINARY..=COMBO).contains(&module) || number(38, 54)? != 0 {
            return None;
        }
        let short = |from, to| number(from, to).and_then(|value| u16::try_from(value).ok());
        let base = digits.get(2..34)?.to_owned();
        let id = Self { module, base, arity: short(34, 38)?, condition_index: short(58, 62)? };
        Some((id, usize::try_from(number(62, 64)?).ok()?))
    }
}

impl Exchange {
    /// Returns the place of a market on the new ledger. A market made there has its own condition and tokens.
    pub fn structural_id(&self, market: &SimMarket) -> StructuralId {
        if let Some((own, _)) = market.asset(0).filter(|_| market.is_on_new_ledger()).and_then(StructuralId::read) {
            return own;
        }
        let Some(event) = &market.neg_risk_id else { return StructuralId::binary(market.id()) };
        let members = self.neg_risk_members(event);
        let place = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        StructuralId {
            module: NEG_RISK,
            base: tail(event).to_owned(),
            arity: place(members.len()),
            condition_index: place(members.iter().position(|id| id == market.id()).unwrap_or_default()),
        }
    }

    /// Returns the token of an outcome on the new ledger; it is the same asset as the market's own token.
    pub fn migrated_token(&self, market: &SimMarket, index: usize) -> AssetId {
        self.structural_id(market).token(u8::try_from(index).unwrap_or(u8::MAX))
    }

    /// Returns the token of the other outcome, on the same ledger as `asset`.
    pub(in crate::simulator) fn opposite_token(&self, market: &SimMarket, asset: &AssetId, index: usize) -> AssetId {
        let other = usize::from(index == 0);
        match market.asset(other) {
            Some(own) if self.market_of.contains_key(asset) => own.clone(),
            _ => self.migrated_token(market, other),
        }
    }

    /// Returns the markets of a neg-risk event in the order of their questions.
    pub(in crate::simulator) fn neg_risk_members(&self, event: &str) -> &[MarketId] {
        self.neg_risk_events.get(tail(event)).map_or(&[], Vec::as_slice)
    }

    /// Remembers under which base hash the new ledger has a market.
    pub(super) fn index_structural_id(&mut self, market: &SimMarket) {
        match &market.neg_risk_id {
            None => {
                self.binary_markets.insert(tail(market.id().as_str()).to_owned(), market.id().clone());
            }
            Some(event) => {
                let members = self.neg_risk_events.entry(tail(event).to_owned()).or_default();
                if !members.contains(market.id()) {
                    members.push(market.id().clone());
                }
            }
        }
    }

    /// Returns the market of a token of the new ledger, and the index of its outcome.
    pub(super) fn market_by_migrated_token(&self, token: &AssetId) -> Option<(&SimMarket, usize)> {
        let (id, index) = StructuralId::read(token)?;
        let market = match id.module {
            BINARY => self.binary_markets.get(&id.base)?,
            NEG_RISK => self.neg_risk_events.get(&id.base)?.get(usize::from(id.condition_index))?,
            _ => return None,
        };
        let market = self.market(market)?;
        (index < market.facts.outcomes.len()).then_some((market, index))
    }

    /// Returns the market of a condition of either ledger, with 62 or 64 digits.
    pub(in crate::simulator) fn market_by_condition(&self, condition: &MarketId) -> Option<&SimMarket> {
        let structural = || {
            let digits = condition.as_str().strip_prefix("0x")?.get(..62)?;
            let token = AssetId::parse(&U256::from_str_radix(&format!("{digits}00"), 16).ok()?.to_string()).ok()?;
            Some(self.market_by_migrated_token(&token)?.0)
        };
        self.market(condition).or_else(structural)
    }

    /// Returns whether a token is a combo, and the other token of it.
    pub(in crate::simulator) fn combo_of(&self, token: &AssetId) -> Option<(Combo, usize)> {
        let (id, index) = StructuralId::read(token)?;
        let condition = MarketId::parse(&id.condition()).ok()?;
        (id.module == COMBO).then(|| (Combo { condition, tokens: [id.token(0), id.token(1)] }, index))
    }
}

/// Returns the module of a condition of the new ledger; `None` for one of the old ledger, which is a hash and may start
/// with the same byte.
fn module_of(condition: &MarketId) -> Option<u8> {
    let digits = condition.as_str().strip_prefix("0x")?;
    let zeros =
        |from: usize, to: usize| digits.get(from..to).is_some_and(|part| part.bytes().all(|digit| digit == b'0'));
    let module = u8::from_str_radix(digits.get(..2)?, 16).ok()?;
    ((BINARY..=COMBO).contains(&module) && zeros(38, 54) && zeros(62, 64)).then_some(module)
}

/// Returns whether a condition is that of a combo.
pub fn is_combo(condition: &MarketId) -> bool {
    module_of(condition) == Some(COMBO)
}

/// Returns whether a condition is that of a market made on the new ledger.
pub fn is_of_new_ledger(condition: &MarketId) -> bool {
    matches!(module_of(condition), Some(BINARY | NEG_RISK))
}

/// Returns the last 32 hex digits: the base hash of an id of 32 bytes.
fn tail(hex: &str) -> &str {
    hex.len().checked_sub(BASE_DIGITS).and_then(|from| hex.get(from..)).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_recorded_pattern() {
        // A neg-risk market of three questions, and its tokens, as `/v2/tokens` answered on 2026-10-18.
        let id = StructuralId {
            module: NEG_RISK,
            base: "1f2b5e7bd297153fa224037da8147800".to_owned(),
            arity: 3,
            condition_index: 0,
        };
        assert_eq!(id.condition(), "0x021f2b5e7bd297153fa224037da81478000003000000000000000000000000");
        let token = "959697278542605042882733264658906812173338753800085791128040226198640394240";
        assert_eq!(id.token(0).as_str(), token);
        assert_eq!(StructuralId::read(&id.token(1)), Some((id, 1)));
    }

    #[test]
    fn a_combo_is_known_by_its_top_byte_and_its_reserved_bits() {
        let combo = Combo::of("two wins");
        assert!(combo.condition.as_str().starts_with("0x03") && combo.condition.as_str().ends_with("00"));
        let (read, index) = StructuralId::read(&combo.tokens[1]).unwrap();
        assert_eq!((read.module, index), (COMBO, 1));
        assert!(is_combo(&combo.condition) && !is_of_new_ledger(&combo.condition));
        let hash = MarketId::parse(&format!("0x03{}", "5a".repeat(31))).unwrap();
        assert!(!is_combo(&hash), "a hash may start with the byte of a combo");
        let reserved = "3".to_owned() + &"7".repeat(75);
        assert_eq!(StructuralId::read(&AssetId::parse(&reserved).unwrap()), None);
    }
}
