//! The span of time to read next: from the checkpoints, or for a [`PollWindow`].

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{NotPolled, PollWindow, Polled};
use crate::db::{Db, DbError, Directory};
use crate::domain::events::reading::Reader;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;

type Reply = oneshot::Sender<Result<Polled, NotPolled>>;

/// How far before the newer checkpoint a regular poll reads at most. A leader who only trades never moves the
/// checkpoint of activities: without this limit each poll would read everything since the start.
const OVERLAP_MS: i64 = 15 * 60_000;
/// The same for the first poll after a start. Before that, the hourly read of 24 hours has read everything.
const OVERLAP_AT_START_MS: i64 = 24 * 3_600_000;
/// A row that is this much older than a read which did not show it is late.
const LATE_AFTER_MS: i64 = 120_000;

/// The times up to which the trades and the activities are known. Each moves with rows of one kind only, because
/// the API's mechanisms lag one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoints {
    trades: Timestamp,
    activities: Timestamp,
    /// Whether rows were read in an earlier run, or before the leader was stopped.
    pub were_stored: bool,
    /// A regular poll has succeeded since the start.
    began: bool,
}

/// The newest trade and the newest activity of a window, known or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Newest {
    pub trade: Option<Timestamp>,
    pub activity: Option<Timestamp>,
}

/// The JSON of a row of `system_checkpoint`: `{"time": ISO}`.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    time: Timestamp,
}

/// A span to be read, and the requests that wait for it.
pub(super) struct PollRequest {
    pub start: Timestamp,
    /// `None` for a span without an end.
    pub end: Option<Timestamp>,
    pub by: Reader,
    /// The checkpoints that move when the span is committed; `None` for a [`PollWindow`], which moves none.
    pub moves: Option<Checkpoints>,
    pub replies: Vec<Reply>,
}

/// The requested spans that are not started yet. Spans that touch are read as one.
#[derive(Default)]
pub(super) struct QueuedWindows(VecDeque<PollRequest>);

/// The span that was read without a gap. A row that appears in it later is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenSpan {
    from: Timestamp,
    until: Timestamp,
}

impl Checkpoints {
    /// Returns the latest time from which a start reads: `backfill_minutes` before `now`.
    pub fn at_start(directory: &Directory, now: Timestamp) -> Timestamp {
        now.plus_millis(directory.config.system.backfill_minutes.saturating_mul(-60_000))
    }

    /// Returns the stored checkpoints, but none later than `latest`. A checkpoint that cannot be parsed counts as
    /// missing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(db: &Db, user: FollowedUserId, latest: Timestamp) -> Result<Self, DbError> {
        let read = async |key: &str| -> Result<Option<Timestamp>, DbError> {
            let text = db.checkpoint(key).await?;
            let stored = text.and_then(|text| serde_json::from_str::<Checkpoint>(&text).ok());
            Ok(stored.map(|stored| stored.time.min(latest)))
        };
        let (trades, activities) = (read(&trades_key(user)).await?, read(&activities_key(user)).await?);
        Ok(Self {
            trades: trades.unwrap_or(latest),
            activities: activities.unwrap_or(latest),
            were_stored: trades.or(activities).is_some(),
            began: false,
        })
    }

    #[cfg(test)]
    pub fn both(at: Timestamp) -> Self {
        Self { trades: at, activities: at, were_stored: true, began: true }
    }

    /// Returns the earlier of the two.
    pub fn earliest(&self) -> Timestamp {
        self.trades.min(self.activities)
    }

    /// Returns the later of the two: both kinds were read up to it, because they come in one stream.
    pub fn latest(&self) -> Timestamp {
        self.trades.max(self.activities)
    }

    /// Returns the time from which the next regular poll reads.
    pub fn start(&self) -> Timestamp {
        let overlap = if self.began { OVERLAP_MS } else { OVERLAP_AT_START_MS };
        self.earliest().max(self.latest().plus_millis(-overlap))
    }

    /// Returns the checkpoints for the time when these rows are committed. They never move back, and never ahead of
    /// `now`: one row with a wrong date would hide all rows after it.
    pub fn after(self, newest: Newest, now: Timestamp) -> Self {
        let moved = |old: Timestamp, newest: Option<Timestamp>| newest.map_or(old, |newest| old.max(newest.min(now)));
        Self {
            trades: moved(self.trades, newest.trade),
            activities: moved(self.activities, newest.activity),
            were_stored: true,
            began: true,
        }
    }

    /// Returns the rows of `system_checkpoint`: key and JSON.
    pub fn rows(self, user: FollowedUserId) -> Vec<(String, String)> {
        let json = |time: Timestamp| serde_json::json!({ "time": time }).to_string();
        vec![(trades_key(user), json(self.trades)), (activities_key(user), json(self.activities))]
    }
}

fn trades_key(user: FollowedUserId) -> String {
    format!("api:lastTradeTime:{user}")
}

fn activities_key(user: FollowedUserId) -> String {
    format!("api:lastActivityTime:{user}")
}

