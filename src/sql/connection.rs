//! One set of queries, two databases: connections, transactions and statement texts.
//!
//! Every statement is one text for both drivers; `on!` writes the same expression into an arm for each, and inference
//! picks the driver. Statements that take many rows are a `Batch`: its text ends in as many placeholders as there are
//! rows, in a few fixed sizes, so that each size is prepared once per connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, PgPool, Postgres, Sqlite, SqlitePool, Transaction};

pub(crate) use super::batch::Batch;
use super::error::DbError;
use super::wal_checkpointer::Checkpointer;

/// Runs one expression on whichever driver a `Db` or `Tx` holds; `$c` is what executes.
/// On SQLite a `Db` reads from its read pool: a statement that writes belongs in a `Tx`.
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
        }
    };
    (db $db:expr, $c:ident => $body:expr) => {
        match $db {
            $crate::sql::connection::Db::Postgres($c) => $body,
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

/// Names batches, and lists them for the same test.
macro_rules! batches {
    ($($(#[$doc:meta])* $name:ident = $head:literal, $columns:literal, $tail:literal;)*) => {
        $($(#[$doc])* static $name: $crate::sql::connection::Batch =
            $crate::sql::connection::Batch::new($head, $columns, $tail);)*
        pub(crate) static BATCHES: &[(&str, &$crate::sql::connection::Batch)] = &[$((stringify!($name), &$name)),*];
    };
}
pub(crate) use batches;

/// The database of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Db {
    Postgres(PgPool),
    /// SQLite has one writer at a time whatever we do. With one write connection the waiting happens in our fair queue
    /// and not in its busy loop; readers have their own and never wait.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        checkpointer: Arc<Checkpointer>,
    },
}

/// A transaction that may write. Dropped without `commit`, it leaves nothing.
///
/// While one is open, nothing may ask the same `Db` for a second one in the same task: on SQLite it would wait for itself.
pub(crate) enum Tx {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>, Arc<Checkpointer>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Postgres,
    Sqlite,
}

impl Db {
    /// Connects to `sqlite:path` (made when missing) or `postgres://..`.
    ///
    /// # Errors
    /// `Address` for anything else; `Folder`, `Unreachable`, `Statement` when the database does not open.
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
            // FULL: a commit that was answered survives a power cut. This is a ledger.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_FOR)
            .foreign_keys(true)
            // Otherwise `insert or replace` would pass by the append-only triggers.
            .pragma("recursive_triggers", "on")
            .pragma("temp_store", "memory")
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(STATEMENT_CACHE)
            .disable_statement_logging();
        // The writer goes first: it makes the file and its journal mode.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None);
        // The checkpointer copies the log back beside the writer; only if it falls 64 MB behind, the writer does it.
        let log_limit = options.clone().pragma("wal_autocheckpoint", "16000").pragma("cache_size", "-16000");
        let write = connect_patiently(writer, log_limit).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .connect_with(options.clone().pragma("query_only", "on").pragma("cache_size", "-2000"))
            .await?;
        let checkpointer = Arc::new(Checkpointer::start(options.pragma("cache_size", "-500")));
        Ok(Self::Sqlite { read, write, checkpointer })
    }

    /// Starts a transaction that may write; once committed it survives a power cut. On SQLite it has the write lock from
    /// the start, so it cannot find out half way that somebody else was faster.
    pub(crate) async fn begin(&self) -> Result<Tx, DbError> {
        self.begin_by("begin", "pragma synchronous = full; begin immediate").await
    }

    /// The same without waiting for the disk, for what is found out or done again after a power cut: leases, books,
    /// groups. Both databases write one log in order, so a ledger commit that stands on it makes it durable too. Several
    /// of these come before each decision, and each would cost as much as the decision's own commit.
    pub(crate) async fn begin_lazily(&self) -> Result<Tx, DbError> {
        self.begin_by("begin; set local synchronous_commit = off", "pragma synchronous = normal; begin immediate").await
    }

    async fn begin_by(&self, postgres: &'static str, sqlite: &'static str) -> Result<Tx, DbError> {
        Ok(match self {
            Self::Postgres(pool) => Tx::Postgres(pool.begin_with(postgres).await?),
            Self::Sqlite { write, checkpointer, .. } => {
                Tx::Sqlite(write.begin_with(sqlite).await?, checkpointer.clone())
            }
        })
    }

    /// Waits for what is running and closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite { read, write, checkpointer } => {
                checkpointer.stop().await;
                read.close().await;
                // The last to close empties the log into the database file.
                write.close().await;
            }
        }
    }

    /// Bytes on disk.
    pub async fn size_bytes(&self) -> Result<i64, DbError> {
        Ok(match self {
            Self::Postgres(pool) => {
                sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(pool).await?
            }
            Self::Sqlite { read, .. } => {
                sqlx::query_scalar("select page_count * page_size from pragma_page_count(), pragma_page_size()")
                    .fetch_one(read)
                    .await?
            }
        })
    }

    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::Postgres(_) => Driver::Postgres,
            Self::Sqlite { .. } => Driver::Sqlite,
        }
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), DbError> {
        match self {
            Self::Postgres(transaction) => transaction.commit().await?,
            Self::Sqlite(transaction, checkpointer) => {
                transaction.commit().await?;
                checkpointer.committed();
            }
        }
        Ok(())
    }

    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::Postgres(_) => Driver::Postgres,
            Self::Sqlite(..) => Driver::Sqlite,
        }
    }
}

/// Going over to the log needs the file alone for an instant, and SQLite does not wait for that: of several programs that
/// start together on a new file, some would be turned away.
async fn connect_patiently(pool: SqlitePoolOptions, options: SqliteConnectOptions) -> Result<SqlitePool, DbError> {
    let begun = tokio::time::Instant::now();
    loop {
        match pool.clone().connect_with(options.clone()).await.map_err(DbError::from) {
            Err(DbError::Busy(_)) if begun.elapsed() < BUSY_FOR => tokio::time::sleep(BETWEEN_TRIES).await,
            opened => return opened,
        }
    }
}

/// How long we wait for somebody else's lock.
const BUSY_FOR: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Every batch in every size, and the single statements, with room to spare.
const STATEMENT_CACHE: usize = 512;
fn make_folder_of(file: &Path) -> Result<(), DbError> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|source| DbError::Folder { path: file.display().to_string(), source }),
        _ => Ok(()),
    }
}

/// The address as it may stand in an error: whatever stands between the scheme and the host is left out.
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
