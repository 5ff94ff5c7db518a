//! Makes sure that no row stays unread: polls again for transactions that the chain has shown, and for the last minutes,
//! the last hour and the last day of every followed user (spec 3.1).
//!
//! Takes   q_reconcile jobs, [`PollersChanged`] from the root, [`ReconcileAll`] from the chain watcher, [`SpanRead`] from
//!         the pollers, [`DirectoryChanged`].
//! Sends   [`PollWindow`] to pollers; [`Announce`] when reading a user makes no progress, or makes progress again.
//! Timer   every few seconds, for the spans that are due; one for the next search of each user with open transactions.
//! Truth   its open jobs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use tracing::Instrument;

use super::{
    directory::DirectoryChanged,
    live_hub::{Announce, HealthChanged, LiveFact},
    poller::{NotPolled, PollWindow, Polled, ReadingPace, SpanRead},
    queue_worker::{Look, look_at},
    root::PollersChanged,
    supervise::{ActorName, Incarnation, IoResult, Observed, SupervisorContext, observable, start_supervised},
};
use crate::clock::{Clock, VenueClock};
use crate::db::{Db, DbError};
use crate::domain::events::reading::{READS_PER_SECOND, Reader};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::{ReadInterval, ReconcilerState};
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, JobScope, NewJob, Queue};

mod job;

pub use job::ReconcileJob;
use rereads::Rereads;
use search_schedule::SearchSchedule;

const SWEEP: Duration = Duration::from_secs(1);
/// How often the spans that are due are asked for.
const EVERY: Duration = Duration::from_secs(2);
/// How many of them at once: no more than half of the request budget of that time.
const READS_AT_ONCE: usize = 2 * READS_PER_SECOND as usize;
/// How often leaders are polled, until the directory says it.
const POLL_EVERY_MS: i64 = 30_000;
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
    pub venue: VenueClock,
    pub pace: ReadingPace,
}

pub struct Reconciler {
    deps: ReconcilerDeps,
    incarnation: Incarnation,
    pollers: Arc<BTreeMap<FollowedUserId, Recipient<PollWindow>>>,
    progress: BTreeMap<FollowedUserId, Progress>,
    rereads: Rereads,
    poll_every_ms: i64,
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
struct ReadDue;

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
            rereads: Rereads::default(),
            poll_every_ms: POLL_EVERY_MS,
            searches: BTreeMap::new(),
            claiming: false,
            look_again: false,
            database_fails: false,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        let stalled = self.progress.iter().filter(|(_, p)| p.stalled).map(|(user, _)| *user).collect();
        let sought = self.searches.values().map(|schedule| schedule.jobs().len()).sum();
        let (poll_every_ms, now) = (self.every_ms(Reader::Poll), self.deps.clock.now());
        let polls = ReadInterval { reader: Reader::Poll, every_s: poll_every_ms / 1_000, longest_ago_s: None };
        let mut intervals = vec![polls];
        intervals.extend(self.rereads.intervals(now, |by| self.every_ms(by)));
        Observed::new(ReconcilerState { users: self.pollers.len(), stalled, sought, intervals }, self.last_activity)
    }

    /// Returns how often a reader reads each leader now, in milliseconds.
    fn every_ms(&self, by: Reader) -> i64 {
        self.deps.pace.stretched_ms(by.every_ms().unwrap_or(self.poll_every_ms), self.poll_every_ms)
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
        ctx.run_interval(EVERY, |_, ctx| ctx.notify(ReadDue));
    }
}

impl Supervised for Reconciler {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.pollers.clone());
        self.rereads.follow(self.pollers.keys().copied(), self.deps.clock.now());
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
        self.rereads.follow(self.pollers.keys().copied(), now);
        self.deps.pace.set_leaders(self.pollers.len());
        self.forget_the_unfollowed();
        ctx.notify(Look);
    }
}

impl Handler<ReadDue> for Reconciler {
    type Result = ();

    fn handle(&mut self, _: ReadDue, ctx: &mut Self::Context) {
        let now = self.deps.clock.now();
        for read in self.rereads.due(now, |by| self.every_ms(by), READS_AT_ONCE) {
            self.read_again(read, ctx);
        }
        self.check_progress();
    }
}

impl Handler<SpanRead> for Reconciler {
    type Result = ();

    fn handle(&mut self, read: SpanRead, _: &mut Self::Context) {
        let now = self.deps.clock.now();
        self.rereads.covered(read.user, read.back_ms, now);
        if let Some(progress) = self.progress.get_mut(&read.user) {
            progress.last_success = now;
        }
        self.check_progress();
    }
}

impl Handler<DirectoryChanged> for Reconciler {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, _: &mut Self::Context) {
        self.poll_every_ms = directory.config.system.polling_interval_ms.max(1);
    }
}

impl Handler<ReconcileAll> for Reconciler {
    type Result = ();

    /// Enqueues jobs, so that the gap is read even when the API or a process is down now.
    fn handle(&mut self, all: ReconcileAll, _: &mut Self::Context) {
        let now = self.deps.clock.now();
        let venue = &self.deps.venue;
        let window = ReconcileJob::Window { start: venue.of(all.since), end: venue.of(now) };
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
mod rereads;
mod search_schedule;
#[cfg(test)]
mod tests;
