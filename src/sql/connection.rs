//! One set of queries for two databases: connections, transactions and statement texts.
//!
//! Every statement is one text for both drivers; [`on!`] writes the same expression into an arm for each, and type
//! inference picks the driver. Statements that take many rows at once are in `sql::batch`.

use std::path::Path;
use std::sync::Arc;

use sqlx::{PgPool, Postgres, SqlSafeStr, Sqlite, SqlitePool, Transaction};

use super::database_file::{DatabaseFile, make_new_private};
use super::error::DbError;
use super::server::Server;
#[cfg(any(test, feature = "testkit"))]
use super::tests::driven::{Driven, DrivenTx};
use super::wal_checkpointer::Checkpointer;
use super::write_state::{WriteFailure, WriteState};

/// Runs one expression on the driver that a [`Db`] or [`Tx`] holds; `$c` is the executor, and the expression evaluates
/// to a `Result` with the driver's error. On SQLite a `Db` reads from its read pool, so a statement that writes belongs
/// in a `Tx`.
macro_rules! on {
    (tx $tx:expr, $c:ident => $body:expr) => {{
        let tx: &mut $crate::sql::connection::Tx = &mut *$tx;
        let outcome = match tx {
            $crate::sql::connection::Tx::Postgres(transaction, ..) => {
                let $c = &mut **transaction;
                $body
            }
            $crate::sql::connection::Tx::Sqlite(transaction, ..) => {
                let $c = &mut **transaction;
                $body
            }
            #[cfg(any(test, feature = "testkit"))]
            $crate::sql::connection::Tx::Driven(transaction) => {
                let $c = &mut *transaction.connection;
                $body
            }
        };
        tx.watch(&outcome);
        outcome
    }};
    (db $db:expr, $c:ident => $body:expr) => {
        match $db {
            $crate::sql::connection::Db::Postgres(pool, server) => match server.acquire(pool).await {
                Ok(mut connection) => {
                    let $c = &mut *connection;
                    $body
                }
                Err(error) => Err(From::from(error)),
            },
            #[cfg(any(test, feature = "testkit"))]
            $crate::sql::connection::Db::Sqlite { driven: Some($c), .. } => $body,
            $crate::sql::connection::Db::Sqlite { read: $c, .. } => $body,
        }
    };
}
pub(crate) use on;

/// Names statements, and lists them for the test that prepares each on both drivers.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* const $name: &str = $text;)*
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use statements;

/// The database connections of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Db {
    Postgres(PgPool, Arc<Server>),
    /// SQLite has one writer at a time in any case. With one write connection the writers wait in the pool's fair queue
    /// and not in SQLite's busy loop; readers have their own connections and never wait.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        checkpointer: Arc<Checkpointer>,
        file: DatabaseFile,
        writes: Arc<WriteState>,
        /// In a simulation: what the pools are replaced by.
        #[cfg(any(test, feature = "testkit"))]
        driven: Option<Driven>,
    },
}

/// A transaction that may write. Dropped without [`Tx::commit`], it is rolled back.
///
/// A task that holds one must not begin a second one on the same [`Db`]: on SQLite the task would wait for itself.
pub(crate) enum Tx {
    /// The last field of both says whether a row was changed.
    Postgres(Transaction<'static, Postgres>, Arc<Server>, bool),
    Sqlite(Transaction<'static, Sqlite>, Arc<Checkpointer>, Arc<WriteState>, bool),
    #[cfg(any(test, feature = "testkit"))]
    Driven(DrivenTx),
}

/// The kind of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Postgres,
    Sqlite,
}

impl Db {
    /// Starts a transaction that may write; once committed it survives a power cut. On SQLite it takes the write lock
    /// at the start, so it cannot fail half way because another writer was faster.
    ///
    /// # Errors
    /// `Unreachable` or `Busy` when no connection or lock is free in time.
    pub(crate) async fn begin(&self) -> Result<Tx, DbError> {
        self.begin_by(true).await
    }

    /// Starts a transaction whose commit does not wait for the disk, for rows that are read or written again after a
    /// power cut: leases, books, groups. Both databases write one log in order, so a later ledger commit makes these
    /// rows durable too. Several of these commits come before each decision, and each would cost as much as the
    /// decision's own commit.
    ///
    /// # Errors
    /// As [`Db::begin`].
    pub(crate) async fn begin_lazily(&self) -> Result<Tx, DbError> {
        self.begin_by(false).await
    }

    async fn begin_by(&self, durable: bool) -> Result<Tx, DbError> {
        let (postgres, sqlite) = match durable {
            true => ("begin", "pragma synchronous = full; begin immediate"),
            false => ("begin; set local synchronous_commit = off", "pragma synchronous = normal; begin immediate"),
        };
        match self {
            Self::Postgres(pool, server) => {
                let begun = async {
                    let connection = server.acquire(pool).await?;
                    Transaction::begin(connection, Some(postgres.into_sql_str())).await
                };
                let begun = begun.await;
                server.watch(&begun);
                Ok(Tx::Postgres(begun?, server.clone(), false))
            }
            #[cfg(any(test, feature = "testkit"))]
            Self::Sqlite { driven: Some(driven), .. } => Ok(Tx::Driven(driven.begin(durable).await?)),
            Self::Sqlite { write, checkpointer, writes, .. } => {
                let begun = write.begin_with(sqlite).await.inspect_err(|error| writes.failed(error));
                Ok(Tx::Sqlite(begun?, checkpointer.clone(), writes.clone(), false))
            }
        }
    }

