//! What wallets hold and what moves it: old holdings, conversions, redemptions, moves to the new ledger, combos, kinds
//! that the bot does not know.

use serde_json::json;

use super::*;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::simulator::state::market::{SimMarket, price};
use crate::simulator::state::movements::Movement;
use crate::simulator::state::new_market::NewMarket;
use crate::simulator::state::token_ids::Combo;
use crate::simulator::state::trading::Fill;

const SHARE: i64 = 1_000_000;

fn event_of(simulation: &mut Simulation, n: usize) -> Vec<SimMarket> {
    let market = |n: usize| NewMarket::binary(&format!("party-{n}")).of_event("council");
    (0..n).map(|n| simulation.exchange.add_market(market(n))).collect()
}

fn positions(simulation: &mut Simulation, more: &str) -> Vec<Value> {
    let path = format!("/v2/positions?user={}&filter_amount=0{more}", leader());
    rows(&get(simulation, Host::Data, &path))
}

fn activity(simulation: &mut Simulation, more: &str) -> Vec<Value> {
    rows(&get(simulation, Host::Data, &format!("/v2/activity?user={}&sort_direction=ASC{more}", leader())))
}

fn held(simulation: &Simulation, asset: &AssetId) -> i64 {
    simulation.exchange.holdings(&leader(), None).get(asset).map_or(0, |holding| holding.shares.0)
}

#[test]
fn shares_bought_before_any_row_are_listed_sold_and_redeemed() {
    let mut simulation = simulation(at_ten());
    let market = simulation.exchange.add_market(NewMarket::binary("old-bet"));
    let yes = market.asset(0).unwrap().clone();
    let bought = ten().plus_millis(-40 * 86_400_000);
    simulation.exchange.hold(&leader(), &yes, ShareMicros(1_500 * SHARE), price(400_000), Some(bought));
    assert_eq!(activity(&mut simulation, "&start=1"), Vec::<Value>::new());
    let row = positions(&mut simulation, "")[0].clone();
    let fields = ["current_size", "avg_price", "current_price", "last_event_at"].map(|name| row[name].clone());
    assert_eq!(fields, [json!(1_500.0), json!(0.4), json!(0.495), json!(bought.seconds())]);

    let sale = Fill::taker(&leader(), &yes, Side::Sell, 600_000, 1_000 * SHARE);
    simulation.exchange.push_fill(sale).unwrap();
    assert_eq!(positions(&mut simulation, "")[0]["last_event_at"], json!(ten().seconds()));
    simulation.exchange.resolve(market.id(), &[price(1_000_000), price(0)]);
    let now = simulation.exchange.now();
    simulation.exchange.redeem(&leader(), market.id(), false, now).unwrap();
    let redeemed = activity(&mut simulation, "&type=REDEEM");
    assert_eq!((&redeemed[0]["usdc_size"], &redeemed[0]["token_id"]), (&json!(500.0), &json!("")));
    assert_eq!(positions(&mut simulation, ""), Vec::<Value>::new());
    assert_eq!(positions(&mut simulation, "&status=CLOSED")[0]["status"], "CLOSED");
}

#[test]
fn a_time_bound_hides_the_positions_that_state_no_time() {
    let mut simulation = simulation(at_ten());
    let market = simulation.exchange.add_market(NewMarket::binary("old-bet"));
    simulation.exchange.hold(&leader(), market.asset(0).unwrap(), ShareMicros(SHARE), price(400_000), None);
    let bought = Some(ten().plus_millis(-5_000));
    simulation.exchange.hold(&leader(), market.asset(1).unwrap(), ShareMicros(SHARE), price(600_000), bought);
    let all = positions(&mut simulation, "");
    assert_eq!(all.iter().filter(|row| row.get("last_event_at").is_none()).count(), 1);
    assert_eq!((all.len(), all[0]["mergeable"].clone()), (2, json!(true)));
    let now = ten().seconds();
    assert_eq!(positions(&mut simulation, &format!("&end={now}")).len(), 1);
    assert_eq!(positions(&mut simulation, &format!("&start={now}")).len(), 0);
    simulation.exchange.change_market(market.id(), |market| market.quirks.without_position_price = true);
    assert!(positions(&mut simulation, "")[0]["current_price"].is_null());
}

