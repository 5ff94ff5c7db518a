//! Keeps actors alive: catches their panics, restarts them on the same address, asks them how they are.
//!
//! In    actors, and futures on the world with the message their answer becomes.
//! Out   `ActorStarted`, `RestartReported`, `ActorEnded` to whoever watches (the root actor).
//! Fails one `Failure` when an actor keeps failing: whoever holds the receiver ends the process.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, MessageResponse, Recipient, Supervised,
    dev::{ContextFut, ToEnvelope},
    fut,
};
use futures_util::FutureExt;
use rand::Rng;
use tokio::{
    sync::{mpsc, watch},
    time::Sleep,
};
use tracing::Instrument;

use crate::clock::Clock;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

/// More restarts than this within `BUDGET_WINDOW_MS` are a burst: trying again here has no sense.
pub const RESTARTS_ALLOWED: usize = 5;
const BUDGET_WINDOW_MS: i64 = 60_000;
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
const MAILBOX: usize = 16;

/// Asks an actor how it is. An actor that does not answer in time counts as failed.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Observed")]
pub struct Observe;

/// An actor's small state, for health, the status page and tests.
#[derive(MessageResponse, Debug, Clone, PartialEq, serde::Serialize)]
pub struct Observed {
    pub state: serde_json::Value,
    /// When the actor last did what it is for.
    pub last_activity: Option<Timestamp>,
}

/// Answers `Observe` with the actor's own `fn observed(&self) -> Observed`.
macro_rules! observable {
    ($actor:ty) => {
        impl actix::Handler<$crate::actors::supervise::Observe> for $actor {
            type Result = $crate::actors::supervise::Observed;

            fn handle(&mut self, _: $crate::actors::supervise::Observe, _: &mut Self::Context) -> Self::Result {
                self.observed()
            }
        }

        #[cfg(test)]
        impl actix::Handler<$crate::actors::supervise::fault_injection::InjectPanic> for $actor {
            type Result = ();

            fn handle(
                &mut self,
                how: $crate::actors::supervise::fault_injection::InjectPanic,
                ctx: &mut Self::Context,
            ) {
                $crate::actors::supervise::fault_injection::inject_panic(how, ctx);
            }
        }
    };
}
pub(crate) use observable;

/// What tests ask of a guarded actor, to see it come back; in life nothing.
#[cfg(not(test))]
pub trait FaultInjection {}
#[cfg(not(test))]
impl<A> FaultInjection for A {}
#[cfg(test)]
pub use fault_injection::FaultInjection;

/// A guarded actor runs and can be observed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ActorStarted {
    pub name: ActorName,
    pub observe: Recipient<Observe>,
    /// Counted by the actor's guardian.
    pub restarts: Arc<AtomicU32>,
}

/// An actor stopped or panicked and will be back on the same address.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct RestartReported {
    pub name: ActorName,
    pub restarts: u32,
    pub cause: String,
    pub at: Timestamp,
}

/// A guarded actor was let go and is no longer watched.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ActorEnded {
    pub name: ActorName,
    /// The count that came with `ActorStarted`: it tells the actor from a successor of the same name.
    pub restarts: Arc<AtomicU32>,
}

/// `ledger_writer`, `poller:7`: the trade, and the followed user where there is one actor for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct ActorName(Arc<str>);

/// Why the process must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("actor `{actor}` keeps failing: {cause}")]
pub struct Failure {
    pub actor: ActorName,
    pub cause: String,
}

/// Work given to `spawn_io` panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task panicked: {0}")]
pub struct Panicked(pub String);

/// Under whose watch actors are started. Cheap to clone, may cross threads.
#[derive(Debug, Clone)]
pub struct SupervisorContext {
    clock: Clock,
    /// What the lines its actors log say of where they come from.
    service: &'static str,
    failures: mpsc::UnboundedSender<Failure>,
    watcher: Option<Watcher>,
    released: Option<watch::Receiver<()>>,
}

/// Holds the actors started under one `SupervisorContext::scope`; dropping it lets them go.
#[derive(Debug)]
pub struct ActorScope {
    _held: watch::Sender<()>,
}

#[derive(Debug, Clone)]
struct Watcher {
    started: Recipient<ActorStarted>,
    restarted: Recipient<RestartReported>,
    ended: Recipient<ActorEnded>,
}

impl SupervisorContext {
    /// The receiver gets the failure that must end the process.
    pub fn new(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Failure>) {
        let (failures, receiver) = mpsc::unbounded_channel();
        (Self { clock, service: "worker", failures, watcher: None, released: None }, receiver)
    }

    /// A guard for the actors of another service than the worker.
    #[must_use]
    pub fn of_service(&self, service: &'static str) -> Self {
        Self { service, ..self.clone() }
    }

