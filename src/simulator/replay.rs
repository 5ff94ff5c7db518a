//! Recorded rows, replayed unchanged.
//!
//! Rows of the retired v1 get the field names of v2; their values stay. The markets that rows name are made from the
//! fields of the rows. The rest is invented: the other outcome's token, the book, the close.

use serde_json::{Map, Value};

use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;

use super::rng::{hash_text, token_of};
use super::state::exchange::Exchange;
use super::state::feed::RowKey;
use super::state::market::{Category, Quotes, SimMarket};
use super::state::new_market::NewMarket;

/// The rows of one recorded answer, in the order in which they were served: newest first.
#[derive(Debug, Clone)]
pub struct Recording {
    pub name: &'static str,
    pub rows: Vec<Value>,
}

const FILES: [(&str, &str); 6] = [
    ("maker and taker", include_str!("../../tests/fixtures/data_v2/activity_maker_and_taker_3.json")),
    ("unenriched", include_str!("../../tests/fixtures/data_v2/activity_unenriched_row_2.json")),
    ("by type", include_str!("../../tests/fixtures/data_v1/activity_by_type_2026_09.json")),
    ("taker sells", include_str!("../../tests/fixtures/data_v1/activity_taker_sell_net_usdc_3.json")),
    ("mixed types", include_str!("../../tests/fixtures/data_v1/activity_mixed_types_50.json")),
    ("redeems of the old shape", include_str!("../../tests/fixtures/data_v1/activity_redeem_15_old_shape.json")),
];

/// Returns all recorded activity answers of the exchange that is in use since April 2026.
pub fn recordings() -> Vec<Recording> {
    FILES.iter().map(|(name, text)| Recording { name, rows: rows_of(text) }).collect()
}

/// Returns the recording of the first exchange, whose rows state fees differently.
pub fn of_the_first_exchange() -> Recording {
    let text = include_str!("../../tests/fixtures/data_v1/activity_trade_10_exchange_v1_era.json");
    Recording { name: "first exchange", rows: rows_of(text) }
}

/// Returns the rows of a recorded answer: a list, a page of v2, or lists by type.
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

/// Returns a row of v1 with the field names of v2. All differ in case only, except for `asset`.
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

impl Exchange {
    /// Pushes recorded rows, oldest first, and makes the markets that they name. With `newest_at` the times of all rows
    /// are moved by the same amount, so that the newest row is at that time. Each row is visible at once.
    ///
    /// # Errors
    /// A text that names the field which a row lacks.
    pub fn replay(&mut self, rows: &[Value], newest_at: Option<Timestamp>) -> Result<Vec<RowKey>, String> {
        let second = |row: &Value| row["timestamp"].as_i64().unwrap_or(0);
        let newest = rows.iter().map(second).max().unwrap_or(0);
        let shift = newest_at.map_or(0, |at| at.seconds() - newest);
        let mut oldest_first: Vec<&Value> = rows.iter().rev().collect();
        oldest_first.sort_by_key(|row| second(row));
        let mut keys = Vec::with_capacity(rows.len());
        for row in oldest_first {
            self.add_recorded_market(row);
            let mut row = row.clone();
            if shift != 0 {
                row["timestamp"] = (second(&row) + shift).into();
            }
            keys.push(self.push_row(&row)?);
        }
        Ok(keys)
    }

    /// Makes the market that a recorded row names, unless it is known; then takes over the row's token and outcome.
    fn add_recorded_market(&mut self, row: &Value) {
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let Ok(id) = MarketId::parse(text("condition_id")) else { return };
        if self.market(&id).is_none() {
            self.insert_market(market_of(row, &id));
        }
        let Ok(token) = AssetId::parse(text("token_id")) else { return };
        let (index, outcome) = (outcome_index(row), text("outcome").to_owned());
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

/// Returns a market with the facts in the row. The rest is invented, its tokens among them. The touch of its book is at
/// the price of the row.
fn market_of(row: &Value, id: &MarketId) -> SimMarket {
    let text = |field: &str| row[field].as_str().unwrap_or_default();
    let slug = text("slug");
    let cents = (row["price"].as_f64().unwrap_or(0.5).clamp(0.02, 0.98) * 100.0).round() as i64;
    let best_bid = if outcome_index(row) == 0 { cents } else { 100 - cents }.clamp(2, 98);
    let side = |best: i64, step: i64| -> Vec<(i64, i64)> {
        (0..12)
            .map(|n| (best + n * step) * 10_000)
            .filter(|at| (1..1_000_000).contains(at))
            .map(|at| (at, 400_000_000))
            .collect()
    };
    let new = NewMarket {
        question: text("title").to_owned(),
        category: Category::Crypto,
        fee: FeeSchedule { rate_micros: 70_000, exponent: 1 },
        event_slug: text("event_slug").to_owned(),
        quotes: Quotes::of(&side(best_bid, -1), &side(best_bid + 1, 1)),
        ..NewMarket::binary(if slug.is_empty() { id.as_str() } else { slug })
    };
    let mut market = new.build();
    market.facts.id = id.clone();
    for outcome in &mut market.facts.outcomes {
        let invented = token_of(0, id.as_str(), hash_text(0, &outcome.outcome));
        if let Ok(asset) = AssetId::parse(&invented) {
            outcome.asset = asset;
        }
    }
    market
}

/// Returns the index of the row's outcome. A row that is not enriched does not have it: there No is the second outcome,
/// all others are the first.
fn outcome_index(row: &Value) -> usize {
    match row["outcome_index"].as_u64() {
        Some(1) => 1,
        Some(999) if row["outcome"] == "No" => 1,
        _ => 0,
    }
}
