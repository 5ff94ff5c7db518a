//! Collects a leader's events into groups, and closes each group when its window ends (spec 6).
//!
//! Takes   q_group_events jobs, [`DirectoryChanged`].
//! Sends   nothing: the copy jobs are rows stored with the group; it wakes their consumers.
//! Timer   one, for the earliest open window.
//! Truth   its open jobs: an event with an open job belongs to no group yet.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, SpawnHandle, Supervised};
use rand::Rng;
use tracing::field::display;

use super::{
    directory::DirectoryChanged,
    queue_worker::{Look, look_at},
    supervise::{Incarnation, IoResult, Observed, SupervisorContext, back_off, observable, start_supervised},
};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::db::{ClosedGroupWrite, Db, DbError, Directory, GroupClosing};
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::config::effective::effective;
use crate::domain::events::group::{ClosedGroup, Member, PendingEvent};
use crate::domain::events::group_windows::Windows;
use crate::domain::events::lease::LeaseName;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Job, JobFence, JobScope, Queue};

/// How often the queue is read without a wake-up.
const SWEEP: Duration = Duration::from_secs(2);
/// Longer than the longest window: a job is held until its window closes.
const LEASE_MS: i64 = 180_000;
const JOBS_AT_ONCE: i64 = 1_000;
const GROUPS_AT_ONCE: usize = 256;
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct GrouperDeps {
    pub db: Db,
    pub clock: Clock,
    /// The users whose jobs this worker claims.
    pub scope: JobScope,
    pub wakeups: Wakeups,
}

pub struct Grouper {
    deps: GrouperDeps,
    incarnation: Incarnation,
    /// `None` until it is read from the database.
    directory: Option<Arc<Directory>>,
    windows: Windows,
    fences: BTreeMap<Member, JobFence>,
    /// Groups that have left the windows and are not committed yet.
    closing: Vec<ClosedGroup>,
    /// There may be jobs that are not claimed yet.
    look: bool,
    /// A database request is running. There is only one at a time, so that loading and closing never overlap.
    busy: bool,
    failures: u32,
    timer: Option<SpawnHandle>,
    n_groups: u64,
    last_activity: Option<Timestamp>,
}

enum Answer {
    Ready(Box<Directory>),
    Loaded(Loaded),
    /// One outcome for each of the first groups in `closing`.
    Closed(Vec<GroupClosing>),
}

/// Claimed jobs, with the parts of their events that grouping needs.
struct Loaded {
    pending: Vec<(Job, PendingEvent)>,
    /// The claim returned as many jobs as it may, so there may be more.
    more: bool,
}