    /// Tells `watcher` of every actor started from now on.
    #[must_use]
    pub fn reporting_to<A>(mut self, watcher: &Addr<A>) -> Self
    where
        A: Handler<ActorStarted> + Handler<RestartReported> + Handler<ActorEnded>,
        A::Context: ToEnvelope<A, ActorStarted> + ToEnvelope<A, RestartReported> + ToEnvelope<A, ActorEnded>,
    {
        self.watcher = Some(Watcher {
            started: watcher.clone().recipient(),
            restarted: watcher.clone().recipient(),
            ended: watcher.clone().recipient(),
        });
        self
    }

    /// A guard whose actors end when the leash is dropped, whoever still has their addresses.
    #[must_use]
    pub fn scope(&self) -> (Self, ActorScope) {
        let (sender, receiver) = watch::channel(());
        (Self { released: Some(receiver), ..self.clone() }, ActorScope { _held: sender })
    }

    /// Ends the process, through whoever holds the receiver.
    pub fn fail(&self, actor: ActorName, cause: impl Into<String>) {
        // Without a receiver the process is already on its way out.
        let _ = self.failures.send(Failure { actor, cause: cause.into() });
    }
}

impl ActorName {
    pub fn of_user(trade: &str, user: FollowedUserId) -> Self {
        Self(format!("{trade}:{user}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without whom it is for.
    pub fn trade(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(trade, _)| trade)
    }

    /// Whom it is for, as the name tells it.
    pub fn user(&self) -> Option<&str> {
        self.0.split_once(':').map(|(_, user)| user)
    }
}

impl From<&str> for ActorName {
    fn from(trade: &str) -> Self {
        Self(trade.into())
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Starts an actor that survives its panics: `restarting` must replace its whole value.
pub fn start_supervised<A>(supervisor: &SupervisorContext, name: impl Into<ActorName>, actor: A) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised + Handler<Observe> + FaultInjection,
{
    start_supervised_at(Context::new(), supervisor, name, actor)
}

/// The same for an actor whose address was needed before it could be built.
pub fn start_supervised_at<A>(
    mut ctx: Context<A>,
    supervisor: &SupervisorContext,
    name: impl Into<ActorName>,
    actor: A,
) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised + Handler<Observe> + FaultInjection,
{
    ctx.set_mailbox_capacity(MAILBOX);
    let address = ctx.address();
    let name = name.into();
    let restarts = Arc::new(AtomicU32::new(0));
    #[cfg(test)]
    fault_injection::note(&name, &address, &restarts);
    if let Some(watcher) = &supervisor.watcher {
        let observe = address.clone().recipient();
        watcher.started.do_send(ActorStarted { name: name.clone(), observe, restarts: restarts.clone() });
    }
    // Of the highest level, or a filter for errors alone would take the names off them. Without a parent: whoever
    // starts an actor has no part in what it says.
    let span =
        tracing::error_span!(parent: None, "actor", service = supervisor.service, actor = %name, user_id = name.user());
    actix::spawn(Supervisor::new(ctx.into_future(actor), supervisor.clone(), name, restarts).instrument(span));
    address
}

/// Runs `work` outside the actor; its result, or its panic, comes back as a message.
///
/// The work is not cancelled when the actor restarts: an answer must name what it answers, and one that nobody
/// waits for any more is ignored.
pub fn spawn_io<A, F, M>(
    ctx: &mut Context<A>,
    work: F,
    answer: impl FnOnce(Result<F::Output, Panicked>) -> M + 'static,
) -> tokio::task::JoinHandle<()>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result = ()> + Send + 'static,
    F: Future + 'static,
{
    let actor = ctx.address();
    #[cfg(test)]
    let work = fault_injection::with_injected_panic(actor.clone(), work);
    let answered = async move {
        let result = caught(work).await;
        actor.do_send(answer(result));
    };
    // What the work logs is the actor's word too.
    actix::spawn(answered.in_current_span())
}

/// Sends the actor `look` whenever the queue's wakeups listener, and every `sweep` in case a ring was lost.
pub fn look_at<A, M>(ctx: &mut Context<A>, wakeups: &Wakeups, queue: Queue, sweep: Duration, look: fn() -> M)
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result = ()> + Send + 'static,
{
    let (actor, mut listener) = (ctx.address(), wakeups.listen(queue));
    // Part of the context, so that it ends with this life of the actor.
    ctx.spawn(fut::wrap_future(async move {
        loop {
            // A sweep that finds nothing and a ring mean the same.
            let _ = tokio::time::timeout(sweep, listener.notified()).await;
            actor.do_send(look());
        }
    }));
}

/// Runs `work` and turns its panic into an error.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| Panicked(panic_text(panic.as_ref())))
}

/// What `work` brought; its panic becomes the actor's own, whose next life finds out what was done.
#[track_caller]
pub fn or_panic<T>(result: Result<T, Panicked>, work: &str) -> T {
    result.unwrap_or_else(|panicked| panic!("{work}: {panicked}"))
}

/// How long to wait before trying for the `attempt`th time (from 1): doubled each time, up to `most`, with a
/// fifth of jitter so that many who failed together do not come back together.
pub fn back_off(first: Duration, most: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(most);
    doubled.mul_f64(rand::rng().random_range(0.8..1.2))
}

/// Counts restarts in a sliding minute.
#[derive(Debug, Default)]
pub struct RestartBudget(VecDeque<Timestamp>);

impl RestartBudget {
    /// True while the restarts of the last minute are no burst.
    pub fn allows(&mut self, now: Timestamp) -> bool {
        while self.0.front().is_some_and(|first| now.millis_since(*first) >= BUDGET_WINDOW_MS) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() <= RESTARTS_ALLOWED
    }

    pub fn recent(&self) -> usize {
        self.0.len()
    }
}

/// Owns an actor's context: a panic from any handler or future of it ends in `restart`, mail and address intact.
struct Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    actor: ContextFut<A, Context<A>>,
    supervisor: SupervisorContext,
    released: Option<Pin<Box<dyn Future<Output = ()>>>>,
    name: ActorName,
    restarts: Arc<AtomicU32>,
    budget: RestartBudget,
    resting: Option<Pin<Box<Sleep>>>,
}

impl<A> Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    fn new(
        actor: ContextFut<A, Context<A>>,
        supervisor: SupervisorContext,
        name: ActorName,
        restarts: Arc<AtomicU32>,
    ) -> Self {
        let released = supervisor.released.clone().map(|mut scope| -> Pin<Box<dyn Future<Output = ()>>> {
            // An error means the leash is gone, which is what we wait for.
            Box::pin(async move { while scope.changed().await.is_ok() {} })
        });
        Self { actor, supervisor, released, name, restarts, budget: RestartBudget::default(), resting: None }
    }

    /// Notes why the actor ended and rests before its restart. False when it has failed too often.
    fn rest(&mut self, cause: String) -> bool {
        let now = self.supervisor.clock.now();
        let restarts = self.restarts.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(restarts, cause, "actor ended and will be restarted");
        if !self.budget.allows(now) {
            self.supervisor.fail(self.name.clone(), cause);
            return false;
        }
        let recent = u32::try_from(self.budget.recent()).unwrap_or(u32::MAX);
        self.resting = Some(Box::pin(tokio::time::sleep(back_off(BACK_OFF, BACK_OFF_MAX, recent))));
        if let Some(watcher) = &self.supervisor.watcher {
            watcher.restarted.do_send(RestartReported { name: self.name.clone(), restarts, cause, at: now });
        }
        true
    }

    /// The actor ends for good. `gracefully`: its `stopped` is called.
    fn end(&mut self, gracefully: bool, task: &mut TaskContext<'_>) {
        if gracefully {
            self.actor.ctx().stop();
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.actor).poll(task)));
        }
        // A context that is not terminated would poll itself once more when dropped, and might panic there.
        self.actor.ctx().terminate();
        if let Some(watcher) = &self.supervisor.watcher {
            watcher.ended.do_send(ActorEnded { name: self.name.clone(), restarts: self.restarts.clone() });
        }
    }
}

impl<A> Future for Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.released.as_mut().is_some_and(|released| released.as_mut().poll(task).is_ready()) {
            let gracefully = this.resting.is_none();
            this.end(gracefully, task);
            return Poll::Ready(());
        }
        loop {
            let mut restarting = false;
            if let Some(rest) = &mut this.resting {
                std::task::ready!(rest.as_mut().poll(task));
                this.resting = None;
                restarting = true;
            }
            let actor = &mut this.actor;
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
                // Without any address left nobody can want the actor back.
                if restarting && !actor.restart() {
                    Poll::Ready(false)
                } else {
                    Pin::new(actor).poll(task).map(|()| true)
                }
            }));
            let cause = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(false)) => {
                    this.end(false, task);
                    return Poll::Ready(());
                }
                Ok(Poll::Ready(true)) if !this.actor.ctx().connected() => {
                    this.end(false, task);
                    return Poll::Ready(());
                }
                Ok(Poll::Ready(true)) => "it stopped".to_owned(),
                Err(panic) => format!("it panicked: {}", panic_text(panic.as_ref())),
            };
            if !this.rest(cause) {
                this.end(false, task);
                return Poll::Ready(());
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "no text".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod fault_injection;
#[cfg(test)]
mod tests;
