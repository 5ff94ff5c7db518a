//! Stores a snapshot of each portfolio every minute, and the checkpoints that a start loads portfolios from; counts the
//! attempts of each hour that is over.
//!
//! Takes   `WriteCheckpoints`, and the jobs of `q_portfolio_apply`: portfolios with entries that no checkpoint holds
//!         yet, and deposits and withdrawals that are not booked yet.
//! Sends   `TakeSnapshots` and `SnapshotsStored` to the ledger writer; for transfers `Holdings` and `RecordEntries`;
//!         [`RedeemDue`] to the ingestor, because redemptions that wait for their payout are jobs of the same queue.
//! Timer   at each minute, and one for the moment the next job is due.
//! Truth   `portfolio_snapshot`. A minute is written once, together with its checkpoints. What the holdings would bring
//!         is worked out here, because the fees of the markets are facts of the database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, SpawnHandle, Supervised};

use super::{
    ingestor::{RedeemDue, waits_for_payout},
    ledger_writer::{Holdings, RecordEntries, Snapshot, SnapshotsStored, TakeSnapshots},
    queue_worker::{Look, look_at},
    supervise::{IoResult, Observed, SupervisorContext, observable, or_panic, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, DbError, LedgerWrite, PortfolioSnapshot, checkpoint_key};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::sold_now::sold_now;
use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{JobScope, Queue};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const LEASE_MS: i64 = 60_000;
const CLAIM_MAX: i64 = 100;
/// A transfer comes from the command line, without a wake-up in this process.
const SWEEP: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct SnapshotterDeps {
    pub db: Db,
    pub clock: Clock,
    /// The jobs of this worker.
    pub scope: JobScope,
    pub wakeups: Wakeups,
    pub take: Recipient<TakeSnapshots>,
    pub stored: Recipient<SnapshotsStored>,
    pub redeem: Recipient<RedeemDue>,
    pub holdings: Recipient<Holdings>,
    pub record: Recipient<RecordEntries>,
}

/// Writes checkpoints of all portfolios now. Sent before a stop, so that the next start is short.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), String>")]
pub struct WriteCheckpoints;

pub struct Snapshotter {
    deps: SnapshotterDeps,
    applying: bool,
    counting: bool,
    next_apply: Option<SpawnHandle>,
    last_bucket: Option<Timestamp>,
    /// The last row of each portfolio that this actor wrote.
    written: Arc<LastRows>,
    checkpoints: u64,
    failures: u64,
}

/// The last row that was written of each portfolio.
type LastRows = BTreeMap<PortfolioId, PortfolioSnapshot>;

impl Snapshotter {
    pub fn start(deps: SnapshotterDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "snapshotter", Self::new(deps))
    }

    fn new(deps: SnapshotterDeps) -> Self {
        Self {
            deps,
            applying: false,
            counting: false,
            next_apply: None,
            last_bucket: None,
            written: Arc::default(),
            checkpoints: 0,
            failures: 0,
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "last_bucket": self.last_bucket.map(Timestamp::iso),
                "checkpoints": self.checkpoints,
                "failures": self.failures,
            }),
            last_activity: self.last_bucket,
        }
    }

    fn write_minute(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let bucket = Timestamp::from_millis(now.millis().div_euclid(MINUTE_MS) * MINUTE_MS);
        let until_next = bucket.plus_millis(MINUTE_MS).millis_since(now).max(1).unsigned_abs();
        ctx.run_later(Duration::from_millis(until_next), |snapshotter, ctx| snapshotter.write_minute(ctx));
        let (deps, written) = (self.deps.clone(), self.written.clone());
        spawn_io(ctx, async move { write_minute(&deps, &written, bucket).await }, Self::minute_written);
        self.count_attempts(ctx);
    }

    fn minute_written(&mut self, minute: IoResult<Minute, String>, _: &mut Context<Self>) {
        match or_panic(minute, "writing snapshots") {
            Ok(minute) => {
                self.last_bucket = Some(minute.bucket);
                let mut written = (*self.written).clone();
                written.extend(minute.rows.into_iter().map(|row| (row.portfolio, row)));
                self.written = Arc::new(written);
            }
            Err(error) => {
                tracing::error!(error, "the snapshots of this minute could not be stored");
                self.failures += 1;
            }
        }
    }

    /// Counts the attempts of hours that are over. Once a minute is often enough, because pages count the other
    /// attempts themselves.
    fn count_attempts(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.counting, true) {
            let (db, now) = (self.deps.db.clone(), self.deps.clock.now());
            spawn_io(ctx, async move { db.roll_up_attempts(now).await }, Self::attempts_counted);
        }
    }

    fn attempts_counted(&mut self, result: IoResult<(), DbError>, _: &mut Context<Self>) {
        self.counting = false;
        if let Err(error) = or_panic(result, "counting attempts") {
            tracing::warn!(%error, "attempts of past hours could not be counted; trying again in a minute");
            self.failures += 1;
        }
    }

    fn apply(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.applying, true) {
            let deps = self.deps.clone();
            spawn_io(ctx, async move { apply(&deps).await }, Self::applied);
        }
    }

    /// Handles the number of jobs whose checkpoints are written, and the time at which the next job is due.
    fn applied(&mut self, applied: IoResult<(usize, Option<Timestamp>), String>, ctx: &mut Context<Self>) {
        self.applying = false;
        self.next_apply = None;
        match or_panic(applied, "writing checkpoints") {
            Ok((n, next_due)) => {
                self.checkpoints += n as u64;
                if let Some(due) = next_due {
                    let wait = due.millis_since(self.deps.clock.now()).max(1).unsigned_abs();
                    self.apply_in(Duration::from_millis(wait), ctx);
                }
            }
            Err(error) => {
                tracing::warn!(error, "checkpoints could not be written");
                self.failures += 1;
                self.apply_in(AGAIN, ctx);
            }
        }
    }

    fn apply_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.next_apply.take() {
            ctx.cancel_future(timer);
        }
        self.next_apply = Some(ctx.run_later(wait, |snapshotter, ctx| snapshotter.apply(ctx)));
    }
}

