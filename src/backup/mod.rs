//! Backups of the database, and their restore (spec 13).
//!
//! In    the URL of the database and a folder; the bot may go on running.
//! Out   an archive in the folder with its SHA-256 beside it, in the format of `sha256sum`; the newest few archives stay.
//! Fails [`BackupError`]; an incomplete file never has an archive's name, and old archives are removed only after the new
//!       one is complete.
//!
//! SQLite is copied by `vacuum into`, PostgreSQL by `pg_dump`: each copies a consistent snapshot while the database changes.

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
    /// When copying began: later changes may be missing.
    pub made_at: Timestamp,
    pub bytes: u64,
    pub sha256: String,
}

/// A backup or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}` cannot be {action}", path.display())]
    File { path: PathBuf, action: &'static str, source: std::io::Error },
    #[error("another backup is being made in `{}`", folder.display())]
    FolderInUse { folder: PathBuf },
    #[error("cannot start `{program}`; it comes with the Debian package postgresql-client")]
    NoProgram { program: &'static str, source: std::io::Error },
    #[error("{program} failed: {message}")]
    Program { program: &'static str, message: String },
    #[error("the copy is incomplete or damaged: {problem}")]
    NotWhole { problem: String },
    #[error("`{}` has no checksum beside it: `{}` is missing", file.display(), checksum.display())]
    NoChecksum { file: PathBuf, checksum: PathBuf },
    #[error("`{}` was changed: its SHA-256 is {found}, not {expected}", file.display())]
    Changed { file: PathBuf, found: String, expected: String },
    #[error("`{}` is not an archive of a {database} database, which DATABASE_URL names", file.display())]
    OtherKind { file: PathBuf, database: &'static str },
    /// The file is not one that `backup` wrote. Nothing of it was used.
    #[error("`{}` is not an archive of polymarketspy: {problem}", file.display())]
    Foreign { file: PathBuf, problem: String },
    #[error("there is already a database at {place}; move it away, or change DATABASE_URL")]
    Occupied { place: String },
    #[error("the upload command ended with {status}; the archive is kept in the folder")]
    Upload { status: std::process::ExitStatus },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The database of a URL.
enum Source {
    Sqlite(PathBuf),
    Postgres(postgres::Server),
}

impl Source {
    /// Parses the URL of a database.
    ///
    /// # Errors
    /// [`DbError::Address`] when it is neither kind of database.
    fn parse(url: &str) -> Result<Self, BackupError> {
        if url.starts_with("sqlite:") {
            return Ok(Self::Sqlite(sqlite::file_of(url)?));
        }
        postgres::Server::parse(url).map(Self::Postgres)
    }

    /// Returns the file extension of its archives.
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

/// Returns whether there may be a database at `url`. A caller asks this first because opening a missing database creates it.
///
/// # Errors
/// [`DbError::Address`] when `url` is not the URL of a database.
pub fn may_be_there(url: &str) -> Result<bool, BackupError> {
    Ok(match Source::parse(url)? {
        Source::Sqlite(file) => file.exists(),
        Source::Postgres(_) => true,
    })
}

/// Copies the database at `url` into the folder.
///
/// # Errors
/// [`BackupError`]; the folder is then unchanged.
pub async fn make(url: &str, folder: &Folder, now: Timestamp) -> Result<Archive, BackupError> {
    let source = Source::parse(url)?;
    let partial = folder.partial()?;
    match &source {
        Source::Sqlite(file) => sqlite::copy(file, &partial).await?,
        Source::Postgres(server) => server.dump(&partial)?,
    }
    folder.admit(&partial, now, source.ending())
}

/// Restores an archive into the empty place of `url`. The caller opens the database, which migrates it to the current
/// schema.
///
/// # Errors
/// [`BackupError`]; the place is then still empty.
pub async fn restore(file: &Path, url: &str, is_checked: bool) -> Result<(), BackupError> {
    let source = Source::parse(url)?;
    // First, so that a missing file is called missing and not foreign.
    std::fs::File::open(file).map_err(on_file(file, "read"))?;
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

/// Runs the operator's upload command on an archive, with its paths in `BACKUP_FILE` and `BACKUP_CHECKSUM`.
///
/// # Errors
/// [`BackupError::Upload`] when the command does not exit with 0.
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

/// Adds the file's path to an error of the file system.
fn on_file<'a>(path: &'a Path, action: &'static str) -> impl Fn(std::io::Error) -> BackupError + 'a {
    move |source| BackupError::File { path: path.to_owned(), action, source }
}
