//! Batches of rows, and writing them with the same methods, jobs and fences as the running bot.

use std::collections::BTreeMap;

use super::error::HistoryError;
use crate::db::{
    BookOutcome, BookPrice, ClosedGroupWrite, Db, GroupClosing, LedgerOutcome, LedgerWrite, PollWrite,
    PortfolioSnapshot, Resolution, StoredBook,
};
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::events::group::{ClosedGroup, Member};
use crate::domain::market::facts::{Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, FollowedUserId, GroupId};
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Job, JobFence, JobScope, Queue};
use crate::simulator::state::market::Quotes;

/// Longer than it takes to write any batch.
const LEASE_MS: i64 = 600_000;
const GROUPS_AT_ONCE: usize = 256;
const WRITES_AT_ONCE: usize = 500;
const JOBS_AT_ONCE: i64 = 5_000;

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct HistoryReport {
    pub markets: usize,
    pub events: usize,
    pub groups: usize,
    pub attempts: usize,
    pub executed: usize,
    pub entries: usize,
    pub snapshots: usize,
    pub prices: usize,
    /// Assets with a lot in any portfolio at the end.
    pub held_assets: usize,
}

/// One write to the ledger, with the job that causes it.
pub struct PlannedWrite {
    cause: Cause,
    pub attempt: Option<CopyAttempt>,
    pub entries: Vec<LedgerEntry>,
}

/// The job that a write finishes.
enum Cause {
    Event(Member),
    Copy(GroupId, PortfolioId),
    /// No job: deposits and settlements.
    NoJob,
}

/// Rows that are still to be written, in the order in which they happened.
#[derive(Default)]
pub struct Batch {
    pub markets: Vec<Market>,
    pub trades: Vec<TradeEvent>,
    pub activities: Vec<ActivityEvent>,
    /// Each with the time of its decision.
    pub groups: Vec<(ClosedGroup, Timestamp)>,
    books: Vec<(GroupId, BookOutcome)>,
    pub ledger_writes: Vec<PlannedWrite>,
    resolutions: Vec<Resolution>,
    pub snapshots: Vec<PortfolioSnapshot>,
    pub prices: Vec<(Timestamp, Vec<(AssetId, BookPrice)>)>,
}

impl PlannedWrite {
    pub fn of_event(event: Member, entries: Vec<LedgerEntry>) -> Self {
        Self { cause: Cause::Event(event), attempt: None, entries }
    }

    pub fn of_copy(group: GroupId, attempt: CopyAttempt, entries: Vec<LedgerEntry>) -> Self {
        Self { cause: Cause::Copy(group, attempt.portfolio), attempt: Some(attempt), entries }
    }

    pub fn without_job(entries: Vec<LedgerEntry>) -> Self {
        Self { cause: Cause::NoJob, attempt: None, entries }
    }
}

impl Batch {
    /// Returns about how many rows the batch has: ledger writes, snapshots and prices.
    pub fn n_rows(&self) -> usize {
        self.ledger_writes.len()
            + self.snapshots.len()
            + self.prices.iter().map(|(_, prices)| prices.len()).sum::<usize>()
    }

    /// Adds the book that a decision was made with; without quotes the exchange had none.
    pub fn add_book(
        &mut self,
        group: GroupId,
        asset: &AssetId,
        quotes: Option<Quotes>,
        market: &Market,
        now: Timestamp,
    ) {
        let book = quotes.map(|quotes| StoredBook {
            asset: asset.clone(),
            bids: quotes.bids,
            asks: quotes.asks,
            hash: None,
            tick: market.tick,
            min_shares: market.min_shares,
            last_trade: None,
        });
        let book = book.ok_or_else(|| "No orderbook exists for the requested token id".to_owned());
        self.books.push((group, BookOutcome { fetched_at: now, book }));
    }

    /// Adds the payouts of a resolved market.
    pub fn add_resolution(&mut self, market: &Market, now: Timestamp) {
        let payout_of = |outcome: &OutcomeAsset| Some((outcome.asset.clone(), outcome.payout?));
        let payouts = market.outcomes.iter().filter_map(payout_of).collect();
        let resolved_at = market.resolved_at.unwrap_or(now);
        self.resolutions.push(Resolution { market: market.id.clone(), payouts, resolved_at });
        self.markets.push(Market { resolved_at: None, ..market.clone() });
    }
}

/// Writes a batch and adds what was written to `report`. `now` is the end of the batch's time.
///
/// # Errors
/// [`HistoryError`] when the database fails, or when it has a row or a job of the batch already.
pub async fn write_batch(
    db: &Db,
    batch: Batch,
    now: Timestamp,
    report: &mut HistoryReport,
) -> Result<(), HistoryError> {
    db.save_markets(&batch.markets).await?;
    report.events += batch.trades.len() + batch.activities.len();
    record_polls(db, batch.trades, batch.activities, now).await?;
    let ingest = fences_of(db, Queue::IngestEvents, now, |job| job.event().ok()).await?;
    let mut grouping = fences_of(db, Queue::GroupEvents, now, |job| job.event().ok()).await?;

    report.groups += batch.groups.len();
    for chunk in batch.groups.chunks(GROUPS_AT_ONCE) {
        close_groups(db, chunk, &mut grouping, now).await?;
    }
    // The jobs that are left are of rows that belong to no group: rewards, redemptions.
    let left: Vec<JobFence> = grouping.into_values().collect();
    queue::finish(db, &left).await?;
    for chunk in batch.books.chunks(GROUPS_AT_ONCE) {
        db.save_books(chunk).await?;
    }

    write_ledger(db, batch.ledger_writes, &ingest, now, report).await?;
    db.set_all_payouts(&batch.resolutions).await?;
    report.snapshots += batch.snapshots.len();
    db.insert_snapshots(&batch.snapshots, &[], now).await?;
    for (bucket, prices) in &batch.prices {
        report.prices += prices.len();
        db.record_prices(*bucket, prices, &[]).await?;
    }
    Ok(())
}

