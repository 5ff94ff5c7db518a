//! Requests for what tokens are and what they paid, from `/v2/tokens`. It knows a market's tokens of both ledgers.

use crate::domain::money::ids::{AssetId, MarketId};
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::tokens::{TokenFacts, parse_tokens};

/// The API accepts no more tokens, or conditions, in one request.
const TOKENS_MAX: usize = 50;
const CONDITIONS_MAX: usize = 10;

impl Polymarket {
    /// Returns the facts of those `assets` that the API knows, requested in batches.
    ///
    /// # Errors
    /// [`PolymarketError`] when one of the batches cannot be fetched or parsed.
    pub async fn tokens(&self, assets: &[AssetId]) -> Result<Vec<TokenFacts>, PolymarketError> {
        let ids: Vec<&str> = assets.iter().map(AssetId::as_str).collect();
        self.token_batches("token_id", &ids, TOKENS_MAX).await
    }

    /// Returns the tokens of `markets`, of both ledgers, requested in batches. Markets that the API does not know are left
    /// out.
    ///
    /// # Errors
    /// [`PolymarketError`] when one of the batches cannot be fetched or parsed.
    pub async fn tokens_of_markets(&self, markets: &[MarketId]) -> Result<Vec<TokenFacts>, PolymarketError> {
        let ids: Vec<&str> = markets.iter().map(MarketId::as_str).collect();
        self.token_batches("condition", &ids, CONDITIONS_MAX).await
    }

    async fn token_batches(&self, name: &str, ids: &[&str], max: usize) -> Result<Vec<TokenFacts>, PolymarketError> {
        let mut found = Vec::new();
        for batch in ids.chunks(max) {
            let path = format!("/v2/tokens?{name}={}", batch.join(","));
            let call = Call::get(Endpoint::Tokens, Priority::Bulk, path);
            match self.ask(call, parse_tokens).await {
                Err(error) if error.is_not_found() => {}
                answer => found.extend(answer?),
            }
        }
        Ok(found)
    }
}
