//! Locks a database file for one bot: two bots would each decide on their own running state, and the limits of neither
//! would hold.
//!
//! A PostgreSQL database may have several workers: they share the work by leases (`leases.rs`).

use std::fs::{File, TryLockError};
use std::io::{Error, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::sql::connection::Db;
use crate::sql::database_file::{DatabaseFile, FileLock, lock_file_of};
use crate::sql::error::DbError;

/// Tries of a bot that starts: a process that checks the lock holds it for an instant.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// How often the beats of workers are looked at, and the time between two looks. A running worker beats every two seconds,
/// and a busy machine may delay a beat.
const BEAT_LOOKS: u32 = 10;
const BETWEEN_BEAT_LOOKS: Duration = Duration::from_millis(500);

/// What a bot writes into the lock file. A lock file with a text and without a database beside it says that the database
/// is gone: no program of ours makes an empty one there.
const MARK: &str = "A polymarketspy bot keeps its database beside this file. If the database is gone, restore a backup; remove \
    this file only to begin with an empty database.\n";

/// The lock on a database, held while a bot runs on it. The operating system releases the locks of a killed process, so
/// the next start never waits for them.
#[derive(Debug)]
pub struct Ownership {
    /// The lock on the database file itself: a symbolic link, a hard link, or a lock file that was removed do not get
    /// around it. `None` while there is no database. SQLite's own locks would not do: they last for one transaction.
    _database: Option<FileLock>,
    /// The lock on a file beside the database: it is there before the database is, and older versions know only this.
    _beside: File,
}

impl Ownership {
    /// Locks the place of a database that does not exist yet.
    ///
    /// # Errors
    /// As [`Db::own`].
    pub(crate) async fn of_place(database: &Path) -> Result<Self, DbError> {
        Ok(Self { _database: None, _beside: lock_beside(&lock_file_of(database)).await? })
    }

    async fn of(database: &DatabaseFile) -> Result<Self, DbError> {
        let path = lock_file_of(database.path());
        let mut beside = lock_beside(&path).await?;
        let held = in_time(|| database.try_lock()).await.map_err(unusable(database.path()))?;
        let held = held.ok_or(DbError::InUse)?;
        if beside.metadata().is_ok_and(|beside| beside.len() == 0) {
            // On a full disk the next start writes it; the lock holds without it.
            let _ = beside.write_all(MARK.as_bytes());
        }
        Ok(Self { _database: Some(held), _beside: beside })
    }
}

impl Db {
    /// Locks the database for the bot of this process; `None` for a database that workers share. Reading it, and the
    /// commands, need no lock.
    ///
    /// # Errors
    /// `InUse` when another bot runs on it; `LockFile` when a lock cannot be asked for.
    pub async fn own(&self) -> Result<Option<Ownership>, DbError> {
        match self.file() {
            Some(file) if !self.is_shared() => Ok(Some(Ownership::of(file).await?)),
            _ => Ok(None),
        }
    }

    /// Returns whether several workers may share this database.
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Postgres(..) => true,
            #[cfg(any(test, feature = "testkit"))]
            Self::Sqlite { driven: Some(driven), .. } => driven.is_shared(),
            Self::Sqlite { .. } => false,
        }
    }

    /// Returns whether a worker runs on this database now. For a shared database that takes until a worker beats, at most
    /// 5 s.
    ///
    /// # Errors
    /// `LockFile` when the lock file cannot be opened; otherwise [`DbError`] when the database cannot be reached.
    pub async fn is_worked_on(&self) -> Result<bool, DbError> {
        match self {
            Self::Sqlite { file, .. } => {
                if file.is_locked().map_err(unusable(file.path()))? {
                    return Ok(true);
                }
                let path = lock_file_of(file.path());
                let beside = match File::open(&path) {
                    Ok(beside) => beside,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                    Err(source) => return Err(unusable(&path)(source)),
                };
                // A shared lock, so that two processes that check do not take each other for a bot.
                match beside.try_lock_shared() {
                    Ok(()) => Ok(false),
                    Err(TryLockError::WouldBlock) => Ok(true),
                    Err(TryLockError::Error(source)) => Err(unusable(&path)(source)),
                }
            }
            Self::Postgres(..) => {
                let before = self.workers().await?;
                if before.is_empty() {
                    return Ok(false);
                }
                for _ in 0..BEAT_LOOKS {
                    tokio::time::sleep(BETWEEN_BEAT_LOOKS).await;
                    if self.workers().await?.iter().any(|worker| !before.contains(worker)) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

async fn lock_beside(path: &Path) -> Result<File, DbError> {
    let opened = File::options().create(true).append(true).mode(0o600).open(path);
    let file = opened.map_err(unusable(path))?;
    let held = in_time(|| match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(source),
    });
    match held.await.map_err(unusable(path))? {
        Some(()) => Ok(file),
        None => Err(DbError::InUse),
    }
}

/// Asks for a lock a few times; `None` when another process keeps it.
async fn in_time<T>(mut ask: impl FnMut() -> Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    for _ in 1..TRIES {
        if let Some(held) = ask()? {
            return Ok(Some(held));
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    ask()
}

fn unusable(path: &Path) -> impl Fn(Error) -> DbError + '_ {
    move |source| DbError::LockFile { path: path.display().to_string(), source }
}
