//! CLOB and Gamma: books, batches, closed and resolved markets, profiles.

use serde_json::{Value, json};

use super::{data_api::with_market, *};
use crate::simulator::state::fault::{Fault, FaultKind, RetryAfter, Times};
use crate::simulator::state::market::{Category, Quotes, SimMarket, price};
use crate::simulator::state::new_market::NewMarket;

fn clob(simulation: &mut Simulation, path_and_query: &str) -> Answer {
    get(simulation, Host::Clob, path_and_query)
}

fn gamma(simulation: &mut Simulation, path_and_query: &str) -> Vec<Value> {
    let answer = get(simulation, Host::Gamma, path_and_query);
    assert_eq!(answer.status, 200);
    answer.value().as_array().cloned().unwrap_or_default()
}

fn token(market: &SimMarket, index: usize) -> &str {
    market.asset(index).unwrap().as_str()
}

#[test]
fn the_best_level_is_the_last_of_each_side_and_the_other_outcome_mirrors_it() {
    let (mut simulation, market) = with_market(at_ten());
    let quotes =
        Quotes::of(&[(480_000, 123_410_000), (500_000, 88_180_000)], &[(510_000, 251_520_000), (550_000, 1_000_000)]);
    simulation.exchange.set_book(market.asset(0).unwrap(), quotes);
    let book = |simulation: &mut Simulation, index| {
        clob(simulation, &format!("/book?token_id={}", token(&market, index))).value()
    };
    let first = book(&mut simulation, 0);
    assert_eq!(first["bids"], json!([{"price": "0.48", "size": "123.41"}, {"price": "0.5", "size": "88.18"}]));
    assert_eq!(first["asks"], json!([{"price": "0.55", "size": "1"}, {"price": "0.51", "size": "251.52"}]));
    let other = book(&mut simulation, 1);
    assert_eq!(other["bids"], json!([{"price": "0.45", "size": "1"}, {"price": "0.49", "size": "251.52"}]));
    assert_eq!(other["asks"], json!([{"price": "0.52", "size": "123.41"}, {"price": "0.5", "size": "88.18"}]));
    assert_ne!(first["hash"], other["hash"]);
    let small = |simulation: &mut Simulation, path: &str| {
        clob(simulation, &format!("/{path}?token_id={}", token(&market, 0))).value()
    };
    assert_eq!(small(&mut simulation, "midpoint"), json!({"mid": "0.505"}));
    assert_eq!(small(&mut simulation, "spread"), json!({"spread": "0.01"}));
    assert_eq!(small(&mut simulation, "tick-size"), json!({"minimum_tick_size": 0.01}));
    assert_eq!(small(&mut simulation, "neg-risk"), json!({"neg_risk": false}));
    assert_eq!(small(&mut simulation, "fee-rate"), json!({"base_fee": 1000}));
    assert_eq!(clob(&mut simulation, "/time").value(), json!(ten().seconds()));
}

#[test]
fn a_side_may_be_empty_a_tick_may_change_and_a_book_may_be_missing() {
    let (mut simulation, market) = with_market(at_ten());
    let path = format!("/book?token_id={}", token(&market, 0));
    simulation.exchange.set_book(market.asset(0).unwrap(), Quotes::of(&[], &[(10_000, 5_000_000)]));
    simulation.exchange.set_tick(market.id(), price(1_000));
    let book = clob(&mut simulation, &path).value();
    assert_eq!((&book["bids"], &book["tick_size"]), (&json!([]), &json!("0.001")));
    simulation.exchange.remove_book(market.id());
    let gone = clob(&mut simulation, &path);
    assert_eq!((gone.status, gone.value()), (404, json!({"error": "No orderbook exists for the requested token id"})));
    assert_eq!(clob(&mut simulation, "/book?token_id=77").status, 404);
    assert_eq!(clob(&mut simulation, "/book?token_id=abc").value(), json!({"error": "Invalid token id"}));
    simulation.exchange.set_book(market.asset(1).unwrap(), Quotes::of(&[(300_000, 5_000_000)], &[]));
    assert_eq!(clob(&mut simulation, &path).value()["asks"], json!([{"price": "0.7", "size": "5"}]));
    simulation.exchange.close_market(market.id());
    assert_eq!(clob(&mut simulation, &path).status, 404);
}

