//! Curves for charts: the minute snapshots of a portfolio, reduced by the database to as many points as a chart can
//! show. Each point has its lowest and highest value, so that no spike is lost.

use std::collections::BTreeMap;

use super::portfolio_snapshots::PortfolioSnapshot;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::portfolio_key;
use crate::sql::error::DbError;

/// A portfolio without position and change has a row an hour, and one may be late.
const IDLE_MS: i64 = 63 * 60_000;

/// A stretch of time in one portfolio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurvePoint {
    /// The start of the stretch.
    pub time: Timestamp,
    /// Equity at its last minute; then its lowest and its highest.
    pub equity: UsdcMicros,
    pub low: UsdcMicros,
    pub high: UsdcMicros,
    /// Exposure at its last minute.
    pub exposure: UsdcMicros,
}

statements! {
    EDGES = "select (bucket_time - $2) / $4, min(equity_micros), max(equity_micros) from portfolio_point
        where portfolio = $1 and bucket_time >= $2 and bucket_time <= $3 group by (bucket_time - $2) / $4";
    /// The last minute of each stretch. By `in`: with a join SQLite would scan the portfolio for each stretch.
    LASTS = "select (bucket_time - $2) / $4, equity_micros, exposure_micros from portfolio_point
        where portfolio = $1 and bucket_time in (
            select max(bucket_time) from portfolio_point
            where portfolio = $1 and bucket_time >= $2 and bucket_time <= $3 group by (bucket_time - $2) / $4)";
    FIRST = "select bucket_time from portfolio_point where portfolio = $1 order by bucket_time limit 1";
}

impl Db {
    /// Returns one point for each stretch of `stretch_ms` between `from` and `to` that has a snapshot, oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn curve(
        &self,
        portfolio: PortfolioId,
        (from, to): (Timestamp, Timestamp),
        stretch_ms: i64,
    ) -> Result<Vec<CurvePoint>, DbError> {
        let stretch_ms = stretch_ms.max(1);
        let mut parts: [Vec<(i64, i64, i64)>; 2] = Default::default();
        for (part, text) in parts.iter_mut().zip([EDGES, LASTS]) {
            *part = on!(db self, c => {
                sqlx::query_as(text)
                    .bind(portfolio_key(portfolio))
                    .bind(from.millis())
                    .bind(to.millis())
                    .bind(stretch_ms)
                    .fetch_all(c)
                    .await
            })?;
        }
        let [edges, lasts] = parts;
        let edges: BTreeMap<i64, (i64, i64)> = edges.into_iter().map(|(n, low, high)| (n, (low, high))).collect();
        let point = |(n, equity, exposure): (i64, i64, i64)| {
            // A minute written between the two reads is the only one of its stretch.
            let (low, high) = edges.get(&n).copied().unwrap_or((equity, equity));
            CurvePoint {
                time: from.plus_millis(n.saturating_mul(stretch_ms)),
                equity: UsdcMicros(equity),
                low: UsdcMicros(low.min(equity)),
                high: UsdcMicros(high.max(equity)),
                exposure: UsdcMicros(exposure),
            }
        };
        let mut points: Vec<CurvePoint> = lasts.into_iter().map(point).collect();
        points.sort_unstable_by_key(|point| point.time);
        self.carry(portfolio, (from, to), stretch_ms, &mut points).await?;
        Ok(points)
    }

    /// Adds what a portfolio without position and change was worth before its first point and after its last one: such a
    /// portfolio has a row an hour only. A row that is older than that is a gap and not a value.
    async fn carry(
        &self,
        portfolio: PortfolioId,
        (from, to): (Timestamp, Timestamp),
        stretch_ms: i64,
        points: &mut Vec<CurvePoint>,
    ) -> Result<(), DbError> {
        let value = |row: &PortfolioSnapshot, time| CurvePoint {
            time,
            equity: row.equity,
            low: row.equity,
            high: row.equity,
            exposure: row.exposure,
        };
        let is_idle = |row: &PortfolioSnapshot, at: Timestamp| {
            row.exposure == UsdcMicros::ZERO && (0..IDLE_MS).contains(&at.millis_since(row.bucket_time))
        };
        if points.first().is_none_or(|first| first.time > from)
            && let Some(before) = self.snapshot_at_or_before(portfolio, from).await?
            && is_idle(&before, from)
        {
            points.insert(0, value(&before, from));
        }
        let last = from.plus_millis(to.millis_since(from).max(0).div_euclid(stretch_ms).saturating_mul(stretch_ms));
        if points.last().is_some_and(|point| point.time < last)
            && let Some(newest) = self.snapshot_at_or_before(portfolio, to).await?
            && is_idle(&newest, to)
        {
            points.push(value(&newest, last));
        }
        Ok(())
    }

    /// Returns the time of the first snapshot.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn curve_start(&self, portfolio: PortfolioId) -> Result<Option<Timestamp>, DbError> {
        let first: Option<i64> = on!(db self, c => {
            sqlx::query_scalar(FIRST)
                .bind(portfolio_key(portfolio))
                .fetch_optional(c)
                .await
        })?;
        Ok(first.map(Timestamp::from_millis))
    }
}
