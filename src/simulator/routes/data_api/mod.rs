//! The Data API v2.

mod cursor;
mod feed;
mod leaderboard;
mod params;
mod positions;
mod resolutions;
mod tokens;

use serde::Serialize;
use serde_json::json;

use self::params::Params;
use super::wire_time::whole_seconds;
use crate::domain::money::units::Timestamp;
use crate::simulator::http::request::Request;
use crate::simulator::http::response::Response;
use crate::simulator::state::chain::block_of;
use crate::simulator::state::exchange::Exchange;

/// `{data}`.
#[derive(Serialize)]
struct Data<T> {
    data: T,
}

/// `{data, pagination}`.
#[derive(Serialize)]
struct Page<T> {
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
    fn new(data: Vec<T>, limit: usize, next_cursor: Option<String>) -> Self {
        let pagination = Pagination { limit, offset: 0, has_more: next_cursor.is_some(), next_cursor };
        Self { data, pagination }
    }
}

/// Answers a request to the Data API.
pub(super) fn answer(exchange: &Exchange, request: &Request, now: Timestamp) -> Response {
    if request.post {
        return Response::data_error(405, "method not allowed", None);
    }
    let params = Params::of(request);
    if params.text("offset").is_some() {
        return Response::data_error(400, "offset is not supported, use cursor", Some("offset"));
    }
    let answer = match request.path.as_str() {
        "/v2/activity" => feed::answer(exchange, &params, feed::Endpoint::Activity, now),
        "/v2/trades" => feed::answer(exchange, &params, feed::Endpoint::Trades, now),
        "/v2/positions" => positions::positions(exchange, &params, now),
        "/v2/value" => positions::value(exchange, &params, now),
        "/v2/leaderboard" => leaderboard::answer(exchange, &params, now),
        "/v2/resolutions" => resolutions::answer(exchange, &params, now),
        "/v2/tokens" => tokens::answer(exchange, &params, now),
        "/v2/status" => Ok(status(now)),
        other => Err(Response::data_error(404, &format!("no route {other}"), None)),
    };
    answer.unwrap_or_else(|error| error)
}

/// `/v2/status`: the service's own health.
fn status(now: Timestamp) -> Response {
    let block = block_of(now);
    let lagging = json!({"source": "auto_redeem_binary_redemption", "block": block.saturating_sub(1), "behind_max": 1});
    Response::json(&json!({"data": {
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
