//! Failures of the database.

use crate::domain::config::effective::ConfigError;
use crate::domain::events::lease::LeaseName;

/// A failure of the database, or an invalid stored value.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("`{url}` is not a database address; use `sqlite:path/to/file.db` or `postgres://..`")]
    Address { url: String },
    #[error("cannot create the folder of the database file `{path}`")]
    Folder { path: String, source: std::io::Error },
    #[error("cannot reach the database")]
    Unreachable(#[source] sqlx::Error),
    #[error("another polymarketspy runs on this database; stop it first, or give this one its own DATABASE_URL")]
    InUse,
    #[error("cannot create the lock file `{path}`")]
    LockFile { path: String, source: std::io::Error },
    /// Another writer held the lock for too long, or the database asks for a retry.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// Another writer changed rows that this transaction had just read. Nothing was written.
    #[error("concurrent update; nothing was written")]
    Raced,
    #[error("cannot apply the migrations")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The start stops: this program would read and write rows whose meaning it does not know.
    #[error(
        "the database was made by a newer version of polymarketspy: it has schema {found}, and this program knows up to \
         {known}; run that version, or restore a backup made before the upgrade"
    )]
    NewerSchema { found: i64, known: i64 },
    /// A migration was changed after it was applied, or one was applied that was never released.
    #[error(
        "the database was made by another build of polymarketspy: its migration {version} is not the one of this program; \
         run that build, or restore a backup made by this one"
    )]
    OtherMigration { version: i64 },
    /// The write was done under a lease that another worker has taken since. Nothing was written.
    #[error("lease `{0}` is held by another worker now")]
    LeaseLost(LeaseName),
    /// The fields of the changed configuration contradict each other. Nothing was written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("row `{id}` of table `{table}` has an invalid `{column}`: {problem}")]
    Impossible { table: &'static str, id: String, column: &'static str, problem: String },
}

impl DbError {
    /// Whether the same call may succeed later. Unique keys make repeating a write safe.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_) | Self::Raced)
    }

    /// Returns the error for a stored value that cannot be valid.
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

/// Whether a database's error code asks for a retry. SQLite: busy and locked with their extended codes. PostgreSQL:
/// serialisation failure, deadlock, lock not available, lack of resources, shutdown.
fn asks_to_try_again(code: &str) -> bool {
    matches!(code, "5" | "6" | "261" | "517" | "773" | "262" | "40001" | "40P01" | "55P03")
        || code.starts_with("53")
        || code.starts_with("57P")
}
