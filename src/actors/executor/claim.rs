//! How jobs come to the desk: seen when they open, taken when they are due, given back when they go wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::field::display;

use super::pending_groups::Claim;
use super::{Executor, ExecutorDeps, ExecutorRole, REST};
use crate::actors::supervise::{IoError, IoResult, or_panic, spawn_io};
use crate::db::DbError;
use crate::domain::events::group::EventGroup;
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Job, Queue};

/// Longer than any wait for a book and for those before; after a restart of the actor its leases are given back.
const LEASE_MS: i64 = 120_000;

/// Jobs taken and not finished.
const CLAIMED_MAX: usize = 512;

/// Groups kept in line; more stay in the database until there is room.
const LINE_MAX: usize = 4096;

/// A first in line that is due for so long without being claimed is checked at once.
const OVERDUE_MS: i64 = 2_000;

/// What one look at the queue found.
#[derive(Debug)]
pub(super) struct Look {
    /// No group of before this can still come: every event detected earlier is in a group that has its place.
    horizon: Timestamp,
    opened: Vec<(Job, Option<EventGroup>)>,
    claimed: Vec<Job>,
    /// There is more than was taken.
    more: bool,
    next_due: Option<Timestamp>,
    looked_at: Timestamp,
}

impl Executor {
    /// True when a group has just made room for one that waits in the database.
    pub(super) fn was_full(&self) -> bool {
        self.pending.n_claimed() + 1 >= CLAIMED_MAX || self.pending.len() + 1 >= LINE_MAX
    }

    /// Looks at the queue: sees what is open, takes what is due. One look at a time.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            self.look_again = true;
            return;
        }
        if let Some(timer) = self.next_look.take() {
            ctx.cancel_future(timer);
        }
        let claim_max = match self.pending.first_unclaimed() {
            // Whoever holds up the line must get through, however many were due before it.
            Some(due) if due <= self.deps.clock.now() => CLAIMED_MAX,
            _ => CLAIMED_MAX.saturating_sub(self.pending.n_claimed()),
        };
        let (deps, post, last_seen) = (self.deps.clone(), self.post, self.last_seen);
        let room = LINE_MAX.saturating_sub(self.pending.len());
        spawn_io(ctx, async move { look(&deps, post, last_seen, room, claim_max).await }, Self::looked);
    }

    fn looked(&mut self, look: IoResult<Look, DbError>, ctx: &mut Context<Self>) {
        self.looking = false;
        match or_panic(look, "looking at the queue") {
            Ok(look) => {
                self.take(look, ctx);
                self.advance(ctx);
            }
            Err(error) => {
                tracing::error!(portfolio = %self.post.portfolio, %error, "the queue cannot be read");
                self.look_in(REST, ctx);
            }
        }
    }

    fn take(&mut self, look: Look, ctx: &mut Context<Self>) {
        self.horizon = self.horizon.max(look.horizon);
        for (job, group) in look.opened {
            self.last_seen = self.last_seen.max(job.id);
            match group {
                Some(group) => drop(self.pending.place(group, &job)),
                None => tracing::error!(
                    job = job.id,
                    group = job.key,
                    user_id = job.followed_user.map(display),
                    "a copy job names a group that is not there"
                ),
            }
        }
        self.claimed(look.claimed, ctx);
        self.look_again |= look.more;
        if std::mem::take(&mut self.look_again) {
            return self.look(ctx);
        }
        let now = self.deps.clock.now();
        // All that was due has been taken, and still the first in line has not: its job may be gone.
        if self.pending.first_unclaimed().is_some_and(|due| look.looked_at.millis_since(due) > OVERDUE_MS) {
            self.sweep(ctx);
        }
        if let Some(due) = look.next_due {
            // A millisecond at least: what is due but was not given is being given to somebody.
            let wait = u64::try_from(due.millis_since(now)).unwrap_or(0).max(1);
            self.look_in(Duration::from_millis(wait), ctx);
        }
    }

    pub(super) fn look_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.next_look.take() {
            ctx.cancel_future(timer);
        }
        self.next_look = Some(ctx.run_later(wait, |executor, ctx| executor.look(ctx)));
    }

    pub(super) fn claimed(&mut self, jobs: Vec<Job>, ctx: &mut Context<Self>) {
        let mut unknown = Vec::new();
        for job in jobs {
            let id = match job.group() {
                Ok(id) => id,
                Err(error) => {
                    self.fail(job, &error.to_string(), ctx);
                    continue;
                }
            };
            match self.pending.claim(id, job) {
                Claim::Prepare => self.prepare(id, ctx),
                Claim::Renewed => {}
                Claim::Unknown(job) => unknown.push(job),
            }
        }
        if !unknown.is_empty() {
            let db = self.deps.db.clone();
            let ids: Vec<_> = unknown.iter().filter_map(|job| job.group().ok()).collect();
            let read = async move { db.groups(&ids).await };
            spawn_io(ctx, read, move |executor: &mut Self, groups, ctx| executor.groups_read(unknown, groups, ctx));
        }
    }

    fn groups_read(&mut self, jobs: Vec<Job>, groups: IoResult<Vec<EventGroup>, DbError>, ctx: &mut Context<Self>) {
        let groups = match or_panic(groups, "reading groups") {
            Ok(groups) => groups,
            Err(error) => {
                for job in jobs {
                    self.fail(job, &error.to_string(), ctx);
                }
                return;
            }
        };
        for job in jobs {
            let group = job.group().ok().and_then(|id| groups.iter().find(|group| group.id == id));
            let Some(group) = group else {
                self.fail(job, "its group is not there", ctx);
                continue;
            };
            self.pending.place(group.clone(), &job);
            if let Claim::Prepare = self.pending.claim(group.id, job) {
                self.prepare(group.id, ctx);
            }
        }
    }

    pub(super) fn fail(&mut self, job: Job, error: &str, ctx: &mut Context<Self>) {
        self.counts.failed += 1;
        let user = job.followed_user.map(display);
        tracing::warn!(job = job.id, portfolio = %self.post.portfolio, group = job.key, user_id = user, failures = job.failures, error, "a copy job failed");
        let (db, now, error) = (self.deps.db.clone(), self.deps.clock.now(), error.to_owned());
        let fail = async move { queue::fail(&db, &job, &error, now, &mut rand::rng()).await };
        spawn_io(ctx, fail, Self::job_failed);
    }

    fn job_failed(&mut self, failed: IoResult<queue::Failed, DbError>, ctx: &mut Context<Self>) {
        if let Err(IoError::Failed(error)) = &failed {
            tracing::error!(%error, "a failed job keeps its lease until that runs out");
        }
        self.look(ctx);
    }

    /// Looks whether everybody in line still has a job: one finished elsewhere would hold up the others for ever.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let (db, post, before) = (self.deps.db.clone(), self.post, self.last_seen);
        let open = async move {
            let jobs = queue::peek_open(&db, post.queue).await?;
            let ours = jobs.iter().filter(|job| post.leader.is_none() || job.followed_user == post.leader);
            Ok(ours.filter_map(|job| job.group().ok()).collect())
        };
        spawn_io(ctx, open, move |executor: &mut Self, open, ctx| executor.swept(open, before, ctx));
    }

    /// Removes the groups from the line whose jobs are not in `open`. Places taken after job `before` are not judged.
    fn swept(&mut self, open: IoResult<BTreeSet<GroupId>, DbError>, before: i64, ctx: &mut Context<Self>) {
        self.sweeping = false;
        match or_panic(open, "reading open jobs") {
            Ok(open) => {
                let gone = self.pending.keep_open(&open, before);
                if gone > 0 {
                    tracing::info!(portfolio = %self.post.portfolio, gone, "places whose job is done elsewhere");
                }
                self.advance(ctx);
            }
            Err(error) => tracing::warn!(portfolio = %self.post.portfolio, %error, "open jobs cannot be read"),
        }
    }

    pub(super) fn listen(&self, mut listener: queue::wakeup::local::WakeupListener, ctx: &mut Context<Self>) {
        let notified = async move {
            listener.notified().await;
            listener
        };
        ctx.spawn(notified.into_actor(self).map(|listener, executor, ctx| {
            executor.look(ctx);
            executor.listen(listener, ctx);
        }));
    }
}

