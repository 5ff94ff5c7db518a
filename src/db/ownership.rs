//! One bot a database: two would each decide on a running state of their own, and neither's limits would hold.

use std::fs::File;
use std::path::PathBuf;

use sqlx::PgConnection;

use super::DbError;
use super::connection::Db;

/// PostgreSQL only; any number that nobody else uses.
const TRY_LOCK: &str = "select pg_try_advisory_lock(7267365074)";

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
            Self::Sqlite { write, .. } => {
                let mut path = write.connect_options().get_filename().as_os_str().to_owned();
                path.push(".lock");
                let path = PathBuf::from(path);
                let unusable = |source| DbError::LockFile { path: path.display().to_string(), source };
                let file = File::options().create(true).append(true).open(&path).map_err(unusable)?;
                match file.try_lock() {
                    Ok(()) => Held::File { _file: file },
                    Err(std::fs::TryLockError::WouldBlock) => return Err(DbError::InUse),
                    Err(std::fs::TryLockError::Error(source)) => return Err(unusable(source)),
                }
            }
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
}
