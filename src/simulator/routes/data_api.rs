//! The Data API v2: common rules, the two feeds, and the service's own status.

use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::domain::events::event::Side;
use crate::domain::money::ids::{MarketId, Wallet};
use crate::domain::money::units::Timestamp;

use super::answer::{Answer, Request};
use super::chain::block_of;
use super::cursor;
use super::cursor::FeedPosition;
use crate::simulator::state::activity_rows::{Role, Row, Walk};
use crate::simulator::state::exchange::World;
use crate::simulator::state::positions::{leaderboard, positions, resolutions, value, whole_seconds};

/// Kinds the API knows by name.
const KINDS: [&str; 14] = [
    "TRADE",
    "SPLIT",
    "MERGE",
    "REDEEM",
    "REWARD",
    "CONVERSION",
    "MIGRATION",
    "YIELD",
    "MAKER_REBATE",
    "TAKER_REBATE",
    "REFERRAL_REWARD",
    "DEPOSIT",
    "WITHDRAWAL",
    "TIP",
];

const THREE_YEARS_S: i64 = 3 * 365 * 86_400;

/// Decoded parameters; snake_case and camelCase name the same one.
pub struct Params(Vec<(String, String)>);

/// `{data, pagination}`.
#[derive(Serialize)]
pub struct Page<T> {
    data: Vec<T>,
    pagination: Pagination,
}

#[derive(Serialize)]
struct Pagination {
    limit: usize,
    offset: usize,
    has_more: bool,
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    pub fn new(data: Vec<T>, limit: usize, next_cursor: Option<String>) -> Self {
        let pagination = Pagination { limit, offset: 0, has_more: next_cursor.is_some(), next_cursor };
        Self { data, pagination }
    }
}

impl Params {
    pub fn of(request: &Request) -> Self {
        let snake = |name: String| {
            let mut snake = String::with_capacity(name.len() + 4);
            for letter in name.chars() {
                if letter.is_ascii_uppercase() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
            }
            match snake.as_str() {
                "condition_id" => "condition".to_owned(),
                _ => snake,
            }
        };
        Self(request.pairs().into_iter().map(|(name, value)| (snake(name), value)).collect())
    }

    /// `None` also when empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn seconds(&self, name: &str) -> Result<i64, Answer> {
        let bad = |_| {
            let message = format!("Failed to deserialize query string: {name}: invalid digit found in string");
            Answer::data_error(400, &message, Some(name))
        };
        self.text(name).map_or(Ok(0), |text| text.parse().map_err(bad))
    }
}

pub fn answer(world: &mut World, request: &Request, now: Timestamp) -> Answer {
    if request.post {
        return Answer::data_error(405, "method not allowed", None);
    }
    let params = Params::of(request);
    if params.text("offset").is_some() {
        return Answer::data_error(400, "offset is not supported, use cursor", Some("offset"));
    }
    let answer = match request.path.as_str() {
        "/v2/activity" => feed(world, &params, "activity", now),
        "/v2/trades" => feed(world, &params, "trades", now),
        "/v2/positions" => positions(world, &params, now),
        "/v2/value" => value(world, &params, now),
        "/v2/leaderboard" => leaderboard(world, &params, now),
        "/v2/resolutions" => resolutions(world, &params, now),
        "/v2/status" => Ok(status(now)),
        other => Err(Answer::data_error(404, &format!("no route {other}"), None)),
    };
    answer.unwrap_or_else(|error| error)
}

/// The two feeds: a keyset walk over block time and sequence.
fn feed(world: &World, params: &Params, endpoint: &'static str, now: Timestamp) -> Result<Answer, Answer> {
    let trades = endpoint == "trades";
    let user = match params.text("user") {
        None if trades => None,
        _ => Some(wallet(params)?),
    };
    let wanted = conditions(world, params)?;
    let kinds = kinds(params)?;
    let side = match params.text("side") {
        None => None,
        Some(text) => Some(text.parse::<Side>().map_err(|_| {
            Answer::data_error(
                400,
                &format!("Failed to deserialize query string: side: unknown side {text}"),
                Some("side"),
            )
        })?),
    };
    let mut ascending = match params.text("sort_direction") {
        None | Some("DESC") => false,
        Some("ASC") => true,
        Some(other) => {
            let message = format!("unknown sort direction: {other}");
            return Err(Answer::data_error(400, &message, Some("sort_direction")));
        }
    };
    let mut limit = limit(params)?;
    let (mut served, mut after) = (0, None);
    if let Some(text) = params.text("cursor") {
        let position = cursor::read::<FeedPosition>(world.seed, endpoint, text)
            .ok_or_else(|| Answer::data_error(400, "invalid cursor", Some("cursor")))?;
        let sequence = position.sq.parse().map_err(|_| Answer::data_error(400, "invalid cursor", Some("cursor")))?;
        // The cursor holds page size and direction, and only those: other filters are the asker's to send again.
        (limit, served, after) = (position.l, position.d, Some((position.ts, sequence)));
        ascending = position.dir.as_deref() == Some("ASC");
    }
    let honoured = !trades || user.is_some();
    let start = match params.seconds("start")? {
        start if start <= 0 || !honoured => now.seconds() - THREE_YEARS_S,
        start => start,
    };
    let end = match params.seconds("end")? {
        end if end <= 0 || !honoured => now.seconds() + 86_400,
        end => end,
    };
    let takers_only = trades && flag(params, "taker_only", true);
    let cash_moves = flag(params, "exclude_deposits_withdrawals", true);
    let dust = params.text("filter_amount").and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0).max(0.01);
    let by_cash = params.text("filter_type") == Some("CASH");

    let passes = |row: &&Row| {
        let kind = row.kind.as_str();
        let kind_passes = match &kinds {
            Some(kinds) => kinds.iter().any(|wanted| wanted == kind),
            None => !["TIP"].contains(&kind),
        };
        let is_cash_move = matches!(kind, "DEPOSIT" | "WITHDRAWAL");
        kind_passes
            && !(is_cash_move && cash_moves)
            && (!trades || kind == "TRADE")
            && !(takers_only && row.role == Some(Role::Maker))
            && side.is_none_or(|side| row.side == Some(side))
            && wanted.as_ref().is_none_or(|ids| row.market.as_ref().is_some_and(|id| ids.contains(id)))
            && (!trades || (if by_cash { row.cash.0 } else { row.shares.0 }) as f64 >= dust * 1e6)
    };
    let walk = Walk { wallet: user.as_ref(), start, end, ascending, after, now };
    let mut rows: Vec<&Row> = world.feed.walk(&walk).filter(passes).take(limit + 1).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| {
        let position = FeedPosition {
            l: limit,
            ts: last.place.0,
            sq: last.place.1.to_string(),
            d: served + rows.len(),
            dir: ascending.then(|| "ASC".to_owned()),
        };
        cursor::sign(world.seed, endpoint, &position)
    });
    let data: Vec<Box<RawValue>> = rows.iter().filter_map(|row| printed(world, row, trades, now)).collect();
    Ok(Answer::json(&Page::new(data, limit, next)))
}

