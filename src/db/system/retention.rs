//! Thins old prices and snapshots (spec 9), and packs what migration 16 moved as text. Both in small steps, so that no
//! writer waits long.
//!
//! Of a bucket the last row stays: a bucket of five minutes ends with the full five minutes, that minute included. So the
//! rows that stay are at the multiples that curves and what-if tests read.

use std::collections::VecDeque;

use uuid::Uuid;

use super::checkpoints;
use crate::db::decisions::{book_sides, explanation_text};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::portfolio_key;
use crate::sql::error::DbError;

/// Rows older than `after_ms` stay once in `width_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tier {
    series: Series,
    after_ms: i64,
    width_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    Prices,
    Snapshots,
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// "7 days, then 5 minutes for 90 days, then hours": the 90 days follow the seven.
const TIERS: [Tier; 4] = [
    Tier { series: Series::Prices, after_ms: 7 * DAY_MS, width_ms: 300_000 },
    Tier { series: Series::Prices, after_ms: 97 * DAY_MS, width_ms: HOUR_MS },
    Tier { series: Series::Snapshots, after_ms: 90 * DAY_MS, width_ms: 300_000 },
    Tier { series: Series::Snapshots, after_ms: 455 * DAY_MS, width_ms: HOUR_MS },
];
/// A pass visits each asset, so it waits until there is something to do.
const PASS_EVERY_MS: i64 = 6 * HOUR_MS;
/// A step ends after so many visits of an asset or portfolio.
const VISITS: usize = 20;
const PACKED_AT_ONCE: i64 = 100;

statements! {
    ASSETS = "select id from priced_asset order by id";
    PORTFOLIOS = "select id from followed_user order by id";
    FIRST_PRICE = "select min(bucket_time) from asset_price
        where priced_asset_id = $1 and bucket_time > $2 and bucket_time <= $3";
    FIRST_SNAPSHOT = "select min(bucket_time) from portfolio_point
        where portfolio = $1 and bucket_time > $2 and bucket_time <= $3";
    THIN_PRICES = "delete from asset_price where priced_asset_id = $1 and bucket_time > $2 and bucket_time <= $3
        and bucket_time not in (select max(bucket_time) from asset_price
            where priced_asset_id = $1 and bucket_time > $2 and bucket_time <= $3 group by (bucket_time - $2 - 1) / $4)";
    THIN_SNAPSHOTS = "delete from portfolio_point where portfolio = $1 and bucket_time > $2 and bucket_time <= $3
        and bucket_time not in (select max(bucket_time) from portfolio_point
            where portfolio = $1 and bucket_time > $2 and bucket_time <= $3 group by (bucket_time - $2 - 1) / $4)";
    EXPLANATIONS = "select attempt_id, content from attempt_explanation where attempt_id > $1 order by attempt_id limit $2";
    BOOKS = "select group_id, sides from book_snapshot where group_id > $1 order by group_id limit $2";
    PACK_EXPLANATION = "update attempt_explanation set content = $2 where attempt_id = $1";
    PACK_BOOK = "update book_snapshot set sides = $2 where group_id = $1";
}

/// A pass over every asset or portfolio, with what is left of it.
#[derive(Debug)]
pub struct Thinning {
    tier: Tier,
    /// Rows at or before this time are thinned already.
    from: i64,
    until: i64,
    /// The number of each asset or portfolio.
    keys: VecDeque<i64>,
    /// Rows of the first key up to this time are done.
    at: i64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Rows deleted or packed.
    pub rows: u64,
    /// Nothing is left of this work.
    pub finished: bool,
}

/// The kinds of rows that may lie unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packable {
    Explanations,
    Books,
}

impl Tier {
    /// The checkpoint that says up to when rows are thinned.
    fn key(self) -> String {
        let series = match self.series {
            Series::Prices => "prices",
            Series::Snapshots => "snapshots",
        };
        format!("retention:{series}:{}", self.width_ms)
    }
}

impl Packable {
    const fn key(self) -> &'static str {
        match self {
            Self::Explanations => "packing:explanations",
            Self::Books => "packing:books",
        }
    }

    /// Returns the packed form of a plain content; `None` for content that is packed.
    fn pack(self, content: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(match self {
            Self::Explanations if explanation_text::is_plain(content) => {
                Some(explanation_text::pack(&explanation_text::unpack(content)?))
            }
            Self::Books if book_sides::is_plain(content) => {
                let (bids, asks) = book_sides::unpack(content)?;
                Some(book_sides::pack(&bids, &asks))
            }
            Self::Explanations | Self::Books => None,
        })
    }
}

