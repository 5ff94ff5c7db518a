//! Which of many ledger writes are new: asked only when writing them together did not come out.

use std::collections::{BTreeSet, HashSet};

use uuid::Uuid;

use super::ledger::{LedgerWrite, owner_key};
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::money::ids::{AssetId, AttemptId};
use crate::queue::JobFence;
use crate::sql::connection::{Batch, Tx, batches, on, statements};
use crate::sql::error::DbError;

/// How a write stands to what is in the database and to the writes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    Known,
    FenceLost,
}

statements! {
    OF_CAUSE = "select entry_type, coalesce(asset_id, '') from ledger_entry
        where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and ref_id = $3";
}

batches! {
    HELD = "with fence (id, attempts) as (values ", 2, ") select job.id from fence
        join job on job.id = cast(fence.id as bigint) and job.attempts = cast(fence.attempts as bigint)";
    KNOWN_ATTEMPTS = "select id from copy_attempt where id in (", 1, ")";
}

/// The key under which an entry may stand once.
type EntryKey = (PortfolioId, String, String, String);

pub(crate) async fn standing_of(tx: &mut Tx, writes: &[LedgerWrite]) -> Result<Vec<Standing>, DbError> {
    let fences: Vec<JobFence> = writes.iter().flat_map(|write| write.finishes.iter().copied()).collect();
    let attempts: Vec<AttemptId> =
        writes.iter().filter_map(|write| write.attempt.as_ref()).map(|attempt| attempt.id).collect();
    let mut held = held_jobs(tx, &fences).await?;
    let mut known_attempts = known_attempts(tx, &attempts).await?;
    let mut known_entries = known_entries(tx, writes).await?;

    let mut standings = Vec::with_capacity(writes.len());
    for write in writes {
        // Each job can be finished once, each attempt and entry written once: by the first that asks.
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
    let mut held = HashSet::with_capacity(fences.len());
    for chunk in Batch::chunks(fences) {
        let text = HELD.text(tx.driver(), chunk.len());
        let ids: Vec<i64> = on!(tx &mut *tx, c => {
            let mut query = sqlx::query_scalar(text);
            for fence in chunk {
                query = query.bind(fence.id).bind(i64::from(fence.attempts));
            }
            query.fetch_all(c).await
        })?;
        held.extend(ids);
    }
    Ok(held)
}

async fn known_attempts(tx: &mut Tx, attempts: &[AttemptId]) -> Result<HashSet<Uuid>, DbError> {
    let mut known = HashSet::with_capacity(attempts.len());
    for chunk in Batch::chunks(attempts) {
        let text = KNOWN_ATTEMPTS.text(tx.driver(), chunk.len());
        let ids: Vec<Uuid> = on!(tx &mut *tx, c => {
            let mut query = sqlx::query_scalar(text);
            for id in chunk {
                query = query.bind(id.0);
            }
            query.fetch_all(c).await
        })?;
        known.extend(ids);
    }
    Ok(known)
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
