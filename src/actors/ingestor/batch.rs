//! Sends many events to the ledger writer at once, in their order.

use tracing::field::display;

use super::IngestorDeps;
use crate::actors::ledger_writer::{RecordEntries, Refused};
use crate::db::{Audit, DbError};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::queue;
use crate::queue::Job;

/// Rounds after which a batch that is still refused is claimed again from the queue.
const TRIES: usize = 5;

/// A job whose ledger entries are known.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub job: Job,
    /// Empty for a row that moves no shares and no cash; an error when its amounts are impossible.
    pub entries: Result<Vec<LedgerEntry>, String>,
    pub audits: Vec<Audit>,
}

impl Ready {
    /// Returns a job without entries.
    pub fn empty(job: Job) -> Self {
        Self { job, entries: Ok(Vec::new()), audits: Vec::new() }
    }

    /// Returns the request to the ledger writer.
    ///
    /// # Errors
    /// When the amounts of the row are impossible.
    fn request(&self) -> Result<RecordEntries, String> {
        Ok(RecordEntries {
            entries: self.entries.clone()?,
            finishes: vec![self.job.fence()],
            audits: self.audits.clone(),
            ..RecordEntries::default()
        })
    }
}

/// Writes the batch in order, and returns how many events were written.
///
/// Each event has its own request, so that one bad or known event does not affect the others. The ledger writer still
/// commits them together.
///
/// # Errors
/// When the ledger writer or the database cannot write now. Then it is unknown which events were written; those whose
/// jobs are still open were not.
pub(super) async fn record(deps: &IngestorDeps, mut batch: Vec<Ready>) -> Result<usize, String> {
    let mut n_written = 0;
    for _ in 0..TRIES {
        let sent: Vec<_> = batch.iter().map(|ready| ready.request().map(|request| deps.ledger.send(request))).collect();
        let mut again = Vec::new();
        for (ready, sent) in batch.into_iter().zip(sent) {
            let refused = match sent {
                Ok(sent) => match sent.await.unwrap_or(Err(Refused::Restarted)) {
                    Ok(_) => {
                        n_written += 1;
                        continue;
                    }
                    // A request before it failed, and the portfolio was read again: send this one again.
                    Err(Refused::Stale) => {
                        again.push(ready);
                        continue;
                    }
                    // Another worker has the job, and does it.
                    Err(Refused::FenceLost) => continue,
                    Err(refused @ (Refused::Failed { transient: true, .. } | Refused::Restarted)) => {
                        return Err(refused.to_string());
                    }
                    Err(refused @ (Refused::Failed { .. } | Refused::Impossible(_))) => refused.to_string(),
                },
                Err(error) => error,
            };
            give_back(deps, &ready.job, &refused).await.map_err(|error| error.to_string())?;
        }
        if again.is_empty() {
            return Ok(n_written);
        }
        batch = again;
    }
    Err(format!("the ledger writer refused {} events {TRIES} times", batch.len()))
}

/// Returns a job to the queue as failed; after some tries it becomes a dead letter.
///
/// # Errors
/// When the database fails.
pub(super) async fn give_back(deps: &IngestorDeps, job: &Job, error: &str) -> Result<(), DbError> {
    let failed = queue::fail(&deps.db, job, error, deps.clock.now(), &mut rand::rngs::ThreadRng::default()).await?;
    let (event, user) = (job.event_id().map(display), job.followed_user.map(display));
    tracing::error!(job = job.id, event, user_id = user, error, becomes = %failed, "an event could not be written to the ledger");
    Ok(())
}
