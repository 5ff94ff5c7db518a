//! Failures of the database.

use crate::domain::config::effective::ConfigError;
use crate::domain::events::lease::LeaseName;

/// What to do about a damaged database.
const RESTORE_ADVICE: &str = "stop every program that uses it, move its files away, and restore a backup (RUNBOOKS.md, \
    \"Restore from a backup\")";

/// A failure of the database, or an invalid stored value.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("`{url}` is not a database address; use `sqlite:path/to/file.db` or `postgres://..`")]
    Address { url: String },
    #[error("cannot create the folder of the database file `{path}`")]
    Folder { path: String, source: std::io::Error },
    /// The text of the cause is part of each of these texts, because logs, dead letters and pages show one line.
    #[error("cannot reach the database: {0}")]
    Unreachable(sqlx::Error),
    #[error("cannot reach the database at {at}: {cause}")]
    NoServer { at: String, cause: sqlx::Error },
    #[error("another polymarketspy runs on this database; stop it first, or give this one its own DATABASE_URL")]
    InUse,
    #[error("cannot lock the file `{path}`")]
    LockFile { path: String, source: std::io::Error },
    /// Another writer held the lock for too long, or the database asks for a retry.
    #[error("the database is busy: {0}")]
    Busy(sqlx::Error),
    /// Its disk is full or fails, its memory is used up, or it is read-only. The same work succeeds once that has passed.
    #[error("the database cannot work now: {0}")]
    Impaired(sqlx::Error),
    #[error("the database is damaged: {0}; {RESTORE_ADVICE}")]
    Damaged(sqlx::Error),
    #[error("the database is damaged: table `{table}`: {problem}; {RESTORE_ADVICE}")]
    DamagedTable { table: String, problem: String },
    #[error(
        "the database file `{path}` is gone, and `{lock}` shows that a bot worked on it; put the file back or restore a \
         backup, or remove `{lock}` to begin with an empty database"
    )]
    Gone { path: String, lock: String },
    #[error("cannot open the database file `{path}`")]
    File { path: String, source: std::io::Error },
    #[error("a statement failed: {0}")]
    Statement(sqlx::Error),
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
        matches!(self, Self::Unreachable(_) | Self::NoServer { .. } | Self::Busy(_) | Self::Impaired(_) | Self::Raced)
    }

    /// Returns whether the database as a whole does not work, so that no request can be answered from it now.
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::NoServer { .. } | Self::Busy(_) | Self::Impaired(_) | Self::Damaged(_)
        )
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
        match kind_of(&error) {
            Kind::Unreachable => Self::Unreachable(error),
            Kind::Busy | Kind::Conflict => Self::Busy(error),
            Kind::Impaired => Self::Impaired(error),
            Kind::Damaged => Self::Damaged(error),
            Kind::Statement => Self::Statement(error),
        }
    }
}

/// What an error of the driver says about the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unreachable,
    /// Another writer holds the lock, or the server has no room for one more connection.
    Busy,
    /// Another transaction was in the way of this one; a repetition succeeds.
    Conflict,
    /// The disk, the memory or the mode of the database forbids the work.
    Impaired,
    Damaged,
    /// The statement itself is at fault.
    Statement,
}

pub(super) fn kind_of(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Kind::Unreachable,
        sqlx::Error::Database(cause) => cause.code().map_or(Kind::Statement, |code| kind_of_code(&code)),
        _ => Kind::Statement,
    }
}

/// Codes of PostgreSQL have five characters; those of SQLite are numbers, whose lowest byte is the kind of error.
fn kind_of_code(code: &str) -> Kind {
    match code {
        // Serialisation failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Kind::Conflict,
        // Read-only transaction, disk full, out of memory, I/O error.
        "25006" | "53100" | "53200" | "58030" => Kind::Impaired,
        "XX001" | "XX002" => Kind::Damaged,
        _ if code.len() == 5 && code.starts_with("53") => Kind::Busy,
        // The server shuts down, has crashed, or starts.
        _ if code.len() == 5 && code.starts_with("57P") => Kind::Unreachable,
        _ if code.len() == 5 => Kind::Statement,
        _ => code.parse().map_or(Kind::Statement, kind_of_sqlite),
    }
}

fn kind_of_sqlite(code: i32) -> Kind {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NOMEM: i32 = 7;
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;
    const NOTADB: i32 = 26;
    match code & 0xff {
        // BUSY_SNAPSHOT: the snapshot is older than another commit.
        BUSY if code != 517 => Kind::Busy,
        BUSY | LOCKED => Kind::Conflict,
        PROTOCOL => Kind::Busy,
        NOMEM | READONLY | IOERR | FULL | CANTOPEN => Kind::Impaired,
        CORRUPT | NOTADB => Kind::Damaged,
        _ => Kind::Statement,
    }
}

/// Returns whether PostgreSQL refused a write because the session is read-only.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(cause) if cause.code().is_some_and(|code| code == "25006"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        for (code, kind) in [
            ("5", Kind::Busy),
            ("261", Kind::Busy),
            ("773", Kind::Busy),
            ("517", Kind::Conflict),
            ("6", Kind::Conflict),
            ("262", Kind::Conflict),
            ("7", Kind::Impaired),
            ("8", Kind::Impaired),
            ("10", Kind::Impaired),
            ("778", Kind::Impaired),
            ("3082", Kind::Impaired),
            ("13", Kind::Impaired),
            ("14", Kind::Impaired),
            ("11", Kind::Damaged),
            ("779", Kind::Damaged),
            ("26", Kind::Damaged),
            ("1", Kind::Statement),
            ("2067", Kind::Statement),
            ("25006", Kind::Impaired),
            ("53100", Kind::Impaired),
            ("53300", Kind::Busy),
            ("57P03", Kind::Unreachable),
            ("40001", Kind::Conflict),
            ("23505", Kind::Statement),
            ("XX001", Kind::Damaged),
            ("", Kind::Statement),
        ] {
            assert_eq!(kind_of_code(code), kind, "{code}");
        }
    }
}
