//! An SQLite database whose every step a simulation decides: when it happens, whether it fails, whether the process
//! still lives afterwards. Compiled for tests only.
//!
//! The statements, the schema and SQLite itself are the real ones. The pools are replaced by one connection that writes
//! and one that reads: a pool returns connections through SQLite's own threads, whose order no test can repeat. Here a
//! statement ends inside the poll that starts it, so nothing happens on another thread while the bot's tasks run, and a
//! run can be repeated exactly.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteQueryResult, SqliteRow,
    SqliteStatement, SqliteSynchronous, SqliteTypeInfo,
};
use sqlx::{ConnectOptions, Either, Error, Execute, Executor, SqlStr};
use tokio::sync::OwnedMutexGuard;

use crate::sql::connection::Db;
use crate::sql::database_file::DatabaseFile;
use crate::sql::error::DbError;
use crate::sql::wal_checkpointer::Checkpointer;

/// A step of the bot in its database, before it happens. `Committed` comes after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskStep {
    Read,
    Begin,
    Write,
    /// `durable`: the commit survives a power cut once it has returned.
    Commit {
        durable: bool,
    },
    Committed {
        durable: bool,
    },
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happens after this time.
    After(Duration),
    /// The disk refuses it. A transaction is rolled back by itself then, as SQLite does.
    Refused,
    /// It never happens: the process ends here.
    Never,
}

/// Decides about the steps in a database.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Says what becomes of a step. It is asked once for each.
    fn fate(&self, step: DiskStep) -> Fate;

    /// Whether the process has ended, so that nothing more happens.
    fn has_ended(&self) -> bool;
}

/// The database of one simulated process, or of several that share it.
#[derive(Debug, Clone)]
pub struct Driven {
    disk: Arc<dyn Disk>,
    read: Arc<Mutex<SqliteConnection>>,
    write: Arc<tokio::sync::Mutex<DrivenConnection>>,
    /// Several workers share the database, as they share one on PostgreSQL.
    shared: bool,
}

/// The connection that writes.
#[derive(Debug)]
pub struct DrivenConnection {
    disk: Arc<dyn Disk>,
    connection: SqliteConnection,
}

/// A transaction that may write; dropped without a commit, it is rolled back.
pub struct DrivenTx {
    pub(crate) connection: OwnedMutexGuard<DrivenConnection>,
    durable: bool,
    open: bool,
}

impl Db {
    /// Opens the file at `path`, which has the newest schema, for a simulation. Two values on one file are two
    /// processes as SQLite sees them.
    ///
    /// # Errors
    /// [`DbError`] when the file cannot be opened.
    pub fn driven(path: &Path, disk: Arc<dyn Disk>, shared: bool) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // Nothing is forced to the real disk: what a power cut takes is decided by the simulation, from the
            // lengths of the log.
            .synchronous(SqliteSynchronous::Off)
            .foreign_keys(true)
            .pragma("recursive_triggers", "on")
            .pragma("temp_store", "memory")
            // The log only grows while the process lives, so that a length of it is a time.
            .pragma("wal_autocheckpoint", "0")
            .statement_cache_capacity(512)
            .disable_statement_logging();
        let mut connection = block(options.connect())?;
        // What a process before this one left in the log goes into the file, and the log begins anew.
        block(sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut connection))?;
        let reading = block(options.clone().pragma("query_only", "on").connect())?;
        let unused = SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None).connect_lazy_with(options);
        let write = Arc::new(tokio::sync::Mutex::new(DrivenConnection { disk: disk.clone(), connection }));
        let driven = Some(Driven { disk, read: Arc::new(Mutex::new(reading)), write, shared });
        let (read, write, checkpointer) = (unused.clone(), unused, Arc::new(Checkpointer::none()));
        let file = DatabaseFile::open(path)?;
        Ok(Self::Sqlite { read, write, checkpointer, file, writes: Arc::default(), driven })
    }

    /// Returns this database for another process on the same connections, whose steps another disk decides.
    #[must_use]
    pub fn seen_through(&self, disk: Arc<dyn Disk>) -> Self {
        let mut seen = self.clone();
        if let Self::Sqlite { driven: Some(driven), .. } = &mut seen {
            driven.disk = disk;
        }
        seen
    }

    /// Returns whether no process has a transaction open in a simulated database.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Sqlite { driven: Some(driven), .. } => driven.write.try_lock().is_ok(),
            _ => false,
        }
    }
}

