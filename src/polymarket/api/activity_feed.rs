//! Requests for a wallet's activity: single pages of `/v2/activity`, and whole windows of time (venue 1.2).

use std::collections::BTreeSet;

use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::activity::{ActivityPage, BadRow, WireRow, parse_page};
use crate::polymarket::wire::draft::Window;

/// Number of pages after which the cursors of one window count as endless.
const PAGES_MAX: usize = 1_000;

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
        self.ask_text(Call::get(Endpoint::Activity, priority, path), |text| parse_page(text.clone())).await
    }

    /// Returns everything `user` did from `start` to `end`, in whole seconds, both included. An `end` of now or later by the
    /// venue's clock is open, because block times may be ahead of it.
    ///
    /// All pages are read before ordinals are assigned, and no two windows share a URL. A window with too many rows for
    /// the memory ends early, and says where in [`Window::cut_at`].
    ///
    /// # Errors
    /// The error of any page: with half a window the ordinals would be wrong. [`PolymarketError::EndlessPages`] when the
    /// pages lead back, or go on without getting further in time.
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
        let mut pages = Pages::default();
        let mut cursors = BTreeSet::new();
        let mut cursor: Option<String> = None;
        loop {
            let query = ActivityQuery { user, start, end: asked_end, cursor: cursor.as_deref() };
            let page = self.activity_page(query, Priority::Bulk).await?;
            pages.add(page.rows, wanted_end);
            let is_endless = || PolymarketError::EndlessPages { endpoint: Endpoint::Activity };
            let Some(next) = page.next_cursor else {
                return Ok(self.named(Window::of(pages.rows, user)).await);
            };
            if cursors.len() >= PAGES_MAX || !cursors.insert(next.clone()) {
                return Err(is_endless());
            }
            let limits = self.limits();
            if pages.rows.len() >= limits.window_rows || pages.bytes >= limits.window_bytes {
                let (rows, cut_at) = pages.cut(start, wanted_end).ok_or_else(is_endless)?;
                return Ok(self.named(Window { cut_at, ..Window::of(rows, user) }).await);
            }
            cursor = Some(next);
        }
    }

    async fn named(&self, mut window: Window) -> Window {
        self.name_rows(&mut window).await;
        window
    }
}

/// The rows of a window that was ended early, and where the next one begins.
type Cut = (Vec<Result<WireRow, BadRow>>, Option<Timestamp>);

/// The pages of a window that were read so far.
#[derive(Default)]
struct Pages {
    rows: Vec<Result<WireRow, BadRow>>,
    /// The length of the texts of all rows of the pages, also of those that are left out.
    bytes: usize,
    /// The time of the newest row.
    newest: Option<Timestamp>,
    out_of_order: bool,
}

impl Pages {
    /// Adds the rows of a page that are not after `end`.
    fn add(&mut self, rows: Vec<Result<WireRow, BadRow>>, end: Option<Timestamp>) {
        for row in rows {
            let (bytes, time) = match &row {
                Ok(row) => (row.text.len(), Some(row.time)),
                Err(bad) => (bad.text.len(), None),
            };
            self.bytes = self.bytes.saturating_add(bytes);
            self.out_of_order |= time.is_some() && time < self.newest;
            self.newest = self.newest.max(time);
            let is_within = |time: Timestamp| end.is_none_or(|end| time.seconds() <= end.seconds());
            if time.is_none_or(is_within) {
                self.rows.push(row);
            }
        }
    }

    /// Returns the rows before the newest second, and that second: more rows of it may follow. Of pages that are past the
    /// end, all rows and nothing to follow. `None` when nothing is gained by going on: the pages are not in the order of
    /// time, or all rows are of the first second.
    fn cut(self, start: Timestamp, end: Option<Timestamp>) -> Option<Cut> {
        let at = self.newest.filter(|newest| newest.seconds() > start.seconds() && !self.out_of_order)?;
        if end.is_some_and(|end| at.seconds() > end.seconds()) {
            return Some((self.rows, None));
        }
        let is_before = |row: &Result<WireRow, BadRow>| row.as_ref().map_or(true, |row| row.time < at);
        Some((self.rows.into_iter().filter(is_before).collect(), Some(at)))
    }
}
