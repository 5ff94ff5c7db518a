//! Keeps the right actors running. For the leases that this process holds, these are a poller for each enabled user, an
//! executor for each followed user, and the global executor.
//!
//! Takes   `LookAtDirectory`, `LeasesChanged`, the supervisors' reports on every actor, `ReadHealth`.
//! Sends   `DirectoryChanged` to every actor that uses users or configuration, `PollersChanged` to the reconciler; wakes
//!         every queue when the revision has changed.
//! Timer   every second it reads the directory's revision; every ten seconds it sends each actor `Observe`.
//! Truth   the directory. After a restart it starts again every actor that the directory and the leases ask for.

use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult, Recipient, Supervised};
use tracing::Instrument;

use super::{
    directory::DirectoryChanged,
    lease_keeper::LeasesChanged,
    live_hub::{Announce, HealthChanged, LiveFact},
    poller::PollWindow,
    supervise::{
        ActorEnded, ActorName, ActorScope, ActorStarted, Incarnation, IoResult, Observe, Observed, RestartBudget,
        RestartReported, SupervisorContext, observable, start_supervised_at,
    },
};
use crate::clock::Clock;
use crate::db::{Db, DbError, Directory, FollowedUser, health_key};
use crate::domain::events::lease::{Fence, LeaseName, Leases};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::metrics::Metrics;
use crate::polymarket::Gate;
use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

mod health;
mod report;

pub use health::ActorHealth;
use health::{ActorRegistry, SILENCES_ALLOWED};
use report::WorkerReport;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const OBSERVE_EVERY: Duration = Duration::from_secs(10);
const OBSERVE_WITHIN: Duration = Duration::from_secs(5);

/// The users that are polled now, each with the poller that can read a span of that user's time.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct PollersChanged(pub Arc<BTreeMap<FollowedUserId, Recipient<PollWindow>>>);

/// Looks at once whether users or configuration changed.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct LookAtDirectory;

/// Asks for the health of every actor, as it was last observed.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Vec<ActorHealth>")]
pub struct ReadHealth;

/// A running poller, as the recipients of its messages.
#[derive(Debug, Clone)]
pub struct PollerHandle {
    pub windows: Recipient<PollWindow>,
    pub directory: Recipient<DirectoryChanged>,
}

type StartPoller = dyn Fn(&FollowedUser, &Arc<Directory>, Option<Fence>, &SupervisorContext) -> PollerHandle;
type StartExecutor = dyn Fn(&FollowedUser, &Arc<Directory>, &SupervisorContext) -> Recipient<DirectoryChanged>;
type StartGlobalExecutor = dyn Fn(&Arc<Directory>, &SupervisorContext) -> Recipient<DirectoryChanged>;

/// An actor that runs while a lease is held, and the fencing token it was started under.
struct ManagedActor<T> {
    actor: T,
    fence: Option<Fence>,
    /// Ends the actor when it is dropped.
    _scope: ActorScope,
}

/// What the root needs from the composition root (`app`).
#[derive(Clone)]
pub struct RootDeps {
    pub db: Db,
    pub clock: Clock,
    pub live: Recipient<Announce>,
    pub wakeups: Wakeups,
    /// The context that reports to this root; each per-user actor gets a scope of it.
    pub supervisor: SupervisorContext,
    pub start_poller: Rc<StartPoller>,
    pub start_executor: Rc<StartExecutor>,
    pub start_global_executor: Rc<StartGlobalExecutor>,
    /// The leases at the start; [`LeasesChanged`] replaces them.
    pub leases: Arc<Leases>,
    pub metrics: Arc<Metrics>,
    /// Its traffic is part of this worker's health report.
    pub gate: Gate,
    /// When this process was started.
    pub started_at: Timestamp,
    pub reconciler: Recipient<PollersChanged>,
    /// The actors that run once per worker, and not once per user.
    pub listeners: Vec<Recipient<DirectoryChanged>>,
}

pub struct Root {
    deps: RootDeps,
    incarnation: Incarnation,
    directory: Option<Arc<Directory>>,
    leases: Arc<Leases>,
    looking: bool,
    pollers: BTreeMap<FollowedUserId, ManagedActor<PollerHandle>>,
    executors: BTreeMap<FollowedUserId, ManagedActor<Recipient<DirectoryChanged>>>,
    global_executor: Option<ManagedActor<Recipient<DirectoryChanged>>>,
    /// Kept over restarts, because a supervisor reports an actor's start only once.
    registry: ActorRegistry,
    restarts: RestartBudget,
    database_fails: bool,
    last_activity: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct ObserveAll;

impl Root {
    /// Returns the root's context and address, for supervisors that must report to the root before it can be built.
    pub fn reserve_address() -> (Context<Self>, Addr<Self>) {
        let ctx = Context::new();
        let address = ctx.address();
        (ctx, address)
    }

