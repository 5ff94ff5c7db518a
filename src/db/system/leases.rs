//! Leases: which worker does whose work, when several share one database (architecture section 4).
//!
//! A lease is taken by raising its epoch. Whatever must not be done by two workers names the epoch it stands on, in the
//! transaction that does it, and is refused once the lease has changed hands: a worker that was only slow cannot write.

use crate::domain::events::lease::{Fence, LeaseName, WorkerId};
use crate::queue;
use crate::sql::connection::{Batch, Db, Tx, batches, on, statements};
use crate::sql::error::DbError;

/// A lease as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    pub name: LeaseName,
    pub holder: Option<WorkerId>,
    pub epoch: i64,
    /// Of its holder; below zero when there is none.
    pub beat: i64,
}

/// All leases and all workers at one moment, after our own beat.
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

/// PostgreSQL must lock the rows, so that a lease does not change hands before the commit; SQLite has one writer and no
/// such words.
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
    /// Shows that `worker` lives, and gives what everybody sees. Leaders followed since the last round get their lease.
    pub async fn lease_round(&self, worker: &WorkerId) -> Result<Round, DbError> {
        let mut tx = self.begin_lazily().await?;
        let (leases, workers): (Vec<Row>, Vec<(String, i64)>) = on!(tx &mut tx, c => {
            sqlx::query(BEAT).bind(worker.as_str()).execute(&mut *c).await?;
            sqlx::query(NEW_USERS).execute(&mut *c).await?;
            sqlx::query(NEW_GLOBAL).execute(&mut *c).await?;
            (sqlx::query_as(LEASES).fetch_all(&mut *c).await?, sqlx::query_as(WORKERS).fetch_all(&mut *c).await?)
        });
        tx.commit().await?;
        Ok(Round {
            leases: leases.into_iter().map(LeaseRow::try_from).collect::<Result<_, DbError>>()?,
            workers: workers.into_iter().map(|(id, beat)| (WorkerId::new(id), beat)).collect(),
        })
    }

    /// Every worker with its beat.
    pub(in crate::db) async fn workers(&self) -> Result<Vec<(String, i64)>, DbError> {
        Ok(on!(db self, c => sqlx::query_as(WORKERS).fetch_all(c).await)?)
    }

    /// Takes a lease that was seen like this; `None` when it has moved since. The jobs its last holder was at are open
    /// again in the same transaction.
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

    /// Lets a lease go, so that others need not wait until it looks dead.
    pub async fn give_up_lease(&self, worker: &WorkerId, name: LeaseName) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => {
            sqlx::query(GIVE_UP).bind(name.to_string()).bind(worker.as_str()).execute(c).await.map(drop)
        })?;
        tx.commit().await
    }

    /// The worker ends: everything it held is free at once.
    pub async fn leave(&self, worker: &WorkerId) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => {
            sqlx::query(GIVE_UP_ALL).bind(worker.as_str()).execute(&mut *c).await?;
            sqlx::query(LEAVE).bind(worker.as_str()).execute(&mut *c).await.map(drop)
        })?;
        forget_own(&mut tx, worker).await?;
        tx.commit().await
    }

    /// Forgets a worker that has not been heard of since this beat, with what it had only for itself.
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

/// Its jobs and its health are of no use to others.
async fn forget_own(tx: &mut Tx, worker: &WorkerId) -> Result<(), DbError> {
    queue::drop_own_in(tx, worker).await?;
    let health = health_key(Some(worker));
    Ok(on!(tx &mut *tx, c => sqlx::query(FORGET_CHECKPOINT).bind(health).execute(c).await.map(drop))?)
}

/// A name that no other run of a worker has.
pub fn random_worker_id() -> WorkerId {
    WorkerId::new(uuid::Uuid::new_v4().simple().to_string())
}

/// Where a worker keeps how its actors are: the only worker of a database under this key, one of several behind it.
pub fn health_key(worker: Option<&WorkerId>) -> String {
    match worker {
        None => HEALTH_KEY.to_owned(),
        Some(worker) => format!("{HEALTH_KEY}:{}", worker.as_str()),
    }
}

/// Every health checkpoint begins so.
pub const HEALTH_KEY: &str = "worker:actors";

/// Holds leases until the end of the transaction; gives those that have changed hands.
pub(crate) async fn lost_in(tx: &mut Tx, fences: &[Fence]) -> Result<Vec<LeaseName>, DbError> {
    let mut held: Vec<String> = Vec::with_capacity(fences.len());
    for chunk in Batch::chunks(fences) {
        let batch = match tx {
            Tx::Postgres(_) => &HOLD_POSTGRES,
            Tx::Sqlite(..) => &HOLD,
        };
        let text = batch.text(tx.driver(), chunk.len());
        let names: Vec<String> = on!(tx &mut *tx, c => {
            let mut query = sqlx::query_scalar(text);
            for fence in chunk {
                query = query.bind(fence.lease.to_string()).bind(fence.epoch);
            }
            query.fetch_all(c).await
        })?;
        held.extend(names);
    }
    Ok(fences.iter().map(|fence| fence.lease).filter(|lease| !held.contains(&lease.to_string())).collect())
}
