//! What the routes say about a market that ended: resolutions, tokens of both ledgers, Gamma.

use serde_json::json;

use super::*;
use crate::simulator::state::market::{SimMarket, price};
use crate::simulator::state::new_market::NewMarket;
use crate::simulator::state::quirks::ResolutionAnswer;

fn tokens(simulation: &mut Simulation, query: &str) -> Vec<Value> {
    rows(&get(simulation, Host::Data, &format!("/v2/tokens?{query}")))
}

fn resolution(simulation: &mut Simulation, market: &SimMarket) -> Vec<Value> {
    rows(&get(simulation, Host::Data, &format!("/v2/resolutions?condition={}", market.id())))
}

fn gamma(simulation: &mut Simulation, market: &SimMarket) -> Value {
    let path = format!("/markets?condition_ids={}&closed=true", market.id());
    get(simulation, Host::Gamma, &path).value()[0].clone()
}

fn resolved(simulation: &mut Simulation, payouts: [i64; 2], quirk: fn(&mut SimMarket)) -> SimMarket {
    let market = simulation.exchange.add_market(NewMarket::binary("a-match"));
    simulation.exchange.resolve(market.id(), &payouts.map(price));
    simulation.exchange.change_market(market.id(), quirk);
    market
}

#[test]
fn a_market_of_an_event_has_four_tokens_with_their_final_prices() {
    let mut simulation = simulation(at_ten());
    let of = |n: i32| NewMarket::binary(&format!("party-{n}")).of_event("council");
    let markets: Vec<SimMarket> = (0..3).map(|n| simulation.exchange.add_market(of(n))).collect();
    simulation.exchange.resolve(markets[1].id(), &[price(1_000_000), price(0)]);
    let rows = tokens(&mut simulation, &format!("condition={}", markets[1].id()));
    let theirs: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/data_v2/tokens_2026_10_18.json")).unwrap();
    assert_eq!(rows.len(), theirs["data"].as_array().unwrap().len());
    for (ours, theirs) in rows.iter().zip(theirs["data"].as_array().unwrap()) {
        assert_eq!(names(ours), names(theirs));
        for same in ["module", "outcome_index", "clob_index", "outcome", "resolved", "final_price", "closed"] {
            assert_eq!(ours[same], theirs[same], "{same}");
        }
    }
    let structural = rows[2]["structural_condition_id"].as_str().unwrap();
    assert!(structural.starts_with("0x02") && structural.ends_with("000300000000000000000000000100"), "{structural}");
    let opposite = rows[2]["opposite_token_id"].clone();
    assert_eq!(opposite, rows[3]["token_id"]);
    let by_token = tokens(&mut simulation, &format!("token_id={},99", opposite.as_str().unwrap()));
    assert_eq!(by_token, [rows[3].clone()]);
    assert_eq!(tokens(&mut simulation, &format!("condition={structural}")), rows);
}

#[test]
fn a_market_made_on_the_new_ledger_has_one_pair_of_tokens_in_every_route() {
    let mut simulation = simulation(at_ten());
    let market = simulation.exchange.add_market(NewMarket::binary("made-there").on_new_ledger());
    let rows = tokens(&mut simulation, &format!("condition={}", market.id()));
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["module"] == "binary" && row["final_price"].is_null()));
    let path = format!("/markets?condition_ids={}", market.id());
    let listed = get(&mut simulation, Host::Gamma, &path).value()[0].clone();
    let ids = [0, 1].map(|index| market.asset(index).unwrap().as_str());
    assert_eq!((&listed["version"], &listed["positionIds"]), (&json!("v2"), &json!(ids)));
    assert!(market.id().as_str().starts_with("0x01") && market.id().as_str().len() == 66);
    let book = get(&mut simulation, Host::Clob, &format!("/book?token_id={}", ids[1])).value();
    assert_eq!(book["asset_id"], ids[1]);
}

#[test]
fn too_many_tokens_or_conditions_are_refused() {
    let mut simulation = simulation(at_ten());
    let mut status = |name: &str, n: usize| {
        let id = if name == "condition" { format!("0x{}", "1".repeat(64)) } else { "1".to_owned() };
        get(&mut simulation, Host::Data, &format!("/v2/tokens?{name}={}", vec![id; n].join(","))).status
    };
    assert_eq!((status("token_id", 50), status("token_id", 51)), (200, 400));
    assert_eq!((status("condition", 10), status("condition", 11)), (200, 400));
    assert_eq!(get(&mut simulation, Host::Data, "/v2/tokens").status, 400);
}

#[test]
fn each_source_of_payouts_can_fall_silent_alone() {
    let mut simulation = simulation(at_ten());
    let market = resolved(&mut simulation, [500_000, 500_000], |market| {
        market.quirks.resolution = ResolutionAnswer::PriceOnly;
    });
    let row = resolution(&mut simulation, &market)[0].clone();
    assert_eq!((&row["status"], &row["price"], row.get("payouts")), (&json!("resolved"), &json!("0.5"), None));
    let final_price = |simulation: &mut Simulation| {
        tokens(simulation, &format!("condition={}", market.id()))[0]["final_price"].clone()
    };
    assert_eq!(final_price(&mut simulation), 0.5);
    assert_eq!(gamma(&mut simulation, &market)["outcomePrices"], "[\"0.5\", \"0.5\"]");

    simulation.exchange.change_market(market.id(), |market| market.quirks.resolution = ResolutionAnswer::NoRow);
    assert_eq!(resolution(&mut simulation, &market), Vec::<Value>::new());
    simulation.exchange.change_market(market.id(), |market| market.quirks.without_final_price = true);
    assert!(final_price(&mut simulation).is_null());
    assert_eq!(gamma(&mut simulation, &market)["umaResolutionStatus"], "resolved");
    simulation.exchange.change_market(market.id(), |market| market.quirks.gamma_unresolved = true);
    let unresolved = gamma(&mut simulation, &market);
    assert_eq!((&unresolved["umaResolutionStatus"], &unresolved["closed"]), (&json!("proposed"), &json!(true)));
}

#[test]
fn a_proposal_and_a_dispute_have_the_recorded_fields() {
    let mut simulation = simulation(at_ten());
    let market = resolved(&mut simulation, [1_000_000, 0], |market| {
        let (proposed, reproposed) = (price(1_000_000), price(500_000));
        market.quirks.resolution = ResolutionAnswer::Disputed { proposed, reproposed };
    });
    let recorded = include_str!("../../../tests/fixtures/data_v2/resolutions_pending_2026_09_29.json");
    let theirs: Value = serde_json::from_str(recorded).unwrap();
    let check = |row: &Value, n: usize| {
        let theirs = &theirs["data"][n];
        assert_eq!(names(row), names(theirs));
        for same in ["status", "was_disputed", "proposed_price", "reproposed_price", "price", "settlement_time_basis"] {
            assert_eq!(row[same], theirs[same], "{same}");
        }
    };
    check(&resolution(&mut simulation, &market)[0], 0);
    simulation.exchange.change_market(market.id(), |market| {
        market.quirks.resolution = ResolutionAnswer::Proposed(price(1_000_000));
    });
    check(&resolution(&mut simulation, &market)[0], 1);
}
