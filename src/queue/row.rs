//! The columns of the `job` table, decoded.

use super::job::{Job, Queue};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::error::DbError;

/// A row of `job` without its queue, which the caller knows.
#[derive(sqlx_macros::FromRow)]
pub(super) struct Row {
    id: i64,
    key: String,
    followed_user_id: Option<i64>,
    payload: String,
    attempts: i64,
    failures: i64,
    due: i64,
    created_at: i64,
    last_error: Option<String>,
}

impl Row {
    /// Returns the id of the job.
    pub(super) const fn id(&self) -> i64 {
        self.id
    }

    /// Decodes the row as a job of `queue`.
    ///
    /// # Errors
    /// `DbError::Impossible` when a count does not fit.
    pub(super) fn into_job(self, queue: Queue) -> Result<Job, DbError> {
        let count = |column, value: i64| {
            i32::try_from(value).map_err(|problem| DbError::impossible("job", self.id, column, problem))
        };
        Ok(Job {
            id: self.id,
            queue,
            attempts: count("attempts", self.attempts)?,
            failures: count("failures", self.failures)?,
            key: self.key,
            followed_user: self.followed_user_id.map(FollowedUserId),
            payload: self.payload,
            due: Timestamp::from_millis(self.due),
            created_at: Timestamp::from_millis(self.created_at),
            last_error: self.last_error,
        })
    }
}
