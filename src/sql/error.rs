//! What can go wrong between us and the database.

use crate::domain::events::lease::LeaseName;

/// A failure of the database, or a stored value that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("`{url}` is no database address: `sqlite:path/to/file.db` or `postgres://..`")]
    Address { url: String },
    #[error("the folder of the database file `{path}` could not be made")]
    Folder { path: String, source: std::io::Error },
    #[error("the database could not be reached")]
    Unreachable(#[source] sqlx::Error),
    #[error("another polymarketspy runs on this database; stop it first, or give this one its own DATABASE_URL")]
    InUse,
    #[error("the lock file `{path}` could not be made")]
    LockFile { path: String, source: std::io::Error },
    /// Another writer had the lock for too long, or the database asks to try again.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// Rows that a transaction had just looked at were changed by another. Nothing of it was written.
    #[error("another writer came between")]
    Raced,
    #[error("the migrations could not be applied")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Going on would be reading and writing rows whose meaning we do not know.
    #[error(
        "the database was made by a newer version of polymarketspy: it has schema {found}, and this program knows up to \
         {known}; run that version, or restore a backup made before the upgrade"
    )]
    NewerSchema { found: i64, known: i64 },
    /// Somebody changed a migration that was already applied, or applied one that was never released.
    #[error(
        "the database was made by another build of polymarketspy: its migration {version} is not the one of this program; \
         run that build, or restore a backup made by this one"
    )]
    OtherMigration { version: i64 },
    #[error("the work of `{0}` is somebody else's by now")]
    LeaseLost(LeaseName),
    #[error("row `{id}` of {table} holds an impossible {column}: {problem}")]
    Impossible { table: &'static str, id: String, column: &'static str, problem: String },
}

impl DbError {
    /// Whether the same call may succeed later. Unique keys make repeating a write safe.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_) | Self::Raced)
    }

    pub(crate) fn impossible(
        table: &'static str,
        id: impl ToString,
        column: &'static str,
        problem: impl ToString,
    ) -> Self {
        Self::Impossible { table, id: id.to_string(), column, problem: problem.to_string() }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable(error),
            sqlx::Error::Database(cause) if cause.code().is_some_and(|code| asks_to_try_again(&code)) => {
                Self::Busy(error)
            }
            _ => Self::Statement(error),
        }
    }
}

/// SQLite: busy and locked with their extended codes. PostgreSQL: serialisation failure, deadlock, lack of resources,
/// shutting down.
fn asks_to_try_again(code: &str) -> bool {
    matches!(code, "5" | "6" | "261" | "517" | "773" | "262" | "40001" | "40P01" | "55P03")
        || code.starts_with("53")
        || code.starts_with("57P")
}
