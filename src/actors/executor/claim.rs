//! The jobs of an executor: read when they open, claimed when they are due, returned to the queue when they fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::field::display;

use super::pending_groups::Claim;
use super::{Executor, ExecutorDeps, ExecutorRole, REST};
use crate::actors::supervise::{IoError, IoResult, or_panic, spawn_io};
use crate::chance::Chance;
use crate::db::DbError;
use crate::domain::events::group::EventGroup;
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Job, Queue};

/// Longer than the wait for a book and for the groups ahead. After a restart of the actor its leases are released.
const LEASE_MS: i64 = 120_000;

/// Jobs that may be claimed and not finished.
const CLAIMED_MAX: usize = 512;

/// Groups that may be pending in memory; more stay in the database until there is room.
const PENDING_MAX: usize = 4096;

/// When the head has been due for so long and is not claimed, the open jobs are checked at once.
const OVERDUE_MS: i64 = 2_000;

/// The result of one read of the queue.
#[derive(Debug)]
pub(super) struct QueueRead {
    /// No group detected before this time can still arrive: every earlier event is in a group that is queued.
    horizon: Timestamp,
    /// Every stored event is in a group.
    all_grouped: bool,
    opened: Vec<(Job, Option<EventGroup>)>,
    claimed: Vec<Job>,
    /// There are more jobs than this read returned.
    more: bool,
    next_due: Option<Timestamp>,
    looked_at: Timestamp,
}

impl Executor {
    /// Returns true when the group that is being removed makes room for one that waits in the database.
    pub(super) fn was_full(&self) -> bool {
        self.pending.n_claimed() + 1 >= CLAIMED_MAX || self.pending.len() + 1 >= PENDING_MAX
    }

