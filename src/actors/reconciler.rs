//! Sees to it that nothing stays unread: asks again for what the chain has shown, and for the last minutes of everybody.
//!
//! Takes   q_reconcile jobs, `PollersChanged` from the root, `ReconcileAll` from the chain watcher.
//! Sends   `PollWindow` to pollers; `Announce` when a user's reading makes no progress, or makes it again.
//! Timer   every minute, each user's last two minutes.
//! Truth   its open jobs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use tracing::Instrument;

use super::{
    live_hub::{Announce, HealthChanged, LiveFact},
    poller::{NotPolled, PollWindow, Polled},
    root::PollersChanged,
    supervise::{ActorName, Guard, Observed, Panicked, look_at, observable, spawn_io, start_guarded},
};
use crate::{
    clock::Clock,
    db::{Db, DbError},
    domain::{ids::FollowedUserId, units::Timestamp},
    queue::{self, Job, Queue, in_process::Bell},
};

mod job;

pub use job::ReconcileJob;
use job::{next_ask_ms, transactions};

const SWEEP: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(60);
/// How far back each minute's look goes, whatever the checkpoints say.
const LOOK_BACK_MS: i64 = 120_000;
/// Without a successful answer for this long there is no progress.
const STALLED_AFTER_MS: i64 = 180_000;
/// A fill's block may be dated some seconds before the log arrived.
const BEFORE_LOG_MS: i64 = 60_000;
const LEASE_MS: i64 = 120_000;
const JOBS_AT_ONCE: i64 = 200;
/// The root looks every second for who is followed.
const POLLER_COMES_MS: i64 = 2_000;

/// Reads everybody's time since then again: the chain was out of sight.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct ReconcileAll {
    pub since: Timestamp,
}

#[derive(Debug, Clone)]
pub struct ReconcilerDeps {
    pub db: Db,
    pub clock: Clock,
    pub bell: Bell,
    pub live: Recipient<Announce>,
}

pub struct Reconciler {
    deps: ReconcilerDeps,
    /// Tells answers to this life of the actor from answers to an earlier one.
    life: u64,
    pollers: Arc<BTreeMap<FollowedUserId, Recipient<PollWindow>>>,
    progress: BTreeMap<FollowedUserId, Progress>,
    claiming: bool,
    look_again: bool,
    database_fails: bool,
    last_activity: Option<Timestamp>,
}

/// How a user's reading goes.
#[derive(Debug, Clone, Copy)]
struct Progress {
    last_success: Timestamp,
    stalled: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Look;

#[derive(Message)]
#[rtype(result = "()")]
struct MinutePassed;

#[derive(Message)]
#[rtype(result = "()")]
struct Claimed {
    life: u64,
    result: Result<Result<Vec<Job>, DbError>, Panicked>,
}

/// A span of a user's time was read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Asked {
    life: u64,
    user: FollowedUserId,
    result: Result<Polled, NotPolled>,
}

impl Reconciler {
    pub fn start(deps: ReconcilerDeps, guard: &Guard) -> Addr<Self> {
        start_guarded(guard, "reconciler", Self::new(deps, 0, Arc::default()))
    }

    fn new(deps: ReconcilerDeps, life: u64, pollers: Arc<BTreeMap<FollowedUserId, Recipient<PollWindow>>>) -> Self {
        Self {
            deps,
            life,
            pollers,
            progress: BTreeMap::new(),
            claiming: false,
            look_again: false,
            database_fails: false,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        let stalled: Vec<_> = self.progress.iter().filter(|(_, p)| p.stalled).map(|(user, _)| user).collect();
        Observed {
            state: serde_json::json!({ "users": self.pollers.len(), "stalled": stalled }),
            last_activity: self.last_activity,
        }
    }

    /// Asks one user's poller for a span; the answer only counts as progress.
    fn ask(&self, user: FollowedUserId, poller: &Recipient<PollWindow>, start: Timestamp, ctx: &mut Context<Self>) {
        let window = PollWindow { start, end: self.deps.clock.now() };
        let (poller, life) = (poller.clone(), self.life);
        spawn_io(ctx, async move { ask(&poller, window).await }, move |result| Asked {
            life,
            user,
            result: result.unwrap_or_else(|panicked| Err(NotPolled(panicked.to_string()))),
        });
    }

    /// Warns once when nothing has been read of a user for too long, and says when it works again.
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
        let db = self.deps.db.clone();
        // Jobs of an earlier life are taken again at once; failing that, when their leases end.
        actix::spawn(async move { queue::release(&db, Queue::Reconcile).await });
        look_at(ctx, &self.deps.bell, Queue::Reconcile, SWEEP, || Look);
        ctx.run_interval(EVERY, |_, ctx| ctx.notify(MinutePassed));
    }
}

