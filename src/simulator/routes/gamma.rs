//! Gamma: lists of markets and events, profiles, search.
//!
//! Lists leave out closed markets unless the request wants them. Empty fields are left out. Arrays of outcomes are texts
//! that contain JSON.

use serde_json::{Map, Value, json};

use crate::domain::money::ids::Wallet;
use crate::domain::money::units::{MICROS, PriceMicros, Timestamp};

use super::wire_time::whole_seconds;
use crate::simulator::http::request::{Host, Request};
use crate::simulator::http::response::Response;
use crate::simulator::rng::hash_text;
use crate::simulator::state::exchange::{Exchange, Profile};
use crate::simulator::state::market::{Phase, SimMarket, decimal, float};

/// Answers a request to Gamma.
pub(super) fn answer(exchange: &Exchange, request: &Request, now: Timestamp) -> Response {
    if request.post {
        return Response::error(Host::Gamma, 405, "method not allowed");
    }
    let pairs = request.pairs();
    match request.path.as_str() {
        "/markets" => {
            let found: Vec<Value> = listed(exchange, &pairs, now).map(|market| market_json(market, now)).collect();
            Response::json(&found)
                .with_header("Deprecation", "true".to_owned())
                .with_header("Sunset", "Fri, 01 May 2026 00:00:00 GMT".to_owned())
        }
        "/markets/keyset" => {
            let found: Vec<Value> = listed(exchange, &pairs, now).map(|market| market_json(market, now)).collect();
            Response::json(&json!({"markets": found, "next_cursor": null}))
        }
        "/public-profile" => profile(exchange, &pairs),
        "/public-search" => search(exchange, &pairs),
        path => match path.rsplit_once('/') {
            Some(("/markets/slug", slug)) => one(exchange, now, |market| market.facts.slug == slug),
            Some(("/markets", id)) => one(exchange, now, |market| market.gamma_id.to_string() == id),
            Some(("/events/slug", slug)) => event(exchange, slug, now),
            _ => Response::error(Host::Gamma, 404, "not found"),
        },
    }
}

/// Returns the markets that pass all filters of the request. A repeated key adds an alternative to its filter.
fn listed<'a>(
    exchange: &'a Exchange,
    pairs: &'a [(String, String)],
    now: Timestamp,
) -> impl Iterator<Item = &'a SimMarket> + 'a {
    let values = |name: &str| -> Vec<&'a str> {
        pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    };
    let (conditions, tokens, slugs, ids) =
        (values("condition_ids"), values("clob_token_ids"), values("slug"), values("id"));
    let closed = values("closed").first().is_some_and(|text| *text == "true");
    let limit = values("limit").first().and_then(|text| text.parse().ok()).unwrap_or(100_usize).min(500);
    let offset = values("offset").first().and_then(|text| text.parse().ok()).unwrap_or(0);
    exchange
        .markets()
        .filter(move |market| {
            let is_closed = matches!(market.phase(now), Phase::Closed | Phase::Resolved);
            let facts = &market.facts;
            is_closed == closed
                && !market.quirks.unknown_to_gamma
                && market.phase(now) != Phase::Coming
                && (conditions.is_empty() || conditions.iter().any(|id| id.eq_ignore_ascii_case(facts.id.as_str())))
                && (slugs.is_empty() || slugs.contains(&facts.slug.as_str()))
                && (ids.is_empty() || ids.contains(&market.gamma_id.to_string().as_str()))
                && (tokens.is_empty() || facts.outcomes.iter().any(|outcome| tokens.contains(&outcome.asset.as_str())))
        })
        .skip(offset)
        .take(limit)
}

fn one(exchange: &Exchange, now: Timestamp, is_it: impl Fn(&SimMarket) -> bool) -> Response {
    match exchange.markets().find(|market| is_it(market) && !market.quirks.unknown_to_gamma) {
        Some(market) => Response::json(&market_json(market, now)),
        None => Response::error(Host::Gamma, 404, "id not found"),
    }
}

fn event(exchange: &Exchange, slug: &str, now: Timestamp) -> Response {
    let members: Vec<&SimMarket> = exchange.markets().filter(|market| market.event.slug == slug).collect();
    let members: Vec<&SimMarket> = members.into_iter().filter(|market| !market.quirks.unknown_to_gamma).collect();
    let Some(first) = members.first() else { return Response::error(Host::Gamma, 404, "slug not found") };
    let mut event = event_json(first, now);
    let markets: Vec<Value> = members
        .iter()
        .map(|market| {
            let mut market = market_json(market, now);
            if let Some(fields) = market.as_object_mut() {
                fields.remove("events");
            }
            market
        })
        .collect();
    event["markets"] = json!(markets);
    Response::json(&event)
}

