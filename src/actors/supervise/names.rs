//! Names of actors, and the messages between a supervised actor, its supervisor and its watcher.

use std::{
    fmt,
    fmt::Display,
    sync::{Arc, atomic::AtomicU32},
};

use actix::{Message, MessageResponse, Recipient};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::money::units::Timestamp;

/// The name of an actor: its job, and the followed user where each user has one. For example `ledger_writer`,
/// `poller:7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct ActorName(Arc<str>);

impl ActorName {
    /// Returns `<job>:<user>`, the name of one of several actors with the same job.
    pub fn of_user(job: &str, user: impl Display) -> Self {
        Self(format!("{job}:{user}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name without the user.
    pub fn job(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(job, _)| job)
    }

    /// Returns the followed user in the name; `None` for an actor that is not per user.
    pub fn user(&self) -> Option<&str> {
        self.0.split_once(':').map(|(_, user)| user)
    }
}

impl From<&str> for ActorName {
    fn from(job: &str) -> Self {
        Self(job.into())
    }
}

impl Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Asks an actor for its state. An actor that misses several of these in a row counts as failed.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Observed")]
pub struct Observe;

/// A small summary of an actor's state, for health, the status page and tests.
#[derive(MessageResponse, Debug, Clone, PartialEq, serde::Serialize)]
pub struct Observed {
    pub state: serde_json::Value,
    /// When the actor last did its job.
    pub last_activity: Option<Timestamp>,
}

impl Observed {
    /// Returns an observation of `state`, which must have text keys and plain values.
    pub fn new(state: impl Serialize, last_activity: Option<Timestamp>) -> Self {
        let state = serde_json::to_value(state).expect("text keys and plain values always serialise");
        Self { state, last_activity }
    }

    /// Returns the state as `S`, or the default of `S` when the state has another shape.
    pub fn read<S: DeserializeOwned + Default>(&self) -> S {
        S::deserialize(&self.state).unwrap_or_default()
    }
}

/// A supervised actor was started and can be observed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ActorStarted {
    pub name: ActorName,
    pub observe: Recipient<Observe>,
    /// Counted by the actor's supervisor.
    pub restarts: Arc<AtomicU32>,
}

/// An actor stopped or panicked, and will be restarted on the same address.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct RestartReported {
    pub name: ActorName,
    pub restarts: u32,
    pub cause: String,
    pub at: Timestamp,
}

/// A supervised actor has ended for good.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ActorEnded {
    pub name: ActorName,
    /// The counter from [`ActorStarted`]: comparing the pointers tells this actor from a successor with the same name.
    pub restarts: Arc<AtomicU32>,
}

/// Why the process must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("actor `{actor}` keeps failing: {cause}")]
    Actor { actor: ActorName, cause: String },
    /// Something outside of the actors: what happened, and what to do.
    #[error("{0}")]
    Outside(String),
}
