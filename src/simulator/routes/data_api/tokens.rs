//! `/v2/tokens`: what a token is, on both ledgers, and what it paid.

use serde::Serialize;

use super::Data;
use super::params::Params;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::simulator::http::response::Response;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, SimMarket, float};

const TOKENS_MAX: usize = 50;
const CONDITIONS_MAX: usize = 10;

#[derive(Serialize)]
struct TokenRow<'a> {
    token_id: String,
    condition_id: String,
    structural_condition_id: Option<String>,
    module: &'static str,
    outcome_index: usize,
    clob_index: Option<usize>,
    outcome: &'a str,
    opposite_token_id: String,
    resolved: bool,
    final_price: Option<f64>,
    title: &'a str,
    market_slug: &'a str,
    closed: bool,
    neg_risk: bool,
    neg_risk_market_id: Option<&'a str>,
    question_index: Option<usize>,
    event_id: Option<u64>,
    event_slug: &'a str,
}

/// Answers with the rows of tokens (at most 50) or of all tokens of conditions (at most 10); the request names one of
/// the two. What is not known is left out.
pub fn answer(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Response, Response> {
    let rows = match (params.text("token_id"), params.text("condition")) {
        (Some(text), None) => {
            let tokens = list(text, TOKENS_MAX, "token_id", AssetId::parse)?;
            tokens.iter().filter_map(|token| token_row(exchange, token, now)).collect()
        }
        (None, Some(text)) => {
            let conditions = list(text, CONDITIONS_MAX, "condition", MarketId::parse)?;
            let markets = conditions.iter().filter_map(|condition| exchange.market_by_condition(condition));
            let tokens = markets.flat_map(|market| tokens_of(exchange, market));
            tokens.filter_map(|token| token_row(exchange, &token, now)).collect::<Vec<_>>()
        }
        _ => return Err(Response::data_error(400, "exactly one of token_id, condition is required", None)),
    };
    Ok(Response::json(&Data { data: rows }))
}

fn list<T, E: std::fmt::Display>(
    text: &str,
    max: usize,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Response> {
    let refuse = |message: String| Response::data_error(400, &message, Some(name));
    let ids = text.split(',').map(|id| parse(id).map_err(|error| refuse(error.to_string())));
    let ids = ids.collect::<Result<Vec<T>, Response>>()?;
    if ids.len() > max { Err(refuse(format!("{name}: at most {max} values"))) } else { Ok(ids) }
}

/// Returns the tokens of a market on both ledgers, its own first.
fn tokens_of(exchange: &Exchange, market: &SimMarket) -> Vec<AssetId> {
    let own = market.facts.outcomes.iter().map(|outcome| outcome.asset.clone());
    let migrated = (0..market.facts.outcomes.len()).map(|index| exchange.migrated_token(market, index));
    let mut tokens: Vec<AssetId> = own.collect();
    for token in migrated {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    tokens
}

fn token_row<'a>(exchange: &'a Exchange, token: &AssetId, now: Timestamp) -> Option<TokenRow<'a>> {
    let Some((market, index)) = exchange.market_by_asset(token) else { return combo_row(exchange, token) };
    let structural = exchange.structural_id(market);
    // A market made on the new ledger has no other tokens.
    let is_migrated = structural.token(u8::try_from(index).ok()?) == *token;
    let payout = market.payouts_at(now).and_then(|payouts| payouts.get(index));
    let payout = payout.filter(|_| !market.quirks.without_final_price);
    let members = market.neg_risk_id.as_deref().map(|event| exchange.neg_risk_members(event));
    Some(TokenRow {
        token_id: token.to_string(),
        condition_id: market.id().to_string(),
        // Markets are padded to 64 digits, combos are not.
        structural_condition_id: is_migrated.then(|| format!("{}00", structural.condition())),
        module: if is_migrated { structural.module() } else { "v1_ctf" },
        outcome_index: index,
        clob_index: (!is_migrated).then_some(index),
        outcome: market.outcome(index),
        opposite_token_id: exchange.opposite_token(market, token, index).to_string(),
        resolved: payout.is_some(),
        final_price: payout.map(|payout| float(payout.micros())),
        title: &market.facts.question,
        market_slug: &market.facts.slug,
        closed: matches!(market.phase(now), Phase::Closed | Phase::Resolved),
        neg_risk: market.facts.neg_risk,
        neg_risk_market_id: market.neg_risk_id.as_deref(),
        question_index: members.and_then(|members| members.iter().position(|id| id == market.id())),
        event_id: market.event.id.parse().ok(),
        event_slug: &market.event.slug,
    })
}

fn combo_row<'a>(exchange: &Exchange, token: &AssetId) -> Option<TokenRow<'a>> {
    let (combo, index) = exchange.combo_of(token)?;
    let condition = combo.condition.as_str().get(..64)?.to_owned();
    Some(TokenRow {
        token_id: token.to_string(),
        structural_condition_id: Some(condition.clone()),
        condition_id: condition,
        module: "combo",
        outcome_index: index,
        clob_index: None,
        outcome: if index == 0 { "Yes" } else { "No" },
        opposite_token_id: combo.tokens.get(usize::from(index == 0))?.to_string(),
        resolved: false,
        final_price: None,
        title: "",
        market_slug: "",
        closed: false,
        neg_risk: false,
        neg_risk_market_id: None,
        question_index: None,
        event_id: None,
        event_slug: "",
    })
}
