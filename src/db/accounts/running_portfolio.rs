//! Loads a portfolio's current state from its checkpoint, the entries after it, and the stored prices and snapshots.
//! The LedgerWriter starts from it, and pages read positions from it.

use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::closed_lots::{ClosedLotCounts, ClosedLots};
use crate::domain::accounting::equity_history::EquityHistory;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::{Portfolio, PortfolioError};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::sql::connection::Db;
use crate::sql::error::DbError;

/// Entries read at once.
const PAGE: i64 = 5_000;

/// A portfolio after all committed entries.
#[derive(Debug)]
pub struct RunningPortfolio {
    pub portfolio: Portfolio,
    /// The position of the last entry that was applied.
    pub position: i64,
}

/// A portfolio could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("cannot apply ledger entry `{position}`: {error}")]
    Entry { position: i64, error: PortfolioError },
    #[error("cannot set a mark: {0}")]
    Mark(#[from] PortfolioError),
}

/// Returns the key of a portfolio's checkpoint.
pub fn checkpoint_key(portfolio: PortfolioId) -> String {
    format!("portfolio:{portfolio}")
}

impl Db {
    /// Returns the portfolio after every committed entry, marked at the stored prices as old as they are at `now`.
    ///
    /// # Errors
    /// [`LoadError`] when the database cannot be reached, or its rows do not fit together.
    pub async fn running_portfolio(&self, id: PortfolioId, now: Timestamp) -> Result<RunningPortfolio, LoadError> {
        let RunningPortfolio { mut portfolio, position } = self.unmarked_portfolio(id).await?;
        mark(self, &mut portfolio, now).await?;
        catch_up(self, &mut portfolio).await?;
        if let Some(reset) = self.peak_reset(id).await? {
            portfolio.note_peak_reset(reset.at, self.peak(id).await?.unwrap_or(reset.equity_micros));
        }
        Ok(RunningPortfolio { portfolio, position })
    }

    /// Returns the portfolio after every committed entry, with the marks and baselines of its checkpoint. Holdings and
    /// closed lots are current.
    ///
    /// # Errors
    /// As [`Db::running_portfolio`].
    pub async fn unmarked_portfolio(&self, id: PortfolioId) -> Result<RunningPortfolio, LoadError> {
        let (mut portfolio, mut position) = from_checkpoint(self, id).await?;
        loop {
            let entries = self.entries_after(id, position, PAGE).await?;
            let Some(last) = entries.last() else { break };
            position = last.position;
            for placed in &entries {
                let failed = |error| LoadError::Entry { position: placed.position, error };
                portfolio.apply(&placed.entry).map_err(failed)?;
            }
        }
        Ok(RunningPortfolio { portfolio, position })
    }
}

/// The part of a checkpoint that can be read without its lots.
#[derive(serde::Deserialize)]
pub(in crate::db) struct CheckpointSummary {
    closings: ClosedLots,
    pub(in crate::db) history: EquityHistory,
}

impl Db {
    /// Returns the results of the closed lots at the last checkpoint; `None` before the first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn closings(&self, id: PortfolioId) -> Result<Option<ClosedLotCounts>, DbError> {
        Ok(self.checkpoint_summary(id).await?.map(|summary| summary.closings.counts()))
    }

    /// Returns the summary of the last checkpoint. A checkpoint of an older program version counts as none; it is
    /// replaced within a minute.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub(in crate::db) async fn checkpoint_summary(
        &self,
        id: PortfolioId,
    ) -> Result<Option<CheckpointSummary>, DbError> {
        let text = self.checkpoint(&checkpoint_key(id)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// Restores the portfolio of the last checkpoint and its position. An unusable checkpoint causes a warning and a longer
/// start, nothing more, because the ledger has every entry.
async fn from_checkpoint(db: &Db, id: PortfolioId) -> Result<(Portfolio, i64), DbError> {
    let Some(text) = db.checkpoint(&checkpoint_key(id)).await? else { return Ok((Portfolio::new(id), 0)) };
    let restored =
        serde_json::from_str::<PortfolioCheckpoint>(&text).map_err(|error| error.to_string()).and_then(|checkpoint| {
            let portfolio = Portfolio::restore(id, &checkpoint).map_err(|error| error.to_string())?;
            Ok((portfolio, checkpoint.position))
        });
    Ok(restored.unwrap_or_else(|error| {
        tracing::warn!(portfolio = %id, error, "unusable checkpoint; the portfolio is rebuilt from its whole ledger");
        (Portfolio::new(id), 0)
    }))
}

/// Marks the held assets by their stored prices and payouts, as old as they are at `now` (spec 9). The last trades are
/// read for the assets that would be stale without one.
async fn mark(db: &Db, portfolio: &mut Portfolio, now: Timestamp) -> Result<(), LoadError> {
    let held: Vec<AssetId> = portfolio.held_assets().cloned().collect();
    for (asset, mark) in db.price_marks(&held).await? {
        portfolio.set_mark(&asset, mark)?;
    }
    let markets: Vec<MarketId> = portfolio.exposure_by_market().map(|(market, _)| market.clone()).collect();
    for market in db.markets(&markets).await? {
        let payouts = market.outcomes.iter().filter_map(|outcome| Some((&outcome.asset, outcome.payout?)));
        for (asset, payout) in payouts.filter(|(asset, _)| held.binary_search(asset).is_ok()) {
            portfolio.set_mark(asset, Mark::Payout(payout))?;
        }
    }
    portfolio.age(now)?;
    let unmarked = portfolio.lots().filter(|lot| lot.is_stale);
    let unmarked: Vec<_> = unmarked.filter_map(|lot| Some((lot.market?, lot.asset))).collect();
    for (asset, (at, price)) in db.last_trades(&unmarked).await? {
        portfolio.set_mark(&asset, Mark::LastTrade(price, at))?;
    }
    Ok(())
}

/// Updates the equity baselines with the snapshots after the checkpoint; without a checkpoint, with all snapshots.
async fn catch_up(db: &Db, portfolio: &mut Portfolio) -> Result<(), DbError> {
    let history = db.history_after(portfolio.id(), *portfolio.history()).await?;
    portfolio.set_history(history);
    Ok(())
}
