//! Faults and oddities that a test can order.

use serde_json::json;

use super::{data_api::buy, data_api::with_market, *};
use crate::domain::money::ids::AssetId;
use crate::simulator::http::cache::CacheSettings;
use crate::simulator::state::fault::{Fault, FaultKind, Times, Wait};
use crate::simulator::state::market::{Quotes, SimMarket, price};
use crate::simulator::state::movements::Movement;
use crate::simulator::state::new_market::NewMarket;
use crate::simulator::state::quirks::MarketQuirks;

fn activity(simulation: &mut Simulation, more: &str) -> Response {
    get(simulation, Host::Data, &format!("/v2/activity?user={}{more}", leader()))
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

fn batch(simulation: &mut Simulation, path: &str, tokens: &[&AssetId]) -> Response {
    let body: Vec<Value> = tokens.iter().map(|token| json!({"token_id": token})).collect();
    simulation.answer(&Request::post(Host::Clob, path, &json!(body))).0
}

#[test]
fn a_book_comes_as_late_as_ordered() {
    let (mut simulation, market) = with_market(at_ten());
    for millis in [2_500, 4_000, 6_000] {
        simulation.exchange.fault(Fault::once(Host::Clob, "/book", FaultKind::Delay(millis)));
        let path = format!("/book?token_id={}", market.asset(0).unwrap());
        let (answer, wait) = simulation.answer(&Request::get(Host::Clob, &path));
        assert_eq!((answer.status, wait), (200, Wait::Millis(millis)));
    }
}

#[test]
fn an_answer_may_carry_the_rows_of_other_wallets() {
    let (mut simulation, market) = with_market(at_ten());
    simulation.exchange.push_fill(buy(&market, 3)).unwrap();
    let wallets = |answer: &Response| -> std::collections::BTreeSet<String> {
        rows(answer).iter().map(|row| row["proxy_wallet"].as_str().unwrap().to_owned()).collect()
    };
    simulation.exchange.fault(Fault::once(Host::Data, "/v2/activity", FaultKind::RowsOfStrangers(40)));
    let mixed = activity(&mut simulation, "");
    assert_eq!((rows(&mixed).len(), wallets(&mixed).len()), (41, 41));
    let other = wallet_of("another");
    let swapped = FaultKind::RowsOfWallet(other.clone());
    simulation.exchange.fault(Fault::once(Host::Data, "/v2/activity", swapped));
    assert_eq!(wallets(&activity(&mut simulation, "")), [other.to_string()].into());
    assert_eq!(wallets(&activity(&mut simulation, "")), [leader().to_string()].into());
}

#[test]
fn rows_appear_late_behind_newer_ones() {
    let (mut simulation, market) = with_market(at_ten());
    let minute = 60_000;
    simulation.advance(200 * minute);
    let now = simulation.exchange.now();
    let shown = now.plus_millis(minute);
    for minutes in [2, 4, 8, 14, 30, 180] {
        let fill = buy(&market, minutes).at(now.plus_millis(-minutes * minute)).visible_at(shown);
        simulation.exchange.push_fill(fill).unwrap();
    }
    let reward = Movement::of(&leader(), "REWARD").amounts(5, 5).visible_at(shown);
    simulation.exchange.push_movement(reward, now.plus_millis(-5 * minute)).unwrap();
    simulation.exchange.push_fill(buy(&market, 1).at(now)).unwrap();
    assert_eq!(rows(&activity(&mut simulation, "")).len(), 1);
    simulation.advance(minute);
    assert_eq!(rows(&activity(&mut simulation, "")).len(), 8);
}

#[test]
fn answers_are_dated_by_the_exchange_and_cached_ones_by_their_making() {
    let cache = CacheSettings::RECORDED;
    let (mut simulation, _) = with_market(SimulatorSettings { cache, ..at_ten() });
    let date = |simulation: &mut Simulation| {
        let answer = activity(simulation, "&start=5");
        (header(&answer, "Date").unwrap().to_owned(), header(&answer, "Age").map(str::to_owned))
    };
    assert_eq!(date(&mut simulation), ("Sun, 22 Nov 2026 10:00:00 GMT".to_owned(), None));
    simulation.advance(9_000);
    assert_eq!(date(&mut simulation), ("Sun, 22 Nov 2026 10:00:00 GMT".to_owned(), Some("9".to_owned())));
    simulation.exchange.date_skew_ms = 2 * 3_600_000;
    simulation.advance(9_000);
    assert_eq!(date(&mut simulation), ("Sun, 22 Nov 2026 12:00:18 GMT".to_owned(), None));
}

#[test]
fn a_batch_may_be_refused_for_one_closed_token() {
    let (mut simulation, market) = with_market(at_ten());
    let closed = simulation.exchange.add_market(NewMarket::binary("over"));
    simulation.exchange.close_market(closed.id());
    let both = [market.asset(0).unwrap(), closed.asset(0).unwrap()];
    for path in ["/midpoints", "/spreads", "/books"] {
        assert_eq!(batch(&mut simulation, path, &both).status, 200);
        simulation.exchange.refuses_batches = true;
        assert_eq!(batch(&mut simulation, path, &both).status, 400);
        assert_eq!(batch(&mut simulation, path, &both[..1]).status, 200);
        simulation.exchange.refuses_batches = false;
    }
}

#[test]
fn a_book_with_one_side_has_no_middle_and_no_spread() {
    let (mut simulation, market) = with_market(at_ten());
    let whole = simulation.exchange.add_market(NewMarket::binary("two-sides"));
    let (yes, no) = (market.asset(0).unwrap(), market.asset(1).unwrap());
    simulation.exchange.set_book(yes, Quotes::of(&[], &[(20_000, 5_000_000)]));
    let all = [yes, no, whole.asset(0).unwrap()];
    let middles = batch(&mut simulation, "/midpoints", &all).value();
    assert_eq!(middles, json!({ (whole.asset(0).unwrap().as_str()): "0.495" }));
    let spreads = batch(&mut simulation, "/spreads", &all).value();
    assert_eq!(spreads, json!({ (whole.asset(0).unwrap().as_str()): "0.01" }));
    let books = batch(&mut simulation, "/books", &all[..2]).value();
    assert_eq!((&books[0]["bids"], &books[0]["asks"][0]["price"]), (&json!([]), &json!("0.02")));
    assert_eq!((&books[1]["bids"][0]["price"], &books[1]["asks"]), (&json!("0.98"), &json!([])));
    assert_eq!(get(&mut simulation, Host::Clob, &format!("/midpoint?token_id={yes}")).status, 404);
}

#[test]
fn market_routes_may_fail_for_a_while() {
    let (mut simulation, market) = with_market(at_ten());
    simulation.exchange.fail_for(Host::Gamma, "/markets", 503, 35_000);
    simulation.exchange.fail_for(Host::Clob, "markets", 503, 35_000);
    let status = |simulation: &mut Simulation| {
        let gamma = get(simulation, Host::Gamma, &format!("/markets?condition_ids={}", market.id())).status;
        let compact = get(simulation, Host::Clob, &format!("/clob-markets/{}", market.id())).status;
        let book = get(simulation, Host::Clob, &format!("/book?token_id={}", market.asset(0).unwrap())).status;
        [gamma, compact, book]
    };
    assert_eq!(status(&mut simulation), [503, 503, 200]);
    simulation.advance(34_999);
    assert_eq!(status(&mut simulation), [503, 503, 200]);
    simulation.advance(1);
    assert_eq!(status(&mut simulation), [200, 200, 200]);
}

#[test]
fn a_chance_and_an_end_plan_faults_beside_each_other() {
    let (mut simulation, _) = with_market(at_ten());
    let until = Times::Until(ten().plus_millis(10));
    simulation.exchange.fault(Fault::once(Host::Clob, "/time", FaultKind::EmptyBody).times(until));
    assert!(get(&mut simulation, Host::Clob, "/time").body.is_empty());
    simulation.advance(10);
    assert!(!get(&mut simulation, Host::Clob, "/time").body.is_empty());
}

#[test]
fn a_market_says_what_a_test_wants_about_delays_dates_and_fees() {
    let mut simulation = simulation(at_ten());
    let past = ten().plus_millis(-68 * 86_400_000);
    let quirks = MarketQuirks {
        taker_delay_s: 1,
        delays_takers: true,
        end_date: Some(past),
        gamma_without_fee: true,
        ..MarketQuirks::default()
    };
    let market = simulation.exchange.add_market(NewMarket::binary("a-match").fee(50_000).quirks(quirks));
    let full = |simulation: &mut Simulation, market: &SimMarket| {
        get(simulation, Host::Clob, &format!("/markets/{}", market.id())).value()
    };
    let compact = format!("/clob-markets/{}", market.id());
    let listed = format!("/markets?condition_ids={}", market.id());
    assert_eq!(full(&mut simulation, &market)["seconds_delay"], 1);
    assert_eq!(get(&mut simulation, Host::Clob, &compact).value()["itode"], true);
    let gamma = get(&mut simulation, Host::Gamma, &listed).value()[0].clone();
    assert_eq!((&gamma["acceptingOrders"], &gamma["closed"]), (&json!(true), &json!(false)));
    assert_eq!(gamma["endDate"], "2026-09-15T10:00:00Z");
    assert!(["feesEnabled", "feeSchedule", "feeType"].iter().all(|name| gamma.get(name).is_none()));

    simulation.exchange.change_market(market.id(), |market| market.quirks.unknown_to_clob = true);
    assert_eq!(get(&mut simulation, Host::Clob, &compact).status, 404);
    simulation.exchange.change_market(market.id(), |market| market.quirks.unknown_to_gamma = true);
    assert_eq!(get(&mut simulation, Host::Gamma, &listed).value(), json!([]));
    simulation.exchange.change_market(market.id(), |market| market.quirks = MarketQuirks::default());
    simulation.exchange.change_market(market.id(), |market| market.quirks.accepts_when_closed = true);
    simulation.exchange.close_market(market.id());
    let closed = full(&mut simulation, &market);
    assert_eq!((&closed["closed"], &closed["accepting_orders"]), (&json!(true), &json!(true)));
    let size = simulation.exchange.market(market.id()).map(|market| (market.tick(), market.facts.min_shares));
    assert_eq!(size.map(|(tick, _)| tick), Some(price(10_000)));
}
