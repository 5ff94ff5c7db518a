//! Makes sure that no row stays unread: polls again for transactions that the chain has shown, and for the last minutes
//! of every followed user (spec 3.1).
//!
//! Takes   q_reconcile jobs, [`PollersChanged`] from the root, [`ReconcileAll`] from the chain watcher.
//! Sends   [`PollWindow`] to pollers; [`Announce`] when reading a user makes no progress, or makes progress again.
//! Timer   every minute, for each user's last two minutes; one for the next search of each user with open transactions.
//! Truth   its open jobs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use tracing::Instrument;

use super::{
    live_hub::{Announce, HealthChanged, LiveFact},
    poller::{NotPolled, PollWindow, Polled},
    queue_worker::{Look, look_at},
    root::PollersChanged,
    supervise::{ActorName, Incarnation, IoResult, Observed, SupervisorContext, observable, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, JobScope, NewJob, Queue};

mod job;

pub use job::ReconcileJob;
use search_schedule::SearchSchedule;

const SWEEP: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(60);
/// How far back the poll of each minute reads, whatever the checkpoints are.
const LOOK_BACK_MS: i64 = 120_000;
/// A user without a successful poll for this long makes no progress.
const STALLED_AFTER_MS: i64 = 180_000;
/// A search may take longer: then its lease ends, and we claim its job again.
const LEASE_MS: i64 = 120_000;
const JOBS_AT_ONCE: i64 = 200;
/// How long a job waits for the poller of a user who was followed a moment ago. The root reads the followed users every
/// second.
const POLLER_COMES_MS: i64 = 2_000;

/// Asks to read every user again from `since` to now, because the chain connection was down.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct ReconcileAll {
    pub since: Timestamp,
}

#[derive(Debug, Clone)]
pub struct ReconcilerDeps {
    pub db: Db,
    pub clock: Clock,
    /// The users whose jobs this worker claims.
    pub scope: JobScope,
    pub wakeups: Wakeups,
    pub live: Recipient<Announce>,
}

pub struct Reconciler {
    deps: ReconcilerDeps,
    incarnation: Incarnation,
    pollers: Arc<BTreeMap<FollowedUserId, Recipient<PollWindow>>>,
    progress: BTreeMap<FollowedUserId, Progress>,
    /// The transactions that the chain has shown and the API has not; their jobs are in the database.
    searches: BTreeMap<FollowedUserId, SearchSchedule>,
    claiming: bool,
    look_again: bool,
    database_fails: bool,
    last_activity: Option<Timestamp>,
}

/// Whether reading a user makes progress.
#[derive(Debug, Clone, Copy)]
struct Progress {
    last_success: Timestamp,
    stalled: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
struct MinutePassed;

impl Reconciler {
    pub fn start(deps: ReconcilerDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "reconciler", Self::new(deps, Arc::default()))
    }