    /// Reads the new open jobs and claims those that are due. Only one read runs at a time.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            self.look_again = true;
            return;
        }
        if let Some(timer) = self.next_look.take() {
            ctx.cancel_future(timer);
        }
        let claim_max = match self.pending.first_unclaimed() {
            // The other groups wait for the head: it must be claimed, even when many other jobs were due before it.
            Some(due) if due <= self.deps.clock.now() => CLAIMED_MAX,
            _ => CLAIMED_MAX.saturating_sub(self.pending.n_claimed()),
        };
        let (deps, role, last_seen) = (self.deps.clone(), self.role, self.last_seen);
        let room = PENDING_MAX.saturating_sub(self.pending.len());
        spawn_io(ctx, async move { look(&deps, role, last_seen, room, claim_max).await }, Self::looked);
    }

    fn looked(&mut self, look: IoResult<QueueRead, DbError>, ctx: &mut Context<Self>) {
        self.looking = false;
        match or_panic(look, "looking at the queue") {
            Ok(look) => {
                self.take(look, ctx);
                self.advance(ctx);
            }
            Err(error) => {
                tracing::error!(portfolio = %self.role.portfolio, %error, "the queue cannot be read and will be retried");
                self.look_in(REST, ctx);
            }
        }
    }

    /// Adds the opened groups, prepares the claimed ones, and sets the timer for the next read.
    fn take(&mut self, look: QueueRead, ctx: &mut Context<Self>) {
        self.horizon = self.horizon.max(look.horizon);
        self.all_grouped = look.all_grouped;
        for (job, group) in look.opened {
            self.last_seen = self.last_seen.max(job.id);
            match group {
                Some(group) => drop(self.pending.enqueue(group, &job)),
                None => tracing::error!(
                    job = job.id,
                    group = job.key,
                    user_id = job.followed_user.map(display),
                    "the group of a copy job does not exist"
                ),
            }
        }
        self.claimed(look.claimed, ctx);
        self.look_again |= look.more;
        if std::mem::take(&mut self.look_again) {
            return self.look(ctx);
        }
        let now = self.deps.clock.now();
        // All due jobs are claimed, but not the one of the head: its job may be gone.
        if self.pending.first_unclaimed().is_some_and(|due| look.looked_at.millis_since(due) > OVERDUE_MS) {
            self.sweep(ctx);
        }
        if let Some(due) = look.next_due {
            // Wait at least 1 ms: a due job that we did not get is being claimed by another worker.
            let wait = u64::try_from(due.millis_since(now)).unwrap_or(0).max(1);
            self.look_in(Duration::from_millis(wait), ctx);
        }
    }

    /// Sets the timer for the next read of the queue.
    pub(super) fn look_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.next_look.take() {
            ctx.cancel_future(timer);
        }
        self.next_look = Some(ctx.run_later(wait, |executor, ctx| executor.look(ctx)));
    }

    /// Starts to prepare the groups of claimed jobs; reads the groups that are not pending first.
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
                self.fail(job, "the group of the job does not exist", ctx);
                continue;
            };
            self.pending.enqueue(group.clone(), &job);
            if let Claim::Prepare = self.pending.claim(group.id, job) {
                self.prepare(group.id, ctx);
            }
        }
    }

    /// Returns a job to the queue as failed; after some tries it becomes a dead letter.
    pub(super) fn fail(&mut self, job: Job, error: &str, ctx: &mut Context<Self>) {
        self.counts.failed += 1;
        let user = job.followed_user.map(display);
        tracing::warn!(job = job.id, portfolio = %self.role.portfolio, group = job.key, user_id = user, failures = job.failures, error, "a copy job failed");
        let (db, now, error) = (self.deps.db.clone(), self.deps.clock.now(), error.to_owned());
        let fail = async move { queue::fail(&db, &job, &error, now, &mut Chance).await };
        spawn_io(ctx, fail, Self::job_failed);
    }

    fn job_failed(&mut self, failed: IoResult<queue::Failed, DbError>, ctx: &mut Context<Self>) {
        if let Err(IoError::Failed(error)) = &failed {
            tracing::error!(%error, "a failed job keeps its lease until the lease ends");
        }
        self.look(ctx);
    }

    /// Checks that every pending group still has an open job. A group whose job another worker has finished would block
    /// the groups behind it for ever.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let (db, role, before) = (self.deps.db.clone(), self.role, self.last_seen);
        let open = async move {
            let jobs = queue::peek_open(&db, role.queue).await?;
            let ours = jobs.iter().filter(|job| role.leader.is_none() || job.followed_user == role.leader);
            Ok(ours.filter_map(|job| job.group().ok()).collect())
        };
        spawn_io(ctx, open, move |executor: &mut Self, open, ctx| executor.swept(open, before, ctx));
    }

    /// Removes the pending groups that are not in `open`. Groups of jobs newer than `before` are not checked, because
    /// `open` may have been read before they were added.
    fn swept(&mut self, open: IoResult<BTreeSet<GroupId>, DbError>, before: i64, ctx: &mut Context<Self>) {
        self.sweeping = false;
        match or_panic(open, "reading open jobs") {
            Ok(open) => {
                let gone = self.pending.keep_open(&open, before);
                if gone > 0 {
                    tracing::info!(portfolio = %self.role.portfolio, gone, "removed groups whose jobs another worker has finished");
                }
                self.advance(ctx);
            }
            Err(error) => tracing::warn!(portfolio = %self.role.portfolio, %error, "the open jobs cannot be read"),
        }
    }

    /// Reads the queue at every wake-up.
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

/// Reads up to `room` jobs that opened after job `last_seen`, and claims up to `claim_max` due jobs.
///
/// # Errors
/// When the database fails.
async fn look(
    deps: &ExecutorDeps,
    role: ExecutorRole,
    last_seen: i64,
    room: usize,
    claim_max: usize,
) -> Result<QueueRead, DbError> {
    let db = &deps.db;
    // Read before the groups: a group that closes in between is among them.
    let oldest = match role.leader {
        // The events that wait to be grouped may belong to another worker, or to none at the moment.
        None => queue::oldest(db, Queue::GroupEvents).await?,
        // This process closes the groups of the leader itself, in order.
        Some(_) => Some(Timestamp::from_millis(i64::MAX)),
    };
    let (horizon, all_grouped) = (oldest.unwrap_or(deps.clock.now()), oldest.is_none());
    let limit = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let jobs = match room {
        0 => Vec::new(),
        _ => queue::opened_after(db, role.queue, role.leader, last_seen, limit(room)).await?,
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
        return Ok(QueueRead {
            horizon,
            all_grouped,
            opened,
            claimed: Vec::new(),
            more: false,
            next_due: None,
            looked_at: now,
        });
    }
    let claimed = queue::claim(db, role.queue, &role.scope(), now, LEASE_MS, limit(claim_max)).await?;
    let more = claimed.len() == claim_max || (room > 0 && n_opened == room);
    let next_due = queue::next_due(db, role.queue, &role.scope()).await?;
    Ok(QueueRead { horizon, all_grouped, opened, claimed, more, next_due, looked_at: now })
}