impl Driven {
    pub(crate) const fn is_shared(&self) -> bool {
        self.shared
    }

    pub(crate) async fn begin(&self, durable: bool) -> Result<DrivenTx, DbError> {
        pass(&*self.disk, DiskStep::Begin).await?;
        let mut connection = match self.shared {
            false => self.write.clone().lock_owned().await,
            // Not in a queue: a worker that is frozen while it waits must not get the lock.
            true => loop {
                match self.write.clone().try_lock_owned() {
                    Ok(connection) => break connection,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            },
        };
        connection.disk.clone_from(&self.disk);
        block(sqlx::raw_sql("begin immediate").execute(&mut connection.connection))?;
        Ok(DrivenTx { connection, durable, open: true })
    }

    fn reader(&self) -> MutexGuard<'_, SqliteConnection> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DrivenTx {
    pub(crate) async fn commit(mut self) -> Result<(), DbError> {
        let (disk, durable) = (self.connection.disk.clone(), self.durable);
        pass(&*disk, DiskStep::Commit { durable }).await?;
        block(sqlx::raw_sql("commit").execute(&mut self.connection.connection))?;
        self.open = false;
        // The connection is free before the caller learns of the commit.
        drop(self);
        pass(&*disk, DiskStep::Committed { durable }).await?;
        Ok(())
    }
}

impl Drop for DrivenTx {
    fn drop(&mut self) {
        if self.open {
            // It fails when SQLite has rolled back by itself.
            let _ = block(sqlx::raw_sql("rollback").execute(&mut self.connection.connection));
        }
    }
}

async fn pass(disk: &dyn Disk, step: DiskStep) -> Result<(), Error> {
    match disk.fate(step) {
        Fate::After(Duration::ZERO) => Ok(()),
        Fate::After(wait) => {
            tokio::time::sleep(wait).await;
            match disk.has_ended() {
                true => std::future::pending().await,
                false => Ok(()),
            }
        }
        Fate::Refused => Err(Error::Io(std::io::ErrorKind::StorageFull.into())),
        Fate::Never => std::future::pending().await,
    }
}

impl DrivenConnection {
    /// Waits for a statement's turn. A refusal ends the transaction, as SQLite ends it by itself when the disk is full.
    async fn pass_write(&mut self) -> Result<(), Error> {
        let passed = pass(&*self.disk, DiskStep::Write).await;
        if passed.is_err() {
            let _ = block(sqlx::raw_sql("rollback").execute(&mut self.connection));
        }
        passed
    }
}

type Rows<'e> = BoxStream<'e, Result<Either<SqliteQueryResult, SqliteRow>, Error>>;

impl<'c> Executor<'c> for &'c mut DrivenConnection {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let rows = async move {
            self.pass_write().await?;
            let rows: Vec<_> = block(self.connection.fetch_many(query).collect());
            Ok::<_, Error>(stream::iter(rows))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        Box::pin(async move {
            self.pass_write().await?;
            block(self.connection.fetch_optional(query))
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { block(self.connection.prepare_with(sql, parameters)) })
    }
}

impl<'c> Executor<'c> for &'c Driven {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let rows = async move {
            pass(&*self.disk, DiskStep::Read).await?;
            let rows: Vec<_> = block(self.reader().fetch_many(query).collect());
            Ok::<_, Error>(stream::iter(rows))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        Box::pin(async move {
            pass(&*self.disk, DiskStep::Read).await?;
            block(self.reader().fetch_optional(query))
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { block(self.reader().prepare_with(sql, parameters)) })
    }
}

/// Wakes a thread that waits for SQLite's thread.
struct Awake(Thread);

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future that only SQLite's own thread completes. Without Tokio's budget of polls, which would end here
/// and never be renewed.
fn block<F: Future>(future: F) -> F::Output {
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = Waker::from(Arc::new(Awake(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
