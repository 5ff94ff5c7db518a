//! What a job is: its queue, its key and the ids that it carries (spec section 10).

use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::events::group::Member;
use crate::domain::money::ids::{EventId, FollowedUserId, GroupId};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::Timestamp;
use crate::sql::error::DbError;

/// Spec section 10.
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

/// A piece of open work, as taken from its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: i64,
    pub queue: Queue,
    pub key: String,
    pub followed_user: Option<FollowedUserId>,
    /// Ids only; the database holds the facts.
    pub payload: String,
    /// How often it was taken, this time included.
    pub attempts: i32,
    /// How often it failed.
    pub failures: i32,
    pub due: Timestamp,
    pub created_at: Timestamp,
    pub last_error: Option<String>,
}

/// A job to be written. One with the same queue and key that is open already stands for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub queue: Queue,
    pub key: String,
    pub followed_user: Option<FollowedUserId>,
    pub payload: String,
    pub due: Timestamp,
}

/// Names a job as it was taken: who lost the lease cannot finish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobFence {
    pub id: i64,
    pub attempts: i32,
}

impl Job {
    pub const fn fence(&self) -> JobFence {
        JobFence { id: self.id, attempts: self.attempts }
    }

    /// The event that an ingest or group job is about.
    pub fn event(&self) -> Result<Member, DbError> {
        let (kind, id) = self.payload.split_once(':').unwrap_or_default();
        match (kind, id.parse().map(EventId)) {
            ("trade", Ok(id)) => Ok(Member::Trade(id)),
            ("activity", Ok(id)) => Ok(Member::Activity(id)),
            _ => Err(self.unreadable("names no event")),
        }
    }

    /// The event's id for a line of the log, when there is one.
    pub fn event_id(&self) -> Option<EventId> {
        match self.event().ok()? {
            Member::Trade(id) | Member::Activity(id) => Some(id),
        }
    }

    /// The group that a copy job is about.
    pub fn group(&self) -> Result<GroupId, DbError> {
        self.payload.parse().map(GroupId).map_err(|_| self.unreadable("names no group"))
    }

    /// The portfolio that an apply job is about.
    pub fn portfolio(&self) -> Result<PortfolioId, DbError> {
        self.payload.parse().map_err(|_| self.unreadable("names no portfolio"))
    }

    fn unreadable(&self, problem: &str) -> DbError {
        DbError::impossible("job", self.id, "payload", format!("`{}` {problem}", self.payload))
    }
}

impl NewJob {
    /// Work on one event, due at once.
    pub fn for_event(queue: Queue, event: Member, followed_user: FollowedUserId, now: Timestamp) -> Self {
        let payload = match event {
            Member::Trade(id) => format!("trade:{id}"),
            Member::Activity(id) => format!("activity:{id}"),
        };
        Self { queue, key: payload.clone(), followed_user: Some(followed_user), payload, due: now }
    }

    /// The decision on one group.
    pub fn for_group(queue: Queue, group: GroupId, followed_user: FollowedUserId, due: Timestamp) -> Self {
        Self { queue, key: group.to_string(), followed_user: Some(followed_user), payload: group.to_string(), due }
    }

    /// The running state of one portfolio; one open job stands for any number of changes.
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
