//! The rows: claim, finish, fail. All SQL of the `job` table.

use std::collections::HashSet;
use std::fmt;

use rand::Rng;

use super::job::{Job, JobFence, NewJob, Queue};
use crate::domain::events::lease::{LeaseName, WorkerId};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::Db;
use crate::sql::connection::{Batch, Tx, batches, on, statements};
use crate::sql::error::DbError;

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
    /// Since when some job could have been taken and was not: it is due, and nobody has leased it. In the future when
    /// that is still to come.
    pub untaken_since: Option<Timestamp>,
}

/// A job that nobody takes for longer than this waits for somebody who does not come.
const STUCK_MS: i64 = 60_000;

impl Depth {
    /// How long a job has been waiting for a taker, when that is too long. A job in work is in good hands however long
    /// it takes.
    pub fn stuck_for_ms(&self, now: Timestamp) -> Option<i64> {
        self.untaken_since.map(|since| now.millis_since(since)).filter(|waits| *waits > STUCK_MS)
    }
}

/// Which jobs of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobScope {
    /// Nobody else works on this database.
    All,
    OfUser(FollowedUserId),
    /// Those of the leases that this worker holds, and its own.
    HeldBy(WorkerId),
}

/// A leader's jobs go with the leader's lease, those of the portfolio of all with the global one, and a worker's own
/// begin with its name.
macro_rules! held_by {
    ($worker:literal) => {
        concat!(
            " and (followed_user_id in (select followed_user_id from lease where holder = cast(",
            $worker,
            " as text)) or (key = 'EXEC_GLOBAL' and exists (select 1 from lease where name = 'global' and holder = cast(",
            $worker,
            " as text))) or (followed_user_id is null and key like cast(",
            $worker,
            " as text) || ':%'))"
        )
    };
}

