//! Leases: which worker does the work of which leader, when several workers share one database (spec 10).
//!
//! A worker takes a lease by raising its epoch, which is the lease's fencing token. Work that two workers must not both
//! do names its epoch in its own transaction, and fails when the epoch has changed: a worker that was only slow cannot
//! write after it has lost the lease.

use crate::chance;
use crate::domain::events::lease::{Fence, LeaseName, WorkerId};
use crate::queue;
use crate::sql::batch::{Batch, batches, fetch_batch_values};
use crate::sql::connection::{Db, Driver, Tx, on, statements};
use crate::sql::error::DbError;

/// A lease, with the beat of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    pub name: LeaseName,
    pub holder: Option<WorkerId>,
    pub epoch: i64,
    /// The holder's beat; negative without a holder.
    pub beat: i64,
}

/// All leases and all workers, read in one transaction after our own beat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Round {
    pub leases: Vec<LeaseRow>,
    pub workers: Vec<(WorkerId, i64)>,
}

statements! {
    BEAT = "insert into worker (id, beat) values ($1, 1) on conflict (id) do update set beat = worker.beat + 1";
    NEW_USERS = "insert into lease (name, followed_user_id)
        select 'user:' || cast(id as text), id from followed_user where true on conflict do nothing";
    NEW_GLOBAL = "insert into lease (name) values ('global') on conflict do nothing";
    LEASES = "select lease.name, lease.holder, lease.epoch, coalesce(worker.beat, -1) as beat
        from lease left join worker on worker.id = lease.holder order by lease.name";
    WORKERS = "select id, beat from worker order by id";
    TAKE = "update lease set holder = $2, epoch = epoch + 1 where name = $1 and epoch = $3
            and coalesce((select beat from worker where id = lease.holder), -1) = $4
        returning epoch";
    GIVE_UP = "update lease set holder = null, epoch = epoch + 1 where name = $1 and holder = $2";
    GIVE_UP_ALL = "update lease set holder = null, epoch = epoch + 1 where holder = $1";
    LEAVE = "delete from worker where id = $1";
    FORGET_WORKER = "delete from worker where id = $1 and beat = $2";
    FORGET_CHECKPOINT = "delete from system_checkpoint where key = $1";
}

batches! {
    HOLD = "with held (name, epoch) as (values ", 2, ") select lease.name from held
        join lease on lease.name = cast(held.name as text) and lease.epoch = cast(held.epoch as bigint)";
}

/// On PostgreSQL the rows must be locked, so that a lease does not change hands before the commit; SQLite has one
/// writer and no such clause.
static HOLD_POSTGRES: Batch = Batch::new(
    "with held (name, epoch) as (values ",
    2,
    ") select lease.name from held join lease on lease.name = cast(held.name as text)
        and lease.epoch = cast(held.epoch as bigint) for share of lease",
);

#[derive(sqlx_macros::FromRow)]
struct Row {
    name: String,
    holder: Option<String>,
    epoch: i64,
    beat: i64,
}

impl TryFrom<Row> for LeaseRow {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let Row { name, holder, epoch, beat } = row;
        let name = name.parse().map_err(|problem| DbError::impossible("lease", &name, "name", problem))?;
        Ok(Self { name, holder: holder.map(WorkerId::new), epoch, beat })
    }
}

