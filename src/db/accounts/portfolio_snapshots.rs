//! Snapshots: one point a minute for each portfolio (spec 9).

use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::batch::{batches, execute_batch};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::portfolio_key;
use crate::sql::error::DbError;

/// One row of `portfolio_point`, which the view `portfolio_snapshot` shows with the columns of spec 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortfolioSnapshot {
    pub portfolio: PortfolioId,
    /// The start of its minute.
    pub bucket_time: Timestamp,
    pub equity: UsdcMicros,
    pub cash: UsdcMicros,
    pub exposure: UsdcMicros,
    pub unrealized_pnl: UsdcMicros,
    pub realized_pnl: UsdcMicros,
    /// Cash, and the holdings at the best bid less fees; `None` where it was not worked out.
    pub if_sold_now: Option<UsdcMicros>,
    /// Number of held assets without a price of the last hour.
    pub stale_assets: i64,
}

statements! {
    AT_OR_BEFORE = "select bucket_time, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
            if_sold_now_micros, stale_assets
        from portfolio_point where portfolio = $1 and bucket_time <= $2
        order by bucket_time desc limit 1";
    PEAK_WITHIN = "select max(equity_micros) from portfolio_point
        where portfolio = $1 and bucket_time >= $2 and bucket_time <= $3";
    /// The first point after a time whose held assets all had fresh marks.
    FRESH_AFTER = "select bucket_time, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
            if_sold_now_micros, stale_assets
        from portfolio_point where portfolio = $1 and bucket_time > $2 and stale_assets = 0
        order by bucket_time limit 1";
    RANGE = "select bucket_time, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
            if_sold_now_micros, stale_assets
        from portfolio_point where portfolio = $1 and bucket_time >= $2 and bucket_time <= $3 and bucket_time % $4 = 0
        order by bucket_time limit $5";
}

batches! {
    INSERT = "insert into portfolio_point (portfolio, bucket_time, equity_micros, cash_micros, exposure_micros,
        unrealized_pnl_micros, realized_pnl_micros, if_sold_now_micros, stale_assets) values ", 9, " on conflict do nothing";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    bucket_time: i64,
    equity_micros: i64,
    cash_micros: i64,
    exposure_micros: i64,
    unrealized_pnl_micros: i64,
    realized_pnl_micros: i64,
    if_sold_now_micros: Option<i64>,
    stale_assets: i64,
}

impl Db {
    /// Writes the points of a minute together with `notes`, the checkpoints that describe them. A minute that is stored
    /// already stays unchanged.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn insert_snapshots(
        &self,
        snapshots: &[PortfolioSnapshot],
        notes: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        execute_batch!(&mut tx, INSERT, snapshots, |query, snapshot| query
            .bind(portfolio_key(snapshot.portfolio))
            .bind(snapshot.bucket_time.millis())
            .bind(snapshot.equity.0)
            .bind(snapshot.cash.0)
            .bind(snapshot.exposure.0)
            .bind(snapshot.unrealized_pnl.0)
            .bind(snapshot.realized_pnl.0)
            .bind(snapshot.if_sold_now.map(|micros| micros.0))
            .bind(snapshot.stale_assets))?;
        checkpoints::put(&mut tx, notes, now).await?;
        tx.commit().await
    }

    /// Returns the last point at or before `time`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn snapshot_at_or_before(
        &self,
        portfolio: PortfolioId,
        time: Timestamp,
    ) -> Result<Option<PortfolioSnapshot>, DbError> {
        let row: Option<Row> = on!(db self, c => {
            sqlx::query_as(AT_OR_BEFORE)
                .bind(portfolio_key(portfolio))
                .bind(time.millis())
                .fetch_optional(c)
                .await
        })?;
        Ok(row.map(|row| row.point(portfolio)))
    }

    /// Returns the first point after `time` whose held assets all had fresh marks.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn fresh_snapshot_after(
        &self,
        portfolio: PortfolioId,
        time: Timestamp,
    ) -> Result<Option<PortfolioSnapshot>, DbError> {
        let row: Option<Row> = on!(db self, c => {
            sqlx::query_as(FRESH_AFTER)
                .bind(portfolio_key(portfolio))
                .bind(time.millis())
                .fetch_optional(c)
                .await
        })?;
        Ok(row.map(|row| row.point(portfolio)))
    }

    /// Returns the last point.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn newest_snapshot(&self, portfolio: PortfolioId) -> Result<Option<PortfolioSnapshot>, DbError> {
        self.snapshot_at_or_before(portfolio, Timestamp::from_millis(i64::MAX)).await
    }

    /// Returns the highest equity of the points from `since` to `until`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn peak_within(
        &self,
        portfolio: PortfolioId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Option<UsdcMicros>, DbError> {
        let peak: Option<i64> = on!(db self, c => {
            sqlx::query_scalar(PEAK_WITHIN)
                .bind(portfolio_key(portfolio))
                .bind(since.millis())
                .bind(until.millis())
                .fetch_one(c)
                .await
        })?;
        Ok(peak.map(UsdcMicros))
    }

    /// Returns the highest equity of the points at or after `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn peak_since(&self, portfolio: PortfolioId, since: Timestamp) -> Result<Option<UsdcMicros>, DbError> {
        self.peak_within(portfolio, since, Timestamp::from_millis(i64::MAX)).await
    }

    /// Returns the points from `from` to `to` whose minute is a multiple of `every_ms`, oldest first, at most 50,000.
    /// For example, one point an hour keeps the answer for a month small.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn snapshots(
        &self,
        portfolio: PortfolioId,
        from: Timestamp,
        to: Timestamp,
        every_ms: i64,
    ) -> Result<Vec<PortfolioSnapshot>, DbError> {
        let rows: Vec<Row> = on!(db self, c => {
            sqlx::query_as(RANGE)
                .bind(portfolio_key(portfolio))
                .bind(from.millis())
                .bind(to.millis())
                .bind(every_ms.max(1))
                .bind(50_000_i64)
                .fetch_all(c)
                .await
        })?;
        Ok(rows.into_iter().map(|row| row.point(portfolio)).collect())
    }
}

impl Row {
    fn point(self, portfolio: PortfolioId) -> PortfolioSnapshot {
        PortfolioSnapshot {
            portfolio,
            bucket_time: Timestamp::from_millis(self.bucket_time),
            equity: UsdcMicros(self.equity_micros),
            cash: UsdcMicros(self.cash_micros),
            exposure: UsdcMicros(self.exposure_micros),
            unrealized_pnl: UsdcMicros(self.unrealized_pnl_micros),
            realized_pnl: UsdcMicros(self.realized_pnl_micros),
            if_sold_now: self.if_sold_now_micros.map(UsdcMicros),
            stale_assets: self.stale_assets,
        }
    }
}
