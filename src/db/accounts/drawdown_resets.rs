//! Resets of the peak that a portfolio's drawdown is measured from (spec 7.3).
//!
//! An admin's reset is a row of `system_checkpoint`, `peak_reset:<PortfolioId>`, written with its audit. The running
//! portfolios see it through the config revision, and load it after a restart.

use serde::{Deserialize, Serialize};

use crate::db::system::audit::{self, Audit};
use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::connection::Db;
use crate::sql::decode::{RowDecoder, json_text};
use crate::sql::error::DbError;

const PREFIX: &str = "peak_reset:";

/// From `at` on the drawdown is measured from `equity_micros`, or from a higher equity since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakReset {
    pub at: Timestamp,
    pub equity_micros: UsdcMicros,
}

impl Db {
    /// Returns the last reset of one portfolio.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn peak_reset(&self, portfolio: PortfolioId) -> Result<Option<PeakReset>, DbError> {
        let key = format!("{PREFIX}{portfolio}");
        let Some(text) = self.checkpoint(&key).await? else { return Ok(None) };
        RowDecoder { table: "system_checkpoint", id: &key }.json("value_json", &text).map(Some)
    }

    /// Returns the last reset of every portfolio that has one.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn peak_resets(&self) -> Result<Vec<(PortfolioId, PeakReset)>, DbError> {
        let rows = self.checkpoints_with_prefix(PREFIX).await?;
        let read = |(key, text, _): &(String, String, Timestamp)| {
            let decoder = RowDecoder { table: "system_checkpoint", id: key };
            let portfolio = decoder.text("key", key.trim_start_matches(PREFIX))?;
            Ok((portfolio, decoder.json("value_json", text)?))
        };
        rows.iter().map(read).collect()
    }

    /// Returns the highest equity since the last reset; `None` before the first snapshot. It is read from the
    /// portfolio's checkpoint and the few snapshots after it.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn peak(&self, portfolio: PortfolioId) -> Result<Option<UsdcMicros>, DbError> {
        let reset = self.peak_reset(portfolio).await?;
        let stored = self.checkpoint_summary(portfolio).await?.map(|summary| summary.history);
        let known = stored.filter(|history| reset.is_none_or(|reset| history.reset_at >= Some(reset.at)));
        let (since, at_least) = match (known.and_then(|history| history.last.zip(history.peak_micros)), reset) {
            (Some((last, peak)), _) => (last.time, Some(peak)),
            (None, Some(reset)) => {
                let moves = self.cash_moves(portfolio, reset.at).await?;
                let moved = moves.iter().fold(reset.equity_micros.0, |sum, (_, cash)| sum.saturating_add(cash.0));
                (reset.at, Some(UsdcMicros(moved)))
            }
            (None, None) => (Timestamp::EPOCH, None),
        };
        let moves = self.cash_moves(portfolio, since).await?;
        Ok(self.peak_with_moves(portfolio, since, &moves).await?.max(at_least))
    }

    /// Resets the peak to `reset.equity_micros`, with an audit; `before` is the peak until now.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn reset_peak(
        &self,
        portfolio: PortfolioId,
        reset: PeakReset,
        (before, who): (Option<UsdcMicros>, &str),
    ) -> Result<(), DbError> {
        let now = reset.at;
        let mut tx = self.begin().await?;
        checkpoints::bump_revision(&mut tx, now).await?;
        checkpoints::put(&mut tx, &[(format!("{PREFIX}{portfolio}"), json_text(&reset))], now).await?;
        let audit = Audit {
            who: who.to_owned(),
            action: "reset_peak".to_owned(),
            subject: format!("portfolio:{portfolio}"),
            before_json: before.map(|peak| json_text(&peak)),
            after_json: Some(json_text(&reset.equity_micros)),
        };
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await
    }
}
