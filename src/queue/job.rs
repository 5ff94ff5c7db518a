//! A job: its queue, its key and the ids that it carries (spec 10).

use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::events::group::Member;
use crate::domain::money::ids::{EventId, FollowedUserId, GroupId};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::Timestamp;
use crate::sql::error::DbError;

/// The queues of spec 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    IngestEvents,
    GroupEvents,
    CopyAttemptUser,
    CopyAttemptGlobal,
    PortfolioApply,
    Reconcile,
    Prices,
}
text_enum!(Queue {
    IngestEvents => "q_ingest_events",
    GroupEvents => "q_group_events",
    CopyAttemptUser => "q_copy_attempt_user",
    CopyAttemptGlobal => "q_copy_attempt_global",
    PortfolioApply => "q_portfolio_apply",
    Reconcile => "q_reconcile",
    Prices => "q_prices",
});

/// Open work, as claimed from its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: i64,
    pub queue: Queue,
    pub key: String,
    pub followed_user: Option<FollowedUserId>,
    /// Ids only; the facts are in the database.
    pub payload: String,
    /// How many times it was claimed, including this time.
    pub attempts: i32,
    /// How many times it failed.
    pub failures: i32,
    pub due: Timestamp,
    pub created_at: Timestamp,
    pub last_error: Option<String>,
}

/// A job to write. If a job with the same queue and key is open already, that one serves for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub queue: Queue,
    pub key: String,
    pub followed_user: Option<FollowedUserId>,
    pub payload: String,
    pub due: Timestamp,
}

/// The fencing token of a claimed job: its id and the number of the claim. A worker whose job was claimed again by
/// another worker cannot finish it, because the number no longer matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobFence {
    pub id: i64,
    pub attempts: i32,
}

impl Job {
    /// Returns the token that finishes this claim of the job.
    pub const fn fence(&self) -> JobFence {
        JobFence { id: self.id, attempts: self.attempts }
    }

    /// Returns the event of an ingest or group job.
    ///
    /// # Errors
    /// `DbError::Impossible` when the payload names no event.
    pub fn event(&self) -> Result<Member, DbError> {
        let (kind, id) = self.payload.split_once(':').unwrap_or_default();
        match (kind, id.parse().map(EventId)) {
            ("trade", Ok(id)) => Ok(Member::Trade(id)),
            ("activity", Ok(id)) => Ok(Member::Activity(id)),
            _ => Err(self.unreadable("names no event")),
        }
    }

    /// Returns the event's id for log lines; `None` when the payload names no event.
    pub fn event_id(&self) -> Option<EventId> {
        match self.event().ok()? {
            Member::Trade(id) | Member::Activity(id) => Some(id),
        }
    }

    /// Returns the group of a copy job.
    ///
    /// # Errors
    /// `DbError::Impossible` when the payload names no group.
    pub fn group(&self) -> Result<GroupId, DbError> {
        self.payload.parse().map(GroupId).map_err(|_| self.unreadable("names no group"))
    }

    /// Returns the portfolio of an apply job.
    ///
    /// # Errors
    /// `DbError::Impossible` when the payload names no portfolio.
    pub fn portfolio(&self) -> Result<PortfolioId, DbError> {
        self.payload.parse().map_err(|_| self.unreadable("names no portfolio"))
    }

    fn unreadable(&self, problem: &str) -> DbError {
        DbError::impossible("job", self.id, "payload", format!("`{}` {problem}", self.payload))
    }
}

impl NewJob {
    /// Creates the job for one event, due at once.
    pub fn for_event(queue: Queue, event: Member, followed_user: FollowedUserId, now: Timestamp) -> Self {
        let payload = match event {
            Member::Trade(id) => format!("trade:{id}"),
            Member::Activity(id) => format!("activity:{id}"),
        };
        Self { queue, key: payload.clone(), followed_user: Some(followed_user), payload, due: now }
    }

    /// Creates the job that decides one group.
    pub fn for_group(queue: Queue, group: GroupId, followed_user: FollowedUserId, due: Timestamp) -> Self {
        Self { queue, key: group.to_string(), followed_user: Some(followed_user), payload: group.to_string(), due }
    }

    /// Creates the job that decides a close by hand. Its key tells it from the jobs of copies: a close may be for one
    /// account only, and `audit` counts the two apart.
    pub fn for_close(queue: Queue, group: GroupId, followed_user: FollowedUserId, due: Timestamp) -> Self {
        Self { key: format!("close:{group}"), ..Self::for_group(queue, group, followed_user, due) }
    }

    /// Creates the job that updates one running portfolio; one open job serves for any number of changes.
    pub fn for_portfolio(portfolio: PortfolioId, due: Timestamp) -> Self {
        Self {
            queue: Queue::PortfolioApply,
            key: portfolio.to_string(),
            followed_user: portfolio.owner(),
            payload: portfolio.to_string(),
            due,
        }
    }
}
