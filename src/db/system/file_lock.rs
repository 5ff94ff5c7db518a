//! Locks a database file for one bot: two bots would each decide on their own running state, and the limits of neither
//! would hold.
//!
//! A PostgreSQL database may have several workers: they share the work by leases (`leases.rs`).

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sql::connection::Db;
use crate::sql::error::DbError;

/// Tries of a bot that starts: a process that checks the lock holds it for an instant.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// A running worker beats at least once within this time.
const BEAT_WITHIN: Duration = Duration::from_millis(2_500);

/// The lock on a database file, held while a bot runs on it. The operating system releases the lock of a killed
/// process, so the next start never waits for it.
#[derive(Debug)]
pub struct Ownership {
    /// A locked file beside the database, because SQLite's own locks last for one transaction only.
    _file: File,
}

impl Ownership {
    /// Locks a database file, which need not exist yet.
    ///
    /// # Errors
    /// As [`Db::own`].
    pub(crate) async fn of(database: &Path) -> Result<Self, DbError> {
        Ok(Self { _file: lock(lock_file_of(database)).await? })
    }
}

impl Db {
    /// Locks the database for the bot of this process; `None` for a database that workers share. Reading it, and the
    /// commands, need no lock.
    ///
    /// # Errors
    /// `InUse` when another bot runs on it; `LockFile` when the lock file cannot be created.
    pub async fn own(&self) -> Result<Option<Ownership>, DbError> {
        match self {
            _ if self.is_shared() => Ok(None),
            Self::Sqlite { write, .. } => Ok(Some(Ownership::of(write.connect_options().get_filename()).await?)),
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Returns whether several workers may share this database.
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Postgres(_) => true,
            #[cfg(any(test, feature = "testkit"))]
            Self::Sqlite { driven: Some(driven), .. } => driven.is_shared(),
            Self::Sqlite { .. } => false,
        }
    }

    /// Returns whether a worker runs on this database now. For a shared database that takes as long as one beat of a
    /// worker.
    ///
    /// # Errors
    /// `LockFile` when the lock file cannot be opened; otherwise [`DbError`] when the database cannot be reached.
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
                // A shared lock, so that two processes that check do not take each other for a bot.
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
