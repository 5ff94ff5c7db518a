//! One bot a database: two would each decide on a running state of their own, and neither's limits would hold.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use sqlx::{PgConnection, SqlitePool};

use super::DbError;
use super::connection::Db;

/// PostgreSQL only; any number that nobody else uses.
const TRY_LOCK: &str = "select pg_try_advisory_lock(7267365074)";
/// The server shows that number as its upper and its lower 32 bits.
const IS_LOCKED: &str = "select exists (select 1 from pg_locks where locktype = 'advisory' and granted
    and classid::bigint = 1 and objid::bigint = 2972397778 and objsubid = 1
    and database = (select oid from pg_database where datname = current_database()))";

/// Whoever asks whether the file is locked holds it for an instant: a bot that starts just then tries again.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Held for as long as a bot runs on the database. The operating system, or the server, takes it back from a process
/// that was killed, so the next start never waits for a dead one.
#[derive(Debug)]
pub struct Ownership {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    /// A locked file beside the database: SQLite's own locks last for a transaction.
    File { _file: File },
    /// A session that holds the lock; dropping it ends the session.
    Session { _connection: Box<PgConnection> },
}

impl Db {
    /// Takes the database for this process's bot. Reading beside it, and the commands, need no ownership.
    ///
    /// # Errors
    /// `InUse` when another bot runs on it; `LockFile` when the file beside it cannot be made.
    pub async fn own(&self) -> Result<Ownership, DbError> {
        let held = match self {
            Self::Sqlite { write, .. } => Held::File { _file: lock(lock_file_of(write)).await? },
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await?.detach();
                let is_ours: bool = sqlx::query_scalar(TRY_LOCK).fetch_one(&mut connection).await?;
                if !is_ours {
                    return Err(DbError::InUse);
                }
                Held::Session { _connection: Box::new(connection) }
            }
        };
        Ok(Ownership { _held: held })
    }

    /// Whether a bot runs on this database now.
    pub async fn is_owned(&self) -> Result<bool, DbError> {
        match self {
            Self::Sqlite { write, .. } => {
                let path = lock_file_of(write);
                let unusable = |source| DbError::LockFile { path: path.display().to_string(), source };
                let file = match File::open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                    Err(source) => return Err(unusable(source)),
                };
                // Shared, so that two who ask do not take each other for a bot.
                match file.try_lock_shared() {
                    Ok(()) => Ok(false),
                    Err(TryLockError::WouldBlock) => Ok(true),
                    Err(TryLockError::Error(source)) => Err(unusable(source)),
                }
            }
            Self::Postgres(pool) => Ok(sqlx::query_scalar(IS_LOCKED).fetch_one(pool).await?),
        }
    }
}

fn lock_file_of(pool: &SqlitePool) -> PathBuf {
    let mut path = pool.connect_options().get_filename().as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

async fn lock(path: PathBuf) -> Result<File, DbError> {
    let unusable = |source| DbError::LockFile { path: path.display().to_string(), source };
    let file = File::options().create(true).append(true).open(&path).map_err(unusable)?;
    let mut tries = TRIES;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tries > 1 => tokio::time::sleep(BETWEEN_TRIES).await,
            Err(TryLockError::WouldBlock) => return Err(DbError::InUse),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        tries -= 1;
    }
}
