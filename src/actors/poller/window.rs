//! The span of time to read next: from the checkpoints, or for a [`PollWindow`].

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{NotPolled, PollWindow, Polled};
use crate::db::{Db, DbError, Directory};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;

type Reply = oneshot::Sender<Result<Polled, NotPolled>>;

/// The times up to which the trades and the activities are known. Both kinds come from one stream, so each row that is
/// read moves both checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoints {
    trades: Timestamp,
    activities: Timestamp,
}

/// The JSON of a row of `system_checkpoint`: `{"time": ISO}`.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    time: Timestamp,
}

/// A span to be read, and the requests that wait for it.
pub(super) struct PollRequest {
    pub start: Timestamp,
    pub end: Timestamp,
    /// The checkpoints that move when the span is committed; `None` for a [`PollWindow`], which moves none.
    pub moves: Option<Checkpoints>,
    pub replies: Vec<Reply>,
}

/// The requested spans that are not started yet. Spans that touch are read as one.
#[derive(Default)]
pub(super) struct QueuedWindows(VecDeque<PollRequest>);

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
        let read = async |key: &str| -> Result<Timestamp, DbError> {
            let text = db.checkpoint(key).await?;
            let stored = text.and_then(|text| serde_json::from_str::<Checkpoint>(&text).ok());
            Ok(stored.map_or(latest, |stored| stored.time.min(latest)))
        };
        Ok(Self { trades: read(&trades_key(user)).await?, activities: read(&activities_key(user)).await? })
    }

    #[cfg(test)]
    pub fn both(at: Timestamp) -> Self {
        Self { trades: at, activities: at }
    }

    /// Returns the earlier of the two, from which a poll reads.
    pub fn earliest(&self) -> Timestamp {
        self.trades.min(self.activities)
    }

    /// Returns the checkpoints for the time when rows up to `newest` are committed. They never move back, and never
    /// ahead of our own clock: one row with a wrong date would hide all rows after it.
    pub fn after(self, newest: Option<Timestamp>, now: Timestamp) -> Self {
        let newest = newest.map_or(self.earliest(), |newest| newest.min(now));
        Self { trades: self.trades.max(newest), activities: self.activities.max(newest) }
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
    /// Adds a span, or widens a waiting one that it touches.
    pub fn push(&mut self, window: PollWindow, reply: Reply) {
        let PollWindow { start, end } = window;
        match self.0.iter_mut().find(|asked| asked.start <= end && start <= asked.end) {
            Some(asked) => {
                asked.start = asked.start.min(start);
                asked.end = asked.end.max(end);
                asked.replies.push(reply);
            }
            None => self.0.push_back(PollRequest { start, end, moves: None, replies: vec![reply] }),
        }
    }

    pub fn pop(&mut self) -> Option<PollRequest> {
        self.0.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
