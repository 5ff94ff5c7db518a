//! The numbers that the bot counts while it works, for Prometheus (spec 13).
//!
//! In    [`Metrics`], which each part gets when it is built. It is not global, so two bots in one process do not mix.
//! Out   numbers for the page that `health` writes.
//!
//! We do not use the `metrics` crate with its exporter. Its recorder is global to the process unless every handle is
//! passed along as here; it keeps each observation in memory until the next scrape; and it goes on showing a gauge
//! whose subject is gone. Without it we need only a few atomics and a page of text.

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
use crate::domain::events::reading::Reader;

/// Every number that is counted when something happens. Numbers that can be read from the database are read at a
/// scrape.
#[derive(Debug)]
pub struct Metrics {
    /// Time from a fill to its detection in the canonical feed.
    pub detection: Histogram,
    /// Time from the moment an attempt is due (detection plus window plus latency) to its commit.
    pub decision: Histogram,
    /// Time from requesting a group's book to having it, or to knowing that there is none.
    pub book_fetch: Histogram,
    /// Number of requests in one ledger commit.
    pub commit_size: Histogram,
    /// Duration of a ledger commit.
    pub commit: Histogram,
    pub commits_failed: Counter,
    pub attempts: Attempts,
    pub restarts: Restarts,
    pub live_sockets: Gauge,
    /// Rows that appeared in spans that had been read before, by the reader that found them.
    pub late_rows: LateRows,
    /// Answers of the Data API that were not taken, because their rows are of other wallets.
    pub answers_refused: Counter,
    /// Unreadable rows that were not kept, because a poll or an hour brought too many.
    pub unreadable_left_out: Counter,
    /// Wrong tokens and wrong login links.
    pub refused_attempts: Counter,
}

/// Numbers of committed attempts.
#[derive(Debug)]
pub struct Attempts {
    decisions: BTreeMap<(PortfolioScope, DecisionKind), Counter>,
    reasons: BTreeMap<ReasonCode, Counter>,
}

/// Numbers of late rows by reader.
#[derive(Debug, Default)]
pub struct LateRows([Counter; Reader::ALL.len()]);

/// Numbers of actor restarts by job: for example, `poller` for the pollers of all users.
#[derive(Debug, Default)]
pub struct Restarts(Mutex<BTreeMap<String, u64>>);

/// Counts one open page; the page counts as closed when this value is dropped.
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
            late_rows: LateRows::default(),
            answers_refused: Counter::default(),
            unreadable_left_out: Counter::default(),
            refused_attempts: Counter::default(),
        }
    }
}

impl Default for Attempts {
    /// Holds every possible counter from the start, so that a rate can be computed from zero.
    fn default() -> Self {
        let scopes = [PortfolioScope::ExecUser, PortfolioScope::ExecGlobal];
        let kinds = scopes.into_iter().flat_map(|scope| DecisionKind::ALL.iter().map(move |kind| (scope, *kind)));
        Self {
            decisions: kinds.map(|key| (key, Counter::default())).collect(),
            reasons: ReasonCode::ALL.iter().map(|reason| (*reason, Counter::default())).collect(),
        }
    }
}

impl LateRows {
    /// Counts `n` late rows that `reader` found.
    pub fn count(&self, reader: Reader, n: u64) {
        if let Some(place) = Reader::ALL.iter().position(|known| *known == reader)
            && let Some(counter) = self.0.get(place)
        {
            counter.add(n);
        }
    }

    /// Returns the number of each reader.
    pub fn by_reader(&self) -> impl Iterator<Item = (Reader, u64)> {
        Reader::ALL.iter().copied().zip(self.0.iter().map(Counter::value))
    }
}

impl Attempts {
    /// Counts a committed attempt.
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
    /// Counts a restart of an actor with this job.
    pub fn count(&self, job: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(job) {
            Some(count) => *count += 1,
            None => drop(counts.insert(job.to_owned(), 1)),
        }
    }

    /// Returns the number of restarts of each job.
    pub fn by_job(&self) -> BTreeMap<String, u64> {
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
