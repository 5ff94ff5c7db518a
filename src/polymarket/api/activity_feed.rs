//! Requests for a wallet's activity: single pages of `/v2/activity`, and whole windows of time (venue 1.2).

use std::collections::BTreeSet;

use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::activity::{ActivityPage, BadRow, WireRow, parse_page};
use crate::polymarket::wire::draft::Window;

/// Number of pages after which the cursors count as endless: two million rows.
const PAGES_MAX: usize = 4_000;

/// Which rows to request: whole seconds, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct ActivityQuery<'a> {
    pub user: &'a Wallet,
    pub start: Timestamp,
    pub end: Timestamp,
    /// Cursor of the next page. It does not contain the filters: they must be the same for every page.
    pub cursor: Option<&'a str>,
}

impl Polymarket {
    /// Requests one page, oldest row first. The CDN answers a repeated URL from its cache for some seconds.
    ///
    /// # Errors
    /// [`PolymarketError`] when the page cannot be fetched or parsed.
    pub async fn activity_page(
        &self,
        query: ActivityQuery<'_>,
        priority: Priority,
    ) -> Result<ActivityPage, PolymarketError> {
        let mut path = format!(
            "/v2/activity?user={}&limit={}&start={}&end={}&sort_by=TIMESTAMP&sort_direction=ASC\
             &exclude_deposits_withdrawals=false",
            query.user,
            self.page_rows(),
            // Zero would mean three years ago.
            query.start.seconds().max(1),
            query.end.seconds(),
        );
        if let Some(cursor) = query.cursor {
            path.push_str("&cursor=");
            path.push_str(&query_text(cursor));
        }
        self.ask(Call::get(Endpoint::Activity, priority, path), parse_page).await
    }

    /// Returns everything `user` did from `start` to `end`, in whole seconds, both included. An `end` of now or later by the
    /// venue's clock is open, because block times may be ahead of it.
    ///
    /// All pages are read before ordinals are assigned, and no two windows share a URL.
    ///
    /// # Errors
    /// The error of any page: with half a window the ordinals would be wrong.
    pub async fn activity_window(
        &self,
        user: &Wallet,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Window, PolymarketError> {
        let end = Some(end).filter(|end| *end < self.venue().now());
        self.activity_rows(user, start, end).await
    }

    /// Returns everything `user` did from `start` on, in whole seconds, as [`activity_window`](Self::activity_window) does.
    ///
    /// # Errors
    /// The error of any page.
    pub async fn activity_since(&self, user: &Wallet, start: Timestamp) -> Result<Window, PolymarketError> {
        self.activity_rows(user, start, None).await
    }

    /// Reads all pages from `start` to `end`; to the newest row without an end.
    async fn activity_rows(
        &self,
        user: &Wallet,
        start: Timestamp,
        wanted_end: Option<Timestamp>,
    ) -> Result<Window, PolymarketError> {
        let end = wanted_end.unwrap_or_else(|| self.venue().now());
        let fresh_end = self.gate().fresh_end(end);
        let asked_end = Timestamp::from_seconds(fresh_end).unwrap_or(end);
        let mut rows = Vec::new();
        let mut cursors = BTreeSet::new();
        let mut cursor: Option<String> = None;
        loop {
            let query = ActivityQuery { user, start, end: asked_end, cursor: cursor.as_deref() };
            let page = self.activity_page(query, Priority::Bulk).await?;
            let within = |row: &Result<WireRow, BadRow>| match row {
                Ok(row) => wanted_end.is_none_or(|end| row.time.seconds() <= end.seconds()),
                Err(_) => true,
            };
            rows.extend(page.rows.into_iter().filter(within));
            let Some(next) = page.next_cursor else {
                let mut window = Window::of(rows, user);
                self.name_rows(&mut window).await;
                return Ok(window);
            };
            if cursors.len() >= PAGES_MAX || !cursors.insert(next.clone()) {
                return Err(PolymarketError::EndlessPages { endpoint: Endpoint::Activity });
            }
            cursor = Some(next);
        }
    }
}
