//! When each leader's last minutes, last hour and last day are read again (spec 3.1).
//!
//! In    the leaders, every read that was committed, the time.
//! Out   which spans are due now, the longest unseen first. Owns no timer.

use std::collections::BTreeMap;

use crate::domain::events::reading::Reader;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::ReadInterval;

/// How long the first reads after a start wait: the first regular poll covers the last minutes.
const FIRST_RECENT_MS: i64 = 60_000;
/// When a read that failed is tried again.
const AGAIN_MS: i64 = 15_000;

/// The reads of all leaders.
#[derive(Debug, Default)]
pub(super) struct Rereads {
    leaders: BTreeMap<FollowedUserId, BTreeMap<Reader, LastRead>>,
}

/// The last read of one leader by one reader.
#[derive(Debug, Clone, Copy)]
struct LastRead {
    /// `None` before the first: then it is due at once.
    at: Option<Timestamp>,
    /// Not asked for again before this time.
    not_before: Timestamp,
    asked: bool,
}

/// A span to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DueRead {
    pub user: FollowedUserId,
    pub by: Reader,
}

impl Rereads {
    /// Takes over the leaders that are read now.
    pub fn follow(&mut self, users: impl Iterator<Item = FollowedUserId>, now: Timestamp) {
        let mut leaders = BTreeMap::new();
        for user in users {
            let fresh = || {
                let last = |by: Reader| {
                    let wait = if by == Reader::Recent { FIRST_RECENT_MS } else { 0 };
                    (by, LastRead { at: None, not_before: now.plus_millis(wait), asked: false })
                };
                Reader::AGAIN.into_iter().map(last).collect()
            };
            leaders.insert(user, self.leaders.remove(&user).unwrap_or_else(fresh));
        }
        self.leaders = leaders;
    }

    /// Returns up to `most` spans that are due at `now`, the longest unseen first. A longer span that is due covers the
    /// shorter ones of its leader. `every_ms` is the interval of each reader as the load stretches it.
    pub fn due(&self, now: Timestamp, every_ms: impl Fn(Reader) -> i64, most: usize) -> Vec<DueRead> {
        let mut due: Vec<(i64, DueRead)> = Vec::new();
        for (user, reads) in &self.leaders {
            if reads.values().any(|read| read.asked) {
                continue;
            }
            let overdue = |by: Reader| {
                let read = reads.get(&by).filter(|read| read.not_before <= now)?;
                let late_ms = match read.at {
                    Some(at) => now.millis_since(at).saturating_sub(every_ms(by)),
                    None => i64::MAX,
                };
                (late_ms >= 0).then_some((late_ms, DueRead { user: *user, by }))
            };
            due.extend(Reader::AGAIN.into_iter().find_map(overdue));
        }
        due.sort_by_key(|(late_ms, _)| std::cmp::Reverse(*late_ms));
        due.into_iter().map(|(_, read)| read).take(most).collect()
    }

    /// Notes that a span was asked for.
    pub fn asked(&mut self, read: DueRead) {
        if let Some(last) = self.last(read) {
            last.asked = true;
        }
    }

    /// Notes the answer to a span that was asked for.
    pub fn answered(&mut self, read: DueRead, is_read: bool, asked_at: Timestamp, now: Timestamp) {
        if let Some(last) = self.last(read) {
            last.asked = false;
            if !is_read {
                last.not_before = now.plus_millis(AGAIN_MS);
            }
        }
        if is_read {
            self.covered(read.user, read.by.span_ms().unwrap_or_default(), asked_at);
        }
    }

    /// Notes a read of the last `back_ms` of a leader, whichever reader asked for it: it counts for every reader whose
    /// span it covers.
    pub fn covered(&mut self, user: FollowedUserId, back_ms: i64, at: Timestamp) {
        let Some(reads) = self.leaders.get_mut(&user) else { return };
        for (by, last) in reads.iter_mut() {
            if by.span_ms().is_some_and(|span_ms| back_ms >= span_ms) {
                last.at = last.at.max(Some(at));
            }
        }
    }

