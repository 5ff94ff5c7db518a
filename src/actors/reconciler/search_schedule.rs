//! The transactions of one user that the chain has shown and the API has not: when to ask for them next.
//!
//! In    jobs as they are taken, the time, and what is still unconfirmed after each ask.
//! Out   when to ask, how far back, and which jobs are over. Owns no timer and no database.
//!
//! A log must become a canonical row within 3 s of the API showing it, and asks at 2, 4, 8 and 16 s alone would leave
//! gaps of up to 8 s. So a user of whom anything is sought is asked for every 2 s, start to start, which contains those
//! four: a row waits 2 s at most for the ask that finds it, and a second is left for the ask itself. Politeness comes from
//! sharing and from giving up: one ask serves all transactions of a user; a burst of logs is at most one ask a second;
//! what is not there after a minute (nine in ten rows are there after 17 s) is asked for every 10 s, and after five
//! minutes it is left to the regular looks and reported as unconfirmed.

use std::collections::{BTreeMap, HashSet};

use crate::domain::money::units::Timestamp;
use crate::queue::{Job, JobFence};

const EVERY_MS: i64 = 2_000;
/// The least time between two asks: what comes sooner is asked for together.
const APART_MS: i64 = 1_000;
const EAGER_MS: i64 = 60_000;
const SPARSE_EVERY_MS: i64 = 10_000;
const GIVE_UP_MS: i64 = 300_000;
/// A fill's block may be dated some seconds before its log arrived.
const BEFORE_LOG_MS: i64 = 60_000;
/// A log may wait some seconds for the database: its row says when it came, its job when both were written.
const BEFORE_KEPT_MS: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Seeking {
    sought: BTreeMap<i64, Sought>,
    /// When the last ask began.
    asked_at: Option<Timestamp>,
    asking: bool,
}

#[derive(Debug)]
struct Sought {
    fence: JobFence,
    tx_hash: String,
    /// The block's time, or when its log came.
    seen: Timestamp,
    /// When the log was written down with its job.
    kept_at: Timestamp,
    asked: bool,
}

/// What one ask is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub tx_hashes: HashSet<String>,
    /// The API is read from here on.
    pub start: Timestamp,
    /// The logs stand in rows detected from here on.
    pub kept_since: Timestamp,
}

/// Jobs that are over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Over {
    pub confirmed: Vec<JobFence>,
    /// Not shown by the API in all that time.
    pub given_up: Vec<(JobFence, String)>,
}

impl Seeking {
    /// Takes a job. One whose lease ended while we looked is ours again, under its new fence.
    pub fn add(&mut self, job: &Job, tx_hash: String, seen: Timestamp) {
        let asked = self.sought.get(&job.id).is_some_and(|known| known.asked);
        self.sought.insert(job.id, Sought { fence: job.fence(), tx_hash, seen, kept_at: job.created_at, asked });
    }