impl Supervised for Reconciler {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.life + 1, self.pollers.clone());
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

    fn handle(&mut self, all: ReconcileAll, ctx: &mut Self::Context) {
        for (user, poller) in self.pollers.clone().iter() {
            self.ask(*user, poller, all.since, ctx);
        }
    }
}

impl Handler<Look> for Reconciler {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        // Without pollers there is nobody to ask; the jobs wait in their queue.
        if self.pollers.is_empty() {
            return;
        }
        if std::mem::replace(&mut self.claiming, true) {
            self.look_again = true;
            return;
        }
        let (db, now, life) = (self.deps.db.clone(), self.deps.clock.now(), self.life);
        let claim = async move { queue::claim(&db, Queue::Reconcile, None, now, LEASE_MS, JOBS_AT_ONCE).await };
        spawn_io(ctx, claim, move |result| Claimed { life, result });
    }
}

impl Handler<Claimed> for Reconciler {
    type Result = ();

    fn handle(&mut self, claimed: Claimed, ctx: &mut Self::Context) {
        if claimed.life != self.life {
            return;
        }
        self.claiming = false;
        let error = match claimed.result {
            Ok(Ok(jobs)) => {
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
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        if !std::mem::replace(&mut self.database_fails, true) {
            tracing::warn!(error, "reconcile jobs cannot be taken; the next sweep tries again");
        }
    }
}

impl Handler<Asked> for Reconciler {
    type Result = ();

    fn handle(&mut self, asked: Asked, _: &mut Self::Context) {
        if asked.life != self.life {
            return;
        }
        match asked.result {
            Ok(polled) => {
                let now = self.deps.clock.now();
                self.last_activity = Some(now);
                if let Some(progress) = self.progress.get_mut(&asked.user) {
                    progress.last_success = now;
                }
                if polled.n_new > 0 {
                    tracing::info!(user_id = %asked.user, n_new = polled.n_new, "found by asking again");
                }
            }
            Err(error) => tracing::debug!(user_id = %asked.user, %error, "asking again brought nothing"),
        }
        self.check_progress();
    }
}

impl Reconciler {
    fn work_on(&self, user: Option<FollowedUserId>, jobs: Vec<Job>, ctx: &mut Context<Self>) {
        let (deps, life) = (self.deps.clone(), self.life);
        let poller = user.and_then(|user| self.pollers.get(&user).cloned().map(|poller| (user, poller)));
        let Some((user, poller)) = poller else {
            actix::spawn(async move { without_poller(&deps, user, jobs).await }.in_current_span());
            return;
        };
        let work = async move { reconcile(&deps, user, &poller, jobs).await };
        spawn_io(ctx, work, move |result| Asked {
            life,
            user,
            result: result.unwrap_or_else(|panicked| Err(NotPolled(panicked.to_string()))),
        });
    }
}

async fn ask(poller: &Recipient<PollWindow>, window: PollWindow) -> Result<Polled, NotPolled> {
    poller.send(window).await.unwrap_or_else(|error| Err(NotPolled(error.to_string())))
}

/// Asks for everything one user's jobs name, in one span each, and sees which of them are done.
async fn reconcile(
    deps: &ReconcilerDeps,
    user: FollowedUserId,
    poller: &Recipient<PollWindow>,
    jobs: Vec<Job>,
) -> Result<Polled, NotPolled> {
    let now = deps.clock.now();
    let mut result = Ok(Polled::default());
    let (mut sought, mut windows) = (Vec::new(), Vec::new());
    for job in jobs {
        match ReconcileJob::parse(&job.payload) {
            Ok(ReconcileJob::Transaction { tx_hash, seen }) => sought.push((job, tx_hash, seen)),
            Ok(ReconcileJob::Window { start, end }) => windows.push((job, PollWindow { start, end })),
            Err(error) => give_back(deps, &job, &error).await,
        }
    }
    for (job, window) in windows {
        // Late in a long line a job may have been taken again: whoever took it asks.
        let until = deps.clock.now().plus_millis(LEASE_MS);
        if matches!(queue::renew(&deps.db, job.fence(), until).await, Ok(false)) {
            continue;
        }
        result = ask(poller, window).await;
        match &result {
            Ok(_) => finish(deps, &[job]).await,
            Err(error) => give_back(deps, &job, &error.to_string()).await,
        }
    }
    sought = still_unconfirmed(deps, user, sought).await;
    if let Some(first) = sought.iter().map(|(_, _, seen)| *seen).min() {
        result = ask(poller, PollWindow { start: first.plus_millis(-BEFORE_LOG_MS), end: now }).await;
        for (job, tx_hash, _) in still_unconfirmed(deps, user, sought).await {
            match next_ask_ms(job.attempts) {
                // Holding the lease a little longer is the timer: it survives us.
                Some(wait) => {
                    let until = deps.clock.now().plus_millis(wait);
                    if let Err(error) = queue::renew(&deps.db, job.fence(), until).await {
                        tracing::debug!(%error, "a reconcile job comes again only when its lease ends");
                    }
                }
                None => {
                    tracing::warn!(user_id = %user, tx_hash, "seen on chain, but the Data API does not show it yet");
                    finish(deps, &[job]).await;
                }
            }
        }
    }
    result
}

/// Work for somebody who has no poller. Not followed any more: what they did is nobody's business now. Followed a
/// moment ago: the poller comes within a second or two, and the jobs wait for it.
async fn without_poller(deps: &ReconcilerDeps, user: Option<FollowedUserId>, jobs: Vec<Job>) {
    let is_followed = match deps.db.followed_users().await {
        Ok(users) => users.iter().any(|known| known.enabled && Some(known.id) == user),
        // Then the leases end, and they come again.
        Err(_) => return,
    };
    if !is_followed {
        return finish(deps, &jobs).await;
    }
    let until = deps.clock.now().plus_millis(POLLER_COMES_MS);
    for job in jobs {
        if let Err(error) = queue::renew(&deps.db, job.fence(), until).await {
            tracing::debug!(%error, "a reconcile job comes again only when its lease ends");
        }
    }
}

type Sought = (Job, String, Timestamp);

/// Finishes the jobs whose transaction is there, and gives back the others.
async fn still_unconfirmed(deps: &ReconcilerDeps, user: FollowedUserId, sought: Vec<Sought>) -> Vec<Sought> {
    let confirmed = match deps.db.confirmed_transactions(user, &transactions(&sought)).await {
        Ok(confirmed) => confirmed,
        Err(error) => {
            tracing::debug!(%error, "whether transactions are confirmed could not be read");
            return sought;
        }
    };
    let (done, open): (Vec<_>, Vec<_>) = sought.into_iter().partition(|(_, tx_hash, _)| confirmed.contains(tx_hash));
    let done: Vec<Job> = done.into_iter().map(|(job, ..)| job).collect();
    finish(deps, &done).await;
    open
}

async fn finish(deps: &ReconcilerDeps, jobs: &[Job]) {
    let fences: Vec<_> = jobs.iter().map(Job::fence).collect();
    if let Err(error) = queue::finish(&deps.db, &fences).await {
        tracing::debug!(%error, "reconcile jobs will be done once more");
    }
}

async fn give_back(deps: &ReconcilerDeps, job: &Job, error: &str) {
    let failed = queue::fail(&deps.db, job, error, deps.clock.now(), &mut rand::rng()).await;
    let becomes = failed.map_or_else(|error| error.to_string(), |failed| failed.to_string());
    tracing::warn!(job = job.id, user_id = job.followed_user.map(display), error, becomes, "a reconcile job failed");
}

#[cfg(test)]
mod tests;
