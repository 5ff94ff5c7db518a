//! The context that actors are started under, and the scope that ends them together.

use actix::{Addr, Handler, Recipient, dev::ToEnvelope};
use tokio::sync::{mpsc, watch};

use super::names::{ActorEnded, ActorName, ActorStarted, Failure, RestartReported};
use crate::clock::Clock;

/// What a supervised actor needs when it starts: the clock, where failures are reported, the watcher and the scope.
/// Cheap to clone; may be sent to another thread.
#[derive(Debug, Clone)]
pub struct SupervisorContext {
    pub(super) clock: Clock,
    /// The service that is named in the log lines of these actors.
    pub(super) service: &'static str,
    failures: mpsc::UnboundedSender<Failure>,
    pub(super) watcher: Option<Watcher>,
    pub(super) released: Option<watch::Receiver<()>>,
}

/// Holds the actors started under one [`SupervisorContext::scope`]; dropping it ends them.
#[derive(Debug)]
pub struct ActorScope {
    _held: watch::Sender<()>,
}

/// The actor that receives the starts, restarts and ends of the others.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    pub started: Recipient<ActorStarted>,
    pub restarted: Recipient<RestartReported>,
    pub ended: Recipient<ActorEnded>,
}

impl SupervisorContext {
    /// Returns a context, and the receiver of the [`Failure`] that must end the process.
    pub fn new(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Failure>) {
        let (failures, receiver) = mpsc::unbounded_channel();
        (Self { clock, service: "worker", failures, watcher: None, released: None }, receiver)
    }

    /// Returns a context for the actors of another service than the worker.
    #[must_use]
    pub fn of_service(&self, service: &'static str) -> Self {
        Self { service, ..self.clone() }
    }

    /// Returns a context that reports to `watcher` every actor started under it.
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

    /// Returns a context whose actors end when the scope is dropped, even if their addresses are still held.
    #[must_use]
    pub fn scope(&self) -> (Self, ActorScope) {
        let (sender, receiver) = watch::channel(());
        (Self { released: Some(receiver), ..self.clone() }, ActorScope { _held: sender })
    }

    /// Reports a [`Failure`]; the code that holds the receiver then ends the process.
    pub fn fail(&self, actor: ActorName, cause: impl Into<String>) {
        // Without a receiver the process is already stopping.
        let _ = self.failures.send(Failure::Actor { actor, cause: cause.into() });
    }

    /// Ends the process for a reason that is not an actor's: `line` says what happened and what to do.
    pub fn end(&self, line: String) {
        let _ = self.failures.send(Failure::Outside(line));
    }
}