fn event_json(market: &SimMarket, now: Timestamp) -> Value {
    let mut event = json!({
        "id": market.event.id,
        "ticker": market.event.slug,
        "slug": market.event.slug,
        "title": market.event.title,
        "active": true,
        "closed": matches!(market.phase(now), Phase::Closed | Phase::Resolved),
        "archived": false,
        "restricted": true,
        "negRisk": market.facts.neg_risk,
        "tags": [{"id": "1", "label": market.category.tag(), "slug": market.category.tag().to_lowercase()}],
    });
    if market.conversion_fee_bips != 0 {
        event["negRiskFeeBips"] = json!(market.conversion_fee_bips);
    }
    event
}

/// Returns a market as the lists print it. Empty fields are left out.
fn market_json(market: &SimMarket, now: Timestamp) -> Value {
    let facts = &market.facts;
    let phase = market.phase(now);
    let is_closed = matches!(phase, Phase::Closed | Phase::Resolved);
    let value = |index| {
        let value: PriceMicros = match market.quirks.gamma_unresolved {
            true => market.last_value(index),
            false => market.share_value(index, now),
        };
        decimal(value.micros())
    };
    let mut json = json!({
        "id": market.gamma_id.to_string(),
        "question": facts.question,
        "conditionId": facts.id.as_str(),
        "slug": facts.slug,
        "resolutionSource": "",
        "startDate": whole_seconds(market.opens_at),
        "description": "",
        "outcomes": text_array(facts.outcomes.iter().map(|outcome| outcome.outcome.clone()).collect()),
        "outcomePrices": text_array((0..facts.outcomes.len()).map(value).collect()),
        "volume": volume(market).to_string(),
        "active": true,
        "closed": is_closed,
        "marketMakerAddress": "",
        "createdAt": whole_seconds(market.opens_at),
        "updatedAt": whole_seconds(now),
        "new": false,
        "featured": false,
        "archived": false,
        "restricted": true,
        "questionID": market.question_id,
        "events": [event_json(market, now)],
        "version": if market.is_on_new_ledger() { "v2" } else { "v1" },
    });
    let (Some(fields), Value::Object(trading)) = (json.as_object_mut(), trading_json(market, now)) else {
        return json;
    };
    fields.extend(trading);
    add_optional_fields(fields, market, phase, now);
    json
}

/// Returns the fields about trading.
fn trading_json(market: &SimMarket, now: Timestamp) -> Value {
    let facts = &market.facts;
    json!({
        "enableOrderBook": true,
        "orderPriceMinTickSize": float(market.tick().micros()),
        "orderMinSize": facts.min_shares.map_or(5.0, |shares| float(shares.0)),
        "volumeNum": volume(market),
        "clobTokenIds": text_array(facts.outcomes.iter().map(|outcome| outcome.asset.to_string()).collect()),
        "makerBaseFee": if facts.fee.rate_micros > 0 { 1000 } else { 0 },
        "takerBaseFee": if facts.fee.rate_micros > 0 { 1000 } else { 0 },
        "acceptingOrders": market.accepts_orders(now),
        "negRisk": facts.neg_risk,
        "ready": false,
        "funded": false,
        "approved": true,
        "rewardsMinSize": 50,
        "rewardsMaxSpread": 4.5,
        "automaticallyActive": true,
        "umaResolutionStatuses": "[]",
        "pendingDeployment": false,
        "deploying": false,
        "rfqEnabled": false,
        "holdingRewardsEnabled": false,
    })
}

/// Returns an invented volume in USDC, the same for the same market.
fn volume(market: &SimMarket) -> f64 {
    float((hash_text(3, &market.facts.slug) % 900_000_000_000).cast_signed())
}

/// Prints texts as a JSON array within a text.
fn text_array(texts: Vec<String>) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
    format!("[{}]", quoted.join(", "))
}

