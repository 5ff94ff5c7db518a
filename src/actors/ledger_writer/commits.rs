//! The commits of the ledger writer, and the snapshots taken with them.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use actix::{Context, Handler, Message};

use super::{LedgerWriter, Slot, Snapshot, TakeSnapshots, commit_queue::CommitEffects, commit_queue::moved};
use crate::actors::live_hub::{Announce, LiveFact, PortfolioChanged};
use crate::actors::supervise::{IoResult, or_panic};
use crate::db::{Committed, DbError, LedgerWrite};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::events::lease::LeaseName;
use crate::domain::money::units::Timestamp;
use crate::queue::{NewJob, Queue};

/// How long changes of a portfolio are collected before its checkpoint is written.
const APPLY_AFTER_MS: i64 = 5_000;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CommitDue;

/// The requests of a commit, and its result.
type Commit = (Vec<LedgerWrite>, Result<Committed, DbError>);

impl LedgerWriter {
    /// Starts the next commit, and answers the snapshot requests as soon as everything is committed.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        let is_here = |(id, slot): (&_, &_)| matches!(slot, Slot::Open(_)) || self.broken.contains(id);
        let all_open = self.users_known && self.portfolios.iter().all(is_here);
        if all_open {
            for work in std::mem::take(&mut self.when_all_open) {
                work(self, ctx);
            }
        }
        if self.commits.is_in_flight() {
            return;
        }
        let snapshots_now = !self.snapshot_requests.is_empty() && all_open && self.commits.takes_all();
        let mut writes = self.commits.take(snapshots_now);
        if snapshots_now {
            for request in std::mem::take(&mut self.snapshot_requests) {
                let snapshots = self.snapshots(&request.wanted);
                self.snapshots_in_flight.push((request, snapshots));
            }
        }
        if writes.is_empty() {
            return self.answer_snapshots();
        }
        self.add_apply_jobs(&mut writes);
        self.counts.largest_commit = self.counts.largest_commit.max(writes.len());
        let portfolios: BTreeSet<_> = writes.iter().flat_map(LedgerWrite::portfolios).collect();
        let leases: BTreeSet<_> = portfolios.into_iter().map(LeaseName::of).collect();
        let fences: Vec<_> = leases.into_iter().filter_map(|lease| self.leases.fence(lease)).collect();
        let (db, db_lock, now) = (self.deps.db.clone(), self.db_lock.clone(), self.deps.clock.now());
        let metrics = self.deps.metrics.clone();
        let commit = async move {
            let _lock = db_lock.lock().await;
            let begun = tokio::time::Instant::now();
            let result = db.commit_all(&writes, &fences, now).await;
            metrics.commit.observe(begun.elapsed());
            Ok((writes, result))
        };
        // The result for an earlier incarnation is dropped. Its entries are not lost: loads wait until the commit is
        // over and read them from the database.
        self.incarnation.spawn_io(ctx, commit, Self::commit_ended);
    }

    fn commit_ended(&mut self, commit: IoResult<Commit, Infallible>, ctx: &mut Context<Self>) {
        let Ok((writes, result)) = or_panic(commit, "a ledger commit");
        if let Err(error) = &result {
            self.deps.metrics.commits_failed.increment();
            tracing::error!(%error, requests = writes.len(), "a ledger commit failed");
        }
        let effects = self.commits.finish(writes, result);
        self.finished(effects, ctx);
        self.advance(ctx);
    }

    /// Adds an apply job for each portfolio that has none.
    pub(super) fn add_apply_jobs(&mut self, writes: &mut [LedgerWrite]) {
        let due = self.deps.clock.now().plus_millis(APPLY_AFTER_MS);
        for write in writes {
            let moved: BTreeSet<_> = moved(write).collect();
            for portfolio in moved {
                if let Some(running) = self.open(portfolio).filter(|running| !running.apply_queued) {
                    running.apply_queued = true;
                    write.jobs.push(NewJob::for_portfolio(portfolio, due));
                }
            }
        }
    }

    /// Counts and announces the written requests, and loads the portfolios whose state is wrong.
    pub(super) fn finished(&mut self, effects: CommitEffects, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if !effects.written.is_empty() {
            self.counts.commits += 1;
            self.counts.requests += effects.written.len() as u64;
            self.counts.last_commit = Some(now);
            self.deps.metrics.commit_size.observe_pieces(effects.written.len());
        }
        let moved: BTreeSet<_> = effects.written.iter().flat_map(moved).collect();
        for portfolio in &moved {
            if let (Some(last), Some(running)) = (effects.last_entry, self.open(*portfolio)) {
                running.position = running.position.max(last);
            }
        }
        if !moved.is_empty() {
            self.deps.wakeups.notify(Queue::PortfolioApply);
        }
        let attempts = effects.written.into_iter().filter_map(|write| write.attempt);
        let attempts = attempts.inspect(|attempt| self.deps.metrics.attempts.count(attempt));
        let mut facts: Vec<_> = attempts.map(|attempt| LiveFact::AttemptRecorded(Arc::new(attempt))).collect();
        facts.extend(moved.iter().filter_map(|portfolio| self.changed(*portfolio, now)));
        if !facts.is_empty() {
            self.deps.live.do_send(Announce(facts));
        }
        if effects.is_complete {
            self.answer_snapshots();
        } else {
            // The snapshots contain entries that are not in the database, or not yet.
            self.snapshot_requests.extend(self.snapshots_in_flight.drain(..).map(|(request, _)| request));
        }
        self.reload(effects.to_reload, ctx);
    }

    /// Returns the figures of an open portfolio to announce.
    pub(super) fn changed(&mut self, portfolio: PortfolioId, at: Timestamp) -> Option<LiveFact> {
        let figures = self.open(portfolio)?.portfolio.figures();
        Some(LiveFact::PortfolioChanged(PortfolioChanged {
            portfolio,
            equity: figures.equity,
            cash: figures.cash,
            exposure: figures.exposure,
            unrealized: figures.unrealized,
            realized: figures.realized,
            at,
        }))
    }

    /// Takes the snapshots of the open portfolios.
    pub(super) fn snapshots(&mut self, wanted: &TakeSnapshots) -> Vec<Snapshot> {
        let portfolios = match &wanted.portfolios {
            Some(portfolios) => portfolios.clone(),
            None => self.portfolios.keys().copied().collect(),
        };
        let now = self.deps.clock.now();
        let snapshot = |id| {
            let running = self.open(id)?;
            running.apply_queued = false;
            running.age(id, now);
            let figures = running.portfolio.figures();
            // The position of the last commit, until this one is finished.
            let mut checkpoint = running.portfolio.checkpoint(running.position);
            let stale_assets = running.portfolio.stale_assets();
            let mut lots = Vec::new();
            if let Some(bucket) = wanted.bucket {
                checkpoint.history.note(bucket, figures.equity, stale_assets == 0);
                lots = running.portfolio.lots().collect();
            }
            Some(Snapshot { portfolio: id, figures, stale_assets, lots, checkpoint })
        };
        portfolios.into_iter().filter_map(snapshot).collect()
    }

    /// Answers the snapshot requests with the position of the finished commit.
    pub(super) fn answer_snapshots(&mut self) {
        for (request, mut snapshots) in std::mem::take(&mut self.snapshots_in_flight) {
            for snapshot in &mut snapshots {
                if let Some(running) = self.open(snapshot.portfolio) {
                    snapshot.checkpoint.position = running.position;
                }
            }
            let _ = request.answer.send(Ok(snapshots));
        }
    }
}

impl Handler<CommitDue> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, _: CommitDue, ctx: &mut Context<Self>) {
        self.commit_is_due = false;
        self.advance(ctx);
    }
}