impl Db {
    /// Returns a pass that is due; `None` when everything is as thin as it should be.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn due_thinning(&self, now: Timestamp) -> Result<Option<Thinning>, DbError> {
        for tier in TIERS {
            let from = self.number_at(&tier.key()).await?;
            let until = (now.millis() - tier.after_ms).div_euclid(HOUR_MS) * HOUR_MS;
            if until - from < PASS_EVERY_MS {
                continue;
            }
            let keys: Vec<i64> = match tier.series {
                Series::Prices => on!(db self, c => sqlx::query_scalar(ASSETS).fetch_all(c).await)?,
                Series::Snapshots => self.all_portfolios().await?,
            };
            return Ok(Some(Thinning { tier, from, until, keys: keys.into(), at: from }));
        }
        Ok(None)
    }

    async fn all_portfolios(&self) -> Result<Vec<i64>, DbError> {
        let users: Vec<i64> = on!(db self, c => sqlx::query_scalar(PORTFOLIOS).fetch_all(c).await)?;
        let mut portfolios = vec![PortfolioId::ExecGlobal];
        for user in users.into_iter().map(FollowedUserId) {
            portfolios.extend([PortfolioId::ShadowUser(user), PortfolioId::ExecUser(user)]);
        }
        Ok(portfolios.into_iter().map(portfolio_key).collect())
    }

    /// Does a small step of a pass: at most some thousand rows. The last step writes down that the pass is done.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement. A step done twice deletes nothing more.
    pub async fn thin_some(&self, pass: &mut Thinning, now: Timestamp) -> Result<Step, DbError> {
        let mut rows = 0;
        for _ in 0..VISITS {
            let Some(&key) = pass.keys.front() else {
                let mut tx = self.begin_lazily().await?;
                checkpoints::put(&mut tx, &[(pass.tier.key().as_str(), pass.until.to_string().as_str())], now).await?;
                tx.commit().await?;
                return Ok(Step { rows, finished: true });
            };
            let series = pass.tier.series;
            let Some(first) = self.first_row(series, key, (pass.at, pass.until)).await? else {
                pass.keys.pop_front();
                pass.at = pass.from;
                continue;
            };
            let width = pass.tier.width_ms;
            let start = (first - 1).div_euclid(width) * width;
            // A day of an asset is 2,880 rows.
            let end = (start.div_euclid(DAY_MS) * DAY_MS + DAY_MS).min(pass.until);
            rows += self.thin(series, key, (start, end), width).await?;
            pass.at = end;
        }
        Ok(Step { rows, finished: false })
    }

    async fn first_row(&self, series: Series, key: i64, (after, until): (i64, i64)) -> Result<Option<i64>, DbError> {
        let text = if series == Series::Prices { FIRST_PRICE } else { FIRST_SNAPSHOT };
        Ok(on!(db self, c => sqlx::query_scalar(text).bind(key).bind(after).bind(until).fetch_one(c).await)?)
    }

    async fn thin(&self, series: Series, key: i64, (after, until): (i64, i64), width: i64) -> Result<u64, DbError> {
        let text = if series == Series::Prices { THIN_PRICES } else { THIN_SNAPSHOTS };
        let mut tx = self.begin_lazily().await?;
        let deleted = on!(tx &mut tx, c => {
            let done = sqlx::query(text).bind(key).bind(after).bind(until).bind(width).execute(c).await;
            done.map(|done| done.rows_affected())
        })?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// Packs some rows that migration 16 moved as they were. A database that was made later has none, and says so once.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn pack_some(&self, what: Packable, now: Timestamp) -> Result<Step, DbError> {
        let after = match self.checkpoint(what.key()).await? {
            None => Uuid::nil(),
            Some(text) => match text.trim_matches('"').parse() {
                Ok(id) => id,
                // The word `done`.
                Err(_) => return Ok(Step { rows: 0, finished: true }),
            },
        };
        let text = if what == Packable::Explanations { EXPLANATIONS } else { BOOKS };
        let found: Vec<(Uuid, Option<Vec<u8>>)> =
            on!(db self, c => sqlx::query_as(text).bind(after).bind(PACKED_AT_ONCE).fetch_all(c).await)?;
        let mut packed = Vec::new();
        for (id, content) in &found {
            let content = content.as_deref().unwrap_or_default();
            let form =
                what.pack(content).map_err(|problem| DbError::impossible("packed rows", id, "content", problem))?;
            packed.extend(form.map(|form| (*id, form)));
        }
        let last = found.last().map_or_else(|| "\"done\"".to_owned(), |(id, _)| format!("\"{id}\""));
        let mut tx = self.begin_lazily().await?;
        let text = if what == Packable::Explanations { PACK_EXPLANATION } else { PACK_BOOK };
        for (id, form) in &packed {
            on!(tx &mut tx, c => sqlx::query(text).bind(id).bind(form).execute(c).await.map(drop))?;
        }
        checkpoints::put(&mut tx, &[(what.key(), last.as_str())], now).await?;
        tx.commit().await?;
        Ok(Step { rows: packed.len() as u64, finished: found.is_empty() })
    }

    /// Thins and packs until nothing is left to do. For a database that nothing else works on.
    ///
    /// # Errors
    /// As [`Db::thin_some`] and [`Db::pack_some`].
    pub async fn tidy(&self, now: Timestamp) -> Result<(), DbError> {
        while let Some(mut pass) = self.due_thinning(now).await? {
            while !self.thin_some(&mut pass, now).await?.finished {}
        }
        for what in [Packable::Explanations, Packable::Books] {
            while !self.pack_some(what, now).await?.finished {}
        }
        Ok(())
    }

    async fn number_at(&self, key: &str) -> Result<i64, DbError> {
        Ok(self.checkpoint(key).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }
}
