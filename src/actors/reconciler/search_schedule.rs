//! The transactions of one user that the chain has shown and the API has not, and when to poll for them next.
//!
//! In    claimed jobs, the time, and the transactions that are still unconfirmed after each search.
//! Out   when to search, how far back, and which jobs have ended. Owns no timer and no database.
//!
//! A log must become a canonical row within 3 s after the API shows it. Searches at 2, 4, 8 and 16 s alone would leave
//! gaps of up to 8 s. So a user with open transactions is polled every 2 s, from start to start, which includes those
//! four times: a row waits at most 2 s for the search that finds it, and one second is left for the search itself.
//! Three rules keep the number of requests low. One search serves all transactions of a user. A burst of logs causes at
//! most one search a second. A transaction that is missing after a minute (nine in ten rows are there after 17 s) is
//! searched every 10 s, and after five minutes it is left to the regular polls and reported as unconfirmed.

use std::collections::{BTreeMap, HashSet};

use crate::domain::money::units::Timestamp;
use crate::queue::{Job, JobFence};

const EVERY_MS: i64 = 2_000;
/// The shortest time between two searches. Transactions that arrive sooner share the next search.
const APART_MS: i64 = 1_000;
const EAGER_MS: i64 = 60_000;
const SPARSE_EVERY_MS: i64 = 10_000;
const GIVE_UP_MS: i64 = 300_000;
/// The block of a fill may be dated some seconds before its log arrived.
const BEFORE_LOG_MS: i64 = 60_000;
/// A log may wait some seconds for the database: its row holds the time when it arrived, its job the time when both
/// were stored.
const BEFORE_STORED_MS: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct SearchSchedule {
    open: BTreeMap<i64, OpenTransaction>,
    /// When the last search started.
    asked_at: Option<Timestamp>,
    searching: bool,
}

#[derive(Debug)]
struct OpenTransaction {
    fence: JobFence,
    tx_hash: String,
    /// The time of the block, or when its log arrived.
    seen: Timestamp,
    /// When the log was stored with its job.
    stored_at: Timestamp,
    asked: bool,
}

/// One search: the transactions it looks for, and how far back it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub tx_hashes: HashSet<String>,
    /// The API is read from this time on.
    pub start: Timestamp,
    /// The rows of the logs were detected at this time or later.
    pub stored_since: Timestamp,
}

/// The jobs that a search ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EndedJobs {
    pub confirmed: Vec<JobFence>,
    /// Jobs of transactions that the API did not show within five minutes.
    pub given_up: Vec<(JobFence, String)>,
}

impl SearchSchedule {
    /// Adds a claimed job. If its lease had ended during a search, it is ours again, with its new fencing token.
    pub fn add(&mut self, job: &Job, tx_hash: String, seen: Timestamp) {
        let asked = self.open.get(&job.id).is_some_and(|known| known.asked);
        self.open
            .insert(job.id, OpenTransaction { fence: job.fence(), tx_hash, seen, stored_at: job.created_at, asked });
    }

