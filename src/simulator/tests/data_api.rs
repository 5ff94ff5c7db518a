//! The Data API's feeds: shapes, walks, filters, caches.

use serde_json::json;

use super::*;
use crate::domain::events::event::Side;
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::simulator::routes::answer::CacheSettings;
use crate::simulator::state::activity_rows::Role;
use crate::simulator::state::market::{SimMarket, price};
use crate::simulator::state::new_market::NewMarket;
use crate::simulator::state::trading::{Fill, Part};

pub fn with_market(settings: SimulatorSettings) -> (World, SimMarket) {
    let mut world = world(settings);
    world.add_person(&leader(), "quiet one");
    let market = world.add_market(NewMarket::binary("rain-in-elderby").fee(50_000));
    (world, market)
}

pub fn buy(market: &SimMarket, shares: i64) -> Fill {
    Fill::taker(&leader(), market.asset(0).unwrap(), Side::Buy, 500_000, shares * 1_000_000)
}

pub fn activity(world: &mut World, more: &str) -> Answer {
    get(world, Host::Data, &format!("/v2/activity?user={}{more}", leader()))
}

#[test]
fn a_taker_has_one_row_with_its_fee_and_a_maker_one_row_an_order_without() {
    let (mut world, market) = with_market(at_ten());
    let part = |at, shares: i64| Part::at(price(at), ShareMicros(shares * 1_000_000));
    let parts = vec![part(500_000, 60), part(510_000, 40)];
    world.push_fill(Fill { parts: parts.clone(), ..buy(&market, 1) }).unwrap();
    world.push_fill(Fill { parts, role: Role::Maker, side: Side::Sell, ..buy(&market, 1) }).unwrap();
    let rows = rows(&activity(&mut world, "&sort_direction=ASC"));
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
    let (mut world, market) = with_market(at_ten());
    let part = Part { shares: ShareMicros(10_294_118), cash: UsdcMicros(3_294_118) };
    world.push_fill(Fill { parts: vec![part], role: Role::Maker, ..buy(&market, 1) }).unwrap();
    world.push_fill(buy(&market, 5)).unwrap();
    let body = String::from_utf8(activity(&mut world, "").body).unwrap();
    for printed in ["\"size\":10.294118,\"usdc_size\":3.294118", "\"price\":0.3200000233", "\"size\":5.0,"] {
        assert!(body.contains(printed), "{printed} in {body}");
    }
}

#[test]
fn twin_rows_differ_in_nothing_but_their_place() {
    let (mut world, market) = with_market(at_ten());
    world.push_fill(Fill { role: Role::Maker, ..buy(&market, 7) }.twice()).unwrap();
    let rows = rows(&activity(&mut world, ""));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], rows[1]);
}

