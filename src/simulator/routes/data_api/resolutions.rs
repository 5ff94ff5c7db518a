//! `/v2/resolutions`.

use serde::Serialize;

use super::Data;
use super::params::Params;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::simulator::http::response::Response;
use crate::simulator::routes::wire_time::whole_seconds;
use crate::simulator::state::chain::block_of;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, SimMarket, decimal};
use crate::simulator::state::quirks::ResolutionAnswer;

#[derive(Serialize)]
struct ResolutionRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    question_id: Option<&'a str>,
    condition_id: &'a str,
    status: &'a str,
    extended_review: bool,
    was_disputed: bool,
    new_version_q: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposed_price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reproposed_price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    transaction_hash: &'a str,
    log_index: &'a str,
    last_update_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payouts: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution_source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    was_arbitrated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_settlement_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement_time_basis: Option<&'a str>,
}

/// What a price of UMA says while it is not set.
const NOT_SET: &str = "69";

/// Answers with the resolutions of a question, a condition or an event; the request names exactly one.
pub fn answer(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Response, Response> {
    let given = ["question_id", "condition", "event_id"].iter().filter(|name| params.text(name).is_some()).count();
    if given != 1 {
        return Err(Response::data_error(400, "exactly one of question_id, condition, event_id is required", None));
    }
    let wanted: Option<Vec<MarketId>> = params.conditions(exchange)?;
    let question = params.text("question_id");
    let rows: Vec<ResolutionRow<'_>> = exchange
        .markets()
        .filter(|market| match (&wanted, question) {
            (Some(ids), _) => ids.contains(market.id()),
            (None, Some(question)) => market.question_id == question,
            _ => false,
        })
        .filter_map(|market| resolution_row(market, now))
        .collect();
    Ok(Response::json(&Data { data: rows }))
}

/// Returns the row of a market; `None` where the route has none.
fn resolution_row(market: &SimMarket, now: Timestamp) -> Option<ResolutionRow<'_>> {
    let full = full_row(market, now);
    match market.quirks.resolution {
        ResolutionAnswer::Full => Some(full),
        ResolutionAnswer::NoRow => None,
        ResolutionAnswer::PriceOnly => {
            let price = full.payouts.as_ref().and_then(|payouts| payouts.first()).map(|payout| decimal(*payout));
            Some(ResolutionRow { payouts: None, price, ..full })
        }
        ResolutionAnswer::Proposed(proposed) => {
            let settles = now.plus_millis(2 * 3_600_000);
            Some(pending_row(market, "proposed", (proposed, None), (settles, "managed_proposal_expiration"), now))
        }
        ResolutionAnswer::Disputed { proposed, reproposed } => {
            let settles = now.plus_millis(3 * 86_400_000);
            let prices = (proposed, Some(reproposed));
            Some(pending_row(market, "disputed", prices, (settles, "dvm_round_estimate"), now))
        }
    }
}

/// Returns the row of a question that is proposed or disputed: its prices have 18 decimals, its last update is a number
/// of seconds.
fn pending_row<'a>(
    market: &'a SimMarket,
    status: &'a str,
    (proposed, reproposed): (PriceMicros, Option<PriceMicros>),
    (settles, basis): (Timestamp, &'a str),
    now: Timestamp,
) -> ResolutionRow<'a> {
    let units = |price: PriceMicros| (i128::from(price.micros()) * 1_000_000_000_000).to_string();
    ResolutionRow {
        question_id: Some(&market.question_id),
        condition_id: market.id().as_str(),
        status,
        extended_review: false,
        was_disputed: reproposed.is_some(),
        new_version_q: true,
        proposed_price: Some(units(proposed)),
        reproposed_price: Some(reproposed.map_or(NOT_SET.to_owned(), units)),
        price: Some(NOT_SET.to_owned()),
        transaction_hash: &market.question_id,
        log_index: "602",
        last_update_timestamp: now.seconds().to_string(),
        payouts: None,
        resolution_source: None,
        was_arbitrated: None,
        resolved_block: None,
        resolved_at: None,
        expected_settlement_time: Some(whole_seconds(settles)),
        settlement_time_basis: Some(basis),
    }
}

fn full_row(market: &SimMarket, now: Timestamp) -> ResolutionRow<'_> {
    let payouts = market.payouts_at(now);
    let resolved_at = payouts.and(market.resolves_at);
    let last = resolved_at.or(market.closes_at.filter(|at| *at <= now)).unwrap_or(market.opens_at);
    ResolutionRow {
        question_id: None,
        condition_id: market.id().as_str(),
        status: match market.phase(now) {
            Phase::Coming => "initialized",
            Phase::Open => "posed",
            Phase::Closed => "proposed",
            Phase::Resolved => "resolved",
        },
        extended_review: false,
        was_disputed: false,
        new_version_q: false,
        proposed_price: None,
        reproposed_price: None,
        price: None,
        transaction_hash: "",
        log_index: "",
        last_update_timestamp: whole_seconds(last),
        payouts: payouts.map(|payouts| payouts.iter().map(|payout| payout.micros()).collect()),
        resolution_source: resolved_at.map(|_| "reported"),
        was_arbitrated: resolved_at.map(|_| false),
        resolved_block: resolved_at.map(block_of),
        resolved_at: resolved_at.map(whole_seconds),
        expected_settlement_time: None,
        settlement_time_basis: None,
    }
}
