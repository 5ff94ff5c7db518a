//! A portfolio read from the database: its checkpoint and the entries after it.

use crate::{
    db::{Db, DbError},
    domain::{
        ledger::PortfolioId,
        portfolio::{Portfolio, PortfolioError},
        portfolio_checkpoint::PortfolioCheckpoint,
        units::UsdcMicros,
    },
};

/// Entries read at once.
const PAGE: i64 = 5_000;

/// A portfolio as the ledger has it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub portfolio: Portfolio,
    /// The last entry folded in.
    pub position: i64,
    /// What it opens with, if it is new.
    pub bankroll: UsdcMicros,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("entry `{position}` does not fit: {error}")]
    Entry { position: i64, error: PortfolioError },
}

pub(in crate::actors) fn checkpoint_key(portfolio: PortfolioId) -> String {
    format!("portfolio:{portfolio}")
}

pub(super) async fn load(db: &Db, id: PortfolioId) -> Result<Loaded, LoadError> {
    let (mut portfolio, mut position) = from_checkpoint(db, id).await?;
    loop {
        let entries = db.entries_after(id, position, PAGE).await?;
        let Some(last) = entries.last() else { break };
        position = last.position;
        for placed in &entries {
            let failed = |error| LoadError::Entry { position: placed.position, error };
            portfolio.apply(&placed.entry).map_err(failed)?;
        }
    }
    let bankroll = db.directory().await?.config.system.initial_bankroll;
    Ok(Loaded { portfolio, position, bankroll })
}

/// A checkpoint that cannot be used is worth a warning and a longer start, nothing more: the ledger has it all.
async fn from_checkpoint(db: &Db, id: PortfolioId) -> Result<(Portfolio, i64), DbError> {
    let Some(text) = db.checkpoint(&checkpoint_key(id)).await? else { return Ok((Portfolio::new(id), 0)) };
    let restored =
        serde_json::from_str::<PortfolioCheckpoint>(&text).map_err(|error| error.to_string()).and_then(|checkpoint| {
            let portfolio = Portfolio::restore(id, &checkpoint).map_err(|error| error.to_string())?;
            Ok((portfolio, checkpoint.position))
        });
    Ok(restored.unwrap_or_else(|error| {
        tracing::warn!(portfolio = %id, error, "its checkpoint cannot be used; the whole ledger is folded");
        (Portfolio::new(id), 0)
    }))
}
