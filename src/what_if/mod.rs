//! Tests a configuration on what was recorded: reads a window from the database page by page and lives through it with
//! `domain::what_if` (spec section 11).
//!
//! In    a database, beside a running bot or alone; a portfolio, a window, the current configuration and a candidate.
//! Out   `Findings`; on the way `Progress`, which also takes the word to stop.
//! Fails `WhatIfError`.
//!
//! The database is read here, a page at a time; parsing and deciding happen on a blocking thread, so that nobody who
//! answers requests waits for it.

mod feed;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::db::{Db, DbError};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::portfolio::PortfolioError;
use crate::domain::analysis::what_if::{Comparison, Findings, Policy};
use crate::domain::money::units::Timestamp;

use feed::Feed;

/// Which window, whose money, which configurations.
#[derive(Debug, Clone)]
pub struct WhatIf {
    /// `EXEC_USER` or `EXEC_GLOBAL`.
    pub portfolio: PortfolioId,
    /// Groups detected within [from, to).
    pub from: Timestamp,
    pub to: Timestamp,
    pub current: Policy,
    pub candidate: Policy,
}

/// How far a run is; also how it is told to stop. Shared between the run and whoever asks.
#[derive(Debug, Default)]
pub struct Progress {
    groups: AtomicU64,
    done: AtomicU64,
    cancelled: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    #[error("the test was cancelled")]
    Cancelled,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the portfolio cannot be lived through")]
    Portfolio(#[from] PortfolioError),
    #[error("the thread that decides is gone")]
    Thread(#[from] tokio::task::JoinError),
}

impl Progress {
    /// Groups decided so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Groups in the window; zero until they are counted.
    pub fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    /// The run ends at the next page.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), WhatIfError> {
        if self.is_cancelled() { Err(WhatIfError::Cancelled) } else { Ok(()) }
    }
}

/// Lives through the window under both configurations.
///
/// # Errors
/// `WhatIfError`; `Cancelled` when somebody said so.
pub async fn run(db: &Db, what_if: WhatIf, progress: &Arc<Progress>) -> Result<Findings, WhatIfError> {
    let owner = what_if.portfolio.owner();
    let groups = db.count_groups_detected(owner, what_if.from, what_if.to).await?;
    progress.groups.store(u64::try_from(groups).unwrap_or(0), Ordering::Relaxed);
    let begin = start::start(db, &what_if, progress).await?;
    let comparison = Comparison::new(begin.start, what_if.current.clone(), what_if.candidate.clone());
    let mut feed = Feed::new(db, &what_if, progress, comparison);
    feed.tell(begin.happenings)?;
    feed.live().await
}
