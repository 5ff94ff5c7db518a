//! The requests that came in.

use std::collections::VecDeque;

use super::request::{Heard, Host};

/// Requests kept for tests to look at.
const KEPT_MAX: usize = 20_000;

/// The newest requests in the order they came in, and a count of all.
#[derive(Debug, Default)]
pub struct RequestLog {
    kept: VecDeque<Heard>,
    n_ever: u64,
}

impl RequestLog {
    /// Adds a request; drops the oldest one when the log is full.
    pub fn push(&mut self, request: Heard) {
        self.n_ever += 1;
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(request);
    }

    /// Returns the kept requests, oldest first: at most the newest 20,000.
    pub fn iter(&self) -> impl Iterator<Item = &Heard> {
        self.kept.iter()
    }

    /// Returns how many kept requests to `host` have `part` in their path and query.
    pub fn count(&self, host: Host, part: &str) -> usize {
        let matches = |kept: &&Heard| kept.host == host && format!("{}?{}", kept.path, kept.query).contains(part);
        self.kept.iter().filter(matches).count()
    }

    /// Returns how many requests came in since the start.
    pub fn n_ever(&self) -> u64 {
        self.n_ever
    }
}
