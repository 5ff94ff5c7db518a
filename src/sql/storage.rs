//! How large the database is, how much room it has, and the command that returns unused room.

use std::path::Path;

use super::connection::{Db, on};
use super::error::DbError;

/// The room that a database takes and has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// On the disk.
    pub size: i64,
    /// The part of it with rows. Growth is counted by it: SQLite fills freed pages before the file grows.
    pub used: i64,
    /// What can be written before the disk is full: free pages and the free part of the disk. `None` when the disk is not
    /// ours to see: that of a PostgreSQL server, or a failed call.
    pub free: Option<i64>,
}

impl Db {
    /// Returns the room that the database takes and has.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached.
    pub async fn room(&self) -> Result<Room, DbError> {
        let size = self.size_bytes().await?;
        let Self::Sqlite { write, .. } = self else { return Ok(Room { size, used: size, free: None }) };
        let text = "select freelist_count * page_size from pragma_freelist_count(), pragma_page_size()";
        let unused: i64 = on!(db self, c => sqlx::query_scalar(text).fetch_one(c).await)?;
        let free = disk_free(write.connect_options().get_filename()).map(|free| free.saturating_add(unused));
        Ok(Room { size, used: size - unused, free })
    }

    /// Writes the database anew without unused room. On SQLite it needs the size of the result free on the disk twice, on
    /// PostgreSQL each table in turn is locked and needs its size once. Nothing else may work on the database meanwhile.
    ///
    /// # Errors
    /// [`DbError`] when the disk is full, the database is in use, or cannot be reached; nothing has changed then.
    pub async fn vacuum(&self) -> Result<(), DbError> {
        match self {
            Self::Postgres(pool, _) => {
                sqlx::raw_sql("vacuum (full, analyze)").execute(pool).await?;
            }
            Self::Sqlite { write, .. } => {
                let mut connection = write.acquire().await?;
                // Connections keep temporary data in memory, and here that would be the whole database.
                sqlx::query("pragma temp_store = file").execute(&mut *connection).await?;
                let done = sqlx::query("vacuum").execute(&mut *connection).await;
                sqlx::query("pragma temp_store = memory").execute(&mut *connection).await?;
                done?;
                // The new pages are in the log; this copies them into the file and shortens both.
                sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

/// Returns the bytes of the disk of `file` that a program without special rights may still write.
fn disk_free(file: &Path) -> Option<i64> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    i64::try_from(disk.f_bavail.checked_mul(disk.f_frsize)?).ok()
}