    /// Returns for each reader its interval, and how long ago the leader who has waited longest was read.
    pub fn intervals(&self, now: Timestamp, every_ms: impl Fn(Reader) -> i64) -> Vec<ReadInterval> {
        let one = |reader: Reader| {
            let reads = self.leaders.values().filter_map(|reads| reads.get(&reader)?.at);
            let longest_ago_s = reads.min().map(|at| now.millis_since(at).max(0) / 1_000);
            ReadInterval { reader, every_s: every_ms(reader) / 1_000, longest_ago_s }
        };
        Reader::AGAIN.into_iter().rev().map(one).collect()
    }

    fn last(&mut self, read: DueRead) -> Option<&mut LastRead> {
        self.leaders.get_mut(&read.user)?.get_mut(&read.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: FollowedUserId = FollowedUserId(7);
    const BOB: FollowedUserId = FollowedUserId(8);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + 1_000 * seconds)
    }

    fn every(by: Reader) -> i64 {
        by.every_ms().unwrap()
    }

    /// Runs one leader for `seconds` and returns when each span was read. Each read succeeds at once; a regular poll of
    /// the last `poll_back_s` runs every 30 s.
    fn reads(seconds: i64, poll_back_s: i64) -> BTreeMap<Reader, Vec<i64>> {
        let mut rereads = Rereads::default();
        rereads.follow([ALICE].into_iter(), at(0));
        let mut done: BTreeMap<Reader, Vec<i64>> = BTreeMap::new();
        for second in 0..=seconds {
            if second % 30 == 0 {
                rereads.covered(ALICE, 1_000 * poll_back_s, at(second));
            }
            for read in rereads.due(at(second), every, 10) {
                rereads.asked(read);
                rereads.answered(read, true, at(second), at(second));
                done.entry(read.by).or_default().push(second);
            }
        }
        done
    }

    #[test]
    fn the_last_hour_is_read_every_ten_minutes_and_the_last_day_every_hour() {
        let done = reads(2 * 3_600, 600);
        assert_eq!(done[&Reader::Day], [0, 3_600, 7_200]);
        let hours: Vec<i64> = (1..12).filter(|n| *n != 6).map(|n| n * 600).collect();
        assert_eq!(done[&Reader::Hour], hours, "each read of a day is one of an hour");
        assert_eq!(done.get(&Reader::Recent), None, "the regular polls cover the last two minutes");
    }

    #[test]
    fn the_last_two_minutes_are_read_each_minute_when_the_polls_do_not_cover_them() {
        let done = reads(600, 60);
        assert_eq!(done[&Reader::Recent], [60, 120, 180, 240, 300, 360, 420, 480, 540]);
        assert_eq!(done[&Reader::Hour], [600]);
    }

    #[test]
    fn the_longest_unseen_comes_first_and_no_more_than_the_budget_allows() {
        let mut rereads = Rereads::default();
        rereads.follow([ALICE, BOB].into_iter(), at(0));
        rereads.covered(ALICE, 86_400_000, at(-600));
        rereads.covered(BOB, 86_400_000, at(-900));
        let due = rereads.due(at(0), every, 1);
        assert_eq!(due, [DueRead { user: BOB, by: Reader::Hour }]);
        assert_eq!(rereads.due(at(0), |by| 2 * every(by), 9), [], "all intervals are twice as long");
        assert_eq!(rereads.due(at(0), every, 9).len(), 2);
    }

    #[test]
    fn a_read_that_failed_is_tried_again_soon_and_one_under_way_is_not_asked_for_twice() {
        let mut rereads = Rereads::default();
        rereads.follow([ALICE].into_iter(), at(0));
        let read = DueRead { user: ALICE, by: Reader::Day };
        assert_eq!(rereads.due(at(0), every, 9), [read]);
        rereads.asked(read);
        assert_eq!(rereads.due(at(5), every, 9), []);
        rereads.answered(read, false, at(0), at(10));
        // Meanwhile the hour, which the day would have covered, is due.
        assert_eq!(rereads.due(at(11), every, 9), [DueRead { user: ALICE, by: Reader::Hour }]);
        rereads.covered(ALICE, 3_600_000, at(11));
        assert_eq!(rereads.due(at(24), every, 9), []);
        assert_eq!(rereads.due(at(25), every, 9), [read]);
        assert_eq!(rereads.intervals(at(25), every)[1].longest_ago_s, Some(14));
    }
}
