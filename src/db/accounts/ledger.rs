//! The ledger: attempts, fills and entries. Many writes go in one transaction, each whole or not at all.
//!
//! Two methods write. The LedgerWriter calls [`Db::commit_all`], the only way by which a running bot writes attempts
//! and entries. [`Db::commit`] is called by the Snapshotter, for jobs and checkpoints without entries, and by the
//! simulator's history, which fills a database for `demo`, `load` and `generate`.
//!
//! Both first write everything together in a few statements. When a count is too low, they roll back and find out which
//! write is stored already or has lost its job. `commit` then writes the rest; `commit_all` writes nothing.

use std::collections::HashMap;

use super::corrections;
use super::ledger_check::standing_of;
use super::ledger_request::{Committed, LedgerOutcome, LedgerWrite, Standing};
use super::position_checks;
use crate::db::decisions::explanation_text;
use crate::db::system::audit::{self, Audit};
use crate::db::system::checkpoints;
use crate::db::system::leases;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::shadow::correction::Correction;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::events::lease::{Fence, LeaseName};
use crate::domain::market::book_walk::LevelFill;
use crate::domain::money::ids::{AssetId, AttemptId, FollowedUserId, MarketId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::queue::{self, JobFence, NewJob};
use crate::sql::batch::{batches, execute_batch, fetch_batch_values};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, json_text, optional, owner_key};
use crate::sql::error::DbError;

/// An entry and its position in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedEntry {
    pub position: i64,
    pub entry: LedgerEntry,
}

statements! {
    AFTER = "select id, portfolio_scope, followed_user_id, attributed_user_id, market_id, asset_id, entry_type,
            share_delta_micros, cash_delta_micros, price_micros, ref_id, created_at
        from ledger_entry where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2 and id > $3
        order by id limit $4";
    ALL_WITHIN = "select id, portfolio_scope, followed_user_id, attributed_user_id, market_id, asset_id, entry_type,
            share_delta_micros, cash_delta_micros, price_micros, ref_id, created_at
        from ledger_entry where id > $1 and id <= $2 order by id";
    LAST = "select id from ledger_entry where portfolio_scope = $1 and coalesce(followed_user_id, 0) = $2
        order by id desc limit 1";
}

batches! {
    INSERT_ATTEMPTS = "insert into copy_attempt (id, portfolio_scope, followed_user_id, group_id, decision, reason_codes,
        target_notional_micros, filled_notional_micros, filled_share_micros, vwap_price_micros,
        filled_ratio_bps, their_reference_price_micros, mid_price_micros_at_decision, config_version, created_at)
        values ", 15, " on conflict do nothing";
    INSERT_EXPLANATIONS = "insert into attempt_explanation (attempt_id, content) values ", 2, "";
    INSERT_FILLS = "insert into executable_fill (copy_attempt_id, filled_share_micros, fill_price_micros,
        fill_notional_micros) values ", 4, "";
    INSERT_ENTRIES = "insert into ledger_entry (portfolio_scope, followed_user_id, attributed_user_id, market_id,
        asset_id, entry_type, share_delta_micros, cash_delta_micros, price_micros, ref_id, created_at)
        values ", 11, " on conflict do nothing returning id";
}