/// Commits the ledger writes and finishes their jobs; `ingest` has the fences of the events.
async fn write_ledger(
    db: &Db,
    planned: Vec<PlannedWrite>,
    ingest: &BTreeMap<Member, JobFence>,
    now: Timestamp,
    report: &mut HistoryReport,
) -> Result<(), HistoryError> {
    let user = fences_of(db, Queue::CopyAttemptUser, now, |job| job.group().ok()).await?;
    let global = fences_of(db, Queue::CopyAttemptGlobal, now, |job| job.group().ok()).await?;
    let fence_of = |cause: &Cause| match cause {
        Cause::Event(event) => Some(ingest.get(event).copied()),
        Cause::Copy(group, PortfolioId::ExecGlobal) => Some(global.get(group).copied()),
        Cause::Copy(group, _) => Some(user.get(group).copied()),
        Cause::NoJob => None,
    };
    let mut writes = Vec::with_capacity(planned.len());
    for planned in planned {
        let fence = fence_of(&planned.cause).map(|fence| fence.ok_or(HistoryError::AlreadyThere { what: "a job" }));
        let finishes = fence.transpose()?.into_iter().collect();
        report.entries += planned.entries.len();
        report.attempts += usize::from(planned.attempt.is_some());
        let executed = planned.attempt.as_ref().is_some_and(|attempt| attempt.decision == DecisionKind::Execute);
        report.executed += usize::from(executed);
        writes.push(LedgerWrite {
            attempt: planned.attempt,
            entries: planned.entries,
            finishes,
            ..LedgerWrite::default()
        });
    }
    for chunk in writes.chunks(WRITES_AT_ONCE) {
        let outcomes = db.commit(chunk, now).await?;
        if !outcomes.iter().all(|outcome| matches!(outcome, LedgerOutcome::Written { .. })) {
            return Err(HistoryError::AlreadyThere { what: "a ledger entry" });
        }
    }
    Ok(())
}

async fn record_polls(
    db: &Db,
    trades: Vec<TradeEvent>,
    activities: Vec<ActivityEvent>,
    now: Timestamp,
) -> Result<(), HistoryError> {
    let mut polls: BTreeMap<FollowedUserId, PollWrite> = BTreeMap::new();
    let empty = |user| PollWrite {
        user,
        fence: None,
        trades: Vec::new(),
        activities: Vec::new(),
        dead: Vec::new(),
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now,
    };
    for trade in trades {
        let poll = polls.entry(trade.followed_user).or_insert_with(|| empty(trade.followed_user));
        if poll.new_wallets.is_empty() {
            poll.new_wallets.push(trade.profile_wallet.clone());
        }
        poll.trades.push(trade);
    }
    for activity in activities {
        polls.entry(activity.followed_user).or_insert_with(|| empty(activity.followed_user)).activities.push(activity);
    }
    for (_, poll) in polls {
        let n = poll.trades.len() + poll.activities.len();
        let outcome = db.record_poll(poll).await?;
        if outcome.new_trades.len() + outcome.new_activities.len() != n {
            return Err(HistoryError::AlreadyThere { what: "an event" });
        }
    }
    Ok(())
}

async fn close_groups(
    db: &Db,
    groups: &[(ClosedGroup, Timestamp)],
    grouping: &mut BTreeMap<Member, JobFence>,
    now: Timestamp,
) -> Result<(), HistoryError> {
    let mut writes = Vec::with_capacity(groups.len());
    for (closed, decided_at) in groups {
        let finishes = closed.members.iter().filter_map(|member| grouping.remove(member)).collect();
        writes.push(ClosedGroupWrite {
            group: closed.group.clone(),
            members: closed.members.clone(),
            finishes,
            copy_due: *decided_at,
        });
    }
    let outcomes = db.close_groups(&writes, now).await?;
    match outcomes.iter().all(|outcome| matches!(outcome, GroupClosing::New(_))) {
        true => Ok(()),
        false => Err(HistoryError::AlreadyThere { what: "a group" }),
    }
}

/// Claims all due jobs of a queue and returns their fences by the key that `key` reads from a job.
async fn fences_of<K: Ord>(
    db: &Db,
    queue: Queue,
    now: Timestamp,
    key: impl Fn(&Job) -> Option<K>,
) -> Result<BTreeMap<K, JobFence>, HistoryError> {
    let mut fences = BTreeMap::new();
    loop {
        let jobs = queue::claim(db, queue, &JobScope::All, now, LEASE_MS, JOBS_AT_ONCE).await?;
        if jobs.is_empty() {
            return Ok(fences);
        }
        fences.extend(jobs.iter().filter_map(|job| Some((key(job)?, job.fence()))));
    }
}
