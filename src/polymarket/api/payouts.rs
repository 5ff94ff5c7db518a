//! The payouts of a market, from three sources (spec 3.1): the resolutions route; where its row has none, the final
//! prices of the tokens; else Gamma, when it says closed, resolved and priced 0, 1 or 0.5.

use crate::domain::market::facts::Market;
use crate::domain::market::payout::{ResolutionStage, pay_one_set};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::polymarket::api::tokens::TokenReference;
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::gamma_result::parse_result;

/// Which source stated the payouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayoutSource {
    Resolutions,
    Tokens,
    Gamma,
}

/// Final payouts of a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPayouts {
    /// One for each outcome of the market. They add up to one USDC for a complete set.
    pub payouts: Vec<(AssetId, PriceMicros)>,
    pub resolved_at: Option<Timestamp>,
    pub source: PayoutSource,
}

/// The answer about one market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutAnswer {
    /// How far the market is. [`ResolutionStage::Resolved`] with payouts missing means that no source has them yet.
    pub stage: ResolutionStage,
    /// `None` until they are final.
    pub known: Option<KnownPayouts>,
}

impl Polymarket {
    /// Asks for the payouts of a market whose outcomes are known, with one to four requests. A proposal or a dispute
    /// settles nothing: while there is one, only a final price of the tokens counts, because the chain has it.
    ///
    /// # Errors
    /// [`PolymarketError`] of the last source that was asked. A source that fails does not stop the next one.
    pub async fn payouts(&self, market: &Market) -> Result<PayoutAnswer, PolymarketError> {
        let mut failed = None;
        let row = self.resolution(&market.id).await.unwrap_or_else(|error| {
            failed = Some(error);
            None
        });
        let stage = row.as_ref().map_or(ResolutionStage::Open, |row| row.stage);
        if let Some(row) = row {
            let payouts = in_outcome_order(market, &row.payouts);
            if let Some(known) = known(payouts, row.resolved_at, PayoutSource::Resolutions) {
                return Ok(PayoutAnswer { stage, known: Some(known) });
            }
        }
        match self.tokens_of(std::slice::from_ref(&market.id)).await {
            Ok(tokens) => {
                if let Some(known) = known(final_prices(market, &tokens), None, PayoutSource::Tokens) {
                    return Ok(PayoutAnswer { stage: ResolutionStage::Resolved, known: Some(known) });
                }
            }
            Err(error) => failed = Some(error),
        }
        if matches!(stage, ResolutionStage::Proposed | ResolutionStage::Disputed) {
            return failed.map_or(Ok(PayoutAnswer { stage, known: None }), Err);
        }
        match self.gamma_result(&market.id).await {
            Ok(Some(result)) if result.stage == ResolutionStage::Resolved => {
                let known = known(result.payouts_of(market), None, PayoutSource::Gamma);
                Ok(PayoutAnswer { stage: ResolutionStage::Resolved, known })
            }
            Ok(Some(result)) => Ok(PayoutAnswer { stage: stage.max(result.stage), known: None }),
            Ok(None) => failed.map_or(Ok(PayoutAnswer { stage, known: None }), Err),
            Err(error) => Err(error),
        }
    }

    /// Returns the payouts of those of the markets whose tokens have their final prices, with one request for ten of
    /// them. The outcomes of the markets are known.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn final_payouts(&self, markets: &[Market]) -> Result<Vec<(MarketId, KnownPayouts)>, PolymarketError> {
        let ids: Vec<MarketId> = markets.iter().map(|market| market.id.clone()).collect();
        let tokens = self.tokens_of(&ids).await?;
        let paid = markets.iter().filter_map(|market| {
            let known = known(final_prices(market, &tokens), None, PayoutSource::Tokens)?;
            Some((market.id.clone(), known))
        });
        Ok(paid.collect())
    }

    /// Returns what Gamma says of a closed market; `None` when it lists the market as open or not at all.
    ///
    /// # Errors
    /// [`PolymarketError`] when Gamma does not answer.
    async fn gamma_result(
        &self,
        market: &MarketId,
    ) -> Result<Option<crate::polymarket::wire::gamma_result::GammaResult>, PolymarketError> {
        let path = format!("/markets?condition_ids={market}&closed=true&limit={}", self.fresh_limit());
        self.ask(Call::get(Endpoint::Markets, Priority::Bulk, path), |text| parse_result(text, market)).await
    }
}

fn known(
    payouts: Vec<(AssetId, PriceMicros)>,
    resolved_at: Option<Timestamp>,
    source: PayoutSource,
) -> Option<KnownPayouts> {
    pay_one_set(&payouts).then_some(KnownPayouts { payouts, resolved_at, source })
}

/// Returns no payouts when their number is not that of the outcomes.
fn in_outcome_order(market: &Market, payouts: &[PriceMicros]) -> Vec<(AssetId, PriceMicros)> {
    if payouts.len() != market.outcomes.len() {
        if !payouts.is_empty() {
            tracing::warn!(market = %market.id, payouts = payouts.len(), outcomes = market.outcomes.len(), "the resolutions route has another number of payouts than the market has outcomes");
        }
        return Vec::new();
    }
    market.outcomes.iter().map(|outcome| outcome.asset.clone()).zip(payouts.iter().copied()).collect()
}

/// Returns the final price of each outcome; nothing when one of them is not known.
fn final_prices(market: &Market, tokens: &[TokenReference]) -> Vec<(AssetId, PriceMicros)> {
    let price = |asset: &AssetId| {
        let token = tokens.iter().find(|token| token.asset == *asset && token.is_resolved)?;
        Some((asset.clone(), token.final_price?))
    };
    market.outcomes.iter().map(|outcome| price(&outcome.asset)).collect::<Option<_>>().unwrap_or_default()
}