impl Db {
    /// Records a beat of `worker`, creates the leases of leaders followed since the last round, and returns all leases
    /// and workers.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn lease_round(&self, worker: &WorkerId) -> Result<Round, DbError> {
        let mut tx = self.begin_lazily().await?;
        let (leases, workers): (Vec<Row>, Vec<(String, i64)>) = on!(tx &mut tx, c => async {
            sqlx::query(BEAT).bind(worker.as_str()).execute(&mut *c).await?;
            sqlx::query(NEW_USERS).execute(&mut *c).await?;
            sqlx::query(NEW_GLOBAL).execute(&mut *c).await?;
            Ok((sqlx::query_as(LEASES).fetch_all(&mut *c).await?, sqlx::query_as(WORKERS).fetch_all(&mut *c).await?))
        }
        .await)?;
        tx.commit().await?;
        Ok(Round {
            leases: leases.into_iter().map(LeaseRow::try_from).collect::<Result<_, DbError>>()?,
            workers: workers.into_iter().map(|(id, beat)| (WorkerId::new(id), beat)).collect(),
        })
    }

    /// Returns every worker with its beat.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub(in crate::db) async fn workers(&self) -> Result<Vec<(String, i64)>, DbError> {
        Ok(on!(db self, c => sqlx::query_as(WORKERS).fetch_all(c).await)?)
    }

    /// Takes a lease and returns its new epoch; `None` when its epoch or its holder's beat differs from `seen`. In the
    /// same transaction, the jobs that the last holder had claimed become claimable.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn take_lease(&self, worker: &WorkerId, seen: &LeaseRow) -> Result<Option<i64>, DbError> {
        let mut tx = self.begin().await?;
        let epoch: Option<i64> = on!(tx &mut tx, c => {
            sqlx::query_scalar(TAKE)
                .bind(seen.name.to_string())
                .bind(worker.as_str())
                .bind(seen.epoch)
                .bind(seen.beat)
                .fetch_optional(c)
                .await
        })?;
        if epoch.is_some() {
            queue::release_lease_in(&mut tx, seen.name).await?;
        }
        tx.commit().await?;
        Ok(epoch)
    }

    /// Releases a lease, so that other workers need not wait until it expires.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn give_up_lease(&self, worker: &WorkerId, name: LeaseName) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => {
            sqlx::query(GIVE_UP).bind(name.to_string()).bind(worker.as_str()).execute(c).await.map(drop)
        })?;
        tx.commit().await
    }

    /// Releases everything that a worker holds, because the worker ends.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn leave(&self, worker: &WorkerId) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => {
            sqlx::query(GIVE_UP_ALL).bind(worker.as_str()).execute(&mut *c).await?;
            sqlx::query(LEAVE).bind(worker.as_str()).execute(&mut *c).await.map(drop)
        })?;
        forget_own(&mut tx, worker).await?;
        tx.commit().await
    }

    /// Deletes a worker that has not beaten since `beat`, with the rows that only this worker uses.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn forget_worker(&self, worker: &WorkerId, beat: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let forgotten = on!(tx &mut tx, c => {
            sqlx::query(FORGET_WORKER).bind(worker.as_str()).bind(beat).execute(c).await.map(|done| done.rows_affected())
        })?;
        if forgotten > 0 {
            forget_own(&mut tx, worker).await?;
        }
        tx.commit().await
    }
}

/// Deletes the jobs and the health checkpoint of one worker, which no other worker uses.
async fn forget_own(tx: &mut Tx, worker: &WorkerId) -> Result<(), DbError> {
    queue::drop_own_in(tx, worker).await?;
    let health = health_key(Some(worker));
    Ok(on!(tx &mut *tx, c => sqlx::query(FORGET_CHECKPOINT).bind(health).execute(c).await.map(drop))?)
}

/// Returns a random name for one run of a worker.
pub fn random_worker_id() -> WorkerId {
    WorkerId::new(uuid::Uuid::from_u128(chance::random()).simple().to_string())
}

/// Returns the checkpoint key of a worker's health: the plain key for the only worker of a database, with the worker's
/// id for one of several.
pub fn health_key(worker: Option<&WorkerId>) -> String {
    match worker {
        None => HEALTH_KEY.to_owned(),
        Some(worker) => format!("{HEALTH_KEY}:{}", worker.as_str()),
    }
}

/// The prefix of every health checkpoint's key.
pub const HEALTH_KEY: &str = "worker:actors";

/// Locks leases until the end of the transaction; returns those that another worker holds now.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn lost_in(tx: &mut Tx, fences: &[Fence]) -> Result<Vec<LeaseName>, DbError> {
    let batch = match tx.driver() {
        Driver::Postgres => &HOLD_POSTGRES,
        Driver::Sqlite => &HOLD,
    };
    let held: Vec<String> =
        fetch_batch_values!(tx, batch, fences, |query, fence| query.bind(fence.lease.to_string()).bind(fence.epoch))?;
    Ok(fences.iter().map(|fence| fence.lease).filter(|lease| !held.contains(&lease.to_string())).collect())
}
