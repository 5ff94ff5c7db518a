//! Names of actors, and what a supervised actor and its watcher say to each other.

use std::{
    fmt,
    fmt::Display,
    sync::{Arc, atomic::AtomicU32},
};

use actix::{Message, MessageResponse, Recipient};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::money::units::Timestamp;

/// `ledger_writer`, `poller:7`: the job, and the followed user where there is one actor for each.
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

    /// Returns the followed user that the actor works for, as the name tells it.
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

/// Asks an actor for its state. An actor that does not answer in time counts as failed.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Observed")]
pub struct Observe;

/// An actor's small state, for health, the status page and tests.
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

    /// Returns the state as `S`, which takes its default when the state is of another kind.
    pub fn read<S: DeserializeOwned + Default>(&self) -> S {
        S::deserialize(&self.state).unwrap_or_default()
    }
}

/// A supervised actor runs and can be observed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ActorStarted {
    pub name: ActorName,
    pub observe: Recipient<Observe>,
    /// Counted by the actor's supervisor.
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

/// A supervised actor has ended for good and is no longer watched.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ActorEnded {
    pub name: ActorName,
    /// The count that came with [`ActorStarted`]: it tells the actor from a successor of the same name.
    pub restarts: Arc<AtomicU32>,
}

/// Why the process must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("actor `{actor}` keeps failing: {cause}")]
pub struct Failure {
    pub actor: ActorName,
    pub cause: String,
}
