//! `/v2/resolutions`.

use serde::Serialize;

use super::Data;
use super::params::Params;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Timestamp;
use crate::simulator::http::response::Answer;
use crate::simulator::routes::wire_time::whole_seconds;
use crate::simulator::state::chain::block_of;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, SimMarket};

#[derive(Serialize)]
struct ResolutionRow<'a> {
    condition_id: &'a str,
    status: &'a str,
    extended_review: bool,
    was_disputed: bool,
    new_version_q: bool,
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
}

/// Answers with the resolutions of a question, a condition or an event; the request names exactly one.
pub fn answer(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let given = ["question_id", "condition", "event_id"].iter().filter(|name| params.text(name).is_some()).count();
    if given != 1 {
        return Err(Answer::data_error(400, "exactly one of question_id, condition, event_id is required", None));
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
        .map(|market| resolution_row(market, now))
        .collect();
    Ok(Answer::json(&Data { data: rows }))
}

fn resolution_row(market: &SimMarket, now: Timestamp) -> ResolutionRow<'_> {
    let payouts = market.payouts_at(now);
    let resolved_at = payouts.and(market.resolves_at);
    let last = resolved_at.or(market.closes_at.filter(|at| *at <= now)).unwrap_or(market.opens_at);
    ResolutionRow {
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
        transaction_hash: "",
        log_index: "",
        last_update_timestamp: whole_seconds(last),
        payouts: payouts.map(|payouts| payouts.iter().map(|payout| payout.micros()).collect()),
        resolution_source: resolved_at.map(|_| "reported"),
        was_arbitrated: resolved_at.map(|_| false),
        resolved_block: resolved_at.map(block_of),
        resolved_at: resolved_at.map(whole_seconds),
    }
}
