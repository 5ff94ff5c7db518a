//! The equity from which losses are measured, as stored snapshots tell it (spec 7.3).
//!
//! A checkpoint is written with each snapshot, so that a start rarely reads more than one of them. Pages read the same
//! figures that the breakers use.

use super::portfolio_snapshots::PortfolioSnapshot;
use crate::domain::accounting::equity_history::{EquityAt, EquityHistory};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::owner_key;
use crate::sql::error::DbError;

statements! {
    /// Money put in or taken out of an open portfolio, oldest first.
    CASH_MOVES = "select created_at, cash_delta_micros from ledger_entry
        where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and created_at > $3
            and entry_type in ('DEPOSIT', 'WITHDRAWAL') and ref_id <> 'deposit:opening'
        order by created_at, id";
}

impl Db {
    /// Returns `known` with the snapshots after it. Money that was put in or taken out since a snapshot moves it.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub(in crate::db) async fn history_after(
        &self,
        id: PortfolioId,
        known: EquityHistory,
    ) -> Result<EquityHistory, DbError> {
        let Some(newest) = self.newest_snapshot(id).await? else { return Ok(known) };
        if known.last.is_some_and(|last| last.time >= newest.bucket_time) {
            return Ok(known);
        }
        let since = known.last.map_or(Timestamp::EPOCH, |last| last.time);
        let moves = self.cash_moves(id, since).await?;
        let moved_after = |time: Timestamp| {
            moves.iter().filter(|(at, _)| *at > time).fold(0_i64, |sum, (_, cash)| sum.saturating_add(cash.0))
        };
        let at = |time: Timestamp, point: &PortfolioSnapshot| EquityAt {
            time,
            equity_micros: UsdcMicros(point.equity.0.saturating_add(moved_after(point.bucket_time))),
        };
        let peak = self.peak_with_moves(id, since, &moves).await?;
        let mut boundaries = [known.day, known.week];
        let times = [newest.bucket_time.day_start(), newest.bucket_time.week_start()];
        for (kept, time) in
            boundaries.iter_mut().zip(times).filter(|(kept, time)| kept.is_none_or(|kept| kept.time < *time))
        {
            let before = self.snapshot_at_or_before(id, time).await?;
            *kept = match (before, known.last) {
                (Some(point), _) if EquityHistory::counts_at(point.bucket_time, time) => Some(at(time, &point)),
                (None, None) => Some(EquityAt { time, equity_micros: known.opening_micros.unwrap_or_default() }),
                _ => {
                    let fresh = self.fresh_snapshot_after(id, time).await?;
                    fresh.map(|point| at(time, &point)).or(*kept)
                }
            };
        }
        let [day, week] = boundaries;
        let last = Some(at(newest.bucket_time, &newest));
        Ok(EquityHistory { peak_micros: known.peak_micros.max(peak), day, week, last, ..known })
    }

    /// Returns the newest snapshot, and what the losses of the portfolio are measured from; `None` before the first
    /// snapshot.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn equity_history(&self, id: PortfolioId) -> Result<Option<(PortfolioSnapshot, EquityHistory)>, DbError> {
        let Some(newest) = self.newest_snapshot(id).await? else { return Ok(None) };
        let stored = self.checkpoint_summary(id).await?.map(|summary| summary.history);
        let known = stored.unwrap_or_else(|| {
            let gained = newest.realized_pnl.0.saturating_add(newest.unrealized_pnl.0);
            let deposits = UsdcMicros(newest.equity.0.saturating_sub(gained));
            EquityHistory { opening_micros: Some(deposits), peak_micros: Some(deposits), ..EquityHistory::default() }
        });
        let history = self.history_after(id, known).await?;
        Ok(Some((newest, history)))
    }

    /// Returns the highest equity at or after `since`, each moved by the money put in or taken out after it.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub(in crate::db) async fn peak_with_moves(
        &self,
        id: PortfolioId,
        since: Timestamp,
        moves: &[(Timestamp, UsdcMicros)],
    ) -> Result<Option<UsdcMicros>, DbError> {
        let mut peak: Option<UsdcMicros> = None;
        let mut from = since;
        let ends = moves.iter().map(|(at, _)| *at).chain([Timestamp::from_millis(i64::MAX)]);
        for (n, until) in ends.enumerate() {
            let after = moves.iter().skip(n).fold(0_i64, |sum, (_, cash)| sum.saturating_add(cash.0));
            let highest = self.peak_within(id, from, until).await?;
            peak = peak.max(highest.map(|equity| UsdcMicros(equity.0.saturating_add(after))));
            from = until.plus_millis(1);
        }
        Ok(peak)
    }

    /// Returns the money put in or, when negative, taken out after `since`, oldest first, without the opening deposit.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub(in crate::db) async fn cash_moves(
        &self,
        id: PortfolioId,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, UsdcMicros)>, DbError> {
        let rows: Vec<(i64, i64)> = on!(db self, c => {
            sqlx::query_as(CASH_MOVES)
                .bind(id.scope().as_str())
                .bind(owner_key(id))
                .bind(since.millis())
                .fetch_all(c)
                .await
        })?;
        Ok(rows.into_iter().map(|(at, cash)| (Timestamp::from_millis(at), UsdcMicros(cash))).collect())
    }
}