    /// Returns when to search next; `None` while a search is running or no transaction is open.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.searching || self.open.is_empty() {
            return None;
        }
        let Some(asked_at) = self.asked_at else { return Some(now) };
        let wait = if self.open.values().any(|transaction| !transaction.asked) {
            APART_MS
        } else if self.open.values().any(|transaction| now.millis_since(transaction.stored_at) < EAGER_MS) {
            EVERY_MS
        } else {
            SPARSE_EVERY_MS
        };
        Some(asked_at.plus_millis(wait))
    }

    /// Starts a search for all open transactions.
    pub fn begin(&mut self, now: Timestamp) -> Option<Search> {
        let start = self.open.values().map(|transaction| transaction.seen).min()?.plus_millis(-BEFORE_LOG_MS);
        let stored_since =
            self.open.values().map(|transaction| transaction.stored_at).min()?.plus_millis(-BEFORE_STORED_MS);
        self.searching = true;
        self.asked_at = Some(now);
        for transaction in self.open.values_mut() {
            transaction.asked = true;
        }
        let tx_hashes = self.open.values().map(|transaction| transaction.tx_hash.clone()).collect();
        Some(Search { tx_hashes, start, stored_since })
    }

    /// Ends `search` and returns the jobs that it ended. `unconfirmed` is `None` when it could not be read; then no job
    /// is confirmed.
    pub fn end(&mut self, search: &Search, unconfirmed: Option<&HashSet<String>>, now: Timestamp) -> EndedJobs {
        self.searching = false;
        let mut ended = EndedJobs::default();
        self.open.retain(|_, transaction| {
            // A transaction that arrived during the search was not searched for.
            let looked_for = search.tx_hashes.contains(&transaction.tx_hash) && transaction.asked;
            if looked_for && unconfirmed.is_some_and(|open| !open.contains(&transaction.tx_hash)) {
                ended.confirmed.push(transaction.fence);
                return false;
            }
            if looked_for && now.millis_since(transaction.stored_at) >= GIVE_UP_MS {
                ended.given_up.push((transaction.fence, transaction.tx_hash.clone()));
                return false;
            }
            true
        });
        ended
    }

    /// Returns the jobs of all open transactions.
    pub fn jobs(&self) -> Vec<JobFence> {
        self.open.values().map(|transaction| transaction.fence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    fn add(schedule: &mut SearchSchedule, id: i64, stored_at: i64) {
        let job = Job {
            id,
            queue: Queue::Reconcile,
            key: String::new(),
            followed_user: None,
            payload: String::new(),
            attempts: 1,
            failures: 0,
            due: at(stored_at),
            created_at: at(stored_at),
            last_error: None,
        };
        schedule.add(&job, format!("0x{id}"), at(stored_at));
    }

    /// Searches whenever it is due, until no transaction is open, and returns the start of each search in ms. A search
    /// takes `takes` ms.
    fn searches(schedule: &mut SearchSchedule, takes: i64, confirmed_at: i64) -> Vec<i64> {
        let (mut now, mut begun) = (at(0), Vec::new());
        while let Some(due) = schedule.due(now) {
            now = now.max(due);
            begun.push(now.millis_since(at(0)));
            let search = schedule.begin(now).unwrap();
            let shown = now >= at(confirmed_at);
            now = now.plus_millis(takes);
            let open = if shown { HashSet::new() } else { search.tx_hashes.clone() };
            schedule.end(&search, Some(&open), now);
        }
        begun
    }

    #[test]
    fn a_transaction_is_searched_at_once_and_at_2_4_8_and_16_seconds_with_no_gap_over_two() {
        let mut schedule = SearchSchedule::default();
        add(&mut schedule, 1, 0);
        let begun = searches(&mut schedule, 400, 16_000);
        assert_eq!(begun, [0, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000]);
    }

    #[test]
    fn after_a_minute_the_searches_are_sparse_and_after_five_they_end() {
        let mut schedule = SearchSchedule::default();
        add(&mut schedule, 1, 0);
        let begun = searches(&mut schedule, 100, i64::MAX / 4 - 1_790_000_000_000);
        let (eager, sparse): (Vec<i64>, Vec<i64>) = begun.iter().partition(|at| **at <= EAGER_MS);
        assert_eq!((eager.len(), sparse.len()), (31, 24));
        assert!(sparse.windows(2).all(|two| two[1] - two[0] == SPARSE_EVERY_MS));
        assert_eq!(begun.last(), Some(&300_000));
        assert!(schedule.jobs().is_empty());
    }

    #[test]
    fn one_search_serves_all_and_a_burst_is_one_search_a_second() {
        let mut schedule = SearchSchedule::default();
        add(&mut schedule, 1, 0);
        let first = schedule.begin(at(0)).unwrap();
        add(&mut schedule, 2, 50);
        assert_eq!(schedule.due(at(60)), None, "one search at a time");
        let ended = schedule.end(&first, Some(&HashSet::new()), at(100));
        assert_eq!(ended.confirmed.len(), 1, "a transaction that arrived meanwhile was not searched for");
        add(&mut schedule, 3, 200);
        assert_eq!(schedule.due(at(200)), Some(at(1_000)));
        let both = schedule.begin(at(1_000)).unwrap();
        assert_eq!(both.tx_hashes.len(), 2);
        assert_eq!((both.start, both.stored_since), (at(50 - BEFORE_LOG_MS), at(50 - BEFORE_STORED_MS)));
        assert_eq!(schedule.end(&both, Some(&both.tx_hashes), at(1_100)), EndedJobs::default());
        assert_eq!(schedule.due(at(1_100)), Some(at(3_000)));
        add(&mut schedule, 4, 2_900);
        assert_eq!(schedule.due(at(2_900)), Some(at(2_000)), "long enough after the last search: at once");
    }

    #[test]
    fn a_job_claimed_again_is_finished_under_its_new_fence() {
        let mut schedule = SearchSchedule::default();
        add(&mut schedule, 1, 0);
        let search = schedule.begin(at(0)).unwrap();
        let job = schedule.jobs()[0];
        schedule.open.get_mut(&1).unwrap().fence.attempts = 2;
        let ended = schedule.end(&search, Some(&HashSet::new()), at(100));
        assert_eq!(ended.confirmed, [JobFence { attempts: 2, ..job }]);
    }

    #[test]
    fn a_search_whose_outcome_is_unknown_confirms_nothing() {
        let mut schedule = SearchSchedule::default();
        add(&mut schedule, 1, 0);
        let search = schedule.begin(at(0)).unwrap();
        assert_eq!(schedule.end(&search, None, at(100)), EndedJobs::default());
        assert_eq!(schedule.due(at(100)), Some(at(2_000)));
    }
}
