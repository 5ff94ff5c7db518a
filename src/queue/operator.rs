//! Open jobs for the operator, and the only way to drop a job without its effect.

use super::job::{Job, JobFence, Queue};
use super::jobs::finish_in;
use super::row::Row;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::Db;
use crate::sql::connection::{Tx, on, statements};
use crate::sql::error::DbError;

/// An open job and the end of its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    pub job: Job,
    /// Set once the job was claimed; in the past when the worker that claimed it is late.
    pub leased_until: Option<Timestamp>,
}

statements! {
    /// By id, which is the order of opening: no index by queue returns the few oldest without a sort.
    LIST = "select queue, leased_until, id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error
        from job where (cast($1 as text) is null or queue || '' = $1) order by id limit $2";
    FIND = "select queue, leased_until, id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error
        from job where id = $1";
    DROP = "insert into dead_letter (queue, key, followed_user_id, payload, error, created_at, dropped_at)
        select queue, key, followed_user_id, payload, $3, $4, $4 from job where id = $1 and attempts = $2";
}

#[derive(sqlx_macros::FromRow)]
struct OpenRow {
    queue: String,
    leased_until: Option<i64>,
    #[sqlx(flatten)]
    job: Row,
}

/// Returns up to `limit` open jobs of one queue, or of all, in the order of opening. Claims nothing.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
/// decoded.
pub async fn open_jobs(db: &Db, queue: Option<Queue>, limit: i64) -> Result<Vec<OpenJob>, DbError> {
    let queue = queue.map(Queue::as_str);
    let rows: Vec<OpenRow> = on!(db db, c => sqlx::query_as(LIST).bind(queue).bind(limit).fetch_all(c).await)?;
    rows.into_iter().map(OpenJob::try_from).collect()
}

/// Returns one open job.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
/// decoded.
pub async fn open_job(db: &Db, id: i64) -> Result<Option<OpenJob>, DbError> {
    let row: Option<OpenRow> = on!(db db, c => sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
    row.map(OpenJob::try_from).transpose()
}

/// Moves a job to the dropped dead letters. Returns false if a worker claimed or finished it after the operator saw it.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn drop_in(tx: &mut Tx, fence: JobFence, error: &str, now: Timestamp) -> Result<bool, DbError> {
    on!(tx &mut *tx, c => {
        sqlx::query(DROP)
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