#[test]
fn a_conversion_pays_one_usdc_for_each_no_but_the_first() {
    let mut simulation = simulation(at_ten());
    let markets = event_of(&mut simulation, 5);
    for market in &markets[..3] {
        let no = market.asset(1).unwrap();
        simulation.exchange.push_fill(Fill::taker(&leader(), no, Side::Buy, 700_000, 100 * SHARE)).unwrap();
    }
    let from: Vec<MarketId> = markets[..3].iter().map(|market| market.id().clone()).collect();
    let key = simulation.exchange.convert(&leader(), &from, ShareMicros(100 * SHARE), ten()).unwrap();
    let row = simulation.exchange.feed.row(key).unwrap();
    assert_eq!(row.received, Some(UsdcMicros(200 * SHARE)));
    for (n, market) in markets.iter().enumerate() {
        let expected = if n < 3 { [0, 0] } else { [100 * SHARE, 0] };
        assert_eq!([0, 1].map(|index| held(&simulation, market.asset(index).unwrap())), expected, "market {n}");
    }
    // 210 paid, 200 received: the 10 that are left are the cost of the two YES.
    let listed = positions(&mut simulation, "");
    let costs: Vec<&Value> = listed.iter().map(|row| &row["entry_cost_usdc"]).collect();
    assert_eq!(costs, [&json!(5.0), &json!(5.0)]);
    let printed = activity(&mut simulation, "&type=CONVERSION")[0].clone();
    let fields = ["token_id", "outcome_index", "side", "size"].map(|name| printed[name].clone());
    assert_eq!(fields, [json!(""), json!(999), json!(""), json!(100.0)]);
}

#[test]
fn the_events_fee_is_kept_from_the_cash_and_from_each_yes_and_one_no_pays_nothing() {
    let mut simulation = simulation(at_ten());
    let markets = event_of(&mut simulation, 4);
    for market in &markets {
        simulation.exchange.change_market(market.id(), |market| market.conversion_fee_bips = 30);
        let no = market.asset(1).unwrap();
        simulation.exchange.hold(&leader(), no, ShareMicros(1_000_000_001), price(500_000), None);
    }
    let from: Vec<MarketId> = markets[..2].iter().map(|market| market.id().clone()).collect();
    let key = simulation.exchange.convert(&leader(), &from, ShareMicros(333_333_333), ten()).unwrap();
    // 333,333,333 * 30 / 10,000 = 999,999.999, cut to 999,999.
    assert_eq!(simulation.exchange.feed.row(key).unwrap().received, Some(UsdcMicros(332_333_334)));
    assert_eq!(held(&simulation, markets[2].asset(0).unwrap()), 332_333_334);
    let key = simulation.exchange.convert(&leader(), &from[..1], ShareMicros(SHARE), ten()).unwrap();
    assert_eq!(simulation.exchange.feed.row(key).unwrap().received, Some(UsdcMicros(0)));
    let all: Vec<MarketId> = markets.iter().map(|market| market.id().clone()).collect();
    let key = simulation.exchange.convert(&leader(), &all, ShareMicros(SHARE), ten()).unwrap();
    assert_eq!(simulation.exchange.feed.row(key).unwrap().received, Some(UsdcMicros(3 * 997_000)));
}

#[test]
fn a_redemption_has_one_row_for_a_condition_or_one_for_each_outcome() {
    for per_outcome in [false, true] {
        let mut simulation = simulation(at_ten());
        let market = simulation.exchange.add_market(NewMarket::binary("a-match"));
        for index in 0..2 {
            let shares = ShareMicros((30 + 10 * index as i64) * SHARE);
            simulation.exchange.hold(&leader(), market.asset(index).unwrap(), shares, price(500_000), None);
        }
        simulation.exchange.resolve(market.id(), &[price(0), price(1_000_000)]);
        simulation.exchange.redeem(&leader(), market.id(), per_outcome, ten()).unwrap();
        let rows = activity(&mut simulation, "&type=REDEEM");
        let figures: Vec<_> =
            rows.iter().map(|row| [&row["token_id"], &row["size"], &row["usdc_size"]].map(Clone::clone)).collect();
        let token = |index| json!(market.asset(index).unwrap());
        let expected = match per_outcome {
            false => vec![[json!(""), json!(40.0), json!(40.0)]],
            true => vec![[token(0), json!(30.0), json!(0.0)], [token(1), json!(40.0), json!(40.0)]],
        };
        assert_eq!(figures, expected);
        assert!(rows.iter().all(|row| row["transaction_hash"] == rows[0]["transaction_hash"]));
    }
}