impl Db {
    /// Writes many requests in one transaction; returns their outcomes in order.
    ///
    /// # Errors
    /// `Raced` when another writer changed the same rows at the same time; otherwise [`DbError`] when the database
    /// cannot be reached or refuses a statement. Nothing was written; only if the connection broke at the commit, all
    /// may have been written. Unique keys make a retry safe in both cases.
    pub async fn commit(&self, writes: &[LedgerWrite], now: Timestamp) -> Result<Vec<LedgerOutcome>, DbError> {
        let all: Vec<&LedgerWrite> = writes.iter().collect();
        let packed = packed_explanations(writes);
        let mut tx = self.begin().await?;
        if let Some(last_entries) = write_together(&mut tx, &all, &packed, &[], now).await? {
            tx.commit().await?;
            return Ok(last_entries.into_iter().map(|last_entry| LedgerOutcome::Written { last_entry }).collect());
        }
        drop(tx);

        let mut tx = self.begin().await?;
        let standings = standing_of(&mut tx, writes).await?;
        let with = |wanted| writes.iter().zip(&standings).filter(move |(_, s)| **s == wanted).map(|(write, _)| write);
        let new: Vec<&LedgerWrite> = with(Standing::New).collect();
        let done: Vec<JobFence> = with(Standing::Known).flat_map(|write| write.finishes.iter().copied()).collect();
        let Some(last_entries) = write_together(&mut tx, &new, &packed, &done, now).await? else {
            return Err(DbError::Raced);
        };
        tx.commit().await?;
        let mut last_entries = last_entries.into_iter();
        let outcome = |standing: &Standing| match standing {
            Standing::New => LedgerOutcome::Written { last_entry: last_entries.next().flatten() },
            Standing::Known => LedgerOutcome::Known,
            Standing::FenceLost => LedgerOutcome::FenceLost,
        };
        Ok(standings.iter().map(outcome).collect())
    }

    /// Writes all requests or none, for requests that were each decided on the result of those before. If one of them
    /// is stored already or has lost its job, the decisions after it assumed a state that never existed, and the caller
    /// must load the portfolios again.
    ///
    /// `fences` are the leases of the portfolios: nothing is written to a portfolio whose lease another worker holds
    /// now.
    ///
    /// # Errors
    /// As [`Db::commit`].
    pub async fn commit_all(
        &self,
        writes: &[LedgerWrite],
        fences: &[Fence],
        now: Timestamp,
    ) -> Result<Committed, DbError> {
        let all: Vec<&LedgerWrite> = writes.iter().collect();
        let packed = packed_explanations(writes);
        let mut tx = self.begin().await?;
        let lost = leases::lost_in(&mut tx, fences).await?;
        if !lost.is_empty() {
            let standing = |write: &LedgerWrite| match write.portfolios().any(|id| lost.contains(&LeaseName::of(id))) {
                true => Standing::FenceLost,
                false => Standing::New,
            };
            return Ok(Committed::Nothing(writes.iter().map(standing).collect()));
        }
        if let Some(last_entries) = write_together(&mut tx, &all, &packed, &[], now).await? {
            tx.commit().await?;
            return Ok(Committed::All { last_entry: last_entries.into_iter().flatten().max() });
        }
        drop(tx);
        let mut tx = self.begin().await?;
        let standings = standing_of(&mut tx, writes).await?;
        drop(tx);
        match standings.iter().all(|standing| *standing == Standing::New) {
            true => Err(DbError::Raced),
            false => Ok(Committed::Nothing(standings)),
        }
    }

    /// Returns up to `limit` entries of one portfolio after a position, oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn entries_after(
        &self,
        portfolio: PortfolioId,
        position: i64,
        limit: i64,
    ) -> Result<Vec<PlacedEntry>, DbError> {
        let rows: Vec<EntryRow> = on!(db self, c => {
            sqlx::query_as(AFTER)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(position)
                .bind(limit)
                .fetch_all(c)
                .await
        })?;
        rows.into_iter().map(PlacedEntry::try_from).collect()
    }

    /// Returns the entries of all portfolios within (`after`, `until`], oldest first: the audit reads the ledger in
    /// stretches.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn all_entries_within(&self, after: i64, until: i64) -> Result<Vec<PlacedEntry>, DbError> {
        let rows: Vec<EntryRow> =
            on!(db self, c => sqlx::query_as(ALL_WITHIN).bind(after).bind(until).fetch_all(c).await)?;
        rows.into_iter().map(PlacedEntry::try_from).collect()
    }

    /// Returns the position of a portfolio's last entry; 0 while it has none.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn last_position(&self, portfolio: PortfolioId) -> Result<i64, DbError> {
        let last: Option<i64> = on!(db self, c => {
            sqlx::query_scalar(LAST).bind(portfolio.scope().as_str()).bind(owner_key(portfolio)).fetch_optional(c).await
        })?;
        Ok(last.unwrap_or(0))
    }
}

