//! The ids of recordings: combos and pairs of tokens are known by their bits, and fees on the chain are exact.

use serde_json::Value;

use super::recorded::fixture;
use crate::domain::market::facts::FeeSchedule;
use crate::domain::market::fee::taker_fee;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, UsdcMicros};
use crate::polymarket::api::tokens::parse_tokens;
use crate::polymarket::wire::positions::parse_positions;

fn recorded(file: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(&fixture(file)).unwrap();
    value.get("data").unwrap_or(&value).as_array().unwrap().clone()
}

fn asset(value: &Value) -> AssetId {
    AssetId::parse(value.as_str().unwrap()).unwrap()
}

fn market(value: &Value) -> MarketId {
    MarketId::parse(value.as_str().unwrap()).unwrap()
}

#[test]
fn recorded_combos_are_known_by_their_ids_and_their_legs_are_not_combos() {
    let mut n_combos = 0;
    for file in ["data_v2/combo_activity_redeem_2026_09.json", "data_v2/combo_positions_2026_09.json"] {
        for row in recorded(file) {
            assert!(asset(&row["combo_position_id"]).is_combo() && market(&row["combo_condition_id"]).is_combo());
            n_combos += 1;
            for leg in row["legs"].as_array().unwrap() {
                assert!(!asset(&leg["leg_position_id"]).is_combo() && !market(&leg["leg_condition_id"]).is_combo());
            }
        }
    }
    assert_eq!(n_combos, 4);
}

#[test]
fn a_recorded_market_has_four_tokens_two_for_each_outcome_with_one_final_price() {
    let tokens = parse_tokens(&fixture("data_v2/tokens_2026_10_18.json")).unwrap();
    let modules: Vec<&str> = tokens.iter().map(|token| token.module.as_str()).collect();
    assert_eq!(modules, ["v1_ctf", "v1_ctf", "neg_risk", "neg_risk"]);
    for token in &tokens {
        let paid = if token.outcome_index == Some(0) { PriceMicros::ONE } else { PriceMicros::ZERO };
        assert_eq!((token.final_price, token.question_index, token.is_resolved), (Some(paid), Some(0), true));
        assert!(tokens.iter().any(|other| Some(&other.asset) == token.opposite.as_ref()));
        assert_eq!(token.market, tokens[0].market);
    }
}

#[test]
fn recorded_positions_state_price_cost_and_time() {
    let wrapped = |file: &str| format!("{{\"data\":{}}}", fixture(file));
    let pair = parse_positions(&wrapped("data_v2/positions_mergeable_pair_2026_09.json")).unwrap().positions;
    let figures = |n: usize| {
        let position = &pair[n];
        let micros = |price: Option<PriceMicros>| price.map(PriceMicros::micros);
        (micros(position.current_price), micros(position.average_price), position.outcome_index, position.neg_risk)
    };
    assert_eq!(figures(0), (Some(754_500), Some(500_000), Some(1), true));
    assert_eq!(figures(1), (Some(245_500), Some(500_000), Some(0), true));
    assert_eq!(pair[0].opposite.as_ref(), Some(&pair[1].asset));
    let closed = parse_positions(&fixture("data_v2/positions_closed_2026_10.json")).unwrap();
    assert!(closed.positions.iter().all(|position| position.shares == ShareMicros::ZERO));
    assert!(closed.next_cursor.is_some());
}

#[test]
fn the_taker_fees_of_21_transactions_on_the_chain_are_right_to_the_micro() {
    let rows = recorded("chain/taker_fees_2026_09.json");
    assert_eq!(rows.len(), 21);
    let mut sides = (0, 0);
    for row in rows {
        let micros = |name: &str| row[name].as_str().unwrap().parse::<i64>().unwrap();
        let (maker, taker) = (micros("maker_amount_filled"), micros("taker_amount_filled"));
        let (shares, cash) = if row["side"] == "BUY" { (taker, maker) } else { (maker, taker) };
        sides = if row["side"] == "BUY" { (sides.0 + 1, sides.1) } else { (sides.0, sides.1 + 1) };
        let rate_micros = match row["fee_rate"].as_str().unwrap() {
            "0" => 0,
            "0.05" => 50_000,
            "0.07" => 70_000,
            other => panic!("the rate {other}"),
        };
        let schedule = FeeSchedule { rate_micros, exponent: 1 };
        let price = PriceMicros::average(UsdcMicros(cash), ShareMicros(shares)).unwrap();
        let fee = taker_fee(ShareMicros(shares), price, schedule).unwrap();
        assert_eq!(fee.0, micros("fee"), "{row}");
    }
    assert_eq!(sides, (9, 12));
}
