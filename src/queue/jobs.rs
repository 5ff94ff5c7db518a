//! Opening, reading, finishing and failing jobs: SQL of the `job` table.

use std::collections::HashSet;
use std::fmt;

use rand::Rng;

use super::job::{Job, JobFence, NewJob, Queue};
use super::row::Row;
use crate::domain::events::lease::WorkerId;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::batch::{batches, execute_batch, fetch_batch, fetch_batch_values};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::error::DbError;

/// Retries of a failed job before it becomes a dead letter.
pub const RETRIES: i32 = 3;
/// The wait before the first retry; each later wait is four times as long.
const RETRY_BASE_MS: i64 = 1_000;

/// The outcome of a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The job will be tried again at this time.
    Retry(Timestamp),
    /// It had no retries left and is a dead letter now.
    Dead,
    /// Another worker holds it now, or it is finished.
    FenceLost,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(due) => write!(f, "retried at {due}"),
            Self::Dead => f.write_str("a dead letter"),
            Self::FenceLost => f.write_str("held by another worker now"),
        }
    }
}

statements! {
    OPEN = "select id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error from job
        where queue = $1 order by due, id";
    /// In the order of opening, by id. `|| ''` keeps the planner off the indexes by queue: with them it would read and
    /// sort every open job of the queue for the few jobs behind a recent id.
    OPENED_AFTER = "select id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error from job
        where queue || '' = $1 and id > $2 order by id limit $3";
    OPENED_AFTER_OF_USER = "select id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error
        from job where queue || '' = $1 and id > $2 and followed_user_id + 0 = $4 order by id limit $3";
    RETRY = "update job set failures = failures + 1, due = $3, leased_until = null, last_error = $4
        where id = $1 and attempts = $2";
    POSTPONE = "update job set due = $3, leased_until = null, last_error = $4 where id = $1 and attempts = $2";
    BURY = "insert into dead_letter (queue, key, followed_user_id, payload, error, created_at)
        select queue, key, followed_user_id, payload, $3, $4 from job where id = $1 and attempts = $2";
    UNDECIDED_OF = "select count(*) from job where followed_user_id = $1
        and queue in ('q_group_events', 'q_copy_attempt_user', 'q_copy_attempt_global')";
    DROP_OWN = "delete from job where followed_user_id is null and key like cast($1 as text) || ':%'";
}

batches! {
    INSERT = "insert into job (queue, key, followed_user_id, payload, due, created_at) values ", 6,
        " on conflict (queue, key) do nothing";
    OPEN_OF = "with asked (queue, key) as (values ", 2, ") select job.queue, job.key from asked
        join job on job.queue = cast(asked.queue as text) and job.key = cast(asked.key as text)";
    FINISH = "with fence (id, attempts) as (values ", 2, ") delete from job where id in
        (select job.id from fence join job on job.id = cast(fence.id as bigint)
        and job.attempts = cast(fence.attempts as bigint)) returning id";
}

/// Puts a job off until `due`, because what it waits for is not there yet: that is not a failure. Does nothing when another
/// worker holds the job now.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn postpone(db: &Db, fence: JobFence, due: Timestamp, why: &str) -> Result<(), DbError> {
    let mut tx = db.begin_lazily().await?;
    on!(tx &mut tx, c => {
        sqlx::query(POSTPONE)
            .bind(fence.id)
            .bind(i64::from(fence.attempts))
            .bind(due.millis())
            .bind(why)
            .execute(c)
            .await
            .map(drop)
    })?;
    tx.commit().await
}

/// Returns every open job of a queue, leased or not, the longest due first. Claims nothing.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
/// decoded.
pub async fn peek_open(db: &Db, queue: Queue) -> Result<Vec<Job>, DbError> {
    let rows: Vec<Row> = on!(db db, c => sqlx::query_as(OPEN).bind(queue.as_str()).fetch_all(c).await)?;
    rows.into_iter().map(|row| row.into_job(queue)).collect()
}

/// Returns up to `limit` open jobs with an id above `after`, in the order of opening, leased or not. Claims nothing: a
/// caller that follows the queue passes the last id that it saw.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
/// decoded.
pub async fn opened_after(
    db: &Db,
    queue: Queue,
    filter: Option<FollowedUserId>,
    after: i64,
    limit: i64,
) -> Result<Vec<Job>, DbError> {
    let text = if filter.is_some() { OPENED_AFTER_OF_USER } else { OPENED_AFTER };
    let rows: Vec<Row> = on!(db db, c => {
        let mut query = sqlx::query_as(text).bind(queue.as_str()).bind(after).bind(limit);
        if let Some(user) = filter {
            query = query.bind(user.0);
        }
        query.fetch_all(c).await
    })?;
    rows.into_iter().map(|row| row.into_job(queue)).collect()
}