/// The claim is the one statement with two texts: PostgreSQL has several claimers at once and must skip what another is
/// just taking; SQLite has one writer and no such words.
macro_rules! claim {
    ($filter:expr, $skip_locked:literal) => {
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
const CLAIM_HELD_POSTGRES: &str = claim!(held_by!("$5"), " for update skip locked");

statements! {
    CLAIM = claim!("", "");
    CLAIM_OF_USER = claim!(" and followed_user_id = $5", "");
    CLAIM_HELD = claim!(held_by!("$5"), "");
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
    RELEASE_HELD = concat!("update job set leased_until = null where queue = $1 and leased_until is not null",
        held_by!("$2"));
    /// Of a leader's lease: the copies into the portfolio of all go with the other one.
    RELEASE_USER_LEASE = "update job set leased_until = null
        where followed_user_id = $1 and queue <> 'q_copy_attempt_global' and leased_until is not null";
    RELEASE_GLOBAL_LEASE = "update job set leased_until = null
        where (queue = 'q_copy_attempt_global' or key = 'EXEC_GLOBAL') and leased_until is not null";
    DROP_OWN = "delete from job where followed_user_id is null and key like cast($1 as text) || ':%'";
    RELEASE_ALL = "update job set leased_until = null where leased_until is not null";
    NEXT_DUE = "select coalesce(leased_until, due) from job where queue = $1
        order by coalesce(leased_until, due), id limit 1";
    NEXT_DUE_OF_USER = "select coalesce(leased_until, due) from job where queue = $1 and followed_user_id = $2
        order by coalesce(leased_until, due), id limit 1";
    NEXT_DUE_HELD = concat!("select coalesce(leased_until, due) from job where queue = $1", held_by!("$2"),
        " order by coalesce(leased_until, due), id limit 1");
    /// Jobs that failed are left out: they wait for their next try, and nobody waits for them.
    OLDEST = "select min(created_at) from job where queue = $1 and failures = 0";
    DEPTHS = "select queue, count(*), cast(coalesce(sum(case when leased_until is null then 0 else 1 end), 0) as bigint),
        min(due), min(coalesce(leased_until, due)) from job group by queue";
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

/// Binds what a scope's statement takes last.
macro_rules! within {
    ($query:expr, $scope:expr) => {
        match $scope {
            JobScope::All => $query,
            JobScope::OfUser(user) => $query.bind(user.0),
            JobScope::HeldBy(worker) => $query.bind(worker.as_str()),
        }
    };
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

/// Queue, open, leased, oldest due, untaken since.
type DepthRow = (String, i64, i64, Option<i64>, Option<i64>);

/// Takes up to `limit` due jobs, the longest due first, for `lease_ms`. A lease that passed is taken again.
pub async fn claim(
    db: &Db,
    queue: Queue,
    scope: &JobScope,
    now: Timestamp,
    lease_ms: i64,
    limit: i64,
) -> Result<Vec<Job>, DbError> {
    // Looking costs nothing; an idle queue must not take the write lock ten times a second.
    if next_due(db, queue, scope).await?.is_none_or(|due| due > now) {
        return Ok(Vec::new());
    }
    let mut tx = db.begin_lazily().await?;
    let until = now.plus_millis(lease_ms).millis();
    let text = match (&tx, scope) {
        (Tx::Postgres(_), JobScope::All) => CLAIM_POSTGRES,
        (Tx::Postgres(_), JobScope::OfUser(_)) => CLAIM_OF_USER_POSTGRES,
        (Tx::Postgres(_), JobScope::HeldBy(_)) => CLAIM_HELD_POSTGRES,
        (Tx::Sqlite(..), JobScope::All) => CLAIM,
        (Tx::Sqlite(..), JobScope::OfUser(_)) => CLAIM_OF_USER,
        (Tx::Sqlite(..), JobScope::HeldBy(_)) => CLAIM_HELD,
    };
    let rows: Vec<Row> = on!(tx &mut tx, c => {
        let query = sqlx::query_as(text).bind(queue.as_str()).bind(now.millis()).bind(until).bind(limit);
        within!(query, scope).fetch_all(c).await
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

/// Which of these jobs, by queue and key, are not done yet.
pub async fn open_of(db: &Db, jobs: &[(Queue, String)]) -> Result<HashSet<(Queue, String)>, DbError> {
    let mut open = HashSet::new();
    for chunk in Batch::chunks(jobs) {
        let text = OPEN_OF.text(db.driver(), chunk.len());
        let rows: Vec<(String, String)> = on!(db db, c => {
            let mut query = sqlx::query_as(text);
            for (queue, key) in chunk {
                query = query.bind(queue.as_str()).bind(key);
            }
            query.fetch_all(c).await
        })?;
        open.extend(rows.into_iter().filter_map(|(queue, key)| Some((queue.parse().ok()?, key))));
    }
    Ok(open)
}

/// Deletes jobs whose work has no other effect. Gives the fences that held.
pub async fn finish(db: &Db, fences: &[JobFence]) -> Result<Vec<JobFence>, DbError> {
    let mut tx = db.begin_lazily().await?;
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

/// Holds on to a job whose work takes longer than its lease. False when it was lost.
pub async fn renew(db: &Db, fence: JobFence, until: Timestamp) -> Result<bool, DbError> {
    let mut tx = db.begin_lazily().await?;
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
    let mut tx = db.begin_lazily().await?;
    let released = on!(tx &mut tx, c => sqlx::query(RELEASE_ALL).execute(c).await.map(|done| done.rows_affected()))?;
    tx.commit().await?;
    Ok(released)
}

/// Ends the leases of one queue: the actor that held them has lost its memory of them.
pub async fn release(db: &Db, queue: Queue, scope: &JobScope) -> Result<u64, DbError> {
    let text = match scope {
        JobScope::All => RELEASE,
        JobScope::OfUser(_) => RELEASE_OF_USER,
        JobScope::HeldBy(_) => RELEASE_HELD,
    };
    let mut tx = db.begin_lazily().await?;
    let released = on!(tx &mut tx, c => {
        within!(sqlx::query(text).bind(queue.as_str()), scope).execute(c).await.map(|done| done.rows_affected())
    })?;
    tx.commit().await?;
    Ok(released)
}

/// Ends the leases of all jobs that go with a worker's lease, as part of its changing hands.
pub(crate) async fn release_lease_in(tx: &mut Tx, lease: LeaseName) -> Result<(), DbError> {
    Ok(on!(tx &mut *tx, c => {
        match lease {
            LeaseName::User(user) => sqlx::query(RELEASE_USER_LEASE).bind(user.0).execute(c).await.map(drop),
            LeaseName::Global => sqlx::query(RELEASE_GLOBAL_LEASE).execute(c).await.map(drop),
        }
    })?)
}

/// Deletes the jobs that a worker had only for itself.
pub(crate) async fn drop_own_in(tx: &mut Tx, worker: &WorkerId) -> Result<(), DbError> {
    Ok(on!(tx &mut *tx, c => sqlx::query(DROP_OWN).bind(worker.as_str()).execute(c).await.map(drop))?)
}

/// When the next job of a queue may be taken; in the past when one waits.
pub async fn next_due(db: &Db, queue: Queue, scope: &JobScope) -> Result<Option<Timestamp>, DbError> {
    let text = match scope {
        JobScope::All => NEXT_DUE,
        JobScope::OfUser(_) => NEXT_DUE_OF_USER,
        JobScope::HeldBy(_) => NEXT_DUE_HELD,
    };
    let due: Option<i64> = on!(db db, c => {
        within!(sqlx::query_scalar(text).bind(queue.as_str()), scope).fetch_optional(c).await
    })?;
    Ok(due.map(Timestamp::from_millis))
}

/// When the oldest job of a queue was opened.
pub async fn oldest(db: &Db, queue: Queue) -> Result<Option<Timestamp>, DbError> {
    let oldest: Option<i64> = on!(db db, c => sqlx::query_scalar(OLDEST).bind(queue.as_str()).fetch_one(c).await)?;
    Ok(oldest.map(Timestamp::from_millis))
}

/// Every queue, the empty ones too.
pub async fn depths(db: &Db) -> Result<Vec<Depth>, DbError> {
    let rows: Vec<DepthRow> = on!(db db, c => sqlx::query_as(DEPTHS).fetch_all(c).await)?;
    let depth = |queue: &Queue| match rows.iter().find(|row| row.0 == queue.as_str()) {
        Some(&(_, open, leased, due, untaken)) => Depth {
            queue: *queue,
            open,
            leased,
            oldest_due: due.map(Timestamp::from_millis),
            untaken_since: untaken.map(Timestamp::from_millis),
        },
        None => Depth { queue: *queue, open: 0, leased: 0, oldest_due: None, untaken_since: None },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_stuck_when_a_job_waits_for_over_a_minute_and_nobody_has_it() {
        let check = |untaken_since: Option<i64>, expected: Option<i64>| {
            let untaken_since = untaken_since.map(Timestamp::from_millis);
            let oldest_due = Some(Timestamp::EPOCH);
            let depth = Depth { queue: Queue::Reconcile, open: 1, leased: 0, oldest_due, untaken_since };
            assert_eq!(depth.stuck_for_ms(Timestamp::from_millis(100_000)), expected);
        };
        check(None, None);
        check(Some(40_000), None);
        check(Some(39_999), Some(60_001));
        // Taken long ago, and its lease is still to end.
        check(Some(130_000), None);
    }
}
