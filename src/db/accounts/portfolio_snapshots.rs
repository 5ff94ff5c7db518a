//! Snapshots: one point a minute for each portfolio (spec 9).

use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::batch::{batches, execute_batch};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, owner_key};
use crate::sql::error::DbError;

/// One row of `portfolio_snapshot`.
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
    AT_OR_BEFORE = "select portfolio_scope, followed_user_id, bucket_time, equity_micros, cash_micros, exposure_micros,
            unrealized_pnl_micros, realized_pnl_micros, if_sold_now_micros, stale_assets
        from portfolio_snapshot where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and bucket_time <= $3
        order by bucket_time desc limit 1";
    PEAK_WITHIN = "select max(equity_micros) from portfolio_snapshot
        where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and bucket_time >= $3 and bucket_time <= $4";
    /// The first point after a time whose held assets all had fresh marks.
    FRESH_AFTER = "select portfolio_scope, followed_user_id, bucket_time, equity_micros, cash_micros, exposure_micros,
            unrealized_pnl_micros, realized_pnl_micros, if_sold_now_micros, stale_assets
        from portfolio_snapshot where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and bucket_time > $3
            and stale_assets = 0
        order by bucket_time limit 1";
    RANGE = "select portfolio_scope, followed_user_id, bucket_time, equity_micros, cash_micros, exposure_micros,
            unrealized_pnl_micros, realized_pnl_micros, if_sold_now_micros, stale_assets
        from portfolio_snapshot where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2
            and bucket_time >= $3 and bucket_time <= $4 and bucket_time % $5 = 0
        order by bucket_time limit $6";
}

batches! {
    INSERT = "insert into portfolio_snapshot (portfolio_scope, followed_user_id, bucket_time, equity_micros, cash_micros,
        exposure_micros, unrealized_pnl_micros, realized_pnl_micros, if_sold_now_micros, stale_assets) values ", 10, " on conflict do nothing";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    portfolio_scope: String,
    followed_user_id: Option<i64>,
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
            .bind(snapshot.portfolio.scope().as_str())
            .bind(snapshot.portfolio.owner().map(|user| user.0))
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
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn snapshot_at_or_before(
        &self,
        portfolio: PortfolioId,
        time: Timestamp,
    ) -> Result<Option<PortfolioSnapshot>, DbError> {
        let row: Option<Row> = on!(db self, c => {
            sqlx::query_as(AT_OR_BEFORE)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(time.millis())
                .fetch_optional(c)
                .await
        })?;
        row.map(PortfolioSnapshot::try_from).transpose()
    }

    /// Returns the first point after `time` whose held assets all had fresh marks.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn fresh_snapshot_after(
        &self,
        portfolio: PortfolioId,
        time: Timestamp,
    ) -> Result<Option<PortfolioSnapshot>, DbError> {
        let row: Option<Row> = on!(db self, c => {
            sqlx::query_as(FRESH_AFTER)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(time.millis())
                .fetch_optional(c)
                .await
        })?;
        row.map(PortfolioSnapshot::try_from).transpose()
    }

    /// Returns the last point.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
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
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
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
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn snapshots(
        &self,
        portfolio: PortfolioId,
        from: Timestamp,
        to: Timestamp,
        every_ms: i64,
    ) -> Result<Vec<PortfolioSnapshot>, DbError> {
        let rows: Vec<Row> = on!(db self, c => {
            sqlx::query_as(RANGE)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(from.millis())
                .bind(to.millis())
                .bind(every_ms.max(1))
                .bind(50_000_i64)
                .fetch_all(c)
                .await
        })?;
        rows.into_iter().map(PortfolioSnapshot::try_from).collect()
    }
}

impl TryFrom<Row> for PortfolioSnapshot {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "portfolio_snapshot", id: row.bucket_time };
        Ok(Self {
            portfolio: decoder.portfolio(&row.portfolio_scope, row.followed_user_id)?,
            bucket_time: Timestamp::from_millis(row.bucket_time),
            equity: UsdcMicros(row.equity_micros),
            cash: UsdcMicros(row.cash_micros),
            exposure: UsdcMicros(row.exposure_micros),
            unrealized_pnl: UsdcMicros(row.unrealized_pnl_micros),
            realized_pnl: UsdcMicros(row.realized_pnl_micros),
            if_sold_now: row.if_sold_now_micros.map(UsdcMicros),
            stale_assets: row.stale_assets,
        })
    }
}
