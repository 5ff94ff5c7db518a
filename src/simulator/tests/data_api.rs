//! The feeds of the Data API: shapes, paging, filters, caches.

use serde_json::json;

use super::*;
use crate::domain::events::event::Side;
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::simulator::http::cache::CacheSettings;
use crate::simulator::state::feed::Role;
use crate::simulator::state::market::{SimMarket, price};
use crate::simulator::state::new_market::NewMarket;
use crate::simulator::state::trading::{Fill, Part};

pub fn with_market(settings: SimulatorSettings) -> (Simulation, SimMarket) {
    let mut simulation = simulation(settings);
    simulation.exchange.add_person(&leader(), "quiet one");
    let market = simulation.exchange.add_market(NewMarket::binary("rain-in-elderby").fee(50_000));
    (simulation, market)
}

pub fn buy(market: &SimMarket, shares: i64) -> Fill {
    Fill::taker(&leader(), market.asset(0).unwrap(), Side::Buy, 500_000, shares * 1_000_000)
}

pub fn activity(simulation: &mut Simulation, more: &str) -> Answer {
    get(simulation, Host::Data, &format!("/v2/activity?user={}{more}", leader()))
}

#[test]
fn a_taker_has_one_row_with_its_fee_and_a_maker_one_row_per_order_without() {
    let (mut simulation, market) = with_market(at_ten());
    let part = |at, shares: i64| Part::at(price(at), ShareMicros(shares * 1_000_000));
    let parts = vec![part(500_000, 60), part(510_000, 40)];
    simulation.exchange.push_fill(Fill { parts: parts.clone(), ..buy(&market, 1) }).unwrap();
    simulation.exchange.push_fill(Fill { parts, role: Role::Maker, side: Side::Sell, ..buy(&market, 1) }).unwrap();
    let rows = rows(&activity(&mut simulation, "&sort_direction=ASC"));
    let figures: Vec<_> =
        rows.iter().map(|row| (&row["side"], &row["size"], &row["usdc_size"], &row["price"])).collect();
    // 100 * 0.05 * 0.504 * 0.496 = 1.24992.
    assert_eq!(figures[0], (&json!("BUY"), &json!(100.0), &json!(51.649_92), &json!(0.504)));
    assert_eq!(figures[1], (&json!("SELL"), &json!(60.0), &json!(30.0), &json!(0.5)));
    assert_eq!(figures[2], (&json!("SELL"), &json!(40.0), &json!(20.4), &json!(0.51)));
    assert_eq!(rows[1]["transaction_hash"], rows[2]["transaction_hash"]);
}

#[test]
fn floats_are_printed_as_recorded() {
    let (mut simulation, market) = with_market(at_ten());
    let part = Part { shares: ShareMicros(10_294_118), cash: UsdcMicros(3_294_118) };
    simulation.exchange.push_fill(Fill { parts: vec![part], role: Role::Maker, ..buy(&market, 1) }).unwrap();
    simulation.exchange.push_fill(buy(&market, 5)).unwrap();
    let body = String::from_utf8(activity(&mut simulation, "").body).unwrap();
    for printed in ["\"size\":10.294118,\"usdc_size\":3.294118", "\"price\":0.3200000233", "\"size\":5.0,"] {
        assert!(body.contains(printed), "{printed} in {body}");
    }
}

#[test]
fn twin_rows_differ_in_their_key_only() {
    let (mut simulation, market) = with_market(at_ten());
    simulation.exchange.push_fill(Fill { role: Role::Maker, ..buy(&market, 7) }.twice()).unwrap();
    let rows = rows(&activity(&mut simulation, ""));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], rows[1]);
}

#[test]
fn paging_serves_each_row_once_even_when_a_transaction_spans_two_pages() {
    let (mut simulation, market) = with_market(at_ten());
    for second in 0..6 {
        let twins = Fill { role: Role::Maker, ..buy(&market, second + 1) }.twice();
        simulation.exchange.push_fill(twins.at(ten().plus_millis(second * 700))).unwrap();
    }
    simulation.advance(10_000);
    for direction in ["ASC", "DESC"] {
        let mut sizes = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = activity(&mut simulation, &format!("&limit=5&sort_direction={direction}{cursor}"));
            sizes.extend(rows(&answer).iter().map(|row| row["size"].as_f64().unwrap() as i64));
            let Some(next) = next_cursor(&answer) else { break };
            cursor = format!("&cursor={next}");
        }
        let mut expected = vec![1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6];
        if direction == "DESC" {
            expected.reverse();
        }
        assert_eq!(sizes, expected, "{direction}");
    }
}

#[test]
fn a_late_row_neither_shifts_nor_doubles_the_rows_of_later_pages() {
    let (mut simulation, market) = with_market(at_ten());
    for second in 0..4 {
        simulation.exchange.push_fill(buy(&market, second + 1).at(ten().plus_millis(second * 1000))).unwrap();
    }
    let late = ten().plus_millis(20_000);
    simulation.exchange.push_fill(buy(&market, 50).at(ten().plus_millis(500)).visible_at(late)).unwrap();
    simulation.exchange.push_fill(buy(&market, 60).at(ten().plus_millis(3_500)).visible_at(late)).unwrap();
    simulation.advance(5_000);
    let first = activity(&mut simulation, "&limit=2");
    simulation.advance(60_000);
    let second = activity(&mut simulation, &format!("&limit=2&cursor={}", next_cursor(&first).unwrap()));
    let sizes =
        |answer: &Answer| -> Vec<f64> { rows(answer).iter().map(|row| row["size"].as_f64().unwrap()).collect() };
    assert_eq!((sizes(&first), sizes(&second)), (vec![4.0, 3.0], vec![2.0, 50.0]));
    assert_eq!(sizes(&activity(&mut simulation, "")), [60.0, 4.0, 3.0, 2.0, 50.0, 1.0]);
}

