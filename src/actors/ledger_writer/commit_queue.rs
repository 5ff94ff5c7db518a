//! Requests between their acceptance and their commit: collected while one commit is in flight, then written together.
//!
//! In    accepted requests, whose entries the running portfolios already contain; the result of each commit.
//! Out   batches to write, and the portfolios whose running state is wrong and must be loaded again.
//!
//! A commit writes all of its requests or none. When one of them is already recorded or has lost its job, the requests
//! behind it on the same portfolio were decided on a state that never existed, so all of them are refused.

use std::collections::{BTreeSet, VecDeque};

use super::{Answer, Recorded, Refused};
use crate::db::{Committed, DbError, LedgerWrite, Standing};
use crate::domain::accounting::ledger::PortfolioId;

/// Requests of one commit at most: enough to share the cost of a flush, few enough to commit within milliseconds.
pub(super) const COMMIT_MAX: usize = 512;

/// An accepted request.
#[derive(Debug)]
pub(super) struct Request {
    pub write: LedgerWrite,
    pub answer: Answer,
    /// The answer after the commit. [`Recorded::Known`] for a request that was recorded before, of which only the job
    /// is left to finish.
    pub outcome: Recorded,
}

#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    waiting: VecDeque<Request>,
    /// The answers of the requests in the running commit.
    in_flight: Vec<(Answer, Recorded)>,
    /// Requests at the front that must be written one by one, to find the one that the database refuses.
    one_by_one: usize,
}

/// The effects of a finished commit.
#[derive(Debug, Default)]
pub(super) struct CommitEffects {
    /// The requests that are committed.
    pub written: Vec<LedgerWrite>,
    pub last_entry: Option<i64>,
    /// The commit wrote all of its requests.
    pub is_complete: bool,
    /// Portfolios whose running state has entries that are not in the database, or lacks entries that are.
    pub to_reload: BTreeSet<PortfolioId>,
}

impl CommitQueue {
    pub fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Returns whether a commit is in flight.
    pub fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Returns the number of requests that are not committed yet.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Returns the next batch; empty while a commit is in flight or no request waits. `all` takes all waiting requests,
    /// even more than is good for latency.
    pub fn take(&mut self, all: bool) -> Vec<LedgerWrite> {
        if self.is_in_flight() {
            return Vec::new();
        }
        let n = match (self.one_by_one, all) {
            (0, true) => self.waiting.len(),
            (0, false) => self.waiting.len().min(COMMIT_MAX),
            _ => self.waiting.len().min(1),
        };
        self.one_by_one = self.one_by_one.saturating_sub(n);
        let mut writes = Vec::with_capacity(n);
        for request in self.waiting.drain(..n) {
            writes.push(request.write);
            self.in_flight.push((request.answer, request.outcome));
        }
        writes
    }

    /// Returns true when the next batch can take all waiting requests.
    pub fn takes_all(&self) -> bool {
        self.one_by_one == 0
    }

    /// Answers the requests of a finished commit, or puts them back to be written again.
    pub fn finish(&mut self, writes: Vec<LedgerWrite>, result: Result<Committed, DbError>) -> CommitEffects {
        match result {
            Ok(Committed::All { last_entry }) => {
                for (answer, outcome) in self.in_flight.drain(..) {
                    let _ = answer.send(Ok(outcome));
                }
                CommitEffects { written: writes, last_entry, is_complete: true, ..CommitEffects::default() }
            }
            Ok(Committed::Nothing(standings)) => self.rolled_back(writes, &standings),
            Err(error) if error.is_transient() || writes.len() == 1 => {
                let to_reload = writes.iter().flat_map(moved).collect();
                self.refuse_in_flight(Refused::Failed { error: error.to_string(), transient: error.is_transient() });
                self.refuse_waiting(&to_reload);
                CommitEffects { to_reload, ..CommitEffects::default() }
            }
            Err(_) => {
                self.one_by_one = writes.len();
                let requests: Vec<_> = self.requests(writes).collect();
                self.put_back(requests);
                CommitEffects::default()
            }
        }
    }

    /// Refuses the requests in flight, because they were not written or the result of their commit is unknown.
    pub fn refuse_in_flight(&mut self, refused: Refused) {
        for (answer, _) in self.in_flight.drain(..) {
            let _ = answer.send(Err(refused.clone()));
        }
    }

    /// Refuses the waiting requests on these portfolios, because they were decided on a state that is discarded.
    pub fn refuse_waiting(&mut self, to_reload: &BTreeSet<PortfolioId>) {
        let (refused, kept): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|request| concerns(&request.write, to_reload));
        self.waiting = kept;
        self.one_by_one = self.one_by_one.min(self.waiting.len());
        for request in refused {
            let _ = request.answer.send(Err(Refused::Stale));
        }
    }

    /// Handles a commit that wrote nothing, because some of its requests are not [`Standing::New`].
    fn rolled_back(&mut self, writes: Vec<LedgerWrite>, standings: &[Standing]) -> CommitEffects {
        let at_fault = writes.iter().zip(standings).filter(|(_, standing)| **standing != Standing::New);
        let to_reload: BTreeSet<_> = at_fault.flat_map(|(write, _)| moved(write)).collect();
        let mut again = Vec::new();
        for (mut request, standing) in self.requests(writes).zip(standings) {
            match standing {
                Standing::Known => {
                    let finishes = std::mem::take(&mut request.write.finishes);
                    request.write = LedgerWrite { finishes, ..LedgerWrite::default() };
                    request.outcome = Recorded::Known;
                    again.push(request);
                }
                Standing::FenceLost => drop(request.answer.send(Err(Refused::FenceLost))),
                Standing::New if concerns(&request.write, &to_reload) => {
                    let _ = request.answer.send(Err(Refused::Stale));
                }
                Standing::New => again.push(request),
            }
        }
        self.put_back(again);
        self.refuse_waiting(&to_reload);
        CommitEffects { to_reload, ..CommitEffects::default() }
    }

    /// Rebuilds the requests of the commit that was in flight.
    fn requests(&mut self, writes: Vec<LedgerWrite>) -> impl Iterator<Item = Request> + use<> {
        let answers = std::mem::take(&mut self.in_flight);
        writes.into_iter().zip(answers).map(|(write, (answer, outcome))| Request { write, answer, outcome })
    }

    /// Puts requests back to the front, in order.
    fn put_back(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            self.waiting.push_front(request);
        }
    }
}

/// Returns the portfolio of each entry of a request.
pub(super) fn moved(write: &LedgerWrite) -> impl Iterator<Item = PortfolioId> {
    write.entries.iter().map(|entry| entry.portfolio)
}

/// Returns whether a request concerns one of the portfolios. A decision concerns its portfolio even without an entry.
fn concerns(write: &LedgerWrite, portfolios: &BTreeSet<PortfolioId>) -> bool {
    write.portfolios().any(|portfolio| portfolios.contains(&portfolio))
}
