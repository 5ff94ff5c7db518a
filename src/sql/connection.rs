//! One set of queries for two databases: connections, transactions and statement texts.
//!
//! Every statement is one text for both drivers; [`on!`] writes the same expression into an arm for each, and type
//! inference picks the driver. Statements that take many rows at once are in `sql::batch`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, PgPool, Postgres, Sqlite, SqlitePool, Transaction};

#[cfg(any(test, feature = "testkit"))]
use super::driven::{Driven, DrivenTx};
use super::error::DbError;
use super::wal_checkpointer::Checkpointer;

/// Runs one expression on the driver that a [`Db`] or [`Tx`] holds; `$c` is the executor.
/// On SQLite a `Db` reads from its read pool, so a statement that writes belongs in a `Tx`.
macro_rules! on {
    (tx $tx:expr, $c:ident => $body:expr) => {
        match $tx {
            $crate::sql::connection::Tx::Postgres(transaction) => {
                let $c = &mut **transaction;
                $body
            }
            $crate::sql::connection::Tx::Sqlite(transaction, _) => {
                let $c = &mut **transaction;
                $body
            }
            #[cfg(any(test, feature = "testkit"))]
            $crate::sql::connection::Tx::Driven(transaction) => {
                let $c = &mut *transaction.connection;
                $body
            }
        }
    };
    (db $db:expr, $c:ident => $body:expr) => {
        match $db {
            $crate::sql::connection::Db::Postgres($c) => $body,
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
    Postgres(PgPool),
    /// SQLite has one writer at a time in any case. With one write connection the writers wait in the pool's fair queue
    /// and not in SQLite's busy loop; readers have their own connections and never wait.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        checkpointer: Arc<Checkpointer>,
        /// In a simulation: what the pools are replaced by.
        #[cfg(any(test, feature = "testkit"))]
        driven: Option<Driven>,
    },
}

/// A transaction that may write. Dropped without [`Tx::commit`], it is rolled back.
///
/// A task that holds one must not begin a second one on the same [`Db`]: on SQLite the task would wait for itself.
pub(crate) enum Tx {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>, Arc<Checkpointer>),
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
    /// Connects to `sqlite:path` (created if missing) or `postgres://..`.
    ///
    /// # Errors
    /// `Address` for any other text; `Folder`, `Unreachable` or `Statement` when the database cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, DbError> {
        let address = || DbError::Address { url: without_password(url) };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions = url.parse().map_err(|_| address())?;
            let options = options.disable_statement_logging().statement_cache_capacity(STATEMENT_CACHE);
            let pool = PgPoolOptions::new()
                .max_connections(12)
                .acquire_timeout(Duration::from_secs(30))
                .test_before_acquire(false)
                .connect_with(options)
                .await?;
            return Ok(Self::Postgres(pool));
        }
        if !url.starts_with("sqlite:") {
            return Err(address());
        }
        let options: SqliteConnectOptions = url.parse().map_err(|_| address())?;
        make_folder_of(options.get_filename())?;
        Self::connect_sqlite(options).await
    }

    async fn connect_sqlite(options: SqliteConnectOptions) -> Result<Self, DbError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit that returned survives a power cut. This is a ledger.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_FOR)
            .foreign_keys(true)
            // Otherwise `insert or replace` would bypass the append-only triggers.
            .pragma("recursive_triggers", "on")
            .pragma("temp_store", "memory")
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(STATEMENT_CACHE)
            .disable_statement_logging();
        // The writer connects first: it creates the file and sets the journal mode.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None);
        // The checkpointer copies the log back in parallel to the writer; the writer does it only when it falls 64 MB
        // behind.
        let log_limit = options.clone().pragma("wal_autocheckpoint", "16000").pragma("cache_size", "-16000");
        let write = connect_patiently(writer, log_limit).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            // Long answers, such as the ledger's for an audit, would wake both threads every 50 rows.
            .connect_with(
                options.clone().row_buffer_size(1_000).pragma("query_only", "on").pragma("cache_size", "-2000"),
            )
            .await?;
        let checkpointer = Arc::new(Checkpointer::start(options.pragma("cache_size", "-500")));
        Ok(Self::Sqlite {
            read,
            write,
            checkpointer,
            #[cfg(any(test, feature = "testkit"))]
            driven: None,
        })
    }

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
        Ok(match self {
            Self::Postgres(pool) => Tx::Postgres(pool.begin_with(postgres).await?),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sqlite { driven: Some(driven), .. } => Tx::Driven(driven.begin(durable).await?),
            Self::Sqlite { write, checkpointer, .. } => {
                Tx::Sqlite(write.begin_with(sqlite).await?, checkpointer.clone())
            }
        })
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
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
            Self::Postgres(pool) => {
                sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(pool).await?
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
            Self::Postgres(_) => Driver::Postgres,
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
            Self::Postgres(transaction) => transaction.commit().await?,
            Self::Sqlite(transaction, checkpointer) => {
                transaction.commit().await?;
                checkpointer.committed();
            }
            #[cfg(any(test, feature = "testkit"))]
            Self::Driven(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// Returns the kind of the database.
    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::Postgres(_) => Driver::Postgres,
            Self::Sqlite(..) => Driver::Sqlite,
            #[cfg(any(test, feature = "testkit"))]
            Self::Driven(_) => Driver::Sqlite,
        }
    }
}

/// Connects, and retries while the file is busy. Switching to the write-ahead log needs exclusive access to the file
/// for an instant, and SQLite does not wait for that: of several programs that start together on a new file, some would
/// fail.
async fn connect_patiently(pool: SqlitePoolOptions, options: SqliteConnectOptions) -> Result<SqlitePool, DbError> {
    let begun = tokio::time::Instant::now();
    loop {
        match pool.clone().connect_with(options.clone()).await.map_err(DbError::from) {
            Err(DbError::Busy(_)) if begun.elapsed() < BUSY_FOR => tokio::time::sleep(BETWEEN_TRIES).await,
            opened => return opened,
        }
    }
}

/// How long we wait for a lock that another process holds.
const BUSY_FOR: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Room for every batch in every size and for the single statements.
const STATEMENT_CACHE: usize = 512;

fn make_folder_of(file: &Path) -> Result<(), DbError> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|source| DbError::Folder { path: file.display().to_string(), source }),
        _ => Ok(()),
    }
}

/// Returns the address in the form that errors may show: the user and password between scheme and host become `***`.
pub(crate) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}***{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_shown_without_its_password() {
        assert_eq!(without_password("mysql://me:secret@host/db"), "mysql://***@host/db");
        assert_eq!(without_password("nonsense"), "nonsense");
    }
}
