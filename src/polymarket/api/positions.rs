//! Requests for a wallet's positions, from `/v2/positions`. They resolve rows that do not state which assets moved.
//!
//! Closed positions are requested too: they state up to which event they are closed.

use std::collections::BTreeSet;

use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::activity::Pagination;
use crate::polymarket::wire::decimal_text;

/// The API accepts no more conditions in one request.
const CONDITIONS_MAX: usize = 20;
const PAGES_MAX: usize = 200;

/// A current holding; the API rounds it to 4 decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub market: MarketId,
    pub asset: AssetId,
    pub outcome_index: Option<i64>,
    pub shares: ShareMicros,
    /// The second of the newest event of this position, if the API states it.
    pub last_event_at: Option<Timestamp>,
}

/// One page of positions.
#[derive(Debug, Clone)]
pub struct PositionsPage {
    pub positions: Vec<Position>,
    pub next_cursor: Option<String>,
}

impl Polymarket {
    /// Returns what `user` holds or has held in `markets`, dust included. An asset that is not listed is not held.
    ///
    /// # Errors
    /// The error of any page or row: a position that was left out would look like a closed one.
    pub async fn positions(&self, user: &Wallet, markets: &[MarketId]) -> Result<Vec<Position>, PolymarketError> {
        let mut positions = Vec::new();
        for conditions in markets.chunks(CONDITIONS_MAX) {
            for status in ["OPEN", "CLOSED"] {
                self.add_positions(user, conditions, status, &mut positions).await?;
            }
        }
        Ok(positions)
    }

    async fn add_positions(
        &self,
        user: &Wallet,
        conditions: &[MarketId],
        status: &str,
        positions: &mut Vec<Position>,
    ) -> Result<(), PolymarketError> {
        let conditions: Vec<&str> = conditions.iter().map(MarketId::as_str).collect();
        // The end makes the URL a new one: the CDN answers a known URL from its cache.
        let end = self.gate().fresh_end(self.clock().now());
        let filters = format!(
            "/v2/positions?user={user}&condition={}&status={status}&filter_type=TOKENS&filter_amount=0&limit={}&end={end}",
            conditions.join(","),
            self.page_rows(),
        );
        let mut cursors = BTreeSet::new();
        let mut path = filters.clone();
        loop {
            let page = self.ask(Call::get(Endpoint::Positions, Priority::Bulk, path), parse_positions).await?;
            positions.extend(page.positions);
            let Some(next) = page.next_cursor else {
                return Ok(());
            };
            path = format!("{filters}&cursor={}", query_text(&next));
            if cursors.len() >= PAGES_MAX || !cursors.insert(next) {
                return Err(PolymarketError::EndlessPages { endpoint: Endpoint::Positions });
            }
        }
    }
}

/// Parses one page.
///
/// # Errors
/// The first row that cannot be parsed, or a text that is not a page.
pub fn parse_positions(text: &str) -> Result<PositionsPage, String> {
    let page: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let next_cursor = page.pagination.next()?;
    let positions = page.data.into_iter().map(RawPosition::read).collect::<Result<_, _>>()?;
    Ok(PositionsPage { positions, next_cursor })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Vec<RawPosition<'a>>,
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Deserialize)]
struct RawPosition<'a> {
    token_id: String,
    condition_id: String,
    #[serde(default)]
    outcome_index: Option<i64>,
    /// Not `total_size`, which is the number of shares ever bought.
    #[serde(borrow)]
    current_size: &'a RawValue,
    #[serde(borrow, default)]
    last_event_at: Option<&'a RawValue>,
}

/// A time that cannot be parsed counts as missing, because the shares beside it matter more.
fn seconds(text: &RawValue) -> Option<Timestamp> {
    let seconds = decimal_text::decimal_of(text).ok()??.to_i64().filter(|seconds| *seconds > 0)?;
    Timestamp::from_seconds(seconds).ok()
}

impl RawPosition<'_> {
    fn read(self) -> Result<Position, String> {
        let shares = decimal_text::decimal_of(self.current_size)
            .and_then(|size| Ok(ShareMicros::from_decimal(size.unwrap_or_default())?))
            .map_err(|error| format!("current_size: {error}"))?;
        if shares < ShareMicros::ZERO {
            return Err(format!("current_size: `{}` is negative", self.current_size.get()));
        }
        const UNKNOWN_INDEX: i64 = 999;
        Ok(Position {
            market: MarketId::parse(&self.condition_id).map_err(|error| error.to_string())?,
            asset: AssetId::parse(&self.token_id).map_err(|error| error.to_string())?,
            outcome_index: self.outcome_index.filter(|index| *index != UNKNOWN_INDEX),
            shares,
            last_event_at: self.last_event_at.and_then(seconds),
        })
    }
}
