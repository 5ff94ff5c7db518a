//! The CLOB's public routes.
//!
//! On the wire bids ascend and asks descend, so the best level is the last of each array, like in the real CLOB.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::domain::events::event::Side;
use crate::domain::market::book::Level;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{MICROS, PriceMicros, Timestamp};

use super::wire_time::whole_seconds;
use crate::simulator::http::request::{Host, Request};
use crate::simulator::http::response::Answer;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, SimMarket, complement, decimal, float};

const BATCH_MAX: usize = 500;

#[derive(Serialize)]
struct Book<'a> {
    market: &'a str,
    asset_id: &'a str,
    timestamp: String,
    hash: String,
    bids: Vec<WireLevel>,
    asks: Vec<WireLevel>,
    min_order_size: String,
    tick_size: String,
    neg_risk: bool,
    last_trade_price: String,
}

#[derive(Serialize)]
struct WireLevel {
    price: String,
    size: String,
}

#[derive(Deserialize)]
struct Named {
    token_id: String,
}

/// Answers a request to the CLOB.
pub(super) fn answer(exchange: &Exchange, request: &Request, now: Timestamp) -> Answer {
    let token = || request.pairs().into_iter().find(|(name, _)| name == "token_id").map(|(_, value)| value);
    let of_token = |then: &dyn Fn(&SimMarket, usize) -> Option<Answer>| match find(exchange, token().as_deref()) {
        Ok((market, index)) => then(market, index).unwrap_or_else(no_book),
        Err(answer) => answer,
    };
    match (request.post, request.path.as_str()) {
        (false, "/time") => Answer::json(&now.seconds()),
        (false, "/version") => Answer::json(&json!({"version": 2})),
        (false, "/book") => of_token(&|market, index| book(market, index, now).map(|book| Answer::json(&book))),
        (true, "/books") => batch(request, |token| {
            let (market, index) = find(exchange, Some(token)).ok()?;
            serde_json::to_value(book(market, index, now)?).ok()
        })
        .map_or_else(|error| error, |found| Answer::json(&found.into_iter().map(|(_, book)| book).collect::<Vec<_>>())),
        (false, "/midpoint") => of_token(&|market, index| {
            Some(Answer::json(&json!({"mid": decimal(market.midpoint(index, now)?.micros())})))
        }),
        (true, "/midpoints") => batch(request, |token| {
            let (market, index) = find(exchange, Some(token)).ok()?;
            Some(json!(decimal(market.midpoint(index, now)?.micros())))
        })
        .map_or_else(|error| error, |found| Answer::json(&found.into_iter().collect::<Map<_, _>>())),
        (false, "/spread") => of_token(&|market, index| {
            let (bid, ask) = touch(market, index, now)?;
            Some(Answer::json(&json!({"spread": decimal(ask.micros() - bid.micros())})))
        }),
        (false, "/last-trade-price") => of_token(&|market, index| {
            let (at, side) = last_trade(market, index)?;
            Some(Answer::json(&json!({"price": decimal(at.micros()), "side": side.as_str()})))
        }),
        (false, "/tick-size") => {
            of_token(&|market, _| Some(Answer::json(&json!({"minimum_tick_size": float(market.tick().micros())}))))
        }
        (false, "/neg-risk") => of_token(&|market, _| Some(Answer::json(&json!({"neg_risk": market.facts.neg_risk})))),
        (false, "/fee-rate") => of_token(&|market, _| Some(Answer::json(&json!({"base_fee": base_fee(market)})))),
        (false, path) => match path.rsplit_once('/') {
            Some(("/clob-markets", id)) => by_condition(exchange, id, compact),
            Some(("/markets", id)) => by_condition(exchange, id, |market| full(market, now)),
            Some(("/markets-by-token", id)) => match find(exchange, Some(id)) {
                Ok((market, _)) => Answer::json(&pair(market)),
                Err(_) => Answer::error(Host::Clob, 404, "market not found"),
            },
            _ => Answer::error(Host::Clob, 404, "404 page not found"),
        },
        (true, _) => Answer::error(Host::Clob, 405, "Method not allowed"),
    }
}

fn find<'a>(exchange: &'a Exchange, token: Option<&str>) -> Result<(&'a SimMarket, usize), Answer> {
    let asset = token.and_then(|text| AssetId::parse(text).ok());
    let asset = asset.ok_or_else(|| Answer::error(Host::Clob, 400, "Invalid token id"))?;
    exchange.market_by_asset(&asset).ok_or_else(no_book)
}

fn no_book() -> Answer {
    Answer::error(Host::Clob, 404, "No orderbook exists for the requested token id")
}

/// Returns the values for the tokens of a body; tokens without a value are left out.
fn batch(request: &Request, one: impl Fn(&str) -> Option<Value>) -> Result<Vec<(String, Value)>, Answer> {
    let Ok(named) = serde_json::from_slice::<Vec<Named>>(&request.body) else {
        return Err(Answer::error(Host::Clob, 400, "Invalid payload"));
    };
    if named.len() > BATCH_MAX {
        return Err(Answer::error(Host::Clob, 400, "Payload exceeds the limit"));
    }
    Ok(named.into_iter().filter_map(|named| one(&named.token_id).map(|found| (named.token_id, found))).collect())
}

