//! From accepted requests to their answers: the commits of the ledger writer, and the snapshots taken between them.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use actix::{Context, Handler, Message};

use super::{LedgerWriter, Slot, Snapshot, TakeSnapshots, commit_queue::Landing, commit_queue::moved};
use crate::actors::live_hub::{Announce, LiveFact, PortfolioChanged};
use crate::actors::supervise::{IoResult, or_panic};
use crate::db::{Committed, DbError, LedgerWrite};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::events::lease::LeaseName;
use crate::domain::money::units::Timestamp;
use crate::queue::{NewJob, Queue};

/// How long changes of a portfolio are gathered before its checkpoint is written.
const APPLY_AFTER_MS: i64 = 5_000;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CommitDue;

/// The requests of a commit, and its end.
type Commit = (Vec<LedgerWrite>, Result<Committed, DbError>);

impl LedgerWriter {
    /// Starts the next commit, and answers who asked for snapshots as soon as all is committed.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        let is_here = |(id, slot): (&_, &_)| matches!(slot, Slot::Open(_)) || self.broken.contains(id);
        let all_open = self.users_known && self.portfolios.iter().all(is_here);
        if all_open {
            for work in std::mem::take(&mut self.patient) {
                work(self, ctx);
            }
        }
        if self.commits.is_flying() {
            return;
        }
        let snapshots_now = !self.asked.is_empty() && all_open && self.commits.takes_all();
        let mut writes = self.commits.take(snapshots_now);
        if snapshots_now {
            for request in std::mem::take(&mut self.asked) {
                let snapshots = self.snapshots(&request.wanted);
                self.taken.push((request, snapshots));
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
        let (db, turn, now) = (self.deps.db.clone(), self.turn.clone(), self.deps.clock.now());
        let metrics = self.deps.metrics.clone();
        let commit = async move {
            let _turn = turn.lock().await;
            let begun = tokio::time::Instant::now();
            let result = db.commit_all(&writes, &fences, now).await;
            metrics.commit.observe(begun.elapsed());
            Ok((writes, result))
        };
        // What an earlier incarnation committed is in the database, and was read from there after it: loads wait for
        // their turn.
        self.incarnation.spawn_io(ctx, commit, Self::commit_ended);
    }

    fn commit_ended(&mut self, commit: IoResult<Commit, Infallible>, ctx: &mut Context<Self>) {
        let Ok((writes, result)) = or_panic(commit, "a ledger commit");
        if let Err(error) = &result {
            self.deps.metrics.commits_failed.increment();
            tracing::error!(%error, requests = writes.len(), "a ledger commit failed");
        }
        let landing = self.commits.land(writes, result);
        self.landed(landing, ctx);
        self.advance(ctx);
    }

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

    pub(super) fn landed(&mut self, landing: Landing, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if !landing.written.is_empty() {
            self.counts.commits += 1;
            self.counts.requests += landing.written.len() as u64;
            self.counts.last_commit = Some(now);
            self.deps.metrics.commit_size.observe_pieces(landing.written.len());
        }
        let moved: BTreeSet<_> = landing.written.iter().flat_map(moved).collect();
        for portfolio in &moved {
            if let (Some(last), Some(running)) = (landing.last_entry, self.open(*portfolio)) {
                running.position = running.position.max(last);
            }
        }
        if !moved.is_empty() {
            self.deps.wakeups.notify(Queue::PortfolioApply);
        }
        let attempts = landing.written.into_iter().filter_map(|write| write.attempt);
        let attempts = attempts.inspect(|attempt| self.deps.metrics.attempts.count(attempt));
        let mut facts: Vec<_> = attempts.map(|attempt| LiveFact::AttemptRecorded(Arc::new(attempt))).collect();
        facts.extend(moved.iter().filter_map(|portfolio| self.changed(*portfolio, now)));
        if !facts.is_empty() {
            self.deps.live.do_send(Announce(facts));
        }
        if landing.is_complete {
            self.answer_snapshots();
        } else {
            // They hold entries that are not there, or not yet.
            self.asked.extend(self.taken.drain(..).map(|(request, _)| request));
        }
        self.distrust(landing.distrusted, ctx);
    }

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

    pub(super) fn snapshots(&mut self, wanted: &TakeSnapshots) -> Vec<Snapshot> {
        let portfolios = match &wanted.portfolios {
            Some(portfolios) => portfolios.clone(),
            None => self.portfolios.keys().copied().collect(),
        };
        let snapshot = |id| {
            let running = self.open(id)?;
            running.apply_queued = false;
            let figures = running.portfolio.figures();
            // The position is that of the last commit until this one has landed.
            let mut checkpoint = running.portfolio.checkpoint(running.position);
            if let Some(bucket) = wanted.bucket {
                checkpoint.history.note(bucket, figures.equity);
            }
            Some(Snapshot { portfolio: id, figures, checkpoint })
        };
        portfolios.into_iter().filter_map(snapshot).collect()
    }

    pub(super) fn answer_snapshots(&mut self) {
        for (request, mut snapshots) in std::mem::take(&mut self.taken) {
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
