//! Claiming jobs: which jobs a worker may take, for how long, and how leases of jobs end.

use super::job::{Job, JobFence, Queue};
use super::row::Row;
use crate::domain::events::lease::{LeaseName, WorkerId};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, Driver, Tx, on, statements};
use crate::sql::error::DbError;

/// The jobs of a queue that a worker may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobScope {
    /// All jobs: this is the only worker of the database.
    All,
    OfUser(FollowedUserId),
    /// The jobs of the leases that this worker holds, and the worker's own jobs.
    HeldBy(WorkerId),
}

/// Restricts a statement to the jobs of one worker: a leader's jobs belong to the leader's lease, those of the global
/// portfolio to the global lease, and the keys of a worker's own jobs start with its id.
macro_rules! held_by {
    ($worker:literal) => {
        concat!(
            " and (followed_user_id in (select followed_user_id from lease where holder = cast(",
            $worker,
            " as text)) or ((key = 'EXEC_GLOBAL' or key like 'EXEC_GLOBAL:%') and exists (select 1 from lease where name = 'global' and holder = cast(",
            $worker,
            " as text))) or (followed_user_id is null and key like cast(",
            $worker,
            " as text) || ':%'))"
        )
    };
}

/// The claim has two texts, one per driver: PostgreSQL has several claimers at once and must skip the rows that another
/// one has locked; SQLite has one writer and no such clause.
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
    RENEW = "update job set leased_until = $3 where id = $1 and attempts = $2";
    RELEASE = "update job set leased_until = null where queue = $1 and leased_until is not null";
    RELEASE_OF_USER = "update job set leased_until = null
        where queue = $1 and followed_user_id = $2 and leased_until is not null";
    RELEASE_HELD = concat!("update job set leased_until = null where queue = $1 and leased_until is not null",
        held_by!("$2"));
    /// Of a leader's lease. The copies into the global portfolio belong to the global lease.
    RELEASE_USER_LEASE = "update job set leased_until = null
        where followed_user_id = $1 and queue <> 'q_copy_attempt_global' and leased_until is not null";
    RELEASE_GLOBAL_LEASE = "update job set leased_until = null
        where (queue = 'q_copy_attempt_global' or key = 'EXEC_GLOBAL') and leased_until is not null";
    RELEASE_ALL = "update job set leased_until = null where leased_until is not null";
    DUE_FROM_THE_FUTURE = "update job set due = $1 where due > $2";
    NEXT_DUE = "select coalesce(leased_until, due) from job where queue = $1
        order by coalesce(leased_until, due), id limit 1";
    NEXT_DUE_OF_USER = "select coalesce(leased_until, due) from job where queue = $1 and followed_user_id = $2
        order by coalesce(leased_until, due), id limit 1";
    NEXT_DUE_HELD = concat!("select coalesce(leased_until, due) from job where queue = $1", held_by!("$2"),
        " order by coalesce(leased_until, due), id limit 1");
}

/// Binds the last argument of a scope's statement.
macro_rules! within {
    ($query:expr, $scope:expr) => {
        match $scope {
            JobScope::All => $query,
            JobScope::OfUser(user) => $query.bind(user.0),
            JobScope::HeldBy(worker) => $query.bind(worker.as_str()),
        }
    };
}

/// Claims up to `limit` due jobs for `lease_ms`, the longest due first. A job whose lease has expired is claimed again.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
/// decoded.
pub async fn claim(
    db: &Db,
    queue: Queue,
    scope: &JobScope,
    now: Timestamp,
    lease_ms: i64,
    limit: i64,
) -> Result<Vec<Job>, DbError> {
    // A read is cheap; polling an idle queue must not take the write lock ten times a second.
    if next_due(db, queue, scope).await?.is_none_or(|due| due > now) {
        return Ok(Vec::new());
    }
    let mut tx = db.begin_lazily().await?;
    let until = now.plus_millis(lease_ms).millis();
    let text = match (tx.driver(), scope) {
        (Driver::Postgres, JobScope::All) => CLAIM_POSTGRES,
        (Driver::Postgres, JobScope::OfUser(_)) => CLAIM_OF_USER_POSTGRES,
        (Driver::Postgres, JobScope::HeldBy(_)) => CLAIM_HELD_POSTGRES,
        (Driver::Sqlite, JobScope::All) => CLAIM,
        (Driver::Sqlite, JobScope::OfUser(_)) => CLAIM_OF_USER,
        (Driver::Sqlite, JobScope::HeldBy(_)) => CLAIM_HELD,
    };
    let rows: Vec<Row> = on!(tx &mut tx, c => {
        let query = sqlx::query_as(text).bind(queue.as_str()).bind(now.millis()).bind(until).bind(limit);
        within!(query, scope).fetch_all(c).await
    })?;
    tx.commit().await?;
    let mut jobs = rows.into_iter().map(|row| row.into_job(queue)).collect::<Result<Vec<_>, _>>()?;
    // `update .. returning` returns rows in no order.
    jobs.sort_by_key(|job| (job.due, job.id));
    Ok(jobs)
}

/// Extends the lease of a job whose work takes longer than the lease. Returns false if the job was lost.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
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

/// Ends every lease of a job, at start, when no worker can hold one. Returns how many jobs were in flight.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn release_all(db: &Db) -> Result<u64, DbError> {
    let mut tx = db.begin_lazily().await?;
    let released = on!(tx &mut tx, c => sqlx::query(RELEASE_ALL).execute(c).await.map(|done| done.rows_affected()))?;
    tx.commit().await?;
    Ok(released)
}

/// No job is put off for longer, in milliseconds: the largest latency and jitter of a decision, a market's own delay,
/// the largest pause after a failure.
const PUT_OFF_MAX_MS: i64 = 180_000;

/// Makes the jobs due now that are due later than a job can be, at start. They were dated by a clock that was ahead and
/// has been set back since: waiting for their times would hold a group for as long as the clock was wrong.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn bring_forward(db: &Db, now: Timestamp) -> Result<(), DbError> {
    let mut tx = db.begin_lazily().await?;
    let latest = now.plus_millis(PUT_OFF_MAX_MS).millis();
    on!(tx &mut tx, c => {
        sqlx::query(DUE_FROM_THE_FUTURE).bind(now.millis()).bind(latest).execute(c).await.map(drop)
    })?;
    tx.commit().await
}

/// Ends the job leases of one queue, because the actor that held them has restarted without them. Returns their number.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
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

/// Ends the job leases that belong to a worker's lease, in the transaction in which that lease changes hands.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn release_lease_in(tx: &mut Tx, lease: LeaseName) -> Result<(), DbError> {
    Ok(on!(tx &mut *tx, c => {
        match lease {
            LeaseName::User(user) => sqlx::query(RELEASE_USER_LEASE).bind(user.0).execute(c).await.map(drop),
            LeaseName::Global => sqlx::query(RELEASE_GLOBAL_LEASE).execute(c).await.map(drop),
        }
    })?)
}

/// Returns when the next job of a queue may be claimed; in the past if a job is waiting.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
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