#[test]
fn a_batch_leaves_out_unknown_tokens_and_must_not_be_too_long() {
    let (mut simulation, market) = with_market(at_ten());
    let ask = |simulation: &mut Simulation, path: &str, body: Value| {
        simulation.answer(&Request::post(Host::Clob, path, &body)).0
    };
    let both = json!([{"token_id": token(&market, 1)}, {"token_id": "12"}, {"token_id": token(&market, 0)}]);
    let books = ask(&mut simulation, "/books", both.clone()).value();
    let assets: Vec<_> = books.as_array().unwrap().iter().map(|book| book["asset_id"].as_str().unwrap()).collect();
    assert_eq!(assets, [token(&market, 1), token(&market, 0)]);
    let mids = ask(&mut simulation, "/midpoints", both).value();
    assert_eq!((&mids[token(&market, 0)], &mids[token(&market, 1)]), (&json!("0.495"), &json!("0.505")));
    let many: Vec<_> = (0..501).map(|n| json!({"token_id": n.to_string()})).collect();
    assert_eq!(ask(&mut simulation, "/midpoints", json!(many)).status, 400);
    assert_eq!(ask(&mut simulation, "/books", json!({"token_id": 1})).status, 400);
}

#[test]
fn the_compact_route_has_a_fee_only_where_there_is_one() {
    let (mut simulation, market) = with_market(at_ten());
    let free = simulation.exchange.add_market(NewMarket::binary("free-of-fees"));
    let compact = |simulation: &mut Simulation, market: &SimMarket| {
        clob(simulation, &format!("/clob-markets/{}", market.id())).value()
    };
    let paid = compact(&mut simulation, &market);
    assert_eq!(paid["fd"], json!({"r": 0.05, "e": 1, "to": true}));
    assert_eq!((&paid["mts"], &paid["mos"], &paid["t"][0]["o"]), (&json!(0.01), &json!(5), &json!("Yes")));
    assert!(compact(&mut simulation, &free).get("fd").is_none());
    simulation.exchange.change_market(market.id(), |market| market.without_fee_data = true);
    assert!(compact(&mut simulation, &market).get("fd").is_none());
    assert_eq!(clob(&mut simulation, "/clob-markets/0x12").status, 400);
    assert_eq!(clob(&mut simulation, &format!("/clob-markets/0x{}", "ab".repeat(32))).status, 404);
    let pair = clob(&mut simulation, &format!("/markets-by-token/{}", token(&market, 1))).value();
    assert_eq!(pair["condition_id"], market.id().as_str());
}

#[test]
fn gamma_hides_closed_markets_unless_asked() {
    let (mut simulation, market) = with_market(at_ten());
    let by = |simulation: &mut Simulation, more: &str| {
        gamma(simulation, &format!("/markets?condition_ids={}{more}", market.id())).len()
    };
    assert_eq!((by(&mut simulation, ""), by(&mut simulation, "&closed=true")), (1, 0));
    simulation.exchange.close_market(market.id());
    assert_eq!((by(&mut simulation, ""), by(&mut simulation, "&closed=true")), (0, 1));
    let by_token = format!("/markets?clob_token_ids={}&clob_token_ids=5&closed=true", token(&market, 1));
    assert_eq!(gamma(&mut simulation, &by_token).len(), 1);
    let whole = get(&mut simulation, Host::Gamma, "/markets/slug/rain-in-elderby").value();
    assert_eq!(whole["conditionId"], market.id().as_str());
}