/// Returns those of `jobs`, by queue and key, that are still open.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn open_of(db: &Db, jobs: &[(Queue, String)]) -> Result<HashSet<(Queue, String)>, DbError> {
    let rows: Vec<(String, String)> =
        fetch_batch!(db, OPEN_OF, jobs, |query, (queue, key)| query.bind(queue.as_str()).bind(key))?;
    Ok(rows.into_iter().filter_map(|(queue, key)| Some((queue.parse().ok()?, key))).collect())
}

/// Returns the number of a leader's events and groups that wait for a decision.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn undecided_of(db: &Db, leader: FollowedUserId) -> Result<i64, DbError> {
    Ok(on!(db db, c => sqlx::query_scalar(UNDECIDED_OF).bind(leader.0).fetch_one(c).await)?)
}

/// Deletes jobs whose work has no other effect. Returns the fences that still held.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn finish(db: &Db, fences: &[JobFence]) -> Result<Vec<JobFence>, DbError> {
    let mut tx = db.begin_lazily().await?;
    let finished = finish_in(&mut tx, fences).await?;
    tx.commit().await?;
    Ok(fences.iter().copied().filter(|fence| finished.contains(&fence.id)).collect())
}

/// Schedules a failed job again, later each time; after [`RETRIES`] retries it becomes a dead letter.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn fail(
    db: &Db,
    job: &Job,
    error: &str,
    now: Timestamp,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Failed, DbError> {
    if job.failures >= RETRIES {
        return bury(db, job, error, now).await;
    }
    let due = now.plus_millis(retry_wait_ms(job.failures, rng));
    let mut tx = db.begin_lazily().await?;
    let changed = on!(tx &mut tx, c => {
        sqlx::query(RETRY)
            .bind(job.id)
            .bind(i64::from(job.attempts))
            .bind(due.millis())
            .bind(error)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    tx.commit().await?;
    Ok(if changed == 0 { Failed::FenceLost } else { Failed::Retry(due) })
}

/// Deletes the jobs that belong to one worker only.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn drop_own_in(tx: &mut Tx, worker: &WorkerId) -> Result<(), DbError> {
    Ok(on!(tx &mut *tx, c => sqlx::query(DROP_OWN).bind(worker.as_str()).execute(c).await.map(drop))?)
}

/// Writes jobs that only the passage of time makes necessary, in a transaction that writes nothing else.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn enqueue(db: &Db, jobs: &[NewJob], now: Timestamp) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    insert_in(&mut tx, jobs, now).await?;
    tx.commit().await
}

/// Writes jobs in the transaction that makes them necessary.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn insert_in(tx: &mut Tx, jobs: &[NewJob], now: Timestamp) -> Result<(), DbError> {
    execute_batch!(tx, INSERT, jobs, |query, job| query
        .bind(job.queue.as_str())
        .bind(&job.key)
        .bind(job.followed_user.map(|user| user.0))
        .bind(&job.payload)
        .bind(job.due.millis())
        .bind(now.millis()))?;
    Ok(())
}

/// Deletes jobs in the transaction of their effect. Returns the ids of those whose fences still held.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn finish_in(tx: &mut Tx, fences: &[JobFence]) -> Result<Vec<i64>, DbError> {
    fetch_batch_values!(tx, FINISH, fences, |query, fence| query.bind(fence.id).bind(i64::from(fence.attempts)))
}

/// Turns a job into a dead letter.
async fn bury(db: &Db, job: &Job, error: &str, now: Timestamp) -> Result<Failed, DbError> {
    let mut tx = db.begin().await?;
    on!(tx &mut tx, c => {
        sqlx::query(BURY)
            .bind(job.id)
            .bind(i64::from(job.attempts))
            .bind(error)
            .bind(now.millis())
            .execute(c)
            .await
            .map(drop)
    })?;
    let finished = finish_in(&mut tx, &[job.fence()]).await?;
    tx.commit().await?;
    Ok(if finished.is_empty() { Failed::FenceLost } else { Failed::Dead })
}

/// Returns four times the last wait, plus up to a quarter by chance, so that jobs that failed together do not come back
/// together.
fn retry_wait_ms(failures: i32, rng: &mut (impl Rng + ?Sized)) -> i64 {
    let factor = 4_i64.saturating_pow(failures.max(0).unsigned_abs());
    let wait = RETRY_BASE_MS.saturating_mul(factor);
    wait.saturating_add(rng.random_range(0..=wait / 4))
}
