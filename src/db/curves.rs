//! Curves for charts: the minute snapshots of a portfolio, cut down by the database to as many points as a chart has room
//! for, without losing a spike.

use super::DbError;
use super::connection::{Db, on, statements};
use super::ledger::owner_key;
use crate::domain::ledger::PortfolioId;
use crate::domain::units::{Timestamp, UsdcMicros};

/// What a stretch of time looked like in one portfolio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurvePoint {
    /// The start of the stretch.
    pub time: Timestamp,
    /// Equity at its last minute, and its lowest and highest.
    pub equity: UsdcMicros,
    pub low: UsdcMicros,
    pub high: UsdcMicros,
    /// At its last minute.
    pub exposure: UsdcMicros,
}

statements! {
    /// The last minute of each stretch by its time, joined back for its figures: SQLite and PostgreSQL agree on no
    /// shorter way.
    POINTS = "with stretch as (
            select (bucket_time - $3) / $5 as n, max(bucket_time) as last_time, min(equity_micros) as low,
                max(equity_micros) as high
            from portfolio_snapshot
            where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and bucket_time >= $3 and bucket_time <= $4
            group by (bucket_time - $3) / $5)
        select s.n, p.equity_micros, s.low, s.high, p.exposure_micros from stretch s join portfolio_snapshot p
            on p.portfolio_scope = $1 and coalesce(p.followed_user_id, 0) = $2 and p.bucket_time = s.last_time";
    FIRST = "select bucket_time from portfolio_snapshot
        where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 order by bucket_time limit 1";
    PEAK_BEFORE = "select max(equity_micros) from portfolio_snapshot
        where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and bucket_time >= $3 and bucket_time < $4";
}

impl Db {
    /// One point for each `stretch_ms` from `from` to `to` in which there is a snapshot, oldest first.
    pub async fn curve(
        &self,
        portfolio: PortfolioId,
        (from, to): (Timestamp, Timestamp),
        stretch_ms: i64,
    ) -> Result<Vec<CurvePoint>, DbError> {
        let stretch_ms = stretch_ms.max(1);
        let rows: Vec<(i64, i64, i64, i64, i64)> = on!(db self, c => {
            sqlx::query_as(POINTS)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(from.millis())
                .bind(to.millis())
                .bind(stretch_ms)
                .fetch_all(c)
                .await
        })?;
        let point = |(n, equity, low, high, exposure): (i64, i64, i64, i64, i64)| CurvePoint {
            time: from.plus_millis(n.saturating_mul(stretch_ms)),
            equity: UsdcMicros(equity),
            low: UsdcMicros(low),
            high: UsdcMicros(high),
            exposure: UsdcMicros(exposure),
        };
        let mut points: Vec<CurvePoint> = rows.into_iter().map(point).collect();
        points.sort_unstable_by_key(|point| point.time);
        Ok(points)
    }

    /// When the first snapshot was taken.
    pub async fn curve_start(&self, portfolio: PortfolioId) -> Result<Option<Timestamp>, DbError> {
        let first: Option<i64> = on!(db self, c => {
            sqlx::query_scalar(FIRST)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .fetch_optional(c)
                .await
        })?;
        Ok(first.map(Timestamp::from_millis))
    }

    /// The highest equity at or after `since` and before `until`.
    pub async fn peak_between(
        &self,
        portfolio: PortfolioId,
        (since, until): (Timestamp, Timestamp),
    ) -> Result<Option<UsdcMicros>, DbError> {
        let peak: Option<i64> = on!(db self, c => {
            sqlx::query_scalar(PEAK_BEFORE)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(since.millis())
                .bind(until.millis())
                .fetch_one(c)
                .await
        })?;
        Ok(peak.map(UsdcMicros))
    }
}