impl QueuedWindows {
    /// Adds a span, or widens a waiting one that it touches. `end` is `None` when the span reaches the present.
    pub fn push(&mut self, window: PollWindow, end: Option<Timestamp>, reply: Reply) {
        let PollWindow { start, by, .. } = window;
        let touches = |asked: &&mut PollRequest| {
            end.is_none_or(|end| asked.start <= end) && asked.end.is_none_or(|asked_end| start <= asked_end)
        };
        match self.0.iter_mut().find(touches) {
            Some(asked) => {
                asked.start = asked.start.min(start);
                asked.end = asked.end.zip(end).map(|(one, other)| one.max(other));
                asked.by = asked.by.max(by);
                asked.replies.push(reply);
            }
            None => self.0.push_back(PollRequest { start, end, by, moves: None, replies: vec![reply] }),
        }
    }

    pub fn pop(&mut self) -> Option<PollRequest> {
        self.0.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl SeenSpan {
    pub const fn new(from: Timestamp, until: Timestamp) -> Self {
        Self { from, until }
    }

    /// Returns the span after a read from `start` to `until`. A read with a gap to the span does not widen it.
    pub fn with(self, start: Timestamp, until: Timestamp) -> Self {
        if start > self.until || until < self.from {
            return self;
        }
        Self { from: self.from.min(start), until: self.until.max(until) }
    }

    /// Returns whether a row of this time, which is new, should have been there when the span was read.
    pub fn is_late(&self, event_time: Timestamp) -> bool {
        event_time >= self.from && self.until.millis_since(event_time) > LATE_AFTER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(i64) -> Timestamp = Timestamp::from_millis;

    #[test]
    fn each_checkpoint_moves_with_rows_of_its_own_kind_only_and_neither_back_nor_ahead_of_the_clock() {
        let check = |trade: Option<i64>, activity: Option<i64>, now: i64, expected: [i64; 2]| {
            let newest = Newest { trade: trade.map(AT), activity: activity.map(AT) };
            let after = Checkpoints::both(AT(1_000)).after(newest, AT(now));
            assert_eq!([after.trades, after.activities], expected.map(AT), "{newest:?} at {now}");
        };
        check(None, None, 5_000, [1_000, 1_000]);
        check(Some(2_000), None, 5_000, [2_000, 1_000]);
        check(None, Some(2_000), 5_000, [1_000, 2_000]);
        check(Some(500), Some(3_000), 5_000, [1_000, 3_000]);
        check(Some(9_000), None, 5_000, [5_000, 1_000]);
        let rows = Checkpoints::both(AT(1_000)).rows(FollowedUserId(7));
        assert_eq!(rows[0], ("api:lastTradeTime:7".to_owned(), r#"{"time":"1970-01-01T00:00:01.000Z"}"#.to_owned()));
        assert_eq!(rows[1].0, "api:lastActivityTime:7");
    }

    #[test]
    fn a_kind_without_rows_does_not_make_every_poll_read_everything() {
        let (old, new) = (AT(0), AT(100 * 3_600_000));
        let stored = Checkpoints { trades: new, activities: old, were_stored: true, began: false };
        assert_eq!(stored.start(), new.plus_millis(-OVERLAP_AT_START_MS));
        let running = stored.after(Newest::default(), new);
        assert_eq!(running.start(), new.plus_millis(-OVERLAP_MS));
        assert_eq!(running.rows(FollowedUserId(7))[1].1, r#"{"time":"1970-01-01T00:00:00.000Z"}"#);
        assert_eq!(Checkpoints::both(old).start(), old);
    }

    #[test]
    fn spans_that_touch_are_read_as_one() {
        let mut windows = QueuedWindows::default();
        let mut ask = |start, end: Option<i64>, by| {
            let span = PollWindow { start: AT(start), end: AT(end.unwrap_or(900)), by };
            windows.push(span, end.map(AT), oneshot::channel().0);
            windows.len()
        };
        assert_eq!(ask(100, Some(200), Reader::Asked), 1);
        assert_eq!(ask(150, Some(300), Reader::Hour), 1);
        assert_eq!(ask(500, None, Reader::Recent), 2);
        assert_eq!(ask(50, Some(100), Reader::Asked), 2);
        assert_eq!(ask(600, Some(700), Reader::Asked), 2);
        let first = windows.pop().unwrap();
        assert_eq!((first.start, first.end, first.by, first.replies.len()), (AT(50), Some(AT(300)), Reader::Hour, 3));
        let second = windows.pop().unwrap();
        assert_eq!((second.start, second.end, second.replies.len()), (AT(500), None, 2));
    }

    #[test]
    fn a_row_is_late_when_a_read_of_its_time_did_not_show_it() {
        let seen = SeenSpan::new(AT(1_000_000), AT(2_000_000));
        assert!(!seen.is_late(AT(999_999)), "its time was not read");
        assert!(seen.is_late(AT(1_000_000)));
        assert!(seen.is_late(AT(1_879_999)));
        assert!(!seen.is_late(AT(1_880_000)), "the API may take two minutes");
        assert_eq!(seen.with(AT(1_900_000), AT(2_500_000)), SeenSpan::new(AT(1_000_000), AT(2_500_000)));
        assert_eq!(seen.with(AT(0), AT(1_900_000)), SeenSpan::new(AT(0), AT(2_000_000)));
        assert_eq!(seen.with(AT(2_000_001), AT(2_500_000)), seen, "a gap lies between");
    }
}
