//! Runs a what-if test: reads a window of recorded data from the database page by page and replays it through
//! [`crate::domain::analysis::what_if`] (spec 11).
//!
//! In    a database, while a bot runs on it or not; a portfolio, a window, the current configuration and a candidate.
//! Out   [`Findings`]; meanwhile [`Progress`], which can also cancel the run.
//! Fails [`WhatIfError`].
//!
//! This module reads the database, a page at a time. Parsing and deciding happen on a blocking thread, so that requests to
//! the server do not wait for them.

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

/// The window, the portfolio, and the two configurations.
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

/// The progress of a run, shared with the caller, who can also cancel the run with it.
#[derive(Debug, Default)]
pub struct Progress {
    groups: AtomicU64,
    done: AtomicU64,
    cancelled: AtomicBool,
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    #[error("the test was cancelled")]
    Cancelled,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the portfolio cannot be replayed")]
    Portfolio(#[from] PortfolioError),
    #[error("the deciding thread stopped")]
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

    /// Cancels the run at its next page.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Returns whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), WhatIfError> {
        if self.is_cancelled() { Err(WhatIfError::Cancelled) } else { Ok(()) }
    }
}

/// Replays the window under both configurations.
///
/// # Errors
/// [`WhatIfError`]; `Cancelled` after [`Progress::cancel`].
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
