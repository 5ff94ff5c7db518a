//! The future that owns an actor's context and restarts the actor when it panics or stops.

use std::{
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

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Supervised, dev::ContextFut};
use tokio::time::Sleep;
use tracing::Instrument;

use super::{
    FaultInjection,
    io::panic_text,
    names::{ActorEnded, ActorName, ActorStarted, Observe, RestartReported},
    restart_budget::{RestartBudget, back_off},
    scope::SupervisorContext,
};

const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
const MAILBOX: usize = 16;

/// Starts an actor that is restarted after a panic. Its `restarting` must replace the whole value of the actor, because
/// a panic may leave it half changed.
pub fn start_supervised<A>(supervisor: &SupervisorContext, name: impl Into<ActorName>, actor: A) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised + Handler<Observe> + FaultInjection,
{
    start_supervised_at(Context::new(), supervisor, name, actor)
}

/// Does the same as [`start_supervised`] for an actor whose address was needed before the actor could be built.
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
    super::fault_injection::note(&name, &address, &restarts);
    if let Some(watcher) = &supervisor.watcher {
        let observe = address.clone().recipient();
        watcher.started.do_send(ActorStarted { name: name.clone(), observe, restarts: restarts.clone() });
    }
    // The span has the highest level: a log filter that keeps only errors would otherwise drop the actor's name from
    // them. It has no parent: the span of the code that starts an actor has nothing to do with the actor's log lines.
    let span =
        tracing::error_span!(parent: None, "actor", service = supervisor.service, actor = %name, user_id = name.user());
    actix::spawn(Supervisor::new(ctx.into_future(actor), supervisor.clone(), name, restarts).instrument(span));
    address
}

/// Owns an actor's context: after a panic in any of its handlers or futures the actor restarts, with the same address
/// and with its queued messages.
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
            // An error means that the scope was dropped, which is what we wait for.
            Box::pin(async move { while scope.changed().await.is_ok() {} })
        });
        Self { actor, supervisor, released, name, restarts, budget: RestartBudget::default(), resting: None }
    }

    /// Records why the actor ended and starts the wait before its restart. Returns false when it has failed too often.
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

    /// Ends the actor for good; with `gracefully`, its `stopped` is called.
    fn end(&mut self, gracefully: bool, task: &mut TaskContext<'_>) {
        if gracefully {
            self.actor.ctx().stop();
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.actor).poll(task)));
        }
        // A context that is not terminated polls itself once more when it is dropped, and may panic there.
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
                // When no address is left, no message can reach the actor: it need not restart.
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