/// A minute that was written.
#[derive(Debug)]
struct Minute {
    bucket: Timestamp,
    rows: Vec<PortfolioSnapshot>,
}

/// Stores the snapshots and checkpoints of a minute. A portfolio that holds nothing and has not changed gets a row an hour
/// only; the baselines of its losses need no row, because the checkpoint has them.
///
/// # Errors
/// The text of the failure when the ledger writer or the database refuses.
async fn write_minute(deps: &SnapshotterDeps, written: &LastRows, bucket: Timestamp) -> Result<Minute, String> {
    let snapshots = take(deps, TakeSnapshots { portfolios: None, bucket: Some(bucket) }).await?;
    let fees = fees(deps, &snapshots).await.map_err(|error| error.to_string())?;
    let mut rows: Vec<_> = snapshots.iter().map(|snapshot| row(snapshot, &fees, bucket)).collect();
    let checkpoints: Vec<_> = snapshots.iter().map(checkpoint).collect::<Result<_, _>>()?;
    let equities = rows.iter().map(|row| (row.portfolio, row.equity, row.stale_assets == 0)).collect();
    rows.retain(|row| is_due(row, written.get(&row.portfolio)));
    let stored = deps.db.insert_snapshots(&rows, &checkpoints, deps.clock.now()).await;
    stored.map_err(|error| error.to_string())?;
    deps.stored.do_send(SnapshotsStored { bucket, equities });
    Ok(Minute { bucket, rows })
}

/// Returns whether the row has to be written: the first one, each full hour, and any that holds something or differs
/// from the last.
fn is_due(row: &PortfolioSnapshot, last: Option<&PortfolioSnapshot>) -> bool {
    let same = |last: &PortfolioSnapshot| *row == PortfolioSnapshot { bucket_time: row.bucket_time, ..*last };
    row.exposure != UsdcMicros::ZERO || row.bucket_time.millis() % HOUR_MS == 0 || !last.is_some_and(same)
}

/// Returns the fee schedules of the markets in which something is held.
///
/// # Errors
/// When the database fails.
async fn fees(deps: &SnapshotterDeps, snapshots: &[Snapshot]) -> Result<BTreeMap<MarketId, FeeSchedule>, DbError> {
    let held = snapshots.iter().flat_map(|snapshot| &snapshot.lots).filter_map(|lot| lot.market.clone());
    let held: Vec<MarketId> = held.collect::<BTreeSet<_>>().into_iter().collect();
    let markets = deps.db.markets(&held).await?;
    Ok(markets.into_iter().map(|market| (market.id, market.fee)).collect())
}

