//! The decision on the head of the queue, and its record in the ledger.

use std::time::Duration;

use actix::{AsyncContext, Context};

use super::{Executor, REST};
use crate::actors::ledger_writer::{Accepted, ReadView, RecordAttempt, Recorded, Refused};
use crate::actors::supervise::{IoResult, spawn_io};
use crate::domain::accounting::view::PortfolioView;
use crate::domain::decision::decide;
use crate::domain::decision::decide::Situation;
use crate::domain::decision::outcome::Decision;
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::Timestamp;
use crate::queue::{Job, JobFence};

/// Interval for re-checking whether an earlier group can still arrive ahead of the head.
const HORIZON_AGAIN: Duration = Duration::from_millis(20);

/// How far the clocks of workers may differ, in milliseconds.
const AHEAD_MAX_MS: i64 = 60_000;

/// Decisions that may be accepted by the ledger writer and not committed yet.
const COMMITTING_MAX: usize = 256;

impl Executor {
    /// Starts the decision on the head, if it is ready.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.deciding.is_some() || self.resting {
            return;
        }
        if self.pending.first_detected().is_some_and(|detected| self.may_be_overtaken(detected)) {
            // An earlier event is not in a group yet: its group will be ahead of this one.
            self.look_in(HORIZON_AGAIN, ctx);
            return;
        }
        let Some(id) = self.pending.next(COMMITTING_MAX) else { return };
        self.deciding = Some(id);
        self.view(id, ctx);
    }

    /// Returns whether a group may still come that is ahead of one detected at this time.
    fn may_be_overtaken(&self, detected: Timestamp) -> bool {
        // A time so far ahead is of a clock that has been set back since; waiting for it would hold every group.
        let from_the_future = detected.millis_since(self.deps.clock.now()) > AHEAD_MAX_MS;
        detected >= self.horizon && !(self.all_grouped && from_the_future)
    }

    /// Reads the portfolio for the decision on a group.
    pub(super) fn view(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        let Some((group, facts)) = self.pending.work(id).and_then(|work| Some((&work.group, work.facts.as_ref()?)))
        else {
            return self.put_back(id, ctx);
        };
        let (asset, outcomes) = match group.action.asset() {
            Some(asset) => (Some(asset.clone()), Vec::new()),
            None => (None, facts.market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect()),
        };
        let (portfolio, leader, market) = (self.role.portfolio, group.followed_user, group.market.clone());
        let answer = self.deps.view.send(ReadView { portfolio, leader, market, asset, outcomes });
        let view = async move { answer.await.unwrap_or(Err(Refused::Restarted)) };
        spawn_io(ctx, view, move |executor: &mut Self, view, ctx| executor.viewed(id, view, ctx));
    }

    /// Decides a group, and sends the decision to the ledger writer.
    pub(super) fn decide(&mut self, id: GroupId, view: &PortfolioView, ctx: &mut Context<Self>) {
        let Some((group, facts, fence)) =
            self.pending.work(id).and_then(|work| Some((work.group.clone(), work.facts.clone()?, work.job()?.fence())))
        else {
            return self.put_back(id, ctx);
        };
        let config = self.config(group.followed_user);
        let (now, venue_now) = (self.deps.clock.now(), self.deps.venue.now());
        let situation = Situation {
            group: &group,
            market: &facts.market,
            portfolio: view,
            config: &config,
            leader: self.leader(group.followed_user),
            their_holding: facts.their_holding,
            now: venue_now,
        };
        let decision = match &facts.book {
            Some(fetched) => decide::decide(&situation, fetched.book.as_ref().ok()).map(Some),
            None => decide::precheck(&situation),
        };
        let record = match decision.and_then(|decision| {
            decision.map(|decision: Decision| decision.into_record(self.role.portfolio, &group, now)).transpose()
        }) {
            Ok(Some(record)) => record,
            // A switch was turned on since the group was prepared without a book.
            Ok(None) => {
                self.deciding = None;
                self.pending.put_back_without_facts(id);
                return self.prepare(id, ctx);
            }
            Err(error) => return self.give_up(id, &error.to_string(), ctx),
        };
        let (attempt, entries) = record;
        let quote = group.action.asset().cloned().zip(facts.book.as_ref().and_then(|fetched| fetched.quote()));
        let (portfolio_version, finishes) = (view.version, vec![fence]);
        let request = RecordAttempt { attempt, entries, portfolio_version, finishes, quote };
        let answer = self.deps.record.send(request);
        let record = async move { answer.await.unwrap_or(Err(Refused::Restarted)) };
        spawn_io(ctx, record, move |executor: &mut Self, answer, ctx| executor.answered(id, answer, ctx));
    }

    fn viewed(&mut self, group: GroupId, view: IoResult<PortfolioView, Refused>, ctx: &mut Context<Self>) {
        if self.deciding != Some(group) {
            return;
        }
        match view {
            Ok(_) if self.pending.is_overtaken(group) => self.put_back(group, ctx),
            Ok(view) => self.decide(group, &view, ctx),
            // The ledger writer does not answer now: retry after a rest.
            Err(_) => {
                self.rest(ctx);
                self.put_back(group, ctx);
            }
        }
    }

    /// Handles the answer of the ledger writer to a decision.
    fn answered(&mut self, group: GroupId, answer: IoResult<Accepted, Refused>, ctx: &mut Context<Self>) {
        if self.deciding != Some(group) {
            return;
        }
        match answer {
            Ok(accepted) => self.accepted(group, accepted, ctx),
            Err(error) => {
                self.deciding = None;
                self.refused(group, &error.into_failed(|_| Refused::Restarted), ctx);
            }
        }
    }

    /// Handles the commit of a decision.
    fn committed(
        &mut self,
        group: GroupId,
        fence: JobFence,
        result: IoResult<Recorded, Refused>,
        ctx: &mut Context<Self>,
    ) {
        let Some(current) = self.pending.work(group).and_then(|work| work.job()).map(Job::fence) else { return };
        match result.map_err(|error| error.into_failed(|_| Refused::Restarted)) {
            Ok(recorded) => {
                if let (Recorded::New, Some(due)) = (recorded, self.pending.work(group).map(|work| work.due)) {
                    self.deps.metrics.decision.observe_millis(self.deps.clock.now().millis_since(due));
                }
                self.pending.remove(group);
                if self.was_full() {
                    self.look(ctx);
                }
                self.advance(ctx);
            }
            // The lease ended and we claimed the job again: decide again, under the new fencing token.
            Err(Refused::FenceLost) if current != fence => self.refused(group, &Refused::Stale, ctx),
            Err(refused) => self.refused(group, &refused, ctx),
        }
    }

    /// Waits for the commit of an accepted decision, and goes on with the next group.
    pub(super) fn accepted(&mut self, id: GroupId, accepted: Accepted, ctx: &mut Context<Self>) {
        self.deciding = None;
        self.counts.decided += 1;
        self.counts.last_decision = Some(self.deps.clock.now());
        if let Some(fence) = self.pending.work(id).and_then(|work| work.job()).map(Job::fence) {
            self.pending.is_committing(id);
            spawn_io(ctx, accepted.committed(), move |executor: &mut Self, result, ctx| {
                executor.committed(id, fence, result, ctx);
            });
        }
        self.advance(ctx);
    }

    /// Handles a decision that was not recorded: it is made again, dropped or given up.
    pub(super) fn refused(&mut self, id: GroupId, refused: &Refused, ctx: &mut Context<Self>) {
        match refused {
            Refused::Stale => {
                self.counts.decided_again += 1;
                self.pending.put_back(id);
            }
            Refused::Restarted | Refused::Failed { transient: true, .. } => {
                self.pending.put_back(id);
                self.rest(ctx);
            }
            Refused::FenceLost => drop(self.pending.remove(id)),
            Refused::Failed { .. } | Refused::Impossible(_) => return self.give_up(id, &refused.to_string(), ctx),
        }
        self.advance(ctx);
    }

    /// Puts a group back into the queue, to be decided again.
    pub(super) fn put_back(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        self.deciding = None;
        self.pending.put_back(id);
        self.advance(ctx);
    }

    /// Makes no decision for a moment, because the database or the ledger writer is not available.
    pub(super) fn rest(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.resting, true) {
            ctx.run_later(REST, |executor, ctx| {
                executor.resting = false;
                executor.advance(ctx);
            });
        }
    }

    /// Removes a group. Its job is retried later or becomes a dead letter.
    pub(super) fn give_up(&mut self, id: GroupId, error: &str, ctx: &mut Context<Self>) {
        if self.deciding == Some(id) {
            self.deciding = None;
        }
        if let Some(job) = self.pending.remove(id) {
            self.fail(job, error, ctx);
        }
        self.advance(ctx);
    }
}
