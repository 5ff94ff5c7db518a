//! Parses Gamma's word about what a market paid: the third source, for markets that the other two leave out (spec 3.1).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal_text;
use super::gamma::texts;
use super::resolutions::Resolution;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::PriceMicros;

/// Returns the payouts of `wanted` when Gamma calls it closed and resolved, and prices each outcome at 0, 1 or one half,
/// which add up to 1. `outcomes` are the tokens in the order in which the payouts are wanted.
///
/// # Errors
/// When the text is not a JSON array.
pub fn parse_gamma_resolution(
    text: &str,
    wanted: &MarketId,
    outcomes: &[AssetId],
) -> Result<Option<Resolution>, String> {
    let markets: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let listed = markets.into_iter().filter_map(|raw| serde_json::from_str::<RawMarket<'_>>(raw.get()).ok());
    let mut found = listed.filter(|market| MarketId::parse(market.condition_id).is_ok_and(|id| id == *wanted));
    Ok(found
        .next()
        .and_then(|market| market.payouts(outcomes))
        .map(|payouts| Resolution { payouts, resolved_at: None }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMarket<'a> {
    condition_id: &'a str,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    uma_resolution_status: Option<String>,
    #[serde(default)]
    resolution_status: Option<String>,
    #[serde(borrow, default)]
    outcome_prices: Option<&'a RawValue>,
    #[serde(borrow, default)]
    clob_token_ids: Option<&'a RawValue>,
    #[serde(borrow, default)]
    position_ids: Option<&'a RawValue>,
}

impl RawMarket<'_> {
    fn payouts(&self, outcomes: &[AssetId]) -> Option<Vec<PriceMicros>> {
        let is_final = |status: &Option<String>| matches!(status.as_deref(), Some("resolved" | "settled"));
        if self.closed != Some(true) || !(is_final(&self.uma_resolution_status) || is_final(&self.resolution_status)) {
            return None;
        }
        let ids = if self.version.as_deref() == Some("v2") { self.position_ids } else { self.clob_token_ids };
        let (ids, prices) = (texts(ids)?, texts(self.outcome_prices)?);
        let prices: Option<Vec<PriceMicros>> = prices.iter().map(|text| price(text)).collect();
        let prices = prices.filter(|prices| prices.len() == ids.len())?;
        let whole: i64 = prices.iter().map(|price| price.micros()).sum();
        let payout = |asset: &AssetId| {
            let place = ids.iter().position(|id| id == asset.as_str())?;
            prices.get(place).copied()
        };
        let payouts: Option<Vec<PriceMicros>> = outcomes.iter().map(payout).collect();
        payouts.filter(|payouts| !payouts.is_empty() && whole == PriceMicros::ONE.micros())
    }
}

/// Reads a price that can be a payout: 0, 1 or one half. Old markets have prices that are neither.
fn price(text: &str) -> Option<PriceMicros> {
    const HALF: i64 = 500_000;
    let price = PriceMicros::new(decimal_text::micros(text).ok()?).ok()?;
    (price == PriceMicros::ZERO || price == PriceMicros::ONE || price.micros() == HALF).then_some(price)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Option<Vec<i64>> {
        let id = MarketId::parse(&format!("0x{}", "a".repeat(64))).unwrap();
        let text = format!(r#"[{{"conditionId":"{id}","clobTokenIds":"[\"8\", \"9\"]",{fields}}}]"#);
        let outcomes = ["9", "8"].map(|token| AssetId::parse(token).unwrap());
        let resolution = parse_gamma_resolution(&text, &id, &outcomes).unwrap()?;
        Some(resolution.payouts.iter().map(|payout| payout.micros()).collect())
    }

    #[test]
    fn a_closed_and_resolved_market_pays_its_prices_by_token() {
        let prices = |first: &str, second: &str| format!(r#""outcomePrices":"[\"{first}\", \"{second}\"]""#);
        let resolved = |prices: String| format!(r#""closed":true,"umaResolutionStatus":"resolved",{prices}"#);
        assert_eq!(read(&resolved(prices("1", "0"))), Some(vec![0, 1_000_000]));
        assert_eq!(read(&resolved(prices("0.5", "0.5"))), Some(vec![500_000, 500_000]));
        let new_ledger = format!(r#""closed":true,"resolutionStatus":"resolved",{}"#, prices("0", "1"));
        assert_eq!(read(&new_ledger), Some(vec![1_000_000, 0]));
        for (first, second) in [("0", "0"), ("0.9995", "0.0005"), ("1", "0.5"), ("1", "n/a")] {
            assert_eq!(read(&resolved(prices(first, second))), None, "{first} {second}");
        }
        assert_eq!(read(&format!(r#""closed":true,"umaResolutionStatus":"proposed",{}"#, prices("1", "0"))), None);
        assert_eq!(read(&format!(r#""closed":false,"umaResolutionStatus":"resolved",{}"#, prices("1", "0"))), None);
        assert_eq!(read(&format!(r#""closed":true,{}"#, prices("1", "0"))), None);
    }
}