    /// When to ask next; `None` while an ask is under way or nothing is sought.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.asking || self.sought.is_empty() {
            return None;
        }
        let Some(asked_at) = self.asked_at else { return Some(now) };
        let wait = if self.sought.values().any(|sought| !sought.asked) {
            APART_MS
        } else if self.sought.values().any(|sought| now.millis_since(sought.kept_at) < EAGER_MS) {
            EVERY_MS
        } else {
            SPARSE_EVERY_MS
        };
        Some(asked_at.plus_millis(wait))
    }

    /// Begins an ask for everything sought.
    pub fn begin(&mut self, now: Timestamp) -> Option<Search> {
        let start = self.sought.values().map(|sought| sought.seen).min()?.plus_millis(-BEFORE_LOG_MS);
        let kept_since = self.sought.values().map(|sought| sought.kept_at).min()?.plus_millis(-BEFORE_KEPT_MS);
        self.asking = true;
        self.asked_at = Some(now);
        for sought in self.sought.values_mut() {
            sought.asked = true;
        }
        let tx_hashes = self.sought.values().map(|sought| sought.tx_hash.clone()).collect();
        Some(Search { tx_hashes, start, kept_since })
    }

    /// Ends the ask for `search`. `unconfirmed` is `None` when that could not be read.
    pub fn end(&mut self, search: &Search, unconfirmed: Option<&HashSet<String>>, now: Timestamp) -> Over {
        self.asking = false;
        let mut over = Over::default();
        self.sought.retain(|_, sought| {
            // What came during the ask was not looked for.
            let looked_for = search.tx_hashes.contains(&sought.tx_hash) && sought.asked;
            if looked_for && unconfirmed.is_some_and(|open| !open.contains(&sought.tx_hash)) {
                over.confirmed.push(sought.fence);
                return false;
            }
            if looked_for && now.millis_since(sought.kept_at) >= GIVE_UP_MS {
                over.given_up.push((sought.fence, sought.tx_hash.clone()));
                return false;
            }
            true
        });
        over
    }

    /// Every job there is, when nobody asks any more.
    pub fn jobs(&self) -> Vec<JobFence> {
        self.sought.values().map(|sought| sought.fence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    fn add(seeking: &mut Seeking, id: i64, kept_at: i64) {
        let job = Job {
            id,
            queue: Queue::Reconcile,
            key: String::new(),
            followed_user: None,
            payload: String::new(),
            attempts: 1,
            failures: 0,
            due: at(kept_at),
            created_at: at(kept_at),
            last_error: None,
        };
        seeking.add(&job, format!("0x{id}"), at(kept_at));
    }

    /// Asks whenever it is due, each ask taking `takes`, until it is over; when the asks began.
    fn asks(seeking: &mut Seeking, takes: i64, confirmed_at: i64) -> Vec<i64> {
        let (mut now, mut begun) = (at(0), Vec::new());
        while let Some(due) = seeking.due(now) {
            now = now.max(due);
            begun.push(now.millis_since(at(0)));
            let search = seeking.begin(now).unwrap();
            let shown = now >= at(confirmed_at);
            now = now.plus_millis(takes);
            let open = if shown { HashSet::new() } else { search.tx_hashes.clone() };
            seeking.end(&search, Some(&open), now);
        }
        begun
    }

    #[test]
    fn a_transaction_is_asked_for_at_once_and_at_2_4_8_and_16_seconds_with_no_gap_over_two() {
        let mut seeking = Seeking::default();
        add(&mut seeking, 1, 0);
        let begun = asks(&mut seeking, 400, 16_000);
        assert_eq!(begun, [0, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000]);
    }

    #[test]
    fn after_a_minute_the_asks_are_sparse_and_after_five_they_end() {
        let mut seeking = Seeking::default();
        add(&mut seeking, 1, 0);
        let begun = asks(&mut seeking, 100, i64::MAX / 4 - 1_790_000_000_000);
        let (eager, sparse): (Vec<i64>, Vec<i64>) = begun.iter().partition(|at| **at <= EAGER_MS);
        assert_eq!((eager.len(), sparse.len()), (31, 24));
        assert!(sparse.windows(2).all(|two| two[1] - two[0] == SPARSE_EVERY_MS));
        assert_eq!(begun.last(), Some(&300_000));
        assert!(seeking.jobs().is_empty());
    }

    #[test]
    fn one_ask_serves_all_and_a_burst_is_one_ask_a_second() {
        let mut seeking = Seeking::default();
        add(&mut seeking, 1, 0);
        let first = seeking.begin(at(0)).unwrap();
        add(&mut seeking, 2, 50);
        assert_eq!(seeking.due(at(60)), None, "one ask at a time");
        let over = seeking.end(&first, Some(&HashSet::new()), at(100));
        assert_eq!(over.confirmed.len(), 1, "what came meanwhile was not looked for");
        add(&mut seeking, 3, 200);
        assert_eq!(seeking.due(at(200)), Some(at(1_000)));
        let both = seeking.begin(at(1_000)).unwrap();
        assert_eq!(both.tx_hashes.len(), 2);
        assert_eq!((both.start, both.kept_since), (at(50 - BEFORE_LOG_MS), at(50 - BEFORE_KEPT_MS)));
        assert_eq!(seeking.end(&both, Some(&both.tx_hashes), at(1_100)), Over::default());
        assert_eq!(seeking.due(at(1_100)), Some(at(3_000)));
        add(&mut seeking, 4, 2_900);
        assert_eq!(seeking.due(at(2_900)), Some(at(2_000)), "long enough after the last one: at once");
    }

    #[test]
    fn a_job_taken_again_is_finished_under_its_new_fence() {
        let mut seeking = Seeking::default();
        add(&mut seeking, 1, 0);
        let search = seeking.begin(at(0)).unwrap();
        let job = seeking.jobs()[0];
        seeking.sought.get_mut(&1).unwrap().fence.attempts = 2;
        let over = seeking.end(&search, Some(&HashSet::new()), at(100));
        assert_eq!(over.confirmed, [JobFence { attempts: 2, ..job }]);
    }

    #[test]
    fn an_ask_whose_outcome_is_unknown_confirms_nothing() {
        let mut seeking = Seeking::default();
        add(&mut seeking, 1, 0);
        let search = seeking.begin(at(0)).unwrap();
        assert_eq!(seeking.end(&search, None, at(100)), Over::default());
        assert_eq!(seeking.due(at(100)), Some(at(2_000)));
    }
}