#[test]
fn a_time_range_is_in_whole_seconds_and_includes_both_ends() {
    let (mut simulation, market) = with_market(at_ten());
    for second in 0..5 {
        simulation.exchange.push_fill(buy(&market, second + 1).at(ten().plus_millis(second * 1000 + 300))).unwrap();
    }
    simulation.advance(10_000);
    let start = ten().seconds();
    let answer = activity(&mut simulation, &format!("&start={}&end={}", start + 1, start + 3));
    assert_eq!(rows(&answer).len(), 3);
    assert_eq!(rows(&activity(&mut simulation, "&start=0&end=0")).len(), 5);
}

#[test]
fn invalid_requests_are_refused_like_the_real_service_does() {
    let (mut simulation, _) = with_market(at_ten());
    for more in ["&offset=10", "&type=TELEPORT", "&cursor=abc", "&condition=0x12", "&start=yesterday", "&side=HOLD"] {
        assert_eq!(activity(&mut simulation, more).status, 400, "{more}");
    }
    for path in [
        "/v2/activity",
        "/v2/activity?user=0x12",
        &format!("/v2/activity?user={}", crate::simulator::state::chain::CTF_EXCHANGE),
    ] {
        assert_eq!(get(&mut simulation, Host::Data, path).status, 400, "{path}");
    }
    assert_eq!(get(&mut simulation, Host::Data, "/v2/nothing").status, 404);
    let unknown = wallet_of("nobody");
    assert!(rows(&get(&mut simulation, Host::Data, &format!("/v2/activity?user={unknown}"))).is_empty());
}

#[test]
fn trades_hide_makers_by_default_and_types_filter_activity() {
    let (mut simulation, market) = with_market(at_ten());
    simulation.exchange.push_fill(buy(&market, 1)).unwrap();
    simulation.exchange.push_fill(Fill { role: Role::Maker, ..buy(&market, 2) }).unwrap();
    simulation.exchange.merge(&leader(), market.id(), ShareMicros(1_000_000), ten()).unwrap();
    simulation.exchange.pay(&leader(), "MAKER_REBATE", UsdcMicros(42), ten()).unwrap();
    simulation.exchange.pay(&leader(), "DEPOSIT", UsdcMicros(43), ten()).unwrap();
    let trades = |simulation: &mut Simulation, more: &str| {
        rows(&get(simulation, Host::Data, &format!("/v2/trades?user={}{more}", leader()))).len()
    };
    assert_eq!(trades(&mut simulation, ""), 1);
    assert_eq!(trades(&mut simulation, "&taker_only=false"), 2);
    assert_eq!(trades(&mut simulation, "&takerOnly=false"), 2);
    assert_eq!(rows(&activity(&mut simulation, "")).len(), 4);
    assert_eq!(rows(&activity(&mut simulation, "&type=MERGE,MAKER_REBATE")).len(), 2);
    assert_eq!(rows(&activity(&mut simulation, "&exclude_deposits_withdrawals=false")).len(), 5);
    let merge = &rows(&activity(&mut simulation, "&type=MERGE"))[0];
    let shape = ["token_id", "outcome_index", "side", "price", "size", "usdc_size"].map(|key| merge[key].clone());
    assert_eq!(shape, [json!(""), json!(999), json!(""), json!(0.0), json!(1.0), json!(1.0)]);
}

#[test]
fn a_row_is_first_shown_after_a_while_and_completed_later() {
    let settings = SimulatorSettings { visible_after: (3_000, 3_000), complete_after: 30_000, ..at_ten() };
    let (mut simulation, market) = with_market(settings);
    simulation.exchange.push_fill(buy(&market, 1)).unwrap();
    assert!(rows(&activity(&mut simulation, "")).is_empty());
    simulation.advance(4_000);
    let fresh = rows(&activity(&mut simulation, ""))[0].clone();
    assert_eq!((&fresh["outcome_index"], &fresh["event_slug"]), (&json!(999), &json!("")));
    simulation.advance(31_000);
    let complete = rows(&activity(&mut simulation, ""))[0].clone();
    assert_eq!((&complete["outcome_index"], &complete["event_slug"]), (&json!(0), &json!("rain-in-elderby")));
    assert_eq!(fresh["transaction_hash"], complete["transaction_hash"]);
}

#[test]
fn the_identical_url_is_answered_from_the_cache_until_it_is_too_old() {
    let (mut simulation, market) = with_market(SimulatorSettings { cache: CacheSettings::RECORDED, ..at_ten() });
    assert!(rows(&activity(&mut simulation, "&start=5")).is_empty());
    simulation.exchange.push_fill(buy(&market, 1)).unwrap();
    assert!(rows(&activity(&mut simulation, "&start=5")).is_empty());
    assert_eq!(rows(&activity(&mut simulation, "&start=6")).len(), 1);
    simulation.advance(15_000);
    assert_eq!(rows(&activity(&mut simulation, "&start=5")).len(), 1);
    let trades = format!("/v2/trades?user={}", leader());
    let n_trades = |simulation: &mut Simulation| rows(&get(simulation, Host::Data, &trades)).len();
    assert_eq!(n_trades(&mut simulation), 1);
    simulation.exchange.push_fill(buy(&market, 1)).unwrap();
    simulation.advance(299_000);
    assert_eq!(n_trades(&mut simulation), 1);
    simulation.advance(2_000);
    assert_eq!(n_trades(&mut simulation), 2);
    assert!(simulation.exchange.heard().any(|heard| heard.from_cache));
}