/// What opened since `last_seen`, up to `room` of it, and what is due, up to `claim_max` of it.
async fn look(
    deps: &ExecutorDeps,
    post: ExecutorRole,
    last_seen: i64,
    room: usize,
    claim_max: usize,
) -> Result<Look, DbError> {
    let db = &deps.db;
    // Before the groups: one that closes in between is seen among them.
    let horizon = match post.leader {
        // Whose events wait to be grouped may be another worker's, or nobody's for the moment.
        None => queue::oldest(db, Queue::GroupEvents).await?.unwrap_or(deps.clock.now()),
        // The same process closes this leader's groups, in order.
        Some(_) => Timestamp::from_millis(i64::MAX),
    };
    let limit = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let jobs = match room {
        0 => Vec::new(),
        _ => queue::opened_after(db, post.queue, post.leader, last_seen, limit(room)).await?,
    };
    let ids: Vec<_> = jobs.iter().filter_map(|job| job.group().ok()).collect();
    let mut groups: BTreeMap<_, _> = db.groups(&ids).await?.into_iter().map(|group| (group.id, group)).collect();
    let n_opened = jobs.len();
    let opened = jobs.into_iter().map(|job| {
        let group = job.group().ok().and_then(|id| groups.remove(&id));
        (job, group)
    });
    let opened = opened.collect();
    let now = deps.clock.now();
    if claim_max == 0 {
        return Ok(Look { horizon, opened, claimed: Vec::new(), more: false, next_due: None, looked_at: now });
    }
    let claimed = queue::claim(db, post.queue, &post.scope(), now, LEASE_MS, limit(claim_max)).await?;
    let more = claimed.len() == claim_max || (room > 0 && n_opened == room);
    let next_due = queue::next_due(db, post.queue, &post.scope()).await?;
    Ok(Look { horizon, opened, claimed, more, next_due, looked_at: now })
}
