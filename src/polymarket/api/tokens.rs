//! Requests for outcome tokens, from `/v2/tokens`: their market, their pair on the new ledger, and their final price.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::PriceMicros;
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::decimal_text;

/// The API accepts no more tokens in one request.
const TOKENS_MAX: usize = 50;
/// The API accepts no more conditions in one request.
const CONDITIONS_MAX: usize = 10;

/// One outcome token. A market that was moved to the new ledger has two tokens for each outcome, with the same
/// `market` and `outcome_index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReference {
    pub asset: AssetId,
    pub market: MarketId,
    /// The ledger of the token: `v1_ctf`, `binary`, `neg_risk`, `combo` or `directional`.
    pub module: String,
    /// The position in outcome order; `None` where the API does not state it.
    pub outcome_index: Option<i64>,
    /// The place among the tokens that the CLOB trades; `None` for one that it knows under another id.
    pub clob_index: Option<i64>,
    pub outcome: String,
    pub opposite: Option<AssetId>,
    pub is_resolved: bool,
    /// The payout of one share. `None` until the market is resolved.
    pub final_price: Option<PriceMicros>,
    pub is_closed: bool,
    pub neg_risk: bool,
    /// Names the neg-risk event of the market.
    pub neg_risk_market: Option<String>,
    pub question_index: Option<i64>,
}

impl Polymarket {
    /// Returns what the API knows of these tokens, in no order; unknown ones are left out.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn tokens(&self, assets: &[AssetId]) -> Result<Vec<TokenReference>, PolymarketError> {
        let mut tokens = Vec::new();
        for ids in assets.chunks(TOKENS_MAX) {
            let ids: Vec<&str> = ids.iter().map(AssetId::as_str).collect();
            tokens.extend(self.token_batch(&format!("token_id={}", ids.join(","))).await?);
        }
        Ok(tokens)
    }

    /// Returns all tokens of these markets, on both ledgers, in no order.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn tokens_of(&self, markets: &[MarketId]) -> Result<Vec<TokenReference>, PolymarketError> {
        let mut tokens = Vec::new();
        for ids in markets.chunks(CONDITIONS_MAX) {
            let ids: Vec<&str> = ids.iter().map(MarketId::as_str).collect();
            tokens.extend(self.token_batch(&format!("condition={}", ids.join(","))).await?);
        }
        Ok(tokens)
    }

    async fn token_batch(&self, filter: &str) -> Result<Vec<TokenReference>, PolymarketError> {
        let call = Call::get(Endpoint::Tokens, Priority::Bulk, format!("/v2/tokens?{filter}"));
        match self.ask(call, parse_tokens).await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            answer => answer,
        }
    }
}

/// Parses an answer. A row that cannot be parsed is left out: it says nothing about the other tokens.
///
/// # Errors
/// When the text is not such an answer.
pub fn parse_tokens(text: &str) -> Result<Vec<TokenReference>, String> {
    let answer: Envelope<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let row = |raw: &RawValue| serde_json::from_str::<Row<'_>>(raw.get()).ok().and_then(Row::read);
    Ok(answer.data.into_iter().filter_map(row).collect())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct Row<'a> {
    token_id: String,
    condition_id: String,
    #[serde(default)]
    module: Option<String>,
    #[serde(default)]
    outcome_index: Option<i64>,
    #[serde(default)]
    clob_index: Option<i64>,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    opposite_token_id: Option<String>,
    #[serde(default)]
    resolved: Option<bool>,
    #[serde(borrow, default)]
    final_price: Option<&'a RawValue>,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    neg_risk: Option<bool>,
    #[serde(default)]
    neg_risk_market_id: Option<String>,
    #[serde(default)]
    question_index: Option<i64>,
}

impl Row<'_> {
    /// Returns `None` when the ids cannot be parsed. A final price that is not a price counts as missing.
    fn read(self) -> Option<TokenReference> {
        const UNKNOWN_INDEX: i64 = 999;
        let final_price = self.final_price.and_then(|raw| decimal_text::decimal_of(raw).ok().flatten());
        Some(TokenReference {
            asset: AssetId::parse(&self.token_id).ok()?,
            market: MarketId::parse(&self.condition_id).ok()?,
            module: self.module.unwrap_or_default(),
            outcome_index: self.outcome_index.filter(|index| *index != UNKNOWN_INDEX),
            clob_index: self.clob_index,
            outcome: self.outcome.unwrap_or_default(),
            opposite: self.opposite_token_id.and_then(|id| AssetId::parse(&id).ok()),
            is_resolved: self.resolved.unwrap_or(false),
            final_price: final_price.and_then(|price| PriceMicros::from_decimal(price).ok()),
            is_closed: self.closed.unwrap_or(false),
            neg_risk: self.neg_risk.unwrap_or(false),
            neg_risk_market: self.neg_risk_market_id.filter(|id| !id.is_empty()),
            question_index: self.question_index,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_price_counts_once_the_row_says_it() {
        let row = |price: &str| {
            let text = format!(
                r#"{{"data":[{{"token_id":"7","condition_id":"0x{}","resolved":true,"final_price":{price}}}]}}"#,
                "a".repeat(64)
            );
            parse_tokens(&text).unwrap().pop().and_then(|token| token.final_price).map(PriceMicros::micros)
        };
        assert_eq!(row("1.0"), Some(1_000_000));
        assert_eq!(row("0"), Some(0));
        assert_eq!(row("0.3333333333333333"), Some(333_333));
        assert_eq!(row("\"0.5\""), Some(500_000));
        assert_eq!(row("null"), None);
        assert_eq!(row("1.5"), None);
        assert!(parse_tokens("<html>").is_err());
        assert_eq!(parse_tokens(r#"{"data":[{"token_id":"x"},7]}"#), Ok(Vec::new()));
    }
}
