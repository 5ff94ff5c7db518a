//! Supervision of actors: catches their panics, restarts them on the same address, asks them for their state.
//!
//! In    actors, and futures that do I/O, each with the function that handles its answer.
//! Out   [`ActorStarted`], [`RestartReported`], [`ActorEnded`] to the watcher (the root actor).
//! Fails one [`Failure`] when an actor keeps failing. The code that holds the receiver must then end the process.
//!
//! Of this program it uses only the clock and the type of a time.

mod io;
mod names;
mod restart_budget;
mod scope;
mod supervisor;
#[cfg(test)]
mod tests;

pub use io::{Incarnation, IncarnationStamp, IoAnswer, IoError, IoResult, Panicked, caught, or_panic, spawn_io};
pub use names::{ActorEnded, ActorName, ActorStarted, Failure, Observe, Observed, RestartReported};
pub use restart_budget::{RESTARTS_ALLOWED, RestartBudget, back_off};
pub use scope::{ActorScope, SupervisorContext};
pub use supervisor::{start_supervised, start_supervised_at};
#[cfg(test)]
pub(crate) use tests::fault_injection;
#[cfg(test)]
pub use tests::fault_injection::FaultInjection;

/// In tests, requires that the actor handles `InjectPanic`, which crashes it; empty in production.
#[cfg(not(test))]
pub trait FaultInjection {}
#[cfg(not(test))]
impl<A> FaultInjection for A {}

/// Implements the messages that a supervised actor must handle: [`Observe`], answered by the actor's own
/// `fn observed(&self) -> Observed`, and the answers of [`spawn_io`].
macro_rules! observable {
    ($actor:ty) => {
        impl actix::Handler<$crate::actors::supervise::Observe> for $actor {
            type Result = $crate::actors::supervise::Observed;

            fn handle(&mut self, _: $crate::actors::supervise::Observe, _: &mut Self::Context) -> Self::Result {
                self.observed()
            }
        }

        impl actix::Handler<$crate::actors::supervise::IoAnswer<$actor>> for $actor {
            type Result = ();

            fn handle(&mut self, answer: $crate::actors::supervise::IoAnswer<$actor>, ctx: &mut Self::Context) {
                answer.deliver(self, ctx);
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