    pub fn start_at(ctx: Context<Self>, deps: RootDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        let leases = deps.leases.clone();
        start_supervised_at(ctx, supervisor, "root", Self::new(deps, leases, ActorRegistry::default()))
    }

    fn new(deps: RootDeps, leases: Arc<Leases>, registry: ActorRegistry) -> Self {
        Self {
            deps,
            incarnation: Incarnation::default(),
            directory: None,
            leases,
            looking: false,
            pollers: BTreeMap::new(),
            executors: BTreeMap::new(),
            global_executor: None,
            registry,
            restarts: RestartBudget::default(),
            database_fails: false,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "revision": self.directory.as_ref().map(|directory| directory.revision),
                "pollers": self.pollers.len(),
                "executors": self.executors.len(),
                "actors": self.registry.len(),
            }),
            last_activity: self.last_activity,
        }
    }

    /// Starts and stops actors as the directory and the leases ask, and sends the directory to all of them.
    fn follow(&mut self, directory: Arc<Directory>) {
        // Listeners come before the executors: an executor that gets the directory asks the book fetcher again, which must
        // have it already.
        for listener in &self.deps.listeners {
            listener.do_send(DirectoryChanged(directory.clone()));
        }
        let leases = self.leases.clone();
        let enabled = |id: FollowedUserId| directory.users.iter().any(|user| user.id == id && user.enabled());
        let n_before = self.pollers.len();
        // Dropping the scope ends the actor; its open work stays in the database.
        self.pollers.retain(|id, poller| enabled(*id) && poller.is_under(&leases, LeaseName::User(*id)));
        self.executors.retain(|id, executor| executor.is_under(&leases, LeaseName::User(*id)));
        self.global_executor.take_if(|executor| !executor.is_under(&leases, LeaseName::Global));
        let mut polled_changed = self.pollers.len() != n_before;
        for poller in self.pollers.values() {
            poller.actor.directory.do_send(DirectoryChanged(directory.clone()));
        }
        for executor in self.executors.values().chain(&self.global_executor) {
            executor.actor.do_send(DirectoryChanged(directory.clone()));
        }
        for user in directory.users.iter().filter(|user| leases.hold(LeaseName::User(user.id))) {
            let fence = leases.fence(LeaseName::User(user.id));
            if user.enabled() && !self.pollers.contains_key(&user.id) {
                let (supervisor, scope) = self.deps.supervisor.scope();
                let actor = (self.deps.start_poller)(user, &directory, fence, &supervisor);
                self.pollers.insert(user.id, ManagedActor { actor, fence, _scope: scope });
                polled_changed = true;
                tracing::info!(user_id = %user.id, label = user.label, "following");
            }
            // Also for a disabled user: the open groups still need a decision, which is a skip with that reason.
            if !self.executors.contains_key(&user.id) {
                let (supervisor, scope) = self.deps.supervisor.scope();
                let actor = (self.deps.start_executor)(user, &directory, &supervisor);
                self.executors.insert(user.id, ManagedActor { actor, fence, _scope: scope });
            }
        }
        if self.global_executor.is_none() && leases.hold(LeaseName::Global) {
            let (supervisor, scope) = self.deps.supervisor.scope();
            let actor = (self.deps.start_global_executor)(&directory, &supervisor);
            self.global_executor = Some(ManagedActor { actor, fence: leases.fence(LeaseName::Global), _scope: scope });
        }
        if polled_changed || self.directory.is_none() {
            let windows = self.pollers.iter().map(|(id, poller)| (*id, poller.actor.windows.clone()));
            self.deps.reconciler.do_send(PollersChanged(Arc::new(windows.collect())));
        }
        self.directory = Some(directory);
    }

    fn directory_read(&mut self, read: IoResult<Option<Directory>, DbError>, _: &mut Context<Self>) {
        self.looking = false;
        match read {
            Ok(directory) => {
                self.last_activity = Some(self.deps.clock.now());
                if std::mem::take(&mut self.database_fails) {
                    tracing::info!("the database can be read again");
                }
                if let Some(directory) = directory {
                    self.follow(Arc::new(directory));
                    // The change may be a job that a command wrote beside this process, and no wake-up came with it.
                    for queue in Queue::ALL {
                        self.deps.wakeups.notify(*queue);
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.database_fails, true) {
                    tracing::error!(%error, "users and configuration cannot be read; the last ones stay in use");
                }
            }
        }
    }

    /// Records the state of an actor; `None` when it did not answer in time.
    fn observed_actor(&mut self, name: ActorName, observed: Option<Observed>) {
        let silences = self.registry.answered(&name, observed);
        match silences.now {
            0 if silences.before > 0 => {
                tracing::info!(actor = %name, "actor answers again");
                self.tell_health(&name, true, "answers again".to_owned());
            }
            1 => {
                tracing::warn!(actor = %name, "actor does not answer");
                self.tell_health(&name, false, "does not answer".to_owned());
            }
            SILENCES_ALLOWED.. => {
                self.deps.supervisor.fail(name, format!("it has not answered {} times in a row", silences.now));
            }
            _ => {}
        }
    }

    fn tell_health(&self, name: &ActorName, healthy: bool, detail: String) {
        let change = HealthChanged { part: name.to_string(), healthy, detail, at: self.deps.clock.now() };
        self.deps.live.do_send(Announce(vec![LiveFact::HealthChanged(change)]));
    }

    /// Stores the observations where other processes can read them. Losing one is harmless: the next comes in seconds.
    fn store_health(&self) {
        let (db, now) = (self.deps.db.clone(), self.deps.clock.now());
        let key = match self.leases.as_ref() {
            Leases::All => health_key(None),
            Leases::Held { by, .. } => health_key(Some(by)),
        };
        let deps = &self.deps;
        let report = WorkerReport::new((now, deps.started_at), self.registry.health(), &deps.gate, &deps.metrics);
        let store = async move {
            let text = serde_json::to_string(&report).expect("text keys and plain values always serialise");
            if let Err(error) = db.put_checkpoint(&key, &text, now).await {
                tracing::debug!(%error, "the actors' health could not be stored");
            }
        };
        actix::spawn(store.in_current_span());
    }
}