#[test]
fn a_migration_is_a_credit_and_moves_each_token_to_its_pair() {
    let mut simulation = simulation(at_ten());
    let binary = simulation.exchange.add_market(NewMarket::binary("rain"));
    let council = event_of(&mut simulation, 3).remove(2);
    for market in [&binary, &council] {
        let yes = market.asset(0).unwrap();
        simulation.exchange.hold(&leader(), yes, ShareMicros(7 * SHARE), price(400_000), None);
        let cash = UsdcMicros(12_340_000);
        simulation.exchange.migrate(&leader(), market.id(), cash, ten()).unwrap();
        let migrated = simulation.exchange.migrated_token(market, 0);
        assert_eq!((held(&simulation, yes), held(&simulation, &migrated)), (0, 7 * SHARE));
        let listed = positions(&mut simulation, &format!("&condition={}", market.id()));
        assert_eq!((listed[0]["token_id"].clone(), listed[0]["avg_price"].clone()), (json!(migrated), json!(0.4)));
    }
    let rows = activity(&mut simulation, "&type=MIGRATION");
    let fields = ["condition_id", "token_id", "size", "usdc_size"].map(|name| rows[0][name].clone());
    assert_eq!(fields, [json!(""), json!(""), json!(0.0), json!(12.34)]);
}

#[test]
fn combos_of_every_kind_are_rows_without_a_market() {
    let mut simulation = simulation(at_ten());
    let combo = Combo::of("two home wins");
    for kind in ["TRADE", "SPLIT", "MERGE", "REDEEM"] {
        let movement = Movement::of_combo(&leader(), kind, &combo).amounts(50 * SHARE, 20 * SHARE);
        simulation.exchange.push_movement(movement, ten()).unwrap();
    }
    let redeemed = Movement::of_combo(&leader(), "REDEEM", &combo).amounts(79_375_723_165, 79_375_723_165);
    simulation.exchange.push_movement(redeemed.unflagged(), ten()).unwrap();
    simulation.exchange.hold(&leader(), &combo.tokens[0], ShareMicros(50 * SHARE), price(400_000), None);
    let rows = activity(&mut simulation, "");
    assert_eq!(rows.len(), 5);
    for row in &rows {
        let condition = row["condition_id"].as_str().unwrap();
        assert!(condition.starts_with("0x03") && condition.len() == 64, "{condition}");
        assert_eq!(row["slug"], "");
    }
    assert_eq!((&rows[0]["is_combo"], &rows[0]["price"]), (&json!(true), &json!(0.4)));
    assert!(rows[4].get("is_combo").is_none());
    let listed = positions(&mut simulation, "");
    assert_eq!(listed[0]["condition_id"], rows[0]["condition_id"]);
}

#[test]
fn range_kinds_and_an_invented_kind_are_rows_of_no_condition_that_move_shares() {
    let mut simulation = simulation(at_ten());
    let markets = event_of(&mut simulation, 3);
    let bucket = markets[0].asset(0).unwrap();
    let line = markets[1].asset(0).unwrap();
    simulation.exchange.hold(&leader(), bucket, ShareMicros(10 * SHARE), price(400_000), None);
    let kinds = ["DIRECTIONAL_SPLIT", "DIRECTIONAL_MERGE", "THRESHOLD_COMPOSE", "THRESHOLD_DECOMPOSE", "TELEPORT"];
    for kind in kinds {
        let movement = Movement::of(&leader(), kind).amounts(SHARE, 0);
        let movement = movement.moving(&[(bucket, -SHARE), (line, SHARE)]).receiving(0);
        simulation.exchange.push_movement(movement, ten()).unwrap();
    }
    assert_eq!((held(&simulation, bucket), held(&simulation, line)), (5 * SHARE, 5 * SHARE));
    let of_condition = format!("&condition={}", markets[0].id());
    assert_eq!(activity(&mut simulation, &of_condition), Vec::<Value>::new());
    let found: Vec<String> =
        activity(&mut simulation, "").iter().map(|row| row["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, kinds);
    assert_eq!(activity(&mut simulation, "&type=DIRECTIONAL_MERGE").len(), 1);
    let invented = format!("/v2/activity?user={}&type=TELEPORT", leader());
    assert_eq!(get(&mut simulation, Host::Data, &invented).status, 400);
}
