//! One bot a database file: two would each decide on a running state of their own, and neither's limits would hold.
//!
//! A PostgreSQL database may have several workers: they share the work by leases (`leases.rs`).

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sql::connection::Db;
use crate::sql::error::DbError;

/// Whoever asks whether the file is locked holds it for an instant: a bot that starts just then tries again.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// A living worker beats at least once meanwhile.
const BEAT_WITHIN: Duration = Duration::from_millis(2_500);

/// Held for as long as a bot runs on the database. The operating system takes it back from a process that was killed, so
/// the next start never waits for a dead one.
#[derive(Debug)]
pub struct Ownership {
    /// A locked file beside the database: SQLite's own locks last for a transaction.
    _file: File,
}

impl Ownership {
    /// Takes a database file, which need not be there yet.
    ///
    /// # Errors
    /// As `Db::own`.
    pub(crate) async fn of(database: &Path) -> Result<Self, DbError> {
        Ok(Self { _file: lock(lock_file_of(database)).await? })
    }
}

impl Db {
    /// Takes the database for this process's bot; `None` where workers share it. Reading beside it, and the commands, need
    /// no ownership.
    ///
    /// # Errors
    /// `InUse` when another bot runs on it; `LockFile` when the file beside it cannot be made.
    pub async fn own(&self) -> Result<Option<Ownership>, DbError> {
        match self {
            Self::Sqlite { write, .. } => Ok(Some(Ownership::of(write.connect_options().get_filename()).await?)),
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Whether several workers may share it.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether a worker runs on this database now. Where workers share it, that takes as long as one of their beats.
    pub async fn is_worked_on(&self) -> Result<bool, DbError> {
        match self {
            Self::Sqlite { write, .. } => {
                let path = lock_file_of(write.connect_options().get_filename());
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
            Self::Postgres(_) => {
                let before = self.workers().await?;
                if before.is_empty() {
                    return Ok(false);
                }
                tokio::time::sleep(BEAT_WITHIN).await;
                let after = self.workers().await?;
                Ok(after.iter().any(|worker| !before.contains(worker)))
            }
        }
    }
}

fn lock_file_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
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