impl Grouper {
    pub fn start(deps: GrouperDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "grouper", Self::new(deps))
    }

    fn new(deps: GrouperDeps) -> Self {
        Self {
            deps,
            incarnation: Incarnation::default(),
            directory: None,
            windows: Windows::new(0),
            fences: BTreeMap::new(),
            closing: Vec::new(),
            look: true,
            busy: false,
            failures: 0,
            timer: None,
            n_groups: 0,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "events_waiting": self.windows.n_waiting(),
                "closing": self.closing.len(),
                "groups": self.n_groups,
                "next_deadline": self.windows.next_deadline(),
                "failures": self.failures,
            }),
            last_activity: self.last_activity,
        }
    }

    /// Starts the next step, unless one is running. First it writes the groups that are being closed, then it claims
    /// jobs, and only then it closes the windows that are due: so a window never closes before an event that is stored
    /// already.
    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let Some(directory) = self.directory.clone() else {
            let (db, scope) = (self.deps.db.clone(), self.deps.scope.clone());
            return self.ask(ctx, async move {
                queue::release(&db, Queue::GroupEvents, &scope).await?;
                Ok(Answer::Ready(Box::new(db.directory().await?)))
            });
        };
        if self.closing.is_empty() {
            if std::mem::take(&mut self.look) {
                let deps = self.deps.clone();
                return self.ask(ctx, async move { load(&deps).await.map(Answer::Loaded) });
            }
            self.closing = self.windows.close_due(self.over_by(&directory));
        }
        if self.closing.is_empty() {
            return self.set_timer(ctx);
        }
        let writes: Vec<_> = self.closing.iter().take(GROUPS_AT_ONCE).map(|c| self.write_of(c, &directory)).collect();
        let deps = self.deps.clone();
        self.ask(ctx, async move {
            let closed = deps.db.close_groups(&writes, deps.clock.now()).await?;
            deps.wakeups.notify(Queue::CopyAttemptUser);
            // The holder of the global portfolio may be another process.
            let keys = writes.iter().map(|write| write.group.id.to_string());
            deps.wakeups.notify_remote(LeaseName::Global, Queue::CopyAttemptGlobal, keys);
            Ok(Answer::Closed(closed))
        });
    }

    /// Returns the time by which windows are over. A window that begins in the future was dated by a clock that has been
    /// set back since: it is over, because waiting for its end could take as long as the clock was wrong.
    fn over_by(&self, directory: &Directory) -> Timestamp {
        let (now, length_ms) = (self.deps.clock.now(), directory.config.system.aggregation_window_ms);
        let from_the_future = |deadline: &Timestamp| deadline.millis_since(now) > length_ms;
        self.windows.next_deadline().filter(from_the_future).unwrap_or(now)
    }

    /// Starts a database request, whose result [`Self::answered`] handles.
    fn ask(&mut self, ctx: &mut Context<Self>, work: impl Future<Output = Result<Answer, DbError>> + 'static) {
        self.busy = true;
        self.incarnation.spawn_io(ctx, work, Self::answered);
    }

    /// Returns the write that closes a group.
    fn write_of(&self, closed: &ClosedGroup, directory: &Directory) -> ClosedGroupWrite {
        let window_end = closed.group.window_start.plus_millis(directory.config.system.aggregation_window_ms);
        ClosedGroupWrite {
            group: closed.group.clone(),
            members: closed.members.clone(),
            finishes: closed.members.iter().filter_map(|member| self.fences.get(member).copied()).collect(),
            copy_due: window_end
                .min(self.deps.clock.now())
                .plus_millis(decision_wait_ms(directory, closed.group.followed_user)),
        }
    }

    /// Takes over a new directory.
    fn follow(&mut self, directory: Arc<Directory>) {
        self.windows.set_length(directory.config.system.aggregation_window_ms);
        self.directory = Some(directory);
    }

    fn answered(&mut self, result: IoResult<Answer, DbError>, ctx: &mut Context<Self>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return self.retry_later(&error.to_string(), ctx),
        };
        self.busy = false;
        self.failures = 0;
        self.last_activity = Some(self.deps.clock.now());
        match answer {
            Answer::Ready(directory) => self.follow(Arc::new(*directory)),
            Answer::Loaded(loaded) => self.took(loaded, ctx),
            Answer::Closed(outcomes) => self.closed(&outcomes),
        }
        self.next(ctx);
    }

    /// Repeats the step after a pause, which grows with each failure.
    fn retry_later(&mut self, error: &str, ctx: &mut Context<Self>) {
        self.failures = self.failures.saturating_add(1);
        // A claim may have succeeded although its answer was lost: the leases are released first.
        self.directory = None;
        if self.failures == 1 {
            tracing::warn!(error, "the grouper cannot reach the database and will retry");
        }
        // It stays busy until then, and keeps the groups that it is closing.
        ctx.run_later(back_off(RETRY, RETRY_MOST, self.failures), |grouper, ctx| {
            grouper.busy = false;
            grouper.look = true;
            grouper.next(ctx);
        });
    }

    /// Adds the events of claimed jobs to the windows.
    fn took(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        self.look |= loaded.more;
        for (job, event) in loaded.pending {
            let (member, fence) = (event.member, job.fence());
            // If the event is in a window already, its job was claimed again: only the newer fencing token is valid.
            match self.windows.add(event) {
                Ok(_) => {
                    self.fences.insert(member, fence);
                }
                Err(error) => {
                    let (event, user) = (job.event_id().map(display), job.followed_user.map(display));
                    tracing::error!(job = job.id, event, user_id = user, %error, "an event does not fit its group");
                    let deps = self.deps.clone();
                    ctx.spawn(actix::fut::wrap_future(async move { give_back(&deps, &job, &error.to_string()).await }));
                }
            }
        }
    }

    /// Handles the outcome of closed groups.
    fn closed(&mut self, outcomes: &[GroupClosing]) {
        let rest = self.closing.split_off(outcomes.len().min(self.closing.len()));
        for (closed, outcome) in std::mem::replace(&mut self.closing, rest).into_iter().zip(outcomes) {
            match outcome {
                GroupClosing::New(_) => {
                    self.n_groups += 1;
                    let group = &closed.group;
                    tracing::debug!(group = %group.id, group_key = %group.key, user_id = %group.followed_user, n = closed.members.len(), "group closed");
                }
                // A group of the same millisecond is closed already.
                GroupClosing::KeyTaken => {
                    self.closing.push(closed.moved_by_one_ms());
                    continue;
                }
                GroupClosing::JobLost => {
                    let group = &closed.group;
                    tracing::warn!(group = %group.id, group_key = %group.key, user_id = %group.followed_user, "another worker has claimed a job of this group");
                    // The jobs of the group that are still open are claimed again.
                    self.look = true;
                }
            }
            for member in &closed.members {
                self.fences.remove(member);
            }
        }
    }

    /// Sets the timer for the earliest end of a window.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(deadline) = self.windows.next_deadline() {
            let wait = deadline.millis_since(self.deps.clock.now()).max(0).unsigned_abs();
            self.timer = Some(ctx.notify_later(Look, Duration::from_millis(wait)));
        }
    }
}