/// Books the transfers whose jobs are due, writes the checkpoints of the portfolios whose jobs are due, and finishes the
/// jobs with them. Returns the number of
/// jobs and when the next one is due.
///
/// # Errors
/// The text of the failure when the ledger writer or the database refuses.
async fn apply(deps: &SnapshotterDeps) -> Result<(usize, Option<Timestamp>), String> {
    let (db, now) = (&deps.db, deps.clock.now());
    let claimed = queue::claim(db, Queue::PortfolioApply, &deps.scope, now, LEASE_MS, CLAIM_MAX).await;
    let claimed = claimed.map_err(|error| error.to_string())?;
    let (waiting, jobs): (Vec<_>, Vec<_>) = claimed.into_iter().partition(waits_for_payout);
    for job in waiting {
        deps.redeem.do_send(RedeemDue(job));
    }
    let jobs = transfers::book(deps, jobs).await?;
    if !jobs.is_empty() {
        let portfolios: Vec<PortfolioId> = jobs.iter().filter_map(|job| job.portfolio().ok()).collect();
        let snapshots = take(deps, TakeSnapshots { portfolios: Some(portfolios), bucket: None }).await?;
        let checkpoints: Vec<_> = snapshots.iter().map(checkpoint).collect::<Result<_, _>>()?;
        let mut writes = vec![LedgerWrite { checkpoints, ..LedgerWrite::default() }];
        let finish = |job: &queue::Job| LedgerWrite { finishes: vec![job.fence()], ..LedgerWrite::default() };
        writes.extend(jobs.iter().map(finish));
        db.commit(&writes, deps.clock.now()).await.map_err(|error| error.to_string())?;
    }
    let next_due = queue::next_due(db, Queue::PortfolioApply, &deps.scope).await.map_err(|error| error.to_string())?;
    Ok((jobs.len(), next_due))
}

/// Asks the ledger writer for snapshots.
///
/// # Errors
/// The text of the failure when the ledger writer does not answer or refuses.
async fn take(deps: &SnapshotterDeps, wanted: TakeSnapshots) -> Result<Vec<Snapshot>, String> {
    let taken = deps.take.send(wanted).await.map_err(|error| error.to_string())?;
    taken.map_err(|refused| refused.to_string())
}

fn row(snapshot: &Snapshot, fees: &BTreeMap<MarketId, FeeSchedule>, bucket_time: Timestamp) -> PortfolioSnapshot {
    let figures = snapshot.figures;
    let fee = |market: &MarketId| fees.get(market).copied();
    PortfolioSnapshot {
        portfolio: snapshot.portfolio,
        bucket_time,
        equity: figures.equity,
        cash: figures.cash,
        exposure: figures.exposure,
        unrealized_pnl: figures.unrealized,
        realized_pnl: figures.realized,
        if_sold_now: sold_now(figures.cash, &snapshot.lots, fee).ok(),
        stale_assets: i64::try_from(snapshot.stale_assets).unwrap_or(i64::MAX),
    }
}

/// Returns the key and the text of the snapshot's checkpoint.
///
/// # Errors
/// The text of the failure when the checkpoint cannot be serialised.
fn checkpoint(snapshot: &Snapshot) -> Result<(String, String), String> {
    let text = serde_json::to_string(&snapshot.checkpoint).map_err(|error| error.to_string())?;
    Ok((checkpoint_key(snapshot.portfolio), text))
}

impl Actor for Snapshotter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.write_minute(ctx);
        self.apply(ctx);
        look_at(ctx, &self.deps.wakeups, Queue::PortfolioApply, SWEEP);
    }
}

impl Supervised for Snapshotter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(Snapshotter);

impl Handler<WriteCheckpoints> for Snapshotter {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, _: WriteCheckpoints, _: &mut Context<Self>) -> Self::Result {
        let deps = self.deps.clone();
        Box::pin(async move {
            let snapshots = take(&deps, TakeSnapshots { portfolios: None, bucket: None }).await?;
            let checkpoints: Vec<_> = snapshots.iter().map(checkpoint).collect::<Result<_, _>>()?;
            let stored = deps.db.insert_snapshots(&[], &checkpoints, deps.clock.now()).await;
            stored.map_err(|error| error.to_string())
        })
    }
}

impl Handler<Look> for Snapshotter {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        // A wake-up means that an entry was written. Its job is due a few seconds later, and a timer may be set
        // already.
        if self.next_apply.is_none() {
            self.apply(ctx);
        }
    }
}

mod transfers;

#[cfg(test)]
mod tests;