fn printed(world: &World, row: &Row, trades: bool, now: Timestamp) -> Option<Box<RawValue>> {
    if let Some(raw) = &row.raw {
        return if trades { raw.trade.clone() } else { Some(raw.activity.clone()) };
    }
    let labels = world.labels(row, now);
    if trades {
        serde_json::value::to_raw_value(&row.trade(&labels)).ok()
    } else {
        serde_json::value::to_raw_value(&row.activity(&labels)).ok()
    }
}

fn kinds(params: &Params) -> Result<Option<Vec<String>>, Answer> {
    let Some(text) = params.text("type") else { return Ok(None) };
    let kinds: Vec<String> = text.split(',').map(|kind| kind.trim().to_owned()).collect();
    match kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        None => Ok(Some(kinds)),
        Some(unknown) => Err(Answer::data_error(
            400,
            &format!("Failed to deserialize query string: type: unknown activity type {unknown}"),
            Some("type"),
        )),
    }
}

/// The required `user`.
pub fn wallet(params: &Params) -> Result<Wallet, Answer> {
    let text = params.text("user").ok_or_else(|| {
        Answer::data_error(400, "Failed to deserialize query string: missing field `user`", Some("user"))
    })?;
    let wallet = Wallet::parse(text)
        .map_err(|_| Answer::data_error(400, &format!("user: invalid address {text}"), Some("user")))?;
    if [super::chain::CTF_EXCHANGE, super::chain::NEG_RISK_EXCHANGE].contains(&wallet.as_str()) {
        return Err(Answer::data_error(400, "user is a protocol contract", Some("user")));
    }
    Ok(wallet)
}

pub fn limit(params: &Params) -> Result<usize, Answer> {
    let Some(text) = params.text("limit") else { return Ok(100) };
    match text.parse::<usize>() {
        Ok(limit) if limit <= 1000 => Ok(limit.max(1)),
        _ => Err(Answer::data_error(
            400,
            "Failed to deserialize query string: limit: limit must be between 0 and 1000",
            None,
        )),
    }
}

/// Conditions named, or those of the events named; at most 20, and never both.
pub fn conditions(world: &World, params: &Params) -> Result<Option<Vec<MarketId>>, Answer> {
    match (params.text("condition"), params.text("event_id")) {
        (Some(_), Some(_)) => Err(Answer::data_error(400, "condition and event_id exclude each other", None)),
        (Some(text), None) => {
            let ids: Result<Vec<MarketId>, _> = text.split(',').map(MarketId::parse).collect();
            match ids {
                Ok(ids) if ids.len() <= 20 => Ok(Some(ids)),
                Ok(_) => Err(Answer::data_error(400, "condition: at most 20 values", Some("condition"))),
                Err(error) => Err(Answer::data_error(400, &error.to_string(), Some("condition"))),
            }
        }
        (None, Some(text)) => {
            let events: Vec<&str> = text.split(',').collect();
            let of_events = world.markets().filter(|market| events.contains(&market.event.id.as_str()));
            Ok(Some(of_events.map(|market| market.id().clone()).collect()))
        }
        (None, None) => Ok(None),
    }
}

pub fn flag(params: &Params, name: &str, default: bool) -> bool {
    params.text(name).map_or(default, |text| text == "true")
}

fn status(now: Timestamp) -> Answer {
    let block = block_of(now);
    let lagging = json!({"source": "auto_redeem_binary_redemption", "block": block.saturating_sub(1), "behind_max": 1});
    Answer::json(&json!({"data": {
        "computed_at": whole_seconds(now.plus_millis(-4_000)),
        "age_seconds": 4,
        "serving": {"lag_seconds": 4, "worst": "activity_feed", "mechanisms": [
            {"name": "activity_feed", "age_seconds": 4},
            {"name": "custody_balances", "age_seconds": 0, "blocks_behind": 833},
            {"name": "pnl", "age_seconds": 1, "blocks_behind": 1},
        ]},
        "ingestion": {
            "cursors": 148,
            "network": "polygon",
            "chain_id": 137,
            "max_synced_block": block,
            "min_synced_block": block.saturating_sub(1),
            "most_lagged": lagging,
            "lagging": [lagging],
        },
    }}))
}
