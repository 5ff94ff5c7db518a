//! One bot a database file: two would each decide on a running state of their own, and neither's limits would hold.
//!
//! A PostgreSQL database may have several workers: they share the work by leases (`leases.rs`).

use std::fs::File;
use std::path::PathBuf;

use super::DbError;
use super::connection::Db;

/// Held for as long as a bot runs on the database. The operating system takes it back from a process that was killed, so
/// the next start never waits for a dead one.
#[derive(Debug)]
pub struct Ownership {
    /// A locked file beside the database: SQLite's own locks last for a transaction.
    _file: File,
}

impl Db {
    /// Takes the database for this process's bot; `None` where workers share it. Reading beside it, and the commands, need
    /// no ownership.
    ///
    /// # Errors
    /// `InUse` when another bot runs on it; `LockFile` when the file beside it cannot be made.
    pub async fn own(&self) -> Result<Option<Ownership>, DbError> {
        let Self::Sqlite { write, .. } = self else { return Ok(None) };
        let mut path = write.connect_options().get_filename().as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let unusable = |source| DbError::LockFile { path: path.display().to_string(), source };
        let file = File::options().create(true).append(true).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Ownership { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Err(DbError::InUse),
            Err(std::fs::TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Whether several workers may share it.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
