//! Recorded rows, replayed as they were: the other source of life.
//!
//! The rows of the retired v1 are told with v2's names, their figures untouched. The markets they speak of are made from
//! what the rows say of them; what no row says (the other outcome's token, the book, the close) is invented.

use serde_json::{Map, Value};

use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;

use super::rng::{hash_text, token_of};
use crate::simulator::state::activity_rows::Place;
use crate::simulator::state::exchange::World;
use crate::simulator::state::market::{Category, Quotes};
use crate::simulator::state::new_market::NewMarket;

/// One recorded answer's rows, newest first as they were served.
#[derive(Debug, Clone)]
pub struct Recording {
    pub name: &'static str,
    pub rows: Vec<Value>,
}

const FILES: [(&str, &str); 6] = [
    ("maker and taker", include_str!("../../../tests/fixtures/data_v2/activity_maker_and_taker_3.json")),
    ("unenriched", include_str!("../../../tests/fixtures/data_v2/activity_unenriched_row_2.json")),
    ("by type", include_str!("../../../tests/fixtures/data_v1/activity_by_type_2026_09.json")),
    ("taker sells", include_str!("../../../tests/fixtures/data_v1/activity_taker_sell_net_usdc_3.json")),
    ("mixed types", include_str!("../../../tests/fixtures/data_v1/activity_mixed_types_50.json")),
    ("redeems of the old shape", include_str!("../../../tests/fixtures/data_v1/activity_redeem_15_old_shape.json")),
];

/// Every recorded activity answer of the exchange in use since April 2026.
pub fn recordings() -> Vec<Recording> {
    FILES.iter().map(|(name, text)| Recording { name, rows: rows_of(text) }).collect()
}

/// The recording of the first exchange, whose rows tell fees otherwise.
pub fn of_the_first_exchange() -> Recording {
    let text = include_str!("../../../tests/fixtures/data_v1/activity_trade_10_exchange_v1_era.json");
    Recording { name: "first exchange", rows: rows_of(text) }
}

/// A list, a v2 page, or lists by type.
fn rows_of(text: &str) -> Vec<Value> {
    let rows = match serde_json::from_str(text).unwrap_or_default() {
        Value::Array(rows) => rows,
        Value::Object(fields) => {
            fields.into_iter().flat_map(|(_, value)| value.as_array().cloned().unwrap_or_default()).collect()
        }
        _ => Vec::new(),
    };
    rows.into_iter().map(|row| if row.get("proxyWallet").is_some() { as_v2(&row) } else { row }).collect()
}

/// A v1 row with v2's names; `asset` is the one that is not the same word in another case.
fn as_v2(row: &Value) -> Value {
    let mut fields = Map::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        let name = if name == "asset" { "token_id".to_owned() } else { snake };
        fields.insert(name, value.clone());
    }
    Value::Object(fields)
}

impl World {
    /// Pushes recorded rows, oldest first, and makes the markets they speak of. With `newest_at` all times are moved
    /// by as much, so that the newest row happens then; the rows are else as they were. Each row is visible at once.
    ///
    /// # Errors
    /// What a row lacks.
    pub fn replay(&mut self, rows: &[Value], newest_at: Option<Timestamp>) -> Result<Vec<Place>, String> {
        let second = |row: &Value| row["timestamp"].as_i64().unwrap_or(0);
        let newest = rows.iter().map(second).max().unwrap_or(0);
        let shift = newest_at.map_or(0, |at| at.seconds() - newest);
        let mut oldest_first: Vec<&Value> = rows.iter().rev().collect();
        oldest_first.sort_by_key(|row| second(row));
        let mut places = Vec::with_capacity(rows.len());
        for row in oldest_first {
            self.market_of_recorded(row);
            let mut row = row.clone();
            if shift != 0 {
                row["timestamp"] = (second(&row) + shift).into();
            }
            places.push(self.push_row(&row)?);
        }
        Ok(places)
    }

    /// The market a recorded row speaks of, unless it is known or the row speaks of none.
    fn market_of_recorded(&mut self, row: &Value) {
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let Ok(id) = MarketId::parse(text("condition_id")) else { return };
        let token = AssetId::parse(text("token_id")).ok();
        if self.market(&id).is_none() {
            let slug = text("slug");
            let around = (row["price"].as_f64().unwrap_or(0.5).clamp(0.02, 0.98) * 100.0).round() as i64;
            let index = index_of(row);
            let bid = if index == 0 { around } else { 100 - around }.clamp(2, 98);
            let side = |from: i64, step: i64| -> Vec<(i64, i64)> {
                (0..12)
                    .map(|n| (from + n * step) * 10_000)
                    .filter(|at| (1..1_000_000).contains(at))
                    .map(|at| (at, 400_000_000))
                    .collect()
            };
            let hand_made = NewMarket {
                question: text("title").to_owned(),
                category: Category::Crypto,
                fee: FeeSchedule { rate_micros: 70_000, exponent: 1 },
                event_slug: text("event_slug").to_owned(),
                quotes: Quotes::of(&side(bid, -1), &side(bid + 1, 1)),
                ..NewMarket::binary(if slug.is_empty() { id.as_str() } else { slug })
            };
            let mut market = hand_made.made();
            market.facts.id = id.clone();
            for outcome in &mut market.facts.outcomes {
                let invented = token_of(0, id.as_str(), hash_text(0, &outcome.outcome));
                if let Ok(asset) = AssetId::parse(&invented) {
                    outcome.asset = asset;
                }
            }
            self.insert_market(market);
        }
        let Some(token) = token else { return };
        let (index, outcome) = (index_of(row), text("outcome").to_owned());
        self.change_market(&id, |market| {
            if let Some(known) = market.facts.outcomes.get_mut(index) {
                known.asset = token.clone();
                if !outcome.is_empty() {
                    known.outcome = outcome;
                }
            }
        });
        self.market_of.insert(token, id);
    }
}

/// An unenriched row does not say: No is the second outcome, all else the first.
fn index_of(row: &Value) -> usize {
    match row["outcome_index"].as_u64() {
        Some(1) => 1,
        Some(999) if row["outcome"] == "No" => 1,
        _ => 0,
    }
}