/// Adds the fields that only some markets have.
fn add_optional_fields(fields: &mut Map<String, Value>, market: &SimMarket, phase: Phase, now: Timestamp) {
    let facts = &market.facts;
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    if let Some(at) = market.printed_end() {
        put("endDate", json!(whole_seconds(at)));
        put("endDateIso", json!(at.iso().chars().take(10).collect::<String>()));
    }
    if let (Some(at), true) = (market.closes_at, phase != Phase::Open) {
        // A market's closing time is not in RFC 3339: `2026-09-28 17:46:27+00`.
        put("closedTime", json!(whole_seconds(at).replace('T', " ").replace('Z', "+00")));
    }
    if market.is_on_new_ledger() {
        put("positionIds", json!(facts.outcomes.iter().map(|outcome| &outcome.asset).collect::<Vec<_>>()));
    }
    if market.quirks.taker_delay_s > 0 {
        put("secondsDelay", json!(market.quirks.taker_delay_s));
    }
    put_fee_fields(&mut put, market);
    if let Some(id) = &market.neg_risk_id {
        put("negRiskMarketID", json!(id));
        put("negRiskOther", json!(false));
    }
    if let Some(quotes) = market.quotes(0, now) {
        let bid = quotes.bids.first().map_or(0, |level| level.price.micros());
        let ask = quotes.asks.first().map_or(MICROS, |level| level.price.micros());
        put("bestBid", json!(float(bid)));
        put("bestAsk", json!(float(ask)));
        put("spread", json!(float(ask - bid)));
    }
    if let Some((at, _)) = market.last_trade {
        put("lastTradePrice", json!(float(at.micros())));
    }
    let status = if market.is_on_new_ledger() { "resolutionStatus" } else { "umaResolutionStatus" };
    match phase {
        Phase::Resolved if !market.quirks.gamma_unresolved => {
            put(status, json!("resolved"));
            put("automaticallyResolved", json!(true));
        }
        Phase::Closed | Phase::Resolved => put("umaResolutionStatus", json!("proposed")),
        Phase::Open | Phase::Coming => {}
    }
}

/// Adds what Gamma says about fees.
fn put_fee_fields(put: &mut impl FnMut(&str, Value), market: &SimMarket) {
    let fee = market.facts.fee;
    if market.quirks.gamma_without_fee {
        return;
    }
    put("feesEnabled", json!(fee.rate_micros > 0));
    if let (Some(fee_type), true) = (market.category.fee_type(), fee.rate_micros > 0) {
        put("feeType", json!(fee_type));
        put("makerRebatesFeeShareBps", json!(10_000));
    }
    if fee.rate_micros > 0 && !market.without_fee_data {
        let (exponent, rate, rebate) = (fee.exponent, float(fee.rate_micros), market.category.rebate_rate());
        put("feeSchedule", json!({"exponent": exponent, "rate": rate, "takerOnly": true, "rebateRate": rebate}));
    }
}

fn profile(exchange: &Exchange, pairs: &[(String, String)]) -> Response {
    let address = pairs.iter().find(|(name, _)| name == "address").map_or("", |(_, value)| value.as_str());
    let Ok(wallet) = Wallet::parse(address) else {
        return Response::error(Host::Gamma, 400, "invalid address");
    };
    match exchange.profile(&wallet) {
        None => Response::error(Host::Gamma, 404, "profile not found"),
        Some(profile) => Response::json(&json!({
            "$schema": "https://gamma-api.polymarket.com/schemas/PublicProfileResponse.json",
            "createdAt": "2026-05-21T16:17:53.067277Z",
            "proxyWallet": wallet.as_str(),
            "displayUsernamePublic": true,
            "pseudonym": profile.pseudonym,
            "name": profile.name,
            "users": [{"id": (hash_text(4, wallet.as_str()) % 10_000_000).to_string(), "creator": false, "mod": false,
                       "communityMod": false}],
            "verifiedBadge": false,
            "takerTier": 3,
            "takerTierName": "Gold",
            "weightedVolume": 493_229.457_498,
        })),
    }
}

/// Answers with the profiles whose name or pseudonym contains the text. The real search is as fuzzy, and it too has a
/// null in the list.
fn search(exchange: &Exchange, pairs: &[(String, String)]) -> Response {
    let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let wanted = value("q").to_lowercase();
    if wanted.is_empty() {
        return Response::error(Host::Gamma, 422, "q is required");
    }
    if value("search_profiles") != "true" {
        return Response::json(
            &json!({"events": [], "profiles": [], "pagination": {"hasMore": false, "totalResults": 0}}),
        );
    }
    let limit = value("limit_per_type").parse().unwrap_or(10_usize);
    let alike = |(_, profile): &(&Wallet, &Profile)| {
        profile.name.to_lowercase().contains(&wanted) || profile.pseudonym.to_lowercase().contains(&wanted)
    };
    let found: Vec<_> = exchange.profiles.iter().filter(alike).collect();
    let mut profiles: Vec<Value> = found
        .iter()
        .take(limit)
        .map(|(wallet, profile)| {
            json!({"name": profile.name, "pseudonym": profile.pseudonym, "displayUsernamePublic": true,
                   "proxyWallet": wallet.as_str()})
        })
        .collect();
    if !profiles.is_empty() {
        profiles.push(Value::Null);
    }
    Response::json(&json!({
        "events": [],
        "profiles": profiles,
        "pagination": {"hasMore": found.len() > limit, "totalResults": found.len()},
    }))
}