impl Actor for Root {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.notify(LookAtDirectory);
        ctx.run_interval(LOOK_EVERY, |_, ctx| ctx.notify(LookAtDirectory));
        ctx.run_interval(OBSERVE_EVERY, |_, ctx| ctx.notify(ObserveAll));
    }
}

impl Supervised for Root {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.leases.clone(), std::mem::take(&mut self.registry));
    }
}

observable!(Root);

impl Handler<LookAtDirectory> for Root {
    type Result = ();

    fn handle(&mut self, _: LookAtDirectory, ctx: &mut Self::Context) {
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        let db = self.deps.db.clone();
        let known = self.directory.as_ref().map(|directory| directory.revision);
        let read = async move {
            if known == Some(db.revision().await?) {
                return Ok(None);
            }
            db.directory().await.map(Some)
        };
        self.incarnation.spawn_io(ctx, read, Self::directory_read);
    }
}

impl Handler<LeasesChanged> for Root {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, _: &mut Self::Context) {
        self.leases = leases;
        if let Some(directory) = self.directory.clone() {
            self.follow(directory);
        }
    }
}

impl<T> ManagedActor<T> {
    /// Returns whether the lease is held without a break since the actor started. After a break the actor is replaced,
    /// because another worker may have done its work meanwhile.
    fn is_under(&self, leases: &Leases, lease: LeaseName) -> bool {
        leases.hold(lease) && self.fence == leases.fence(lease)
    }
}

impl Handler<ActorStarted> for Root {
    type Result = ();

    fn handle(&mut self, started: ActorStarted, _: &mut Self::Context) {
        self.registry.started(started);
    }
}

impl Handler<ActorEnded> for Root {
    type Result = ();

    fn handle(&mut self, ended: ActorEnded, _: &mut Self::Context) {
        self.registry.ended(&ended);
    }
}

impl Handler<RestartReported> for Root {
    type Result = ();

    fn handle(&mut self, restart: RestartReported, _: &mut Self::Context) {
        self.registry.restarted(&restart);
        self.deps.metrics.restarts.count(restart.name.job());
        self.tell_health(&restart.name, false, format!("restarted: {}", restart.cause));
        if !self.restarts.allows(restart.at) {
            let recent = self.restarts.recent();
            let cause = format!("{recent} actors were restarted within a minute, the last because {}", restart.cause);
            self.deps.supervisor.fail(restart.name, cause);
        }
    }
}

impl Handler<ObserveAll> for Root {
    type Result = ();

    fn handle(&mut self, _: ObserveAll, ctx: &mut Self::Context) {
        for (name, observe) in self.registry.recipients() {
            let answer = async move {
                let answer = tokio::time::timeout(OBSERVE_WITHIN, observe.send(Observe)).await;
                answer.ok().and_then(Result::ok).ok_or(())
            };
            self.incarnation.spawn_io(ctx, answer, move |root: &mut Self, observed: IoResult<_, ()>, _| {
                root.observed_actor(name, observed.ok());
            });
        }
        self.store_health();
    }
}

impl Handler<ReadHealth> for Root {
    type Result = MessageResult<ReadHealth>;

    fn handle(&mut self, _: ReadHealth, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.registry.health())
    }
}

#[cfg(test)]
mod tests;
