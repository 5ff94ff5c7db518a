//! Parses `/v2/resolutions`: how far a question is, what was proposed, what it paid (venue 1.6).

use rust_decimal::Decimal;
use serde::Deserialize;

use super::decimal_text::decimal;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{PriceMicros, Timestamp};

/// The payout of each outcome, in outcome order: 0 and 1, or a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    pub payouts: Vec<PriceMicros>,
    /// The time of resolution, or of the last update, where the source states one.
    pub resolved_at: Option<Timestamp>,
}

/// The row of one market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionRow {
    /// `proposed`, `disputed`, `resolved` and others, as the API prints it.
    pub status: String,
    /// The payout of each outcome, in outcome order. Only a row with status `resolved` has them, and not every such row.
    pub payouts: Option<Vec<PriceMicros>>,
    /// The price of the first outcome that was proposed, and the one proposed after a dispute.
    pub proposed: Option<PriceMicros>,
    pub reproposed: Option<PriceMicros>,
    /// The price of the first outcome that the oracle settled on.
    pub price: Option<PriceMicros>,
    pub was_disputed: bool,
    /// The time of resolution, or of the last update where the API does not state it.
    pub updated_at: Option<Timestamp>,
    /// When the venue expects an unresolved question to be settled.
    pub expected_at: Option<Timestamp>,
}

impl ResolutionRow {
    /// Returns whether the question is final.
    pub fn is_resolved(&self) -> bool {
        self.status == "resolved"
    }

    /// Returns whether an answer was proposed or disputed and is not final: the position is worth what the market says.
    pub fn is_pending(&self) -> bool {
        !self.is_resolved() && (self.proposed.is_some() || self.was_disputed || self.reproposed.is_some())
    }
}

/// Returns the row of `market`, the resolved one if there are several.
///
/// # Errors
/// When the text is not such an answer, or a payout is not a price.
pub fn parse_resolution_row(text: &str, market: &MarketId) -> Result<Option<ResolutionRow>, String> {
    let answer: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let of_market = |row: &RawRow| match row.condition_id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => MarketId::parse(id).is_ok_and(|id| id == *market),
        // The request was for one condition only.
        None => true,
    };
    let mut rows: Vec<RawRow> = answer.data.into_iter().filter(of_market).collect();
    // Stable: of equal rows the first counts.
    rows.sort_by_key(|row| row.status != "resolved");
    rows.into_iter().next().map(RawRow::read).transpose()
}

#[derive(Deserialize)]
struct Envelope {
    data: Vec<RawRow>,
}

#[derive(Deserialize)]
struct RawRow {
    #[serde(default)]
    condition_id: Option<String>,
    status: String,
    #[serde(default)]
    was_disputed: Option<bool>,
    #[serde(default)]
    proposed_price: Option<String>,
    #[serde(default)]
    reproposed_price: Option<String>,
    #[serde(default)]
    price: Option<String>,
    #[serde(default)]
    payouts: Option<Vec<i64>>,
    #[serde(default)]
    resolved_at: Option<String>,
    #[serde(default)]
    last_update_timestamp: Option<String>,
    #[serde(default)]
    expected_settlement_time: Option<String>,
}

impl RawRow {
    fn read(self) -> Result<ResolutionRow, String> {
        let payouts = self.payouts.filter(|payouts| !payouts.is_empty() && self.status == "resolved");
        let payouts = payouts.map(|payouts| payouts.into_iter().map(PriceMicros::new).collect::<Result<Vec<_>, _>>());
        Ok(ResolutionRow {
            payouts: payouts.transpose().map_err(|error| format!("payouts: {error}"))?,
            proposed: oracle_price(self.proposed_price.as_deref()),
            reproposed: oracle_price(self.reproposed_price.as_deref()),
            price: oracle_price(self.price.as_deref()),
            was_disputed: self.was_disputed.unwrap_or(false),
            updated_at: time(self.resolved_at.as_deref()).or_else(|| time(self.last_update_timestamp.as_deref())),
            expected_at: time(self.expected_settlement_time.as_deref()),
            status: self.status,
        })
    }
}

/// Reads a price of the oracle: a fraction of 1, or an integer with 18 decimals. "69" stands for none.
fn oracle_price(text: Option<&str>) -> Option<PriceMicros> {
    const UNIT: i64 = 1_000_000_000_000_000_000;
    let price = decimal(text?).ok()?;
    let price = if price > Decimal::from(1_000) { price.checked_div(Decimal::from(UNIT))? } else { price };
    (price >= Decimal::ZERO && price <= Decimal::ONE).then(|| PriceMicros::from_decimal(price).ok()).flatten()
}

/// Reads a time in ISO 8601 or in seconds since 1970; the API prints both.
fn time(text: Option<&str>) -> Option<Timestamp> {
    let text = text?;
    let seconds = || text.parse().ok().and_then(|seconds| Timestamp::from_seconds(seconds).ok());
    Timestamp::parse_iso(text).ok().or_else(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_fractions_or_have_18_decimals_and_69_is_none() {
        let read = |text| oracle_price(Some(text)).map(PriceMicros::micros);
        assert_eq!(read("0.5"), Some(500_000));
        assert_eq!(read("1"), Some(1_000_000));
        assert_eq!(read("500000000000000000"), Some(500_000));
        assert_eq!(read("1000000000000000000"), Some(1_000_000));
        assert_eq!(read("0"), Some(0));
        for none in ["69", "", "-1", "yes", "2000000000000000000"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
