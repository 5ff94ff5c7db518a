//! What is counted while the bot works, for Prometheus (spec section 13).
//!
//! In    `Metrics`, which each part is given when it is built; nobody finds it by himself, so two apps do not mix.
//! Out   numbers for the page that `health` writes.
//!
//! Our own, and not the `metrics` crate with its exporter: their recorder is one for the whole process unless every
//! handle is passed by hand as here, keeps each observation in memory until somebody scrapes, and goes on showing a
//! gauge whose subject is gone. What is left to do is a handful of atomics and a page of text.

mod exposition;
mod instruments;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use exposition::{Exposition, Labels};
pub use instruments::{Counter, Gauge, Histogram};

use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;

/// Everything that is counted as it happens. What can be looked up is looked up when somebody asks.
#[derive(Debug)]
pub struct Metrics {
    /// From a fill's time to its being seen in the canonical feed.
    pub detection: Histogram,
    /// From when an attempt is due, which is its window and its latency after the detection, to its commit.
    pub decision: Histogram,
    /// From asking for a group's book to having it, or knowing that there is none.
    pub book_fetch: Histogram,
    /// Requests written by one ledger commit.
    pub commit_size: Histogram,
    /// From a ledger commit's begin to its end.
    pub commit: Histogram,
    pub commits_failed: Counter,
    pub attempts: Attempts,
    pub restarts: Restarts,
    pub live_sockets: Gauge,
}

/// Committed attempts.
#[derive(Debug)]
pub struct Attempts {
    decisions: BTreeMap<(PortfolioScope, DecisionKind), Counter>,
    reasons: BTreeMap<ReasonCode, Counter>,
}

/// Restarts of actors by their trade: `poller`, whichever user it is for.
#[derive(Debug, Default)]
pub struct Restarts(Mutex<BTreeMap<String, u64>>);

/// A page that is open for as long as this lives.
#[derive(Debug)]
pub struct OpenSocket(Arc<Metrics>);

impl Default for Metrics {
    fn default() -> Self {
        Self {
            detection: Histogram::slow(),
            decision: Histogram::quick(),
            book_fetch: Histogram::quick(),
            commit_size: Histogram::pieces(),
            commit: Histogram::quick(),
            commits_failed: Counter::default(),
            attempts: Attempts::default(),
            restarts: Restarts::default(),
            live_sockets: Gauge::default(),
        }
    }
}

impl Default for Attempts {
    /// All there can be, so that a rate has a zero to begin with.
    fn default() -> Self {
        let scopes = [PortfolioScope::ExecUser, PortfolioScope::ExecGlobal];
        let kinds = scopes.into_iter().flat_map(|scope| DecisionKind::ALL.iter().map(move |kind| (scope, *kind)));
        Self {
            decisions: kinds.map(|key| (key, Counter::default())).collect(),
            reasons: ReasonCode::ALL.iter().map(|reason| (*reason, Counter::default())).collect(),
        }
    }
}

impl Attempts {
    pub fn count(&self, attempt: &CopyAttempt) {
        if let Some(counter) = self.decisions.get(&(attempt.portfolio.scope(), attempt.decision)) {
            counter.increment();
        }
        for counter in attempt.reasons.iter().filter_map(|reason| self.reasons.get(reason)) {
            counter.increment();
        }
    }

    pub fn by_decision(&self) -> impl Iterator<Item = (PortfolioScope, DecisionKind, u64)> {
        self.decisions.iter().map(|((scope, kind), counter)| (*scope, *kind, counter.value()))
    }

    pub fn by_reason(&self) -> impl Iterator<Item = (ReasonCode, u64)> {
        self.reasons.iter().map(|(reason, counter)| (*reason, counter.value()))
    }
}

impl Restarts {
    pub fn count(&self, trade: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(trade) {
            Some(count) => *count += 1,
            None => drop(counts.insert(trade.to_owned(), 1)),
        }
    }

    pub fn by_trade(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OpenSocket {
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.live_sockets.increment();
        Self(metrics.clone())
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.live_sockets.decrement();
    }
}
