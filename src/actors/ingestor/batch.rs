//! Many events to the ledger at once, in their order.

use tracing::field::display;

use super::IngestorDeps;
use crate::actors::ledger_writer::{RecordEntries, Refused};
use crate::db::{Audit, DbError};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::queue;
use crate::queue::Job;

/// Rounds after which a batch that is still refused begins again from the queue.
const TRIES: usize = 5;

/// A job whose effect is known.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub job: Job,
    /// None for a row that moves nothing; an error when its amounts are impossible.
    pub entries: Result<Vec<LedgerEntry>, String>,
    pub audits: Vec<Audit>,
}

impl Ready {
    pub fn empty(job: Job) -> Self {
        Self { job, entries: Ok(Vec::new()), audits: Vec::new() }
    }

    fn request(&self) -> Result<RecordEntries, String> {
        Ok(RecordEntries {
            entries: self.entries.clone()?,
            finishes: vec![self.job.fence()],
            audits: self.audits.clone(),
            ..RecordEntries::default()
        })
    }
}

/// Writes the batch in order; gives how many events were written.
///
/// Each event is a request of its own, so that a bad or a known one stands alone; the ledger writer commits them
/// together all the same.
///
/// # Errors
/// When ledger or database cannot write now: nobody knows then what of it was written, and the queue tells.
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
                    // One before it fell, and the portfolio was read again: its turn comes once more.
                    Err(Refused::Stale) => {
                        again.push(ready);
                        continue;
                    }
                    // Somebody else has the job, and does it.
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
    Err(format!("{} events were refused again and again", batch.len()))
}

/// A job that cannot be done now; after some tries it is a dead letter.
pub(super) async fn give_back(deps: &IngestorDeps, job: &Job, error: &str) -> Result<(), DbError> {
    let failed = queue::fail(&deps.db, job, error, deps.clock.now(), &mut rand::rngs::ThreadRng::default()).await?;
    let (event, user) = (job.event_id().map(display), job.followed_user.map(display));
    tracing::error!(job = job.id, event, user_id = user, error, becomes = %failed, "an event could not be written to the ledger");
    Ok(())
}
