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
use crate::simulator::http::response::Response;
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
pub(super) fn answer(exchange: &Exchange, request: &Request, now: Timestamp) -> Response {
    let token = || request.pairs().into_iter().find(|(name, _)| name == "token_id").map(|(_, value)| value);
    let of_token = |then: &dyn Fn(&SimMarket, usize) -> Option<Response>| match find(exchange, token().as_deref()) {
        Ok((market, index, _)) => then(market, index).unwrap_or_else(no_book),
        Err(answer) => answer,
    };
    match (request.post, request.path.as_str()) {
        (false, "/time") => Response::json(&now.seconds()),
        (false, "/version") => Response::json(&json!({"version": 2})),
        (false, "/book") => match find(exchange, token().as_deref()) {
            Ok((market, index, asset)) => {
                book(market, index, &asset, now).map_or_else(no_book, |book| Response::json(&book))
            }
            Err(answer) => answer,
        },
        (false, "/midpoint") => {
            of_token(&|market, index| Some(Response::json(&json!({"mid": decimal(midpoint(market, index, now)?)}))))
        }
        (false, "/spread") => {
            of_token(&|market, index| Some(Response::json(&json!({"spread": decimal(spread(market, index, now)?)}))))
        }
        (false, "/last-trade-price") => of_token(&|market, index| {
            let (at, side) = last_trade(market, index)?;
            Some(Response::json(&json!({"price": decimal(at.micros()), "side": side.as_str()})))
        }),
        (false, "/tick-size") => {
            of_token(&|market, _| Some(Response::json(&json!({"minimum_tick_size": float(market.tick().micros())}))))
        }
        (false, "/neg-risk") => {
            of_token(&|market, _| Some(Response::json(&json!({"neg_risk": market.facts.neg_risk}))))
        }
        (false, "/fee-rate") => of_token(&|market, _| Some(Response::json(&json!({"base_fee": base_fee(market)})))),
        (true, path) => batches(exchange, request, path, now),
        (false, path) => match path.rsplit_once('/') {
            Some(("/clob-markets", id)) => by_condition(exchange, id, compact),
            Some(("/markets", id)) => by_condition(exchange, id, |market| full(market, now)),
            Some(("/markets-by-token", id)) => match find(exchange, Some(id)) {
                Ok((market, ..)) if !market.quirks.unknown_to_clob => Response::json(&pair(market)),
                Ok(_) | Err(_) => Response::error(Host::Clob, 404, "market not found"),
            },
            _ => Response::error(Host::Clob, 404, "404 page not found"),
        },
    }
}

/// Answers a POST: books, midpoints or spreads of many tokens at once.
fn batches(exchange: &Exchange, request: &Request, path: &str, now: Timestamp) -> Response {
    let one: fn(&SimMarket, usize, &AssetId, Timestamp) -> Option<Value> = match path {
        "/books" => |market, index, asset, now| serde_json::to_value(book(market, index, asset, now)?).ok(),
        "/midpoints" => |market, index, _, now| Some(json!(decimal(midpoint(market, index, now)?))),
        "/spreads" => |market, index, _, now| Some(json!(decimal(spread(market, index, now)?))),
        _ => return Response::error(Host::Clob, 405, "Method not allowed"),
    };
    let Ok(named) = serde_json::from_slice::<Vec<Named>>(&request.body) else {
        return Response::error(Host::Clob, 400, "Invalid payload");
    };
    if named.len() > BATCH_MAX {
        return Response::error(Host::Clob, 400, "Payload exceeds the limit");
    }
    let mut found = Vec::with_capacity(named.len());
    for Named { token_id } in named {
        let known = AssetId::parse(&token_id).ok().and_then(|asset| {
            let (market, index) = exchange.market_by_asset(&asset)?;
            market.quotes(index, now)?;
            Some((market, index, asset))
        });
        match known {
            Some((market, index, asset)) => {
                found.extend(one(market, index, &asset, now).map(|value| (token_id, value)))
            }
            None if exchange.refuses_batches => {
                return Response::error(Host::Clob, 400, "No orderbook exists for the requested token id");
            }
            None => {}
        }
    }
    match path {
        "/books" => Response::json(&found.into_iter().map(|(_, book)| book).collect::<Vec<_>>()),
        _ => Response::json(&found.into_iter().collect::<Map<_, _>>()),
    }
}

fn find<'a>(exchange: &'a Exchange, token: Option<&str>) -> Result<(&'a SimMarket, usize, AssetId), Response> {
    let asset = token.and_then(|text| AssetId::parse(text).ok());
    let asset = asset.ok_or_else(|| Response::error(Host::Clob, 400, "Invalid token id"))?;
    let (market, index) = exchange.market_by_asset(&asset).ok_or_else(no_book)?;
    Ok((market, index, asset))
}

fn no_book() -> Response {
    Response::error(Host::Clob, 404, "No orderbook exists for the requested token id")
}

fn book<'a>(market: &'a SimMarket, index: usize, asset: &'a AssetId, now: Timestamp) -> Option<Book<'a>> {
    let quotes = market.quotes(index, now)?;
    let side = |levels: &[Level]| -> Vec<WireLevel> {
        let wire = |level: &Level| WireLevel { price: decimal(level.price.micros()), size: decimal(level.shares.0) };
        levels.iter().rev().map(wire).collect()
    };
    let asset = asset.as_str();
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

/// Returns the middle of a book with both sides, in micros. A book with one side has no middle.
fn midpoint(market: &SimMarket, index: usize, now: Timestamp) -> Option<i64> {
    let (bid, ask) = touch(market, index, now)?;
    Some(PriceMicros::midpoint(bid, ask).micros())
}

/// Returns the spread of a book with both sides, in micros.
fn spread(market: &SimMarket, index: usize, now: Timestamp) -> Option<i64> {
    let (bid, ask) = touch(market, index, now)?;
    Some(ask.micros() - bid.micros())
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

fn by_condition(exchange: &Exchange, id: &str, then: impl Fn(&SimMarket) -> Value) -> Response {
    match MarketId::parse(id) {
        Err(_) => Response::error(Host::Clob, 400, "Invalid market"),
        Ok(id) => match exchange.market(&id) {
            Some(market) if !market.quirks.unknown_to_clob => Response::json(&then(market)),
            Some(_) | None => Response::error(Host::Clob, 404, "market not found"),
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
        "itode": market.quirks.delays_takers,
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
    let end_date = market.printed_end().map(|at| whole_seconds(at.day_start()));
    json!({
        "enable_order_book": phase == Phase::Open,
        "active": true,
        "closed": matches!(phase, Phase::Closed | Phase::Resolved),
        "archived": false,
        "accepting_orders": market.accepts_orders(now),
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
        "seconds_delay": market.quirks.taker_delay_s,
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
