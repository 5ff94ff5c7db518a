//! The registry of running actors, and the state of each as it was last observed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use actix::Recipient;
use serde::Serialize;

use crate::actors::supervise::{ActorEnded, ActorName, ActorStarted, Observe, Observed, RestartReported};
use crate::domain::money::units::Timestamp;

/// An actor that misses this many observations in a row counts as lost, and the process ends.
pub(super) const SILENCES_ALLOWED: u32 = 6;

/// An actor as the status page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActorHealth {
    pub name: ActorName,
    /// `None` until the actor has answered once.
    pub observed: Option<Observed>,
    pub restarts: u32,
    pub last_restart: Option<Timestamp>,
    pub last_cause: Option<String>,
    /// Observations missed in a row.
    pub silences: u32,
}

/// Every running actor.
#[derive(Default)]
pub(super) struct ActorRegistry(BTreeMap<ActorName, Entry>);

struct Entry {
    observe: Recipient<Observe>,
    restarts: Arc<AtomicU32>,
    observed: Option<Observed>,
    last_restart: Option<(Timestamp, String)>,
    silences: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Silences {
    pub before: u32,
    pub now: u32,
}

impl ActorRegistry {
    pub fn started(&mut self, started: ActorStarted) {
        let ActorStarted { name, observe, restarts } = started;
        self.0.insert(name, Entry { observe, restarts, observed: None, last_restart: None, silences: 0 });
    }

    /// Removes an actor that has ended. A user's actor may end after its successor has started: then the successor
    /// stays.
    pub fn ended(&mut self, ended: &ActorEnded) {
        if self.0.get(&ended.name).is_some_and(|entry| Arc::ptr_eq(&entry.restarts, &ended.restarts)) {
            self.0.remove(&ended.name);
        }
    }

    pub fn restarted(&mut self, restart: &RestartReported) {
        if let Some(entry) = self.0.get_mut(&restart.name) {
            entry.last_restart = Some((restart.at, restart.cause.clone()));
        }
    }

    pub fn recipients(&self) -> Vec<(ActorName, Recipient<Observe>)> {
        self.0.iter().map(|(name, entry)| (name.clone(), entry.observe.clone())).collect()
    }

    /// Records an observation, or that the actor did not answer.
    pub fn answered(&mut self, name: &ActorName, observed: Option<Observed>) -> Silences {
        let Some(entry) = self.0.get_mut(name) else { return Silences::default() };
        let before = entry.silences;
        match observed {
            Some(observed) => {
                entry.observed = Some(observed);
                entry.silences = 0;
            }
            None => entry.silences = before.saturating_add(1),
        }
        Silences { before, now: entry.silences }
    }

    pub fn health(&self) -> Vec<ActorHealth> {
        let health = |(name, entry): (&ActorName, &Entry)| ActorHealth {
            name: name.clone(),
            observed: entry.observed.clone(),
            restarts: entry.restarts.load(Ordering::Relaxed),
            last_restart: entry.last_restart.as_ref().map(|(at, _)| *at),
            last_cause: entry.last_restart.as_ref().map(|(_, cause)| cause.clone()),
            silences: entry.silences,
        };
        self.0.iter().map(health).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
