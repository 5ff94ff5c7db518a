//! The rows: claim, finish, fail. All SQL of the `job` table.

use std::fmt;

use rand::Rng;

use super::{Job, JobFence, NewJob, Queue};
use crate::db::connection::{Batch, Tx, batches, on, statements};
use crate::db::{Db, DbError};
use crate::domain::ids::FollowedUserId;
use crate::domain::units::Timestamp;

/// Retries of a failed job before it is given up.
pub const RETRIES: i32 = 3;
/// The wait before the first retry; each later one is four times as long.
const RETRY_BASE_MS: i64 = 1_000;

/// What became of a job that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It will be tried again then.
    Retry(Timestamp),
    /// It was given up and is a dead letter now.
    Dead,
    /// Somebody else has it, or it is done.
    FenceLost,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(due) => write!(f, "tried again at {due}"),
            Self::Dead => f.write_str("a dead letter"),
            Self::FenceLost => f.write_str("somebody else's by now"),
        }
    }
}

/// How much waits in one queue, and since when it could have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    pub queue: Queue,
    pub open: i64,
    pub leased: i64,
    pub oldest_due: Option<Timestamp>,
}

/// The claim is the one statement with two texts: PostgreSQL has several claimers at once and must skip what another is
/// just taking; SQLite has one writer and no such words.
macro_rules! claim {
    ($filter:literal, $skip_locked:literal) => {
        concat!(
            "update job set attempts = attempts + 1, leased_until = $3 where id in (select id from job where queue = $1",
            $filter,
            " and coalesce(leased_until, due) <= $2 order by coalesce(leased_until, due), id limit $4",
            $skip_locked,
            ") returning id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error"
        )
    };
}
const CLAIM_POSTGRES: &str = claim!("", " for update skip locked");
const CLAIM_OF_USER_POSTGRES: &str = claim!(" and followed_user_id = $5", " for update skip locked");

statements! {
    CLAIM = claim!("", "");
    CLAIM_OF_USER = claim!(" and followed_user_id = $5", "");
    OPEN = "select id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error from job
        where queue = $1 order by due, id";
    /// In order of opening, by id. `|| ''` keeps the planner from the indexes by queue, which would read and sort every open
    /// job of the queue for the few behind a recent id.
    OPENED_AFTER = "select id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error from job
        where queue || '' = $1 and id > $2 order by id limit $3";
    OPENED_AFTER_OF_USER = "select id, key, followed_user_id, payload, attempts, failures, due, created_at, last_error
        from job where queue || '' = $1 and id > $2 and followed_user_id + 0 = $4 order by id limit $3";
    RETRY = "update job set failures = failures + 1, due = $3, leased_until = null, last_error = $4
        where id = $1 and attempts = $2";
    RENEW = "update job set leased_until = $3 where id = $1 and attempts = $2";
    BURY = "insert into dead_letter (queue, key, followed_user_id, payload, error, created_at)
        select queue, key, followed_user_id, payload, $3, $4 from job where id = $1 and attempts = $2";
    RELEASE = "update job set leased_until = null where queue = $1 and leased_until is not null";
    RELEASE_OF_USER = "update job set leased_until = null
        where queue = $1 and followed_user_id = $2 and leased_until is not null";
    RELEASE_ALL = "update job set leased_until = null where leased_until is not null";
    NEXT_DUE = "select coalesce(leased_until, due) from job where queue = $1
        order by coalesce(leased_until, due), id limit 1";
    NEXT_DUE_OF_USER = "select coalesce(leased_until, due) from job where queue = $1 and followed_user_id = $2
        order by coalesce(leased_until, due), id limit 1";
    DEPTHS = "select queue, count(*), cast(coalesce(sum(case when leased_until is null then 0 else 1 end), 0) as bigint),
        min(due) from job group by queue";
}

batches! {
    INSERT = "insert into job (queue, key, followed_user_id, payload, due, created_at) values ", 6,
        " on conflict (queue, key) do nothing";
    FINISH = "with fence (id, attempts) as (values ", 2, ") delete from job where id in
        (select job.id from fence join job on job.id = cast(fence.id as bigint)
        and job.attempts = cast(fence.attempts as bigint)) returning id";
}

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

