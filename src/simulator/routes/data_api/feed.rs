//! `/v2/activity` and `/v2/trades`: pages over the feed by block time and sequence.

use serde_json::value::RawValue;

use super::Page;
use super::cursor::{self, FeedPosition};
use super::params::Params;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{MarketId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::simulator::http::response::Response;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::feed::{FeedQuery, Role, Row, RowKey};

/// The kinds that the API knows by name.
const KINDS: [&str; 18] = [
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
    "DIRECTIONAL_SPLIT",
    "DIRECTIONAL_MERGE",
    "THRESHOLD_COMPOSE",
    "THRESHOLD_DECOMPOSE",
];

const THREE_YEARS_S: i64 = 3 * 365 * 86_400;

/// The two routes of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Activity,
    Trades,
}

/// Which rows a request wants.
struct RowFilter {
    endpoint: Endpoint,
    /// `None` accepts all kinds but TIP.
    kinds: Option<Vec<String>>,
    side: Option<Side>,
    markets: Option<Vec<MarketId>>,
    takers_only: bool,
    without_deposits: bool,
    /// The smallest amount, in shares or in USDC.
    amount_min: f64,
    amount_in_cash: bool,
}

/// The page that a request wants: from its cursor, or the first one.
struct Paging {
    limit: usize,
    ascending: bool,
    served: usize,
    after: Option<RowKey>,
}

/// Answers a request for rows of the feed.
pub fn answer(exchange: &Exchange, params: &Params, endpoint: Endpoint, now: Timestamp) -> Result<Response, Response> {
    let user = match params.text("user") {
        None if endpoint == Endpoint::Trades => None,
        _ => Some(params.wallet()?),
    };
    let filter = RowFilter::read(exchange, params, endpoint)?;
    let paging = Paging::read(exchange, params, endpoint)?;
    let (start, end) = time_range(params, endpoint, user.as_ref(), now)?;

    let Paging { limit, ascending, served, after } = paging;
    let query = FeedQuery { wallet: user.as_ref(), start, end, ascending, after, now };
    let mut rows: Vec<&Row> = exchange.feed.select(&query).filter(|row| filter.accepts(row)).take(limit + 1).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| {
        let position = FeedPosition {
            l: limit,
            ts: last.key.0,
            sq: last.key.1.to_string(),
            d: served + rows.len(),
            dir: ascending.then(|| "ASC".to_owned()),
        };
        cursor::sign(exchange.seed, endpoint.name(), &position)
    });
    let data: Vec<Box<RawValue>> = rows.iter().filter_map(|row| print(exchange, row, endpoint, now)).collect();
    Ok(Response::json(&Page::new(data, limit, next)))
}

impl Endpoint {
    fn name(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Trades => "trades",
        }
    }
}

impl RowFilter {
    fn read(exchange: &Exchange, params: &Params, endpoint: Endpoint) -> Result<Self, Response> {
        let markets = params.conditions(exchange)?;
        let kinds = kinds(params)?;
        let unknown_side = |text: &str| {
            let message = format!("Failed to deserialize query string: side: unknown side {text}");
            Response::data_error(400, &message, Some("side"))
        };
        let side = match params.text("side") {
            None => None,
            Some(text) => Some(text.parse::<Side>().map_err(|_| unknown_side(text))?),
        };
        Ok(Self {
            endpoint,
            kinds,
            side,
            markets,
            takers_only: endpoint == Endpoint::Trades && params.flag("taker_only", true),
            without_deposits: params.flag("exclude_deposits_withdrawals", true),
            amount_min: params.float("filter_amount", 0.0).max(0.01),
            amount_in_cash: params.text("filter_type") == Some("CASH"),
        })
    }

    fn accepts(&self, row: &Row) -> bool {
        let kind = row.kind.as_str();
        let trades = self.endpoint == Endpoint::Trades;
        let kind_passes = match &self.kinds {
            Some(kinds) => kinds.iter().any(|wanted| wanted == kind),
            None => kind != "TIP",
        };
        let is_deposit = matches!(kind, "DEPOSIT" | "WITHDRAWAL");
        let amount = || if self.amount_in_cash { row.cash.0 } else { row.shares.0 };
        kind_passes
            && !(is_deposit && self.without_deposits)
            && (!trades || kind == "TRADE")
            && !(self.takers_only && row.role == Some(Role::Maker))
            && self.side.is_none_or(|side| row.side == Some(side))
            && self.markets.as_ref().is_none_or(|ids| row.market.as_ref().is_some_and(|id| ids.contains(id)))
            && (!trades || amount() as f64 >= self.amount_min * 1e6)
    }
}

impl Paging {
    fn read(exchange: &Exchange, params: &Params, endpoint: Endpoint) -> Result<Self, Response> {
        let ascending = match params.text("sort_direction") {
            None | Some("DESC") => false,
            Some("ASC") => true,
            Some(other) => {
                let message = format!("unknown sort direction: {other}");
                return Err(Response::data_error(400, &message, Some("sort_direction")));
            }
        };
        let limit = params.limit()?;
        let Some(text) = params.text("cursor") else {
            return Ok(Self { limit, ascending, served: 0, after: None });
        };
        let invalid = || Response::data_error(400, "invalid cursor", Some("cursor"));
        let position = cursor::read::<FeedPosition>(exchange.seed, endpoint.name(), text).ok_or_else(invalid)?;
        let sequence = position.sq.parse().map_err(|_| invalid())?;
        // The cursor has the page size and the direction only; the client has to send all other filters again.
        Ok(Self {
            limit: position.l,
            ascending: position.dir.as_deref() == Some("ASC"),
            served: position.d,
            after: Some((position.ts, sequence)),
        })
    }
}

/// Returns first and last second of the rows wanted. `/v2/trades` ignores both parameters unless a user is named.
fn time_range(
    params: &Params,
    endpoint: Endpoint,
    user: Option<&Wallet>,
    now: Timestamp,
) -> Result<(i64, i64), Response> {
    let honoured = endpoint == Endpoint::Activity || user.is_some();
    let start = match params.seconds("start")? {
        start if start <= 0 || !honoured => now.seconds() - THREE_YEARS_S,
        start => start,
    };
    let end = match params.seconds("end")? {
        end if end <= 0 || !honoured => now.seconds() + 86_400,
        end => end,
    };
    Ok((start, end))
}

fn print(exchange: &Exchange, row: &Row, endpoint: Endpoint, now: Timestamp) -> Option<Box<RawValue>> {
    let labels = || exchange.labels(row, now);
    match (endpoint, &row.recorded) {
        (Endpoint::Activity, Some(recorded)) => Some(recorded.activity.clone()),
        (Endpoint::Trades, Some(recorded)) => recorded.trade.clone(),
        (Endpoint::Activity, None) => serde_json::value::to_raw_value(&row.activity(&labels())).ok(),
        (Endpoint::Trades, None) => serde_json::value::to_raw_value(&row.trade(&labels())).ok(),
    }
}

fn kinds(params: &Params) -> Result<Option<Vec<String>>, Response> {
    let Some(text) = params.text("type") else { return Ok(None) };
    let kinds: Vec<String> = text.split(',').map(|kind| kind.trim().to_owned()).collect();
    match kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        None => Ok(Some(kinds)),
        Some(unknown) => Err(Response::data_error(
            400,
            &format!("Failed to deserialize query string: type: unknown activity type {unknown}"),
            Some("type"),
        )),
    }
}
