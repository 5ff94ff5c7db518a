//! Copies of the database that outlive it, and the way back (spec section 13).
//!
//! In    the address of the database and a folder; the bot may run on.
//! Out   an archive in the folder, beside it its SHA-256 as `sha256sum` writes it, and no more archives than are kept.
//! Fails `BackupError`; a half-written archive never has an archive's name, and nothing older goes before the new one
//!       is whole.
//!
//! SQLite is copied by `vacuum into`, PostgreSQL by `pg_dump`: each sees one moment of a database that goes on changing.

mod folder;
mod postgres;
mod sqlite;

use std::path::{Path, PathBuf};

use crate::db::DbError;
use crate::domain::money::units::Timestamp;

use folder::checksum_of;
pub use folder::{Folder, newest_in};

/// A copy of a database in a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Archive {
    pub file: PathBuf,
    /// When the copying began: what came later may be missing.
    pub made_at: Timestamp,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}` cannot be {deed}", path.display())]
    File { path: PathBuf, deed: &'static str, source: std::io::Error },
    #[error("another backup is being made in `{}`", folder.display())]
    FolderInUse { folder: PathBuf },
    #[error("`{program}` does not start; it comes with the Debian package postgresql-client")]
    NoProgram { program: &'static str, source: std::io::Error },
    #[error("{program} failed: {said}")]
    Program { program: &'static str, said: String },
    #[error("the copy is not whole: {problem}")]
    NotWhole { problem: String },
    #[error("`{}` has no checksum beside it: `{}` is missing", file.display(), checksum.display())]
    NoChecksum { file: PathBuf, checksum: PathBuf },
    #[error("`{}` is not what was written: its SHA-256 is {found}, not {expected}", file.display())]
    Changed { file: PathBuf, found: String, expected: String },
    #[error("`{}` is no archive of a {database} database, which is where DATABASE_URL leads", file.display())]
    OtherKind { file: PathBuf, database: &'static str },
    #[error("there is a database at {place} already; move it away, or let DATABASE_URL name another place")]
    Occupied { place: String },
    #[error("the upload command ended with {status}; the archive itself is kept")]
    Upload { status: std::process::ExitStatus },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Which database an address leads to.
enum Source {
    Sqlite(PathBuf),
    Postgres(postgres::Server),
}

impl Source {
    /// # Errors
    /// `Address` when it is neither.
    fn parse(url: &str) -> Result<Self, BackupError> {
        if url.starts_with("sqlite:") {
            return Ok(Self::Sqlite(sqlite::file_of(url)?));
        }
        postgres::Server::parse(url).map(Self::Postgres)
    }

    /// How its archives' names end.
    const fn ending(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite::ENDING,
            Self::Postgres(_) => postgres::ENDING,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }
}

/// Whether there may be a database at `url`: to open one that is not there would make it.
///
/// # Errors
/// `Address` when `url` leads to no database.
pub fn may_be_there(url: &str) -> Result<bool, BackupError> {
    Ok(match Source::parse(url)? {
        Source::Sqlite(file) => file.exists(),
        Source::Postgres(_) => true,
    })
}

/// Copies the database at `url` into the folder.
///
/// # Errors
/// `BackupError`; the folder then holds what it held.
pub async fn make(url: &str, folder: &Folder, now: Timestamp) -> Result<Archive, BackupError> {
    let source = Source::parse(url)?;
    let partial = folder.partial()?;
    match &source {
        Source::Sqlite(file) => sqlite::copy(file, &partial).await?,
        Source::Postgres(server) => server.dump(&partial)?,
    }
    folder.admit(&partial, now, source.ending())
}

/// Puts an archive where `url` leads; nothing may be there. The caller opens it, which brings it to today's schema.
///
/// # Errors
/// `BackupError`; then nothing is there still.
pub async fn restore(file: &Path, url: &str, is_checked: bool) -> Result<(), BackupError> {
    let source = Source::parse(url)?;
    if !file.to_string_lossy().ends_with(source.ending()) {
        return Err(BackupError::OtherKind { file: file.to_owned(), database: source.name() });
    }
    if is_checked {
        folder::check(file)?;
    }
    match &source {
        Source::Sqlite(place) => sqlite::put(file, place).await,
        Source::Postgres(server) => server.fill(file, url).await,
    }
}

/// Hands an archive to a command of the operator's, which finds it in `BACKUP_FILE` and `BACKUP_CHECKSUM`.
///
/// # Errors
/// `Upload` when it does not end with 0.
pub fn upload(archive: &Archive, command: &str) -> Result<(), BackupError> {
    let status = std::process::Command::new("sh")
        .args(["-c", command])
        .env("BACKUP_FILE", &archive.file)
        .env("BACKUP_CHECKSUM", checksum_of(&archive.file))
        .stdin(std::process::Stdio::null())
        .status()
        .map_err(|source| BackupError::NoProgram { program: "sh", source })?;
    if status.success() { Ok(()) } else { Err(BackupError::Upload { status }) }
}

/// Names the file in an error of the file system.
fn on_file<'a>(path: &'a Path, deed: &'static str) -> impl Fn(std::io::Error) -> BackupError + 'a {
    move |source| BackupError::File { path: path.to_owned(), deed, source }
}