    fn new(deps: ReconcilerDeps, pollers: Arc<BTreeMap<FollowedUserId, Recipient<PollWindow>>>) -> Self {
        Self {
            deps,
            incarnation: Incarnation::default(),
            pollers,
            progress: BTreeMap::new(),
            searches: BTreeMap::new(),
            claiming: false,
            look_again: false,
            database_fails: false,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        let stalled: Vec<_> = self.progress.iter().filter(|(_, p)| p.stalled).map(|(user, _)| user).collect();
        let sought: usize = self.searches.values().map(|schedule| schedule.jobs().len()).sum();
        Observed {
            state: serde_json::json!({ "users": self.pollers.len(), "stalled": stalled, "sought": sought }),
            last_activity: self.last_activity,
        }
    }

    fn claimed(&mut self, jobs: IoResult<Vec<Job>, DbError>, ctx: &mut Context<Self>) {
        self.claiming = false;
        let jobs = match jobs {
            Ok(jobs) => jobs,
            Err(error) => {
                if !std::mem::replace(&mut self.database_fails, true) {
                    tracing::warn!(%error, "reconcile jobs cannot be claimed; the next sweep tries again");
                }
                return;
            }
        };
        self.database_fails = false;
        let mut by_user: BTreeMap<Option<FollowedUserId>, Vec<Job>> = BTreeMap::new();
        for job in jobs {
            by_user.entry(job.followed_user).or_default().push(job);
        }
        for (user, jobs) in by_user {
            self.work_on(user, jobs, ctx);
        }
        if std::mem::take(&mut self.look_again) {
            ctx.notify(Look);
        }
    }

    /// Records the result of a poll as progress of the user.
    fn asked(&mut self, user: FollowedUserId, result: Result<Polled, NotPolled>) {
        match result {
            Ok(polled) => {
                let now = self.deps.clock.now();
                self.last_activity = Some(now);
                if let Some(progress) = self.progress.get_mut(&user) {
                    progress.last_success = now;
                }
                if polled.n_new > 0 {
                    tracing::info!(user_id = %user, n_new = polled.n_new, "new rows found by polling again");
                }
            }
            Err(error) => tracing::debug!(user_id = %user, %error, "polling again failed"),
        }
        self.check_progress();
    }

    /// Logs and announces a user's stall once, when no poll has succeeded for too long, and the end of the stall once.
    fn check_progress(&mut self) {
        let now = self.deps.clock.now();
        let mut changes = Vec::new();
        for (user, progress) in &mut self.progress {
            let silent_ms = now.millis_since(progress.last_success);
            let stalled = silent_ms >= STALLED_AFTER_MS;
            if stalled == progress.stalled {
                continue;
            }
            progress.stalled = stalled;
            let detail = if stalled {
                tracing::error!(user_id = %user, since = %progress.last_success, "no progress: nothing of this user could be read");
                format!("nothing could be read since {}", progress.last_success)
            } else {
                tracing::info!(user_id = %user, "reading makes progress again");
                "reading makes progress again".to_owned()
            };
            let part = ActorName::of_user("reading", *user).to_string();
            changes.push(LiveFact::HealthChanged(HealthChanged { part, healthy: !stalled, detail, at: now }));
        }
        if !changes.is_empty() {
            self.deps.live.do_send(Announce(changes));
        }
    }
}

impl Actor for Reconciler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (db, scope) = (self.deps.db.clone(), self.deps.scope.clone());
        // So that jobs of an earlier incarnation are claimed again at once. If this fails, that happens when their
        // leases end.
        actix::spawn(async move { queue::release(&db, Queue::Reconcile, &scope).await });
        look_at(ctx, &self.deps.wakeups, Queue::Reconcile, SWEEP);
        ctx.run_interval(EVERY, |_, ctx| ctx.notify(MinutePassed));
    }
}

impl Supervised for Reconciler {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.pollers.clone());
    }
}

observable!(Reconciler);

impl Handler<PollersChanged> for Reconciler {
    type Result = ();

    fn handle(&mut self, PollersChanged(pollers): PollersChanged, ctx: &mut Self::Context) {
        let now = self.deps.clock.now();
        self.progress.retain(|user, _| pollers.contains_key(user));
        for user in pollers.keys() {
            self.progress.entry(*user).or_insert(Progress { last_success: now, stalled: false });
        }
        self.pollers = pollers;
        self.forget_the_unfollowed();
        ctx.notify(Look);
    }
}

impl Handler<MinutePassed> for Reconciler {
    type Result = ();

    fn handle(&mut self, _: MinutePassed, ctx: &mut Self::Context) {
        let start = self.deps.clock.now().plus_millis(-LOOK_BACK_MS);
        for (user, poller) in self.pollers.clone().iter() {
            self.ask(*user, poller, start, ctx);
        }
        self.check_progress();
    }
}

impl Handler<ReconcileAll> for Reconciler {
    type Result = ();

    /// Enqueues jobs, so that the gap is read even when the API or a process is down now.
    fn handle(&mut self, all: ReconcileAll, _: &mut Self::Context) {
        let now = self.deps.clock.now();
        let window = ReconcileJob::Window { start: all.since, end: now };
        let jobs: Vec<NewJob> = self.pollers.keys().map(|user| window.for_user(*user, now)).collect();
        let (db, wakeups) = (self.deps.db.clone(), self.deps.wakeups.clone());
        let enqueue = async move {
            match queue::enqueue(&db, &jobs, now).await {
                Ok(()) => wakeups.notify(Queue::Reconcile),
                Err(error) => tracing::warn!(%error, "catch-up request failed; regular polls will cover the gap"),
            }
        };
        actix::spawn(enqueue.in_current_span());
    }
}

impl Handler<Look> for Reconciler {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        // Without pollers no job can be done; the jobs wait in their queue.
        if self.pollers.is_empty() {
            return;
        }
        if std::mem::replace(&mut self.claiming, true) {
            self.look_again = true;
            return;
        }
        let (deps, now) = (self.deps.clone(), self.deps.clock.now());
        let claim =
            async move { queue::claim(&deps.db, Queue::Reconcile, &deps.scope, now, LEASE_MS, JOBS_AT_ONCE).await };
        self.incarnation.spawn_io(ctx, claim, Self::claimed);
    }
}

mod requests;
mod search_schedule;
#[cfg(test)]
mod tests;
