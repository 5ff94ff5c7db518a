//! Parses the result of a closed market from Gamma's description of it: the last source of payouts (spec 3.1).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal_text;
use super::gamma::{parse_market, texts};
use crate::domain::market::facts::Market;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{MICROS, PriceMicros};

/// What Gamma says about the end of a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GammaResult {
    pub stage: ResolutionStage,
    /// The price of each outcome, when every one is 0, 1 or 0.5; else empty.
    prices: Vec<(AssetId, PriceMicros)>,
}

impl GammaResult {
    /// Returns the payout of each outcome of `market`; nothing unless Gamma names exactly these outcomes.
    pub fn payouts_of(&self, market: &Market) -> Vec<(AssetId, PriceMicros)> {
        let price = |asset: &AssetId| self.prices.iter().find(|(priced, _)| priced == asset).cloned();
        let all: Option<Vec<_>> = market.outcomes.iter().map(|outcome| price(&outcome.asset)).collect();
        all.filter(|all| all.len() == self.prices.len()).unwrap_or_default()
    }
}

/// Parses the answer of `/markets`; `None` when the market is not in it, or not closed.
///
/// # Errors
/// When the text is not a JSON array.
pub fn parse_result(text: &str, wanted: &MarketId) -> Result<Option<GammaResult>, String> {
    let markets: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let result = |raw: &RawValue| {
        let market = parse_market(raw.get()).ok().filter(|found| found.market.id == *wanted)?.market;
        let raw: RawResult<'_> = serde_json::from_str(raw.get()).ok().filter(|raw: &RawResult<'_>| raw.closed)?;
        Some(GammaResult { stage: raw.stage(), prices: raw.prices(&market).unwrap_or_default() })
    };
    Ok(markets.into_iter().find_map(result))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::polymarket) struct RawResult<'a> {
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    uma_resolution_status: Option<String>,
    /// Markets of the new ledger have this one instead.
    #[serde(default)]
    resolution_status: Option<String>,
    #[serde(borrow, default)]
    outcome_prices: Option<&'a RawValue>,
}

impl RawResult<'_> {
    fn stage(&self) -> ResolutionStage {
        let statuses = [&self.uma_resolution_status, &self.resolution_status];
        let is = |names: &[&str]| statuses.iter().filter_map(|status| status.as_deref()).any(|it| names.contains(&it));
        if is(&["disputed", "challenged", "reproposed"]) {
            ResolutionStage::Disputed
        } else if is(&["requested", "proposed"]) {
            ResolutionStage::Proposed
        } else if is(&["resolved", "settled"]) {
            ResolutionStage::Resolved
        } else {
            ResolutionStage::Open
        }
    }

    /// Returns `None` unless there is a price of 0, 1 or 0.5 for each outcome.
    fn prices(&self, market: &Market) -> Option<Vec<(AssetId, PriceMicros)>> {
        let price = |text: &String| {
            let micros = decimal_text::micros(text).ok()?;
            // Compared with the text's own digits: 0.9999999 would round to one.
            let exact = decimal_text::decimal(text).ok()?.normalize().scale() <= 1;
            PriceMicros::new(micros).ok().filter(|_| exact && [0, MICROS / 2, MICROS].contains(&micros))
        };
        let prices: Vec<_> = texts(self.outcome_prices)?.iter().map(price).collect::<Option<_>>()?;
        let assets = market.outcomes.iter().map(|outcome| outcome.asset.clone());
        (prices.len() == market.outcomes.len()).then(|| assets.zip(prices).collect())
    }
}