#[test]
fn gamma_writes_arrays_as_text_and_leaves_out_empty_fields() {
    let (mut simulation, market) = with_market(at_ten());
    let path = format!("/markets?condition_ids={}&closed=", market.id());
    let open = gamma(&mut simulation, &path)[0].clone();
    assert_eq!(open["outcomes"], "[\"Yes\", \"No\"]");
    let ids: Vec<String> = serde_json::from_str(open["clobTokenIds"].as_str().unwrap()).unwrap();
    assert_eq!(ids, [token(&market, 0), token(&market, 1)]);
    assert_eq!(open["feeSchedule"]["rate"], json!(0.05));
    assert!(open.get("endDate").is_none() && open.get("closedTime").is_none());
    simulation.exchange.resolve(market.id(), &[price(500_000), price(500_000)]);
    let resolved = gamma(&mut simulation, &format!("/markets?condition_ids={}&closed=true", market.id()))[0].clone();
    assert_eq!((&resolved["closed"], &resolved["outcomePrices"]), (&json!(true), &json!("[\"0.5\", \"0.5\"]")));
    assert_eq!(resolved["closedTime"], "2026-11-22 10:00:00+00");
    assert_eq!(resolved["umaResolutionStatus"], "resolved");
    let payouts = get(&mut simulation, Host::Data, &format!("/v2/resolutions?condition={}", market.id())).value();
    assert_eq!(payouts["data"][0]["payouts"], json!([500_000, 500_000]));
    let clob = clob(&mut simulation, &format!("/markets/{}", market.id())).value();
    assert_eq!(
        (&clob["is_50_50_outcome"], &clob["closed"], &clob["active"]),
        (&json!(true), &json!(true), &json!(true))
    );
}

#[test]
fn search_is_fuzzy_and_has_a_null_and_a_profile_is_found_by_its_wallet() {
    let (mut simulation, _) = with_market(at_ten());
    simulation.exchange.add_person(&wallet_of("second"), "A quiet one too");
    let found = get(&mut simulation, Host::Gamma, "/public-search?q=QUIET+one&search_profiles=true").value();
    let profiles = found["profiles"].as_array().unwrap();
    assert_eq!((profiles.len(), profiles.iter().filter(|profile| profile.is_null()).count()), (3, 1));
    let profile = |simulation: &mut Simulation, address: &str| {
        get(simulation, Host::Gamma, &format!("/public-profile?address={address}"))
    };
    assert_eq!(profile(&mut simulation, leader().as_str()).value()["name"], "quiet one");
    assert_eq!(profile(&mut simulation, "0x1").status, 400);
    assert_eq!(profile(&mut simulation, wallet_of("nobody").as_str()).status, 404);
}

#[test]
fn each_fault_breaks_the_answer_in_its_way() {
    let (mut simulation, market) = with_market(at_ten());
    let path = format!("/book?token_id={}", token(&market, 0));
    let mut break_it = |kind: FaultKind| {
        simulation.exchange.fault(Fault::once(Host::Clob, "/book", kind));
        clob(&mut simulation, &path)
    };
    for status in [425, 500, 502, 503] {
        let answer = break_it(FaultKind::Status(status));
        assert_eq!(answer.status, status);
        assert!(answer.value()["error"].is_string());
    }
    assert!(break_it(FaultKind::Html(502)).body.starts_with(b"<!DOCTYPE html>"));
    assert_eq!(break_it(FaultKind::TooManyRequests(RetryAfter::Silent)).status, 429);
    let cut = break_it(FaultKind::CutBody);
    assert!(cut.status == 200 && !cut.body.is_empty() && cut.value().is_null());
    assert!(break_it(FaultKind::EmptyBody).body.is_empty());
    assert_eq!(break_it(FaultKind::Body("[]".to_owned())).body, b"[]");
    assert!(break_it(FaultKind::UnknownFields).value()["shoe_size"].is_object());
    assert!(clob(&mut simulation, &path).value()["bids"].is_array());
    simulation.exchange.fault(Fault::once(Host::Clob, "", FaultKind::Status(503)).times(Times::Always));
    assert_eq!((clob(&mut simulation, &path).status, clob(&mut simulation, "/time").status), (503, 503));
    simulation.exchange.faults.clear();
    assert_eq!(clob(&mut simulation, "/time").status, 200);
}

#[test]
fn categories_have_the_fees_of_their_schedules() {
    assert_eq!(Category::ALL.map(Category::fee_rate_micros), [70_000, 50_000, 40_000, 50_000, 50_000, 0]);
}
