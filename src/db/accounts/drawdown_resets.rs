//! The peak that a portfolio's drawdown is measured from, when an admin has reset it (spec 7.3).
//!
//! A reset is a row of `system_checkpoint`, `peak_reset:<PortfolioId>`, written with its audit; the running portfolios
//! hear of it by the revision, and find it again after a restart.

use serde::{Deserialize, Serialize};

use crate::db::people::audit;
use crate::db::people::audit::Audit;
use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::connection::Db;
use crate::sql::decode::{RowDecoder, json_text};
use crate::sql::error::DbError;

const PREFIX: &str = "peak_reset:";

/// From `at` on the drawdown is measured from `equity_micros`, or from what was higher since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakReset {
    pub at: Timestamp,
    pub equity_micros: UsdcMicros,
}

impl Db {
    pub async fn peak_reset(&self, portfolio: PortfolioId) -> Result<Option<PeakReset>, DbError> {
        let key = format!("{PREFIX}{portfolio}");
        let Some(text) = self.checkpoint(&key).await? else { return Ok(None) };
        RowDecoder { table: "system_checkpoint", id: &key }.json("value_json", &text).map(Some)
    }

    pub async fn peak_resets(&self) -> Result<Vec<(PortfolioId, PeakReset)>, DbError> {
        let rows = self.checkpoints_with_prefix(PREFIX).await?;
        let read = |(key, text, _): &(String, String, Timestamp)| {
            let reading = RowDecoder { table: "system_checkpoint", id: key };
            let portfolio = reading.text("key", key.trim_start_matches(PREFIX))?;
            Ok((portfolio, reading.json("value_json", text)?))
        };
        rows.iter().map(read).collect()
    }

    /// The highest equity since the last reset; `None` before the first snapshot. From the checkpoint, which has it, and
    /// the few snapshots after it.
    pub async fn peak(&self, portfolio: PortfolioId) -> Result<Option<UsdcMicros>, DbError> {
        let reset = self.peak_reset(portfolio).await?;
        let kept = self.kept(portfolio).await?.map(|kept| kept.history);
        let known = kept.filter(|history| reset.is_none_or(|reset| history.reset_at >= Some(reset.at)));
        let (since, at_least) = match (known.and_then(|history| history.last.zip(history.peak_micros)), reset) {
            (Some((last, peak)), _) => (last.time, Some(peak)),
            (None, Some(reset)) => (reset.at, Some(reset.equity_micros)),
            (None, None) => (Timestamp::EPOCH, None),
        };
        Ok(self.peak_since(portfolio, since).await?.max(at_least))
    }

    /// Resets the peak, audited: from `peak` to `reset.equity_micros`.
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
