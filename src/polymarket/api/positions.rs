//! Requests for a wallet's positions, from `/v2/positions`: all that it holds, or what it holds and has held in some markets.
//!
//! No request has a time bound: any bound hides the positions that state no time (venue 1.6).

use std::collections::BTreeSet;

use crate::domain::money::ids::{MarketId, Wallet};
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::positions::{Position, parse_positions};

/// The API accepts no more conditions in one request.
const CONDITIONS_MAX: usize = 20;
const PAGES_MAX: usize = 200;
/// Positions of one list: full pages of the default size.
const POSITIONS_MAX: usize = 100_000;
/// How many page sizes are in turn used, so that a URL is new.
const LIMITS: i64 = 50;

impl Polymarket {
    /// Returns all that `user` holds, dust and resolved positions included. An asset that is not listed is not held, and
    /// one that is held on both ledgers is listed twice under the id that the CLOB trades.
    ///
    /// # Errors
    /// The error of any page or row: a position that was left out would look like a closed one.
    pub async fn all_positions(&self, user: &Wallet) -> Result<Vec<Position>, PolymarketError> {
        let mut positions = Vec::new();
        self.add_positions(&format!("user={user}&status=OPEN"), &mut positions).await?;
        self.name_positions(&mut positions).await?;
        Ok(positions)
    }

    /// Returns what `user` holds or has held in `markets`, dust included. An asset that is not listed is not held. Closed
    /// positions state up to which event they are closed.
    ///
    /// # Errors
    /// The error of any page or row: a position that was left out would look like a closed one.
    pub async fn positions(&self, user: &Wallet, markets: &[MarketId]) -> Result<Vec<Position>, PolymarketError> {
        let mut positions = Vec::new();
        for conditions in markets.chunks(CONDITIONS_MAX) {
            let conditions: Vec<&str> = conditions.iter().map(MarketId::as_str).collect();
            for status in ["OPEN", "CLOSED"] {
                let filters = format!("user={user}&condition={}&status={status}", conditions.join(","));
                self.add_positions(&filters, &mut positions).await?;
            }
        }
        self.name_positions(&mut positions).await?;
        Ok(positions)
    }

    async fn add_positions(&self, filters: &str, positions: &mut Vec<Position>) -> Result<(), PolymarketError> {
        let limit = self.fresh_page_rows();
        let filters = format!("/v2/positions?{filters}&filter_type=TOKENS&filter_amount=0&limit={limit}");
        let mut cursors = BTreeSet::new();
        let mut path = filters.clone();
        loop {
            let page = self.ask(Call::get(Endpoint::Positions, Priority::Bulk, path), parse_positions).await?;
            positions.extend(page.positions);
            let Some(next) = page.next_cursor else {
                return Ok(());
            };
            path = format!("{filters}&cursor={}", query_text(&next));
            if cursors.len() >= PAGES_MAX || positions.len() >= POSITIONS_MAX || !cursors.insert(next) {
                return Err(PolymarketError::EndlessPages { endpoint: Endpoint::Positions });
            }
        }
    }

    /// Returns a page size that makes the URL a new one: the CDN answers a known URL from its cache.
    pub(in crate::polymarket) fn fresh_page_rows(&self) -> i64 {
        let most = i64::from(self.page_rows());
        let sizes = LIMITS.min(most / 2 + 1).max(1);
        (most - self.gate().fresh_end(self.clock().now()).rem_euclid(sizes)).max(1)
    }
}
