//! Work outside an actor: it runs while the actor handles other messages, and a function of the actor handles its
//! result.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// The result of work that [`spawn_io`] ran.
pub type IoResult<T, E> = Result<T, IoError<E>>;

/// Why work did not end with a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IoError<E> {
    #[error("{0}")]
    Failed(E),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// The text of a caught panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task panicked: {0}")]
pub struct Panicked(pub String);

/// One incarnation of an actor: the time from its start, or from a restart, to the next restart. An actor holds it as a
/// field; `restarting` replaces the actor's value and so begins a new one.
#[derive(Debug, Default)]
pub struct Incarnation(Arc<()>);

/// Tells whether a message belongs to the current incarnation of an actor.
#[derive(Debug, Clone)]
pub struct IncarnationStamp(Weak<()>);

/// An answer on its way to the actor `A`. `observable!` implements its handler.
pub struct IoAnswer<A: Actor>(Box<AnswerHandler<A>>);

type AnswerHandler<A> = dyn FnOnce(&mut A, &mut <A as Actor>::Context) + Send;

impl<E> IoError<E> {
    /// Returns the work's own error; `of_panic` makes one from a panic.
    pub fn into_failed(self, of_panic: impl FnOnce(Panicked) -> E) -> E {
        match self {
            Self::Failed(error) => error,
            Self::Panicked(panicked) => of_panic(panicked),
        }
    }
}

impl Incarnation {
    /// Returns the stamp for a message that only this incarnation may handle.
    pub fn stamp(&self) -> IncarnationStamp {
        IncarnationStamp(Arc::downgrade(&self.0))
    }

    /// Does the same as [`spawn_io`], and drops the answer when the actor has restarted since.
    pub fn spawn_io<A, F, T, E>(
        &self,
        ctx: &mut Context<A>,
        work: F,
        answered: impl FnOnce(&mut A, IoResult<T, E>, &mut Context<A>) + Send + 'static,
    ) -> JoinHandle<()>
    where
        A: Actor<Context = Context<A>> + Handler<IoAnswer<A>>,
        F: Future<Output = Result<T, E>> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let asked_by = self.stamp();
        spawn_io(ctx, work, move |actor, result, ctx| {
            if asked_by.is_current() {
                answered(actor, result, ctx);
            }
        })
    }
}

impl IncarnationStamp {
    /// Returns false when the actor has restarted since the stamp was made.
    pub fn is_current(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl<A: Actor> IoAnswer<A> {
    /// Calls the function that handles the answer.
    pub fn deliver(self, actor: &mut A, ctx: &mut A::Context) {
        (self.0)(actor, ctx);
    }
}

impl<A: Actor> Message for IoAnswer<A> {
    type Result = ();
}

impl<A: Actor> fmt::Debug for IoAnswer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IoAnswer")
    }
}

/// Runs `work` outside the actor. Its result, or its panic, comes back as a message, and `answered` handles it.
///
/// A restart of the actor does not cancel the work, and the next incarnation handles the answer. Use
/// [`Incarnation::spawn_io`] where the answer must be dropped then.
pub fn spawn_io<A, F, T, E>(
    ctx: &mut Context<A>,
    work: F,
    answered: impl FnOnce(&mut A, IoResult<T, E>, &mut Context<A>) + Send + 'static,
) -> JoinHandle<()>
where
    A: Actor<Context = Context<A>> + Handler<IoAnswer<A>>,
    F: Future<Output = Result<T, E>> + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let actor = ctx.address();
    #[cfg(test)]
    let work = super::fault_injection::with_injected_panic(actor.clone(), work);
    let run = async move {
        let result = match caught(work).await {
            Ok(result) => result.map_err(IoError::Failed),
            Err(panicked) => Err(IoError::Panicked(panicked)),
        };
        actor.do_send(IoAnswer(Box::new(move |actor: &mut A, ctx: &mut Context<A>| answered(actor, result, ctx))));
    };
    // In the actor's span, so that the log lines of the work name the actor too.
    actix::spawn(run.in_current_span())
}

/// Runs `work` and turns its panic into an error.
///
/// # Errors
/// [`Panicked`], with the text of the panic.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| Panicked(panic_text(panic.as_ref())))
}

/// Returns the result of the work. A panic of the work becomes a panic of the actor, so that the actor restarts and
/// reads from the database how far the work got.
///
/// # Errors
/// The work's own error.
#[track_caller]
pub fn or_panic<T, E>(result: IoResult<T, E>, work: &str) -> Result<T, E> {
    match result {
        Ok(result) => Ok(result),
        Err(IoError::Failed(error)) => Err(error),
        Err(IoError::Panicked(panicked)) => panic!("{work}: {panicked}"),
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "no text".to_owned(),
    }
}