fn book(market: &SimMarket, index: usize, now: Timestamp) -> Option<Book<'_>> {
    let quotes = market.quotes(index, now)?;
    let side = |levels: &[Level]| -> Vec<WireLevel> {
        let wire = |level: &Level| WireLevel { price: decimal(level.price.micros()), size: decimal(level.shares.0) };
        levels.iter().rev().map(wire).collect()
    };
    let asset = market.asset(index)?.as_str();
    let digest = Sha256::digest(format!("{asset}{quotes:?}"));
    let last = last_trade(market, index).map_or(MICROS / 2, |(at, _)| at.micros());
    Some(Book {
        market: market.id().as_str(),
        asset_id: asset,
        timestamp: now.millis().to_string(),
        hash: hex::encode(&digest[..20]),
        bids: side(&quotes.bids),
        asks: side(&quotes.asks),
        min_order_size: decimal(min_size(market)),
        tick_size: decimal(market.tick().micros()),
        neg_risk: market.facts.neg_risk,
        last_trade_price: format!("{:.3}", float(last)),
    })
}

fn touch(market: &SimMarket, index: usize, now: Timestamp) -> Option<(PriceMicros, PriceMicros)> {
    let quotes = market.quotes(index, now)?;
    Some((quotes.bids.first()?.price, quotes.asks.first()?.price))
}

fn last_trade(market: &SimMarket, index: usize) -> Option<(PriceMicros, Side)> {
    let (at, side) = market.last_trade?;
    Some(match (index, side) {
        (0, _) => (at, side),
        (_, Side::Buy) => (complement(at), Side::Sell),
        (_, Side::Sell) => (complement(at), Side::Buy),
    })
}

fn by_condition(exchange: &Exchange, id: &str, then: impl Fn(&SimMarket) -> Value) -> Answer {
    match MarketId::parse(id) {
        Err(_) => Answer::error(Host::Clob, 400, "Invalid market"),
        Ok(id) => match exchange.market(&id) {
            Some(market) => Answer::json(&then(market)),
            None => Answer::error(Host::Clob, 404, "market not found"),
        },
    }
}

/// Returns a market as `/clob-markets/{condition}` prints it. Without `fd` the market has no fee.
fn compact(market: &SimMarket) -> Value {
    let outcomes = &market.facts.outcomes;
    let tokens: Vec<Value> =
        outcomes.iter().map(|outcome| json!({"t": outcome.asset.as_str(), "o": outcome.outcome})).collect();
    let mut compact = json!({
        "t": tokens,
        "mts": float(market.tick().micros()),
        "mos": whole(min_size(market)),
        "nr": market.facts.neg_risk,
        "mbf": base_fee(market),
        "tbf": base_fee(market),
        "itode": false,
        "r": {"rates": null, "min_size": 50, "max_spread": 4.5},
    });
    let fee = market.facts.fee;
    if fee.rate_micros > 0 && !market.without_fee_data {
        compact["fd"] = json!({"r": float(fee.rate_micros), "e": fee.exponent, "to": true});
    }
    compact
}

/// Returns a market as `/markets/{condition}` prints it.
fn full(market: &SimMarket, now: Timestamp) -> Value {
    let facts = &market.facts;
    let phase = market.phase(now);
    let payouts = market.payouts_at(now);
    let split = payouts.is_some_and(|payouts| payouts.iter().all(|payout| *payout == PriceMicros::ONE.minus(*payout)));
    let tokens: Vec<Value> = facts
        .outcomes
        .iter()
        .enumerate()
        .map(|(index, outcome)| {
            let winner =
                payouts.and_then(|payouts| payouts.get(index)).is_some_and(|payout| *payout == PriceMicros::ONE);
            let value = whole(market.share_value(index, now).micros());
            json!({"token_id": outcome.asset.as_str(), "outcome": outcome.outcome, "price": value, "winner": winner})
        })
        .collect();
    let end_date = market.closes_at.map(|at| whole_seconds(at.day_start()));
    json!({
        "enable_order_book": phase == Phase::Open,
        "active": true,
        "closed": matches!(phase, Phase::Closed | Phase::Resolved),
        "archived": false,
        "accepting_orders": phase == Phase::Open,
        "accepting_order_timestamp": whole_seconds(market.opens_at),
        "minimum_order_size": whole(min_size(market)),
        "minimum_tick_size": float(market.tick().micros()),
        "condition_id": facts.id.as_str(),
        "question_id": market.question_id,
        "question": facts.question,
        "description": "",
        "market_slug": facts.slug,
        "end_date_iso": end_date,
        "game_start_time": null,
        "seconds_delay": 0,
        "fpmm": "",
        "maker_base_fee": base_fee(market),
        "taker_base_fee": base_fee(market),
        "notifications_enabled": true,
        "neg_risk": facts.neg_risk,
        "neg_risk_market_id": market.neg_risk_id.clone().unwrap_or_default(),
        "neg_risk_request_id": "",
        "icon": "",
        "image": "",
        "rewards": {"rates": null, "min_size": 50, "max_spread": 4.5},
        "is_50_50_outcome": split,
        "tokens": tokens,
        "tags": [market.category.tag()],
    })
}

fn pair(market: &SimMarket) -> Value {
    let token = |index| market.asset(index).map_or("", AssetId::as_str);
    json!({
        "condition_id": market.id().as_str(),
        "primary_token_id": token(0),
        "secondary_token_id": token(1),
    })
}

fn base_fee(market: &SimMarket) -> i64 {
    if market.facts.fee.rate_micros > 0 { 1000 } else { 0 }
}

fn min_size(market: &SimMarket) -> i64 {
    market.facts.min_shares.map_or(5_000_000, |shares| shares.0)
}

/// Returns micros as a JSON integer when the amount is whole, else as a float.
fn whole(micros: i64) -> Value {
    if micros % MICROS == 0 { json!(micros / MICROS) } else { json!(float(micros)) }
}