/// Takes up to `limit` due jobs, the longest due first, for `lease_ms`. A lease that passed is taken again.
pub async fn claim(
    db: &Db,
    queue: Queue,
    filter: Option<FollowedUserId>,
    now: Timestamp,
    lease_ms: i64,
    limit: i64,
) -> Result<Vec<Job>, DbError> {
    // Looking costs nothing; an idle queue must not take the write lock ten times a second.
    if next_due(db, queue, filter).await?.is_none_or(|due| due > now) {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let until = now.plus_millis(lease_ms).millis();
    let text = match (&tx, filter) {
        (Tx::Postgres(_), None) => CLAIM_POSTGRES,
        (Tx::Postgres(_), Some(_)) => CLAIM_OF_USER_POSTGRES,
        (Tx::Sqlite(..), None) => CLAIM,
        (Tx::Sqlite(..), Some(_)) => CLAIM_OF_USER,
    };
    let rows: Vec<Row> = on!(tx &mut tx, c => {
        let mut query = sqlx::query_as(text).bind(queue.as_str()).bind(now.millis()).bind(until).bind(limit);
        if let Some(user) = filter {
            query = query.bind(user.0);
        }
        query.fetch_all(c).await
    })?;
    tx.commit().await?;
    let mut jobs = rows.into_iter().map(|row| row.into_job(queue)).collect::<Result<Vec<_>, _>>()?;
    // An update returns its rows in no order.
    jobs.sort_by_key(|job| (job.due, job.id));
    Ok(jobs)
}

/// Every open job of a queue, leased or not, the longest due first. Takes nothing.
pub async fn peek_open(db: &Db, queue: Queue) -> Result<Vec<Job>, DbError> {
    let rows: Vec<Row> = on!(db db, c => sqlx::query_as(OPEN).bind(queue.as_str()).fetch_all(c).await)?;
    rows.into_iter().map(|row| row.into_job(queue)).collect()
}

/// Up to `limit` open jobs behind the job `after`, in the order they were opened, leased or not. Takes nothing: who must
/// know what is coming asks again from the last it saw.
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

/// Deletes jobs whose work has no other effect. Gives the fences that held.
pub async fn finish(db: &Db, fences: &[JobFence]) -> Result<Vec<JobFence>, DbError> {
    let mut tx = db.begin().await?;
    let finished = finish_in(&mut tx, fences).await?;
    tx.commit().await?;
    Ok(fences.iter().copied().filter(|fence| finished.contains(&fence.id)).collect())
}

/// Gives a job that went wrong another time, later each time, and after three retries makes it a dead letter.
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
    let mut tx = db.begin().await?;
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

/// Holds on to a job whose work takes longer than its lease. False when it was lost.
pub async fn renew(db: &Db, fence: JobFence, until: Timestamp) -> Result<bool, DbError> {
    let mut tx = db.begin().await?;
    let changed = on!(tx &mut tx, c => {
        sqlx::query(RENEW)
            .bind(fence.id)
            .bind(i64::from(fence.attempts))
            .bind(until.millis())
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    tx.commit().await?;
    Ok(changed > 0)
}

/// Ends every lease: at start, whoever held one is gone. The count says how much was in flight.
pub async fn release_all(db: &Db) -> Result<u64, DbError> {
    let mut tx = db.begin().await?;
    let released = on!(tx &mut tx, c => sqlx::query(RELEASE_ALL).execute(c).await.map(|done| done.rows_affected()))?;
    tx.commit().await?;
    Ok(released)
}

/// Ends every lease of one queue: the actor that held them has lost its memory of them.
pub async fn release(db: &Db, queue: Queue) -> Result<u64, DbError> {
    let mut tx = db.begin().await?;
    let released = on!(tx &mut tx, c => {
        sqlx::query(RELEASE).bind(queue.as_str()).execute(c).await.map(|done| done.rows_affected())
    })?;
    tx.commit().await?;
    Ok(released)
}

/// The same for the jobs of one user, where each user's have a holder of their own.
pub async fn release_of_user(db: &Db, queue: Queue, user: FollowedUserId) -> Result<u64, DbError> {
    let mut tx = db.begin().await?;
    let released = on!(tx &mut tx, c => {
        sqlx::query(RELEASE_OF_USER).bind(queue.as_str()).bind(user.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    tx.commit().await?;
    Ok(released)
}

/// When the next job of a queue may be taken; in the past when one waits.
pub async fn next_due(db: &Db, queue: Queue, filter: Option<FollowedUserId>) -> Result<Option<Timestamp>, DbError> {
    let due: Option<i64> = match filter {
        None => on!(db db, c => sqlx::query_scalar(NEXT_DUE).bind(queue.as_str()).fetch_optional(c).await)?,
        Some(user) => on!(db db, c => {
            sqlx::query_scalar(NEXT_DUE_OF_USER).bind(queue.as_str()).bind(user.0).fetch_optional(c).await
        })?,
    };
    Ok(due.map(Timestamp::from_millis))
}

/// Every queue, the empty ones too.
pub async fn depths(db: &Db) -> Result<Vec<Depth>, DbError> {
    let rows: Vec<(String, i64, i64, Option<i64>)> = on!(db db, c => sqlx::query_as(DEPTHS).fetch_all(c).await)?;
    let depth = |queue: &Queue| match rows.iter().find(|row| row.0 == queue.as_str()) {
        Some(&(_, open, leased, due)) => {
            Depth { queue: *queue, open, leased, oldest_due: due.map(Timestamp::from_millis) }
        }
        None => Depth { queue: *queue, open: 0, leased: 0, oldest_due: None },
    };
    Ok(Queue::ALL.iter().map(depth).collect())
}

/// Writes jobs that nothing but the time makes necessary.
pub async fn enqueue(db: &Db, jobs: &[NewJob], now: Timestamp) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    insert_in(&mut tx, jobs, now).await?;
    tx.commit().await
}

/// Writes jobs as part of what makes them necessary.
pub(crate) async fn insert_in(tx: &mut Tx, jobs: &[NewJob], now: Timestamp) -> Result<(), DbError> {
    for chunk in Batch::chunks(jobs) {
        let text = INSERT.text(tx.driver(), chunk.len());
        on!(tx &mut *tx, c => {
            let mut query = sqlx::query(text);
            for job in chunk {
                query = query
                    .bind(job.queue.as_str())
                    .bind(&job.key)
                    .bind(job.followed_user.map(|user| user.0))
                    .bind(&job.payload)
                    .bind(job.due.millis())
                    .bind(now.millis());
            }
            query.execute(c).await.map(drop)
        })?;
    }
    Ok(())
}

/// Deletes jobs as part of their effect; gives the ids that were still held.
pub(crate) async fn finish_in(tx: &mut Tx, fences: &[JobFence]) -> Result<Vec<i64>, DbError> {
    let mut finished = Vec::with_capacity(fences.len());
    for chunk in Batch::chunks(fences) {
        let text = FINISH.text(tx.driver(), chunk.len());
        let ids: Vec<i64> = on!(tx &mut *tx, c => {
            let mut query = sqlx::query_scalar(text);
            for fence in chunk {
                query = query.bind(fence.id).bind(i64::from(fence.attempts));
            }
            query.fetch_all(c).await
        })?;
        finished.extend(ids);
    }
    Ok(finished)
}

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

/// Four times as long for each failure before, and up to a quarter more by chance: a crowd that failed together comes
/// back apart.
fn retry_wait_ms(failures: i32, rng: &mut (impl Rng + ?Sized)) -> i64 {
    let factor = 4_i64.saturating_pow(failures.max(0).unsigned_abs());
    let wait = RETRY_BASE_MS.saturating_mul(factor);
    wait.saturating_add(rng.random_range(0..=wait / 4))
}

impl Row {
    pub(super) const fn id(&self) -> i64 {
        self.id
    }

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