/// Writes everything of `writes`, and finishes the jobs in `done` too; returns the last entry's id of each write.
/// `None` as soon as a count shows that a row is stored already or a job was lost: the transaction must not be
/// committed then.
async fn write_together(
    tx: &mut Tx,
    writes: &[&LedgerWrite],
    packed: &HashMap<AttemptId, Vec<u8>>,
    done: &[JobFence],
    now: Timestamp,
) -> Result<Option<Vec<Option<i64>>>, DbError> {
    let mut fences = done.to_vec();
    fences.extend(writes.iter().flat_map(|write| write.finishes.iter().copied()));
    if queue::finish_in(tx, &fences).await?.len() != fences.len() {
        return Ok(None);
    }
    let attempts: Vec<&CopyAttempt> = writes.iter().filter_map(|write| write.attempt.as_ref()).collect();
    if insert_attempts(tx, &attempts).await? != attempts.len() {
        return Ok(None);
    }
    insert_explanations(tx, &attempts, packed).await?;
    let fills: Vec<(AttemptId, &LevelFill)> =
        attempts.iter().flat_map(|attempt| attempt.fills.iter().map(|fill| (attempt.id, fill))).collect();
    insert_fills(tx, &fills).await?;
    let entries: Vec<&LedgerEntry> = writes.iter().flat_map(|write| &write.entries).collect();
    let ids = insert_entries(tx, &entries).await?;
    if ids.len() != entries.len() {
        return Ok(None);
    }
    let changed: Vec<&Correction> = writes.iter().flat_map(|write| &write.corrections).collect();
    corrections::put_corrections(tx, &changed).await?;
    for write in writes {
        if let Some(check) = &write.check {
            position_checks::insert_check(tx, check).await?;
        }
        if let Some((user, at)) = write.opened {
            position_checks::set_opened(tx, user, at).await?;
        }
    }
    let audits: Vec<Audit> = writes.iter().flat_map(|write| write.audits.iter().cloned()).collect();
    audit::insert(tx, &audits, now).await?;
    let jobs: Vec<NewJob> = writes.iter().flat_map(|write| write.jobs.iter().cloned()).collect();
    queue::insert_in(tx, &jobs, now).await?;
    // Of several checkpoints with one key the last one counts; one statement may not write a row twice.
    let notes: std::collections::BTreeMap<&str, &str> = writes
        .iter()
        .flat_map(|write| write.checkpoints.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .collect();
    checkpoints::put(tx, &notes.into_iter().collect::<Vec<_>>(), now).await?;
    Ok(Some(last_ids(writes, &ids)))
}

/// Returns the id of each write's last entry: ids ascend in the order of the entries.
fn last_ids(writes: &[&LedgerWrite], ids: &[i64]) -> Vec<Option<i64>> {
    let mut rest = ids;
    writes
        .iter()
        .map(|write| {
            let (own, after) = rest.split_at(write.entries.len());
            rest = after;
            own.last().copied()
        })
        .collect()
}

async fn insert_attempts(tx: &mut Tx, attempts: &[&CopyAttempt]) -> Result<usize, DbError> {
    let inserted = execute_batch!(tx, INSERT_ATTEMPTS, attempts, |query, attempt| {
        let codes: Vec<&str> = attempt.reasons.iter().map(|code| code.as_str()).collect();
        query
            .bind(attempt.id.0)
            .bind(attempt.portfolio.scope().as_str())
            .bind(attempt.followed_user.0)
            .bind(attempt.group_id.0)
            .bind(attempt.decision.as_str())
            .bind(codes.join(","))
            .bind(attempt.target_notional.0)
            .bind(attempt.filled_notional.0)
            .bind(attempt.filled_shares.0)
            .bind(attempt.vwap.map(|price| price.micros()))
            .bind(attempt.filled_ratio.0)
            .bind(attempt.their_reference_price.map(|price| price.micros()))
            .bind(attempt.mid_at_decision.map(|price| price.micros()))
            .bind(&attempt.config_version)
            .bind(attempt.created_at.millis())
    })?;
    Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
}

/// Packs the explanations, before the transaction begins: others wait for its lock.
fn packed_explanations(writes: &[LedgerWrite]) -> HashMap<AttemptId, Vec<u8>> {
    let attempts = writes.iter().filter_map(|write| write.attempt.as_ref());
    attempts.map(|attempt| (attempt.id, explanation_text::pack(&json_text(&attempt.explanation)))).collect()
}

async fn insert_explanations(
    tx: &mut Tx,
    attempts: &[&CopyAttempt],
    packed: &HashMap<AttemptId, Vec<u8>>,
) -> Result<(), DbError> {
    let rows: Vec<(AttemptId, &[u8])> =
        attempts.iter().filter_map(|attempt| Some((attempt.id, packed.get(&attempt.id)?.as_slice()))).collect();
    execute_batch!(tx, INSERT_EXPLANATIONS, &rows, |query, (attempt, content)| query.bind(attempt.0).bind(*content))?;
    Ok(())
}

async fn insert_fills(tx: &mut Tx, fills: &[(AttemptId, &LevelFill)]) -> Result<(), DbError> {
    execute_batch!(tx, INSERT_FILLS, fills, |query, (attempt, fill)| query
        .bind(attempt.0)
        .bind(fill.shares.0)
        .bind(fill.price.micros())
        .bind(fill.notional.0))?;
    Ok(())
}

/// Returns the ids of the new entries, ascending.
async fn insert_entries(tx: &mut Tx, entries: &[&LedgerEntry]) -> Result<Vec<i64>, DbError> {
    let mut ids: Vec<i64> = fetch_batch_values!(tx, INSERT_ENTRIES, entries, |query, entry| query
        .bind(entry.portfolio.scope().as_str())
        .bind(entry.portfolio.owner().map(|user| user.0))
        .bind(entry.attributed_user.map(|user| user.0))
        .bind(entry.market.as_ref().map(MarketId::as_str))
        .bind(entry.asset.as_ref().map(AssetId::as_str))
        .bind(entry.kind.as_str())
        .bind(entry.shares.0)
        .bind(entry.cash.0)
        .bind(entry.price.map(|price| price.micros()))
        .bind(&entry.ref_id)
        .bind(entry.created_at.millis()))?;
    ids.sort_unstable();
    Ok(ids)
}

/// A row of `ledger_entry`.
#[derive(sqlx_macros::FromRow)]
pub(crate) struct EntryRow {
    id: i64,
    portfolio_scope: String,
    followed_user_id: Option<i64>,
    attributed_user_id: Option<i64>,
    market_id: Option<String>,
    asset_id: Option<String>,
    entry_type: String,
    share_delta_micros: i64,
    cash_delta_micros: i64,
    price_micros: Option<i64>,
    ref_id: String,
    created_at: i64,
}

impl TryFrom<EntryRow> for PlacedEntry {
    type Error = DbError;

    fn try_from(row: EntryRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "ledger_entry", id: row.id };
        let portfolio = decoder.portfolio(&row.portfolio_scope, row.followed_user_id)?;
        let entry = LedgerEntry {
            portfolio,
            attributed_user: row.attributed_user_id.map(FollowedUserId),
            market: optional(row.market_id, |id| decoder.market("market_id", &id))?,
            asset: optional(row.asset_id, |id| decoder.asset("asset_id", &id))?,
            kind: decoder.text("entry_type", &row.entry_type)?,
            shares: ShareMicros(row.share_delta_micros),
            cash: UsdcMicros(row.cash_delta_micros),
            price: optional(row.price_micros, |micros| decoder.price("price_micros", micros))?,
            ref_id: row.ref_id,
            created_at: Timestamp::from_millis(row.created_at),
        };
        Ok(Self { position: row.id, entry })
    }
}
