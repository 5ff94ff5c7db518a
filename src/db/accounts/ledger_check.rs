//! Finds out which of many ledger writes are new, after writing them together has failed.

use std::collections::{BTreeSet, HashSet};

use uuid::Uuid;

use super::ledger_request::{LedgerWrite, Standing};
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::money::ids::{AssetId, AttemptId};
use crate::queue::JobFence;
use crate::sql::batch::{batches, fetch_batch_values};
use crate::sql::connection::{Tx, on, statements};
use crate::sql::decode::owner_key;
use crate::sql::error::DbError;

statements! {
    OF_CAUSE = "select entry_type, coalesce(asset_id, '') from ledger_entry
        where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and ref_id = $3";
}

batches! {
    HELD = "with fence (id, attempts) as (values ", 2, ") select job.id from fence
        join job on job.id = cast(fence.id as bigint) and job.attempts = cast(fence.attempts as bigint)";
    KNOWN_ATTEMPTS = "select id from copy_attempt where id in (", 1, ")";
}

/// The unique key of an entry: portfolio, cause, type and asset.
type EntryKey = (PortfolioId, String, String, String);

/// Returns the [`Standing`] of each write, in order.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn standing_of(tx: &mut Tx, writes: &[LedgerWrite]) -> Result<Vec<Standing>, DbError> {
    let fences: Vec<JobFence> = writes.iter().flat_map(|write| write.finishes.iter().copied()).collect();
    let attempts: Vec<AttemptId> =
        writes.iter().filter_map(|write| write.attempt.as_ref()).map(|attempt| attempt.id).collect();
    let mut held = held_jobs(tx, &fences).await?;
    let mut known_attempts = known_attempts(tx, &attempts).await?;
    let mut known_entries = known_entries(tx, writes).await?;

    let mut standings = Vec::with_capacity(writes.len());
    for write in writes {
        // Each job is finished once, and each attempt and entry is written once, by the first write that has it.
        let ours = write.finishes.iter().all(|fence| held.contains(&fence.id));
        let attempt_known = write.attempt.as_ref().is_some_and(|attempt| known_attempts.contains(&attempt.id.0));
        let keys: BTreeSet<EntryKey> = write.entries.iter().map(key_of).collect();
        let entries_known = keys.len() < write.entries.len() || keys.iter().any(|key| known_entries.contains(key));
        let standing = match (ours, attempt_known || entries_known) {
            (false, _) => Standing::FenceLost,
            (true, true) => Standing::Known,
            (true, false) => Standing::New,
        };
        if standing != Standing::FenceLost {
            write.finishes.iter().for_each(|fence| {
                held.remove(&fence.id);
            });
        }
        if standing == Standing::New {
            known_attempts.extend(write.attempt.as_ref().map(|attempt| attempt.id.0));
            known_entries.extend(keys);
        }
        standings.push(standing);
    }
    Ok(standings)
}

async fn held_jobs(tx: &mut Tx, fences: &[JobFence]) -> Result<HashSet<i64>, DbError> {
    let ids: Vec<i64> =
        fetch_batch_values!(tx, HELD, fences, |query, fence| query.bind(fence.id).bind(i64::from(fence.attempts)))?;
    Ok(ids.into_iter().collect())
}

async fn known_attempts(tx: &mut Tx, attempts: &[AttemptId]) -> Result<HashSet<Uuid>, DbError> {
    let ids: Vec<Uuid> = fetch_batch_values!(tx, KNOWN_ATTEMPTS, attempts, |query, id| query.bind(id.0))?;
    Ok(ids.into_iter().collect())
}

async fn known_entries(tx: &mut Tx, writes: &[LedgerWrite]) -> Result<BTreeSet<EntryKey>, DbError> {
    let causes: BTreeSet<(PortfolioId, &str)> =
        writes.iter().flat_map(|write| &write.entries).map(|entry| (entry.portfolio, entry.ref_id.as_str())).collect();
    let mut known = BTreeSet::new();
    for (portfolio, ref_id) in causes {
        let rows: Vec<(String, String)> = on!(tx &mut *tx, c => {
            sqlx::query_as(OF_CAUSE)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(ref_id)
                .fetch_all(c)
                .await
        })?;
        known.extend(rows.into_iter().map(|(kind, asset)| (portfolio, ref_id.to_owned(), kind, asset)));
    }
    Ok(known)
}

fn key_of(entry: &LedgerEntry) -> EntryKey {
    let asset = entry.asset.as_ref().map_or("", AssetId::as_str);
    (entry.portfolio, entry.ref_id.clone(), entry.kind.as_str().to_owned(), asset.to_owned())
}