impl Actor for Grouper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        look_at(ctx, &self.deps.wakeups, Queue::GroupEvents, SWEEP);
        self.next(ctx);
    }
}

impl Supervised for Grouper {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(Grouper);

impl Handler<Look> for Grouper {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look = true;
        self.next(ctx);
    }
}

impl Handler<DirectoryChanged> for Grouper {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, ctx: &mut Self::Context) {
        // While the directory is being read, the answer is newer than this message.
        if self.directory.is_some() {
            self.follow(directory);
            self.next(ctx);
        }
    }
}

/// Returns how many ms after its window a group of this leader is decided: the latency and a random part. The random
/// part is drawn once for both scopes, because they decide on the same book.
fn decision_wait_ms(directory: &Directory, leader: FollowedUserId) -> i64 {
    let config = effective(&directory.config, directory.overrides.get(&leader), PortfolioScope::ExecUser);
    let jitter = Chance.random_range(0..=config.guardrails.jitter_ms_max.max(0));
    config.guardrails.decision_latency_ms.saturating_add(jitter)
}

/// Claims jobs and reads their events. Jobs of rows that form no group are finished at once.
///
/// # Errors
/// When the database fails.
async fn load(deps: &GrouperDeps) -> Result<Loaded, DbError> {
    let GrouperDeps { db, clock, .. } = deps;
    let jobs = queue::claim(db, Queue::GroupEvents, &deps.scope, clock.now(), LEASE_MS, JOBS_AT_ONCE).await?;
    let more = i64::try_from(jobs.len()).is_ok_and(|n| n >= JOBS_AT_ONCE);
    let (mut trades, mut activities, mut open) = (Vec::new(), Vec::new(), BTreeMap::new());
    for job in jobs {
        match job.event() {
            Ok(member) => {
                match member {
                    Member::Trade(id) => trades.push(id),
                    Member::Activity(id) => activities.push(id),
                }
                open.insert(member, job);
            }
            Err(error) => give_back(deps, &job, &error.to_string()).await,
        }
    }
    let mut pending = Vec::with_capacity(open.len());
    for trade in db.trades_by_id(&trades).await? {
        let event = PendingEvent::from_trade(&trade);
        pending.extend(open.remove(&event.member).map(|job| (job, event)));
    }
    let mut ungroupable = Vec::new();
    for activity in db.activities_by_id(&activities).await? {
        let Some(job) = open.remove(&Member::Activity(activity.id)) else { continue };
        match PendingEvent::from_activity(&activity) {
            Some(event) => pending.push((job, event)),
            None => ungroupable.push(job.fence()),
        }
    }
    queue::finish(db, &ungroupable).await?;
    for job in open.into_values() {
        give_back(deps, &job, "the event is not in the database").await;
    }
    Ok(Loaded { pending, more })
}

/// Returns a job to the queue as failed; after some tries it becomes a dead letter.
async fn give_back(deps: &GrouperDeps, job: &Job, error: &str) {
    let failed = queue::fail(&deps.db, job, error, deps.clock.now(), &mut Chance).await;
    let becomes = failed.map_or_else(|error| error.to_string(), |failed| failed.to_string());
    tracing::error!(
        job = job.id,
        event = job.event_id().map(display),
        user_id = job.followed_user.map(display),
        error,
        becomes,
        "an event could not be grouped"
    );
}

#[cfg(test)]
mod tests;
