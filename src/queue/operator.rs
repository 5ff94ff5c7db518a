//! Open jobs as an operator sees them, and the one way to take one away without its effect.

use super::job::{Job, JobFence, Queue};
use super::jobs::{Row, finish_in};
use crate::domain::money::units::Timestamp;
use crate::sql::connection::Db;
use crate::sql::connection::{Tx, on, statements};
use crate::sql::error::DbError;

/// A job with what only an operator asks: who has it, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    pub job: Job,
    /// Set once it was taken; in the past when whoever took it is late.
    pub leased_until: Option<Timestamp>,
}

statements! {
    /// By id, which is the order of opening: no index of the queue's could give the few oldest without a sort.
    LIST = "select queue, leased_until, id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error
        from job where (cast($1 as text) is null or queue || '' = $1) order by id limit $2";
    FIND = "select queue, leased_until, id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error
        from job where id = $1";
    PUT_AWAY = "insert into dead_letter (queue, key, followed_user_id, payload, error, created_at, dropped_at)
        select queue, key, followed_user_id, payload, $3, $4, $4 from job where id = $1 and attempts = $2";
}

#[derive(sqlx_macros::FromRow)]
struct OpenRow {
    queue: String,
    leased_until: Option<i64>,
    #[sqlx(flatten)]
    job: Row,
}

/// Up to `limit` open jobs of one queue or of all, the first opened first. Takes nothing.
pub async fn open_jobs(db: &Db, queue: Option<Queue>, limit: i64) -> Result<Vec<OpenJob>, DbError> {
    let queue = queue.map(Queue::as_str);
    let rows: Vec<OpenRow> = on!(db db, c => sqlx::query_as(LIST).bind(queue).bind(limit).fetch_all(c).await)?;
    rows.into_iter().map(OpenJob::try_from).collect()
}

pub async fn open_job(db: &Db, id: i64) -> Result<Option<OpenJob>, DbError> {
    let row: Option<OpenRow> = on!(db db, c => sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
    row.map(OpenJob::try_from).transpose()
}

/// Moves a job, as it was seen, to the dead letters that are dealt with. False when it was taken or done since.
pub(crate) async fn put_away_in(tx: &mut Tx, fence: JobFence, error: &str, now: Timestamp) -> Result<bool, DbError> {
    on!(tx &mut *tx, c => {
        sqlx::query(PUT_AWAY)
            .bind(fence.id)
            .bind(i64::from(fence.attempts))
            .bind(error)
            .bind(now.millis())
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(!finish_in(tx, &[fence]).await?.is_empty())
}

impl TryFrom<OpenRow> for OpenJob {
    type Error = DbError;

    fn try_from(row: OpenRow) -> Result<Self, DbError> {
        let queue = row.queue.parse().map_err(|problem| DbError::impossible("job", row.job.id(), "queue", problem))?;
        Ok(Self { job: row.job.into_job(queue)?, leased_until: row.leased_until.map(Timestamp::from_millis) })
    }
}