#[test]
fn a_walk_serves_every_row_once_even_when_a_transaction_spans_two_pages() {
    let (mut world, market) = with_market(at_ten());
    for second in 0..6 {
        let twins = Fill { role: Role::Maker, ..buy(&market, second + 1) }.twice();
        world.push_fill(twins.at(ten().plus_millis(second * 700))).unwrap();
    }
    world.advance(10_000);
    for direction in ["ASC", "DESC"] {
        let mut sizes = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = activity(&mut world, &format!("&limit=5&sort_direction={direction}{cursor}"));
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
fn a_late_row_neither_shifts_nor_doubles_what_is_still_to_come() {
    let (mut world, market) = with_market(at_ten());
    for second in 0..4 {
        world.push_fill(buy(&market, second + 1).at(ten().plus_millis(second * 1000))).unwrap();
    }
    let late = ten().plus_millis(20_000);
    world.push_fill(buy(&market, 50).at(ten().plus_millis(500)).visible_at(late)).unwrap();
    world.push_fill(buy(&market, 60).at(ten().plus_millis(3_500)).visible_at(late)).unwrap();
    world.advance(5_000);
    let first = activity(&mut world, "&limit=2");
    world.advance(60_000);
    let second = activity(&mut world, &format!("&limit=2&cursor={}", next_cursor(&first).unwrap()));
    let sizes =
        |answer: &Answer| -> Vec<f64> { rows(answer).iter().map(|row| row["size"].as_f64().unwrap()).collect() };
    assert_eq!((sizes(&first), sizes(&second)), (vec![4.0, 3.0], vec![2.0, 50.0]));
    assert_eq!(sizes(&activity(&mut world, "")), [60.0, 4.0, 3.0, 2.0, 50.0, 1.0]);
}

#[test]
fn windows_are_whole_seconds_and_hold_both_ends() {
    let (mut world, market) = with_market(at_ten());
    for second in 0..5 {
        world.push_fill(buy(&market, second + 1).at(ten().plus_millis(second * 1000 + 300))).unwrap();
    }
    world.advance(10_000);
    let start = ten().seconds();
    let answer = activity(&mut world, &format!("&start={}&end={}", start + 1, start + 3));
    assert_eq!(rows(&answer).len(), 3);
    assert_eq!(rows(&activity(&mut world, "&start=0&end=0")).len(), 5);
}

#[test]
fn wrong_questions_are_refused_as_the_real_service_refuses_them() {
    let (mut world, _) = with_market(at_ten());
    for more in ["&offset=10", "&type=TELEPORT", "&cursor=abc", "&condition=0x12", "&start=yesterday", "&side=HOLD"] {
        assert_eq!(activity(&mut world, more).status, 400, "{more}");
    }
    for path in [
        "/v2/activity",
        "/v2/activity?user=0x12",
        &format!("/v2/activity?user={}", crate::simulator::routes::chain::CTF_EXCHANGE),
    ] {
        assert_eq!(get(&mut world, Host::Data, path).status, 400, "{path}");
    }
    assert_eq!(get(&mut world, Host::Data, "/v2/nothing").status, 404);
    let stranger = wallet_of("nobody");
    assert!(rows(&get(&mut world, Host::Data, &format!("/v2/activity?user={stranger}"))).is_empty());
}

#[test]
fn trades_hide_makers_unless_told_otherwise_and_types_filter_activity() {
    let (mut world, market) = with_market(at_ten());
    world.push_fill(buy(&market, 1)).unwrap();
    world.push_fill(Fill { role: Role::Maker, ..buy(&market, 2) }).unwrap();
    world.merge(&leader(), market.id(), ShareMicros(1_000_000), ten()).unwrap();
    world.pay(&leader(), "MAKER_REBATE", UsdcMicros(42), ten()).unwrap();
    world.pay(&leader(), "DEPOSIT", UsdcMicros(43), ten()).unwrap();
    let trades = |world: &mut World, more: &str| {
        rows(&get(world, Host::Data, &format!("/v2/trades?user={}{more}", leader()))).len()
    };
    assert_eq!(trades(&mut world, ""), 1);
    assert_eq!(trades(&mut world, "&taker_only=false"), 2);
    assert_eq!(trades(&mut world, "&takerOnly=false"), 2);
    assert_eq!(rows(&activity(&mut world, "")).len(), 4);
    assert_eq!(rows(&activity(&mut world, "&type=MERGE,MAKER_REBATE")).len(), 2);
    assert_eq!(rows(&activity(&mut world, "&exclude_deposits_withdrawals=false")).len(), 5);
    let merge = &rows(&activity(&mut world, "&type=MERGE"))[0];
    let shape = ["token_id", "outcome_index", "side", "price", "size", "usdc_size"].map(|key| merge[key].clone());
    assert_eq!(shape, [json!(""), json!(999), json!(""), json!(0.0), json!(1.0), json!(1.0)]);
}

#[test]
fn a_row_is_first_shown_after_a_while_and_completed_later() {
    let settings = SimulatorSettings { visible_after: (3_000, 3_000), complete_after: 30_000, ..at_ten() };
    let (mut world, market) = with_market(settings);
    world.push_fill(buy(&market, 1)).unwrap();
    assert!(rows(&activity(&mut world, "")).is_empty());
    world.advance(4_000);
    let fresh = rows(&activity(&mut world, ""))[0].clone();
    assert_eq!((&fresh["outcome_index"], &fresh["event_slug"]), (&json!(999), &json!("")));
    world.advance(31_000);
    let complete = rows(&activity(&mut world, ""))[0].clone();
    assert_eq!((&complete["outcome_index"], &complete["event_slug"]), (&json!(0), &json!("rain-in-elderby")));
    assert_eq!(fresh["transaction_hash"], complete["transaction_hash"]);
}

#[test]
fn the_identical_url_is_answered_from_the_cache_until_it_is_too_old() {
    let (mut world, market) = with_market(SimulatorSettings { cache: CacheSettings::RECORDED, ..at_ten() });
    assert!(rows(&activity(&mut world, "&start=5")).is_empty());
    world.push_fill(buy(&market, 1)).unwrap();
    assert!(rows(&activity(&mut world, "&start=5")).is_empty());
    assert_eq!(rows(&activity(&mut world, "&start=6")).len(), 1);
    world.advance(15_000);
    assert_eq!(rows(&activity(&mut world, "&start=5")).len(), 1);
    let trades = format!("/v2/trades?user={}", leader());
    let n_trades = |world: &mut World| rows(&get(world, Host::Data, &trades)).len();
    assert_eq!(n_trades(&mut world), 1);
    world.push_fill(buy(&market, 1)).unwrap();
    world.advance(299_000);
    assert_eq!(n_trades(&mut world), 1);
    world.advance(2_000);
    assert_eq!(n_trades(&mut world), 2);
    assert!(world.heard().any(|heard| heard.from_cache));
}
