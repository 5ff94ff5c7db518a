//! Parses `/v2/tokens`: what a token is, which market and outcome, on which ledger, and what it paid (venue 1.6).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::gamma::figure;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::PriceMicros;

/// What the venue says about one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    pub asset: AssetId,
    /// The condition by which the market is known: for a market made before Protocol V2 that of the old ledger.
    pub market: MarketId,
    /// The condition on the new ledger, for a token of the new ledger.
    pub structural: Option<MarketId>,
    /// `v1_ctf`, `binary`, `neg_risk`, `combo`, `directional`, or one that we do not know.
    pub module: String,
    pub outcome: String,
    pub outcome_index: Option<i64>,
    /// The token of the other outcome, on the same ledger.
    pub opposite: Option<AssetId>,
    /// What a share paid: 0, 1 or a split. `None` while the market is not resolved.
    pub final_price: Option<PriceMicros>,
    pub title: String,
    pub market_slug: String,
    pub closed: bool,
    pub neg_risk: bool,
    /// The event on the chain; it names the questions that a conversion moves between.
    pub neg_risk_market: Option<String>,
    pub question_index: Option<i64>,
    pub event_id: Option<i64>,
    pub event_slug: Option<String>,
}

/// Parses an answer.
///
/// # Errors
/// The first row that cannot be parsed, or a text that is not such an answer.
pub fn parse_tokens(text: &str) -> Result<Vec<TokenFacts>, String> {
    let answer: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
    answer.data.into_iter().map(RawToken::read).collect()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Vec<RawToken<'a>>,
}

#[derive(Deserialize)]
struct RawToken<'a> {
    token_id: String,
    condition_id: String,
    #[serde(default)]
    structural_condition_id: Option<String>,
    #[serde(default)]
    module: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    outcome_index: Option<i64>,
    #[serde(default)]
    opposite_token_id: Option<String>,
    #[serde(default)]
    resolved: Option<bool>,
    #[serde(borrow, default)]
    final_price: Option<&'a RawValue>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    market_slug: Option<String>,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    neg_risk: Option<bool>,
    #[serde(default)]
    neg_risk_market_id: Option<String>,
    #[serde(default)]
    question_index: Option<i64>,
    #[serde(borrow, default)]
    event_id: Option<&'a RawValue>,
    #[serde(default)]
    event_slug: Option<String>,
}

impl RawToken<'_> {
    fn read(self) -> Result<TokenFacts, String> {
        const UNKNOWN_INDEX: i64 = 999;
        let market = |text: &str| MarketId::parse(text).map_err(|error| error.to_string());
        let final_price = match figure(self.final_price).filter(|_| self.resolved == Some(true)) {
            Some(price) => Some(PriceMicros::from_decimal(price).map_err(|error| format!("final_price: {error}"))?),
            None => None,
        };
        Ok(TokenFacts {
            asset: AssetId::parse(&self.token_id).map_err(|error| error.to_string())?,
            market: market(&self.condition_id)?,
            structural: self.structural_condition_id.as_deref().filter(|id| !id.is_empty()).map(market).transpose()?,
            module: self.module.unwrap_or_default(),
            outcome: self.outcome.unwrap_or_default(),
            outcome_index: self.outcome_index.filter(|index| *index != UNKNOWN_INDEX),
            opposite: self.opposite_token_id.and_then(|id| AssetId::parse(&id).ok()),
            final_price,
            title: self.title.unwrap_or_default(),
            market_slug: self.market_slug.unwrap_or_default(),
            closed: self.closed.unwrap_or(false),
            neg_risk: self.neg_risk.unwrap_or(false),
            neg_risk_market: self.neg_risk_market_id.filter(|id| !id.is_empty()),
            question_index: self.question_index,
            // A number in this route, a text in others.
            event_id: self.event_id.and_then(|raw| raw.get().trim_matches('"').parse().ok()),
            event_slug: self.event_slug.filter(|slug| !slug.is_empty()),
        })
    }
}
