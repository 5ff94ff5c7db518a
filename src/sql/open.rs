//! Opens the connections of a database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use super::connection::Db;
use super::database_file::{DatabaseFile, FilePlace, make_private};
use super::error::{DbError, Kind, kind_of};
use super::server::Server;
use super::wal_checkpointer::Checkpointer;

/// How long we wait for a lock that another process holds.
const BUSY_FOR: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Room for every batch in every size and for the single statements.
const STATEMENT_CACHE: usize = 512;

impl Db {
    /// Connects to `sqlite:path` (created if missing) or `postgres://..`.
    ///
    /// # Errors
    /// `Address` for any other text; `NoServer`, `Folder`, `File`, `Gone` or the error of a statement when the database
    /// cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, DbError> {
        let address = || DbError::Address { url: without_password(url) };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions = url.parse().map_err(|_| address())?;
            let options = options.disable_statement_logging().statement_cache_capacity(STATEMENT_CACHE);
            let (pool, server) = Server::connect(options).await?;
            return Ok(Self::Postgres(pool, server));
        }
        if !url.starts_with("sqlite:") {
            return Err(address());
        }
        let options: SqliteConnectOptions = url.parse().map_err(|_| address())?;
        connect_sqlite(options).await
    }
}

async fn connect_sqlite(options: SqliteConnectOptions) -> Result<Db, DbError> {
    make_private(options.get_filename())?;
    // The file is made here and never again: a connection that is opened later must not replace a file that is gone.
    let file = DatabaseFile::open(options.get_filename())?;
    let options = options
        .create_if_missing(false)
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
    // The writer connects first: it sets the journal mode.
    let writer = pool_of(&file)
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|connection, _| Box::pin(is_sound(connection)));
    // The checkpointer copies the log back in parallel to the writer; the writer does it only when it falls 64 MB
    // behind.
    let log_limit = options.clone().pragma("wal_autocheckpoint", "16000").pragma("cache_size", "-16000");
    let write = connect_patiently(writer, log_limit).await?;
    let read = pool_of(&file)
        .max_connections(4)
        // Long answers, such as the ledger's for an audit, would wake both threads every 50 rows.
        .connect_with(options.clone().row_buffer_size(1_000).pragma("query_only", "on").pragma("cache_size", "-2000"))
        .await?;
    let checkpointer = Arc::new(Checkpointer::start(options.pragma("cache_size", "-500")));
    Ok(Db::Sqlite {
        read,
        write,
        checkpointer,
        file,
        writes: Arc::default(),
        #[cfg(any(test, feature = "testkit"))]
        driven: None,
    })
}

/// Returns the settings that both pools of a file share. A connection that found another file at the path is refused:
/// two files must never be taken for one database.
fn pool_of(file: &DatabaseFile) -> SqlitePoolOptions {
    let file = file.clone();
    SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(30)).test_before_acquire(false).after_connect(
        move |_, _| {
            let place = file.place();
            Box::pin(async move {
                match place {
                    FilePlace::Ours => Ok(()),
                    FilePlace::Missing | FilePlace::Other => {
                        Err(sqlx::Error::Configuration("the database file is not in its place".into()))
                    }
                }
            })
        },
    )
}

/// Returns whether the write connection may be used again; if not, the pool closes it and opens another.
///
/// SQLite ends a transaction by itself when the disk is full, a read or write fails, or memory is used up. The driver
/// does not notice: it keeps counting the transaction, and refuses to begin another for ever.
async fn is_sound(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // The handle is free once the connection has done all that was asked of it, such as a rollback.
    let error = connection.lock_handle().await?.last_error();
    let is_impaired = error.is_some_and(|error| {
        matches!(kind_of(&sqlx::Error::Database(Box::new(error))), Kind::Impaired | Kind::Damaged)
    });
    Ok(!is_impaired && !connection.is_in_transaction())
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
    use crate::domain::money::units::Timestamp;
    use crate::testkit::TestDb;

    #[test]
    fn a_wrong_address_is_shown_without_its_password() {
        assert_eq!(without_password("mysql://me:secret@host/db"), "mysql://***@host/db");
        assert_eq!(without_password("nonsense"), "nonsense");
    }

    async fn pages(db: &Db, text: &'static str) -> i64 {
        let Db::Sqlite { write, .. } = db else { unreachable!() };
        sqlx::query_scalar(text).fetch_one(write).await.unwrap()
    }

    #[actix_web::test]
    async fn a_full_database_costs_only_the_time_that_it_is_full() {
        let test_db = TestDb::sqlite().await;
        let (db, now) = (&test_db.db, Timestamp::from_millis(1_790_000_000_000));
        let fill = "x".repeat(200_000);
        db.put_checkpoint("small", "before", now).await.unwrap();
        let used = pages(db, "pragma page_count").await;
        let Db::Sqlite { write, .. } = db else { unreachable!() };
        let limit = sqlx::AssertSqlSafe(format!("pragma max_page_count = {}", used + 2));
        sqlx::query(limit).execute(write).await.unwrap();

        let refused = db.put_checkpoint("large", &fill, now).await.unwrap_err();
        assert!(matches!(refused, DbError::Impaired(_)) && refused.is_transient(), "{refused:?}");
        assert!(refused.to_string().contains("database or disk is full"), "{refused}");
        let failure = db.write_failure().expect("the failure is known");
        assert!(failure.cause.contains("database or disk is full") && !failure.is_down(), "{failure:?}");

        // The connection in doubt was closed; the next has no limit, as a disk that was freed.
        db.put_checkpoint("large", &fill, now).await.unwrap();
        db.put_checkpoint("small", "after", now).await.unwrap();
        assert_eq!(db.write_failure(), None);
        assert_eq!(db.checkpoint("large").await.unwrap().map(|text| text.len()), Some(fill.len()));
        assert_eq!(pages(db, "pragma max_page_count").await, 1_073_741_823 * 4 + 2, "a new connection");
    }

    #[actix_web::test]
    async fn a_file_that_is_gone_is_not_made_again() {
        let test_db = TestDb::sqlite().await;
        let Db::Sqlite { read, file, .. } = &test_db.db else { unreachable!() };
        std::fs::remove_file(file.path()).unwrap();
        let options = read.connect_options();
        let other = SqlitePoolOptions::new().acquire_timeout(Duration::from_millis(200));
        assert!(other.connect_with((*options).clone()).await.is_err());
        assert!(!file.path().exists());
    }

    #[actix_web::test]
    async fn a_connection_to_another_file_at_the_same_path_is_refused() {
        let test_db = TestDb::sqlite().await;
        let Db::Sqlite { file, read, .. } = &test_db.db else { unreachable!() };
        let other = file.path().with_extension("other");
        std::fs::copy(file.path(), &other).unwrap();
        std::fs::rename(&other, file.path()).unwrap();
        let pool = pool_of(file).acquire_timeout(Duration::from_millis(300));
        let error = pool.connect_with((*read.connect_options()).clone()).await.unwrap_err();
        assert!(matches!(error, sqlx::Error::PoolTimedOut), "{error:?}");
    }
}