    /// Returns since when writes of this process fail, and why; `None` while they succeed.
    pub fn write_failure(&self) -> Option<WriteFailure> {
        match self {
            Self::Postgres(_, server) => server.writes.failure(),
            Self::Sqlite { writes, .. } => writes.failure(),
        }
    }

    /// Returns whether the server refuses writes: a standby, or one that was set read-only. SQLite has no such mode.
    ///
    /// # Errors
    /// [`DbError`] when the server does not answer.
    pub async fn is_read_only(&self) -> Result<bool, DbError> {
        let Self::Postgres(pool, server) = self else { return Ok(false) };
        let mut connection = server.acquire(pool).await?;
        let setting: String = sqlx::query_scalar("show transaction_read_only").fetch_one(&mut *connection).await?;
        Ok(setting == "on")
    }

    /// Asks a PostgreSQL server, by a new connection, whether it answers at all. A SQLite file needs no such question.
    ///
    /// # Errors
    /// [`DbError`] with the cause, in less than a second.
    pub async fn answers(&self) -> Result<(), DbError> {
        match self {
            Self::Postgres(_, server) => Ok(server.answers().await?),
            Self::Sqlite { .. } => Ok(()),
        }
    }

    /// Returns the file of the database; `None` for a PostgreSQL server.
    pub const fn file(&self) -> Option<&DatabaseFile> {
        match self {
            Self::Postgres(..) => None,
            Self::Sqlite { file, .. } => Some(file),
        }
    }

    /// Copies the database as this process has it open to a new file, even when its own file is gone from its place.
    ///
    /// # Errors
    /// [`DbError::File`] when the file cannot be made; [`DbError`] when the copy cannot be written, or the database is not
    /// a file.
    pub async fn copy_to(&self, path: &Path) -> Result<(), DbError> {
        let Self::Sqlite { write, .. } = self else { return Err(sqlx::Error::PoolClosed.into()) };
        // SQLite writes into an empty file and keeps its rights.
        make_new_private(path)?;
        sqlx::query("vacuum into $1").bind(path.display().to_string()).execute(write).await?;
        Ok(())
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool, _) => pool.close().await,
            Self::Sqlite { read, write, checkpointer, .. } => {
                checkpointer.stop().await;
                read.close().await;
                // The last connection to close copies the log into the database file.
                write.close().await;
            }
        }
    }

    /// Returns the size of the database on disk, in bytes.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached.
    pub async fn size_bytes(&self) -> Result<i64, DbError> {
        Ok(match self {
            Self::Postgres(pool, server) => {
                let mut connection = server.acquire(pool).await?;
                sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(&mut *connection).await?
            }
            Self::Sqlite { .. } => {
                let text = "select page_count * page_size from pragma_page_count(), pragma_page_size()";
                on!(db self, c => sqlx::query_scalar(text).fetch_one(c).await)?
            }
        })
    }

    /// Returns the kind of the database.
    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::Postgres(..) => Driver::Postgres,
            Self::Sqlite { .. } => Driver::Sqlite,
        }
    }
}

impl Tx {
    /// Commits.
    ///
    /// # Errors
    /// [`DbError`] when the commit fails. When the connection broke, the commit may have happened: unique keys make a
    /// repetition safe.
    pub(crate) async fn commit(self) -> Result<(), DbError> {
        match self {
            Self::Postgres(transaction, server, has_changed) => {
                let done = transaction.commit().await;
                server.watch(&done);
                done?;
                if has_changed {
                    server.writes.succeeded();
                }
            }
            Self::Sqlite(transaction, checkpointer, writes, has_changed) => {
                transaction.commit().await.inspect_err(|error| writes.failed(error))?;
                if has_changed {
                    writes.succeeded();
                }
                checkpointer.committed();
            }
            #[cfg(any(test, feature = "testkit"))]
            Self::Driven(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// Notes that rows were changed. The commit of a transaction that changed nothing succeeds on a full disk too, so it
    /// does not show that the database can be written.
    pub(crate) const fn note_changes(&mut self) {
        match self {
            Self::Postgres(.., has_changed) | Self::Sqlite(.., has_changed) => *has_changed = true,
            #[cfg(any(test, feature = "testkit"))]
            Self::Driven(_) => {}
        }
    }

    /// Looks at the outcome of a statement, for [`Db::write_failure`].
    pub(crate) fn watch<T>(&self, outcome: &Result<T, sqlx::Error>) {
        match self {
            Self::Postgres(_, server, _) => server.watch(outcome),
            Self::Sqlite(_, _, writes, _) => {
                if let Err(error) = outcome {
                    writes.failed(error);
                }
            }
            #[cfg(any(test, feature = "testkit"))]
            Self::Driven(_) => {}
        }
    }

    /// Returns the kind of the database.
    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::Postgres(..) => Driver::Postgres,
            Self::Sqlite(..) => Driver::Sqlite,
            #[cfg(any(test, feature = "testkit"))]
            Self::Driven(_) => Driver::Sqlite,
        }
    }
}
