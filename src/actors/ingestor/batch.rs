//! Sends many events to the ledger writer at once, in their order.
//!
//! The caller's leaders are locked while their rows enter, so that no position check books an adjustment in between. A
//! row that an opening or adjustment counts already takes its shares back from it (spec 5, Late rows); such rows are
//! written one after the other, because each changes what the next one finds.

use std::collections::{BTreeMap, BTreeSet};

use tracing::field::display;

use super::IngestorDeps;
use super::entering::{Suspicion, checkpoints, entered};
use crate::actors::ledger_writer::{RecordEntries, Refused};
use crate::chance::Chance;
use crate::db::{Audit, DbError};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::correction::{Booked, Correction};
use crate::domain::accounting::shadow::exactness::InexactCause;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Failed, Job, NewJob};

/// Rounds after which a batch that is still refused is claimed again from the queue.
const TRIES: usize = 5;

/// A job whose ledger entries are known.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub job: Job,
    /// Empty for a row that moves no shares and no cash; an error when its amounts are impossible.
    pub entries: Result<Vec<LedgerEntry>, String>,
    /// The row, for entries that may be late.
    pub cause: Option<Cause>,
    /// Openings and adjustments that the entries change.
    pub corrections: Vec<Correction>,
    pub audits: Vec<Audit>,
    /// Jobs that this one makes necessary.
    pub jobs: Vec<NewJob>,
    /// Why the positions of the leader must be checked.
    pub suspicions: Vec<Suspicion>,
    pub checkpoints: Vec<(String, String)>,
}

impl Ready {
    /// Returns a job without entries.
    pub fn empty(job: Job) -> Self {
        Self {
            job,
            entries: Ok(Vec::new()),
            cause: None,
            corrections: Vec::new(),
            audits: Vec::new(),
            jobs: Vec::new(),
            suspicions: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    /// Returns the request to the ledger writer.
    ///
    /// # Errors
    /// When the amounts of the row are impossible.
    fn request(&self) -> Result<RecordEntries, String> {
        Ok(RecordEntries {
            entries: self.entries.clone()?,
            corrections: self.corrections.clone(),
            finishes: vec![self.job.fence()],
            audits: self.audits.clone(),
            jobs: self.jobs.clone(),
            checkpoints: self.checkpoints.clone(),
            ..RecordEntries::default()
        })
    }
}

/// The assets for which a position counts rows that come only now, by leader.
type Covered = BTreeMap<FollowedUserId, BTreeMap<AssetId, Timestamp>>;

/// Writes the batch in order, and returns how many events were written.
///
/// Each event has its own request, so that one bad or known event does not affect the others. The ledger writer still
/// commits them together.
///
/// # Errors
/// When the ledger writer or the database cannot write now. Then it is unknown which events were written; those whose
/// jobs are still open were not.
pub(super) async fn record(deps: &IngestorDeps, mut batch: Vec<Ready>) -> Result<usize, String> {
    let users: BTreeSet<FollowedUserId> = batch.iter().filter_map(|ready| ready.job.followed_user).collect();
    let _guards = deps.lock.of_all(users).await;
    let covered = covered(deps, &batch).await.map_err(|error| error.to_string())?;
    once_per_leader(&mut batch);
    let (mut n_written, mut together) = (0, Vec::new());
    for mut ready in batch {
        let late = is_late(&ready, &covered);
        if !late && ready.suspicions.is_empty() {
            together.push(ready);
            continue;
        }
        n_written += record_together(deps, std::mem::take(&mut together)).await?;
        if late {
            take_back(deps, &mut ready).await?;
        }
        if let Some(user) = ready.job.followed_user {
            ready.checkpoints = checkpoints(deps, user, &ready.suspicions).await?;
        }
        n_written += record_together(deps, vec![ready]).await?;
    }
    Ok(n_written + record_together(deps, together).await?)
}

/// Keeps one harmless suspicion of each leader: one check serves for all.
fn once_per_leader(batch: &mut [Ready]) {
    let mut suspected = BTreeSet::new();
    for ready in batch {
        let user = ready.job.followed_user;
        ready.suspicions.retain(|suspicion| suspicion.harm.is_some() || suspected.insert(user));
    }
}

async fn covered(deps: &IngestorDeps, batch: &[Ready]) -> Result<Covered, DbError> {
    let mut since: BTreeMap<FollowedUserId, Timestamp> = BTreeMap::new();
    for cause in batch.iter().filter_map(|ready| ready.cause) {
        let first = since.entry(cause.leader).or_insert(cause.event_time);
        *first = cause.event_time.min(*first);
    }
    let mut covered = Covered::new();
    for (user, since) in since {
        covered.insert(user, deps.db.covered_assets(user, since).await?);
    }
    Ok(covered)
}

fn is_late(ready: &Ready, covered: &Covered) -> bool {
    let (Some(cause), Ok(entries)) = (ready.cause, &ready.entries) else { return false };
    let Some(assets) = covered.get(&cause.leader) else { return false };
    let counts = |asset: &AssetId| assets.get(asset).is_some_and(|counted_to| cause.event_time <= *counted_to);
    entries.iter().filter_map(|entry| entry.asset.as_ref()).any(counts)
}

/// Adds the entries by which a late row takes its shares back.
async fn take_back(deps: &IngestorDeps, ready: &mut Ready) -> Result<(), String> {
    let (Some(cause), Ok(entries)) = (ready.cause, &ready.entries) else { return Ok(()) };
    let booked = Booked { entries: entries.clone(), ..Booked::default() };
    let entered = entered(deps, &cause, booked).await?;
    (ready.entries, ready.corrections) = (Ok(entered.entries), entered.corrections);
    Ok(())
}

async fn record_together(deps: &IngestorDeps, mut batch: Vec<Ready>) -> Result<usize, String> {
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

/// Returns a job to the queue as failed; after some tries it becomes a dead letter, and the books are not exact.
///
/// # Errors
/// When the database fails.
pub(super) async fn give_back(deps: &IngestorDeps, job: &Job, error: &str) -> Result<Failed, DbError> {
    let now = deps.clock.now();
    let failed = queue::fail(&deps.db, job, error, now, &mut Chance).await?;
    let (event, user) = (job.event_id().map(display), job.followed_user.map(display));
    tracing::error!(job = job.id, event, user_id = user, error, becomes = %failed, "an event could not be written to the ledger");
    if let (Failed::Dead, Some(user)) = (failed, job.followed_user) {
        let harm = Some(InexactCause::RowNotApplied);
        for (key, value) in deps.db.suspicion(user, "a row could not be booked", harm, now).await? {
            deps.db.put_checkpoint(&key, &value, now).await?;
        }
    }
    Ok(failed)
}
