//! Requests between their acceptance and their commit: gathered while one commit is in flight, then written together.
//!
//! In    accepted requests, whose entries the running portfolios already hold; what became of each commit.
//! Out   batches to write, and the portfolios whose running state can no longer be trusted.
//!
//! A commit is all or nothing: when one request of it turns out to be known or to have lost its job, those behind it
//! on the same portfolio were decided on a state that never was, so none of them may stay.

use std::collections::{BTreeSet, VecDeque};

use super::{Answer, Recorded, Refused};
use crate::db::{Committed, DbError, LedgerWrite, Standing};
use crate::domain::accounting::ledger::PortfolioId;

/// Requests of one commit at most: enough to hide the cost of a flush, few enough to keep it within milliseconds.
pub(super) const COMMIT_MAX: usize = 512;

/// An accepted request.
#[derive(Debug)]
pub(super) struct Request {
    pub write: LedgerWrite,
    pub answer: Answer,
    /// The answer after the commit. `Known` for what is left of a request that was recorded before: its job.
    pub gives: Recorded,
}

#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    waiting: VecDeque<Request>,
    flying: Vec<(Answer, Recorded)>,
    /// Requests at the front that must be written one by one, to find the one that no commit takes.
    alone: usize,
}

/// What a finished commit leaves behind.
#[derive(Debug, Default)]
pub(super) struct Landing {
    /// The requests that are durable now.
    pub written: Vec<LedgerWrite>,
    pub last_entry: Option<i64>,
    /// The commit was written, all of it.
    pub is_complete: bool,
    /// Portfolios that hold entries which are not in the database, or lack some that are.
    pub distrusted: BTreeSet<PortfolioId>,
}

impl CommitQueue {
    pub fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    pub fn is_flying(&self) -> bool {
        !self.flying.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// The next batch; empty while one is in flight or nothing waits. `all` takes more than is good for latency.
    pub fn take(&mut self, all: bool) -> Vec<LedgerWrite> {
        if self.is_flying() {
            return Vec::new();
        }
        let n = match (self.alone, all) {
            (0, true) => self.waiting.len(),
            (0, false) => self.waiting.len().min(COMMIT_MAX),
            _ => self.waiting.len().min(1),
        };
        self.alone = self.alone.saturating_sub(n);
        let mut writes = Vec::with_capacity(n);
        for request in self.waiting.drain(..n) {
            writes.push(request.write);
            self.flying.push((request.answer, request.gives));
        }
        writes
    }

    /// True when the next batch is all that waits.
    pub fn takes_all(&self) -> bool {
        self.alone == 0
    }

    /// Answers the requests of a finished commit, or puts them back.
    pub fn land(&mut self, writes: Vec<LedgerWrite>, result: Result<Committed, DbError>) -> Landing {
        match result {
            Ok(Committed::All { last_entry }) => {
                for (answer, gives) in self.flying.drain(..) {
                    let _ = answer.send(Ok(gives));
                }
                Landing { written: writes, last_entry, is_complete: true, ..Landing::default() }
            }
            Ok(Committed::Nothing(standings)) => self.taken_back(writes, &standings),
            Err(error) if error.is_transient() || writes.len() == 1 => {
                let distrusted = writes.iter().flat_map(moved).collect();
                self.lost(Refused::Failed { error: error.to_string(), transient: error.is_transient() });
                self.refuse_waiting(&distrusted);
                Landing { distrusted, ..Landing::default() }
            }
            Err(_) => {
                self.alone = writes.len();
                let requests: Vec<_> = self.requests(writes).collect();
                self.put_back(requests);
                Landing::default()
            }
        }
    }

    /// Refuses what is in flight when nobody knows what became of it.
    pub fn lost(&mut self, refused: Refused) {
        for (answer, _) in self.flying.drain(..) {
            let _ = answer.send(Err(refused.clone()));
        }
    }

    /// Refuses everything that waits on these portfolios: it was decided on a state that is gone.
    pub fn refuse_waiting(&mut self, distrusted: &BTreeSet<PortfolioId>) {
        let (refused, kept): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|request| is_on(&request.write, distrusted));
        self.waiting = kept;
        self.alone = self.alone.min(self.waiting.len());
        for request in refused {
            let _ = request.answer.send(Err(Refused::Stale));
        }
    }

    /// The commit wrote nothing, because of the requests that are not `New`.
    fn taken_back(&mut self, writes: Vec<LedgerWrite>, standings: &[Standing]) -> Landing {
        let at_fault = writes.iter().zip(standings).filter(|(_, standing)| **standing != Standing::New);
        let distrusted: BTreeSet<_> = at_fault.flat_map(|(write, _)| moved(write)).collect();
        let mut again = Vec::new();
        for (mut request, standing) in self.requests(writes).zip(standings) {
            match standing {
                Standing::Known => {
                    let finishes = std::mem::take(&mut request.write.finishes);
                    request.write = LedgerWrite { finishes, ..LedgerWrite::default() };
                    request.gives = Recorded::Known;
                    again.push(request);
                }
                Standing::FenceLost => drop(request.answer.send(Err(Refused::FenceLost))),
                Standing::New if is_on(&request.write, &distrusted) => {
                    let _ = request.answer.send(Err(Refused::Stale));
                }
                Standing::New => again.push(request),
            }
        }
        self.put_back(again);
        self.refuse_waiting(&distrusted);
        Landing { distrusted, ..Landing::default() }
    }

    fn requests(&mut self, writes: Vec<LedgerWrite>) -> impl Iterator<Item = Request> + use<> {
        let answers = std::mem::take(&mut self.flying);
        writes.into_iter().zip(answers).map(|(write, (answer, gives))| Request { write, answer, gives })
    }

    /// Back to the front, in order.
    fn put_back(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            self.waiting.push_front(request);
        }
    }
}

/// The portfolios that a request moves.
pub(super) fn moved(write: &LedgerWrite) -> impl Iterator<Item = PortfolioId> {
    write.entries.iter().map(|entry| entry.portfolio)
}

/// A decision stands on its portfolio even when it moves nothing.
fn is_on(write: &LedgerWrite, portfolios: &BTreeSet<PortfolioId>) -> bool {
    write.portfolios().any(|portfolio| portfolios.contains(&portfolio))
}
