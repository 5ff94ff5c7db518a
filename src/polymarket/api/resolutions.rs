//! Requests for what a market paid. Three sources are asked in turn (spec 3.1): the resolutions, the tokens, Gamma.

use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::PriceMicros;
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::gamma_resolution::parse_gamma_resolution;
use crate::polymarket::wire::resolutions::{Resolution, ResolutionRow, parse_resolution_row};
use crate::polymarket::wire::tokens::TokenFacts;

impl Polymarket {
    /// Returns what the market paid, from the first of the three sources that says so; `None` while none does. A proposal
    /// or a dispute is no payout.
    ///
    /// `outcomes` are the market's tokens in outcome order. A failure of the second or third source is no failure as long
    /// as another source answers.
    ///
    /// # Errors
    /// [`PolymarketError`] when no source has payouts and one of them did not answer.
    pub async fn payouts(
        &self,
        market: &MarketId,
        outcomes: &[AssetId],
    ) -> Result<Option<Resolution>, PolymarketError> {
        let row = self.resolution_row(market).await;
        let resolved_at = match &row {
            Ok(Some(ResolutionRow { payouts: Some(payouts), updated_at, .. })) => {
                return Ok(Some(Resolution { payouts: payouts.clone(), resolved_at: *updated_at }));
            }
            // Another source must not settle what the oracle still decides about.
            Ok(Some(row)) if row.is_pending() => return Ok(None),
            Ok(Some(row)) if row.is_resolved() => row.updated_at,
            Ok(_) | Err(_) => None,
        };
        let tokens = self.tokens_of_markets(std::slice::from_ref(market)).await;
        if let Some(payouts) = tokens.as_ref().ok().and_then(|tokens| final_prices(tokens, outcomes)) {
            return Ok(Some(Resolution { payouts, resolved_at }));
        }
        let gamma = self.gamma_payouts(market, outcomes).await;
        match gamma {
            Ok(Some(resolution)) => Ok(Some(resolution)),
            Ok(None) => row.and(tokens).map(|_| None),
            Err(error) => Err(error),
        }
    }

    /// Returns the row of the market in `/v2/resolutions`; `None` when it has none.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn resolution_row(&self, market: &MarketId) -> Result<Option<ResolutionRow>, PolymarketError> {
        let path = format!("/v2/resolutions?condition={market}");
        let call = Call::get(Endpoint::Resolutions, Priority::Bulk, path);
        match self.ask(call, |text| parse_resolution_row(text, market)).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer,
        }
    }

    /// Returns the market's payouts as `/v2/resolutions` states them, or `None` while it states none.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn resolution(&self, market: &MarketId) -> Result<Option<Resolution>, PolymarketError> {
        Ok(self.resolution_row(market).await?.and_then(stated))
    }

    async fn gamma_payouts(
        &self,
        market: &MarketId,
        outcomes: &[AssetId],
    ) -> Result<Option<Resolution>, PolymarketError> {
        let limit = self.fresh_limit();
        let path = format!("/markets?condition_ids={market}&closed=true&limit={limit}");
        let call = Call::get(Endpoint::Markets, Priority::Bulk, path);
        self.ask(call, |text| parse_gamma_resolution(text, market, outcomes)).await
    }
}

/// Returns the payouts that a row states.
fn stated(row: ResolutionRow) -> Option<Resolution> {
    let resolved_at = row.updated_at;
    row.payouts.map(|payouts| Resolution { payouts, resolved_at })
}

/// Returns the final prices of `outcomes`, in their order; `None` unless each has one.
fn final_prices(tokens: &[TokenFacts], outcomes: &[AssetId]) -> Option<Vec<PriceMicros>> {
    let of = |asset: &AssetId| tokens.iter().find(|token| token.asset == *asset)?.final_price;
    let prices: Option<Vec<PriceMicros>> = outcomes.iter().map(of).collect();
    prices.filter(|prices| !prices.is_empty())
}

/// Picks the final payouts of `market`; a proposal or a dispute is not final.
///
/// # Errors
/// When the text is not such an answer, or a payout is not a price.
pub fn parse_resolutions(text: &str, market: &MarketId) -> Result<Option<Resolution>, String> {
    Ok(parse_resolution_row(text, market)?.and_then(stated))
}
