//! Backs up a SQLite database into one compressed file.

use std::fs::{DirBuilder, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::folder::new_private;
use super::{BackupError, on_file};
use crate::db::{DbError, Ownership};

pub(super) const ENDING: &str = ".sqlite.gz";

const OURS: &str = "select count(*) from _sqlx_migrations, sqlite_master
    where _sqlx_migrations.version = 1 and _sqlx_migrations.description = '0001_users_and_config'
        and sqlite_master.type = 'table' and sqlite_master.name = 'ledger_entry'";

/// Returns the file of a SQLite URL.
///
/// # Errors
/// [`DbError::Address`].
pub(super) fn file_of(url: &str) -> Result<PathBuf, BackupError> {
    let options: SqliteConnectOptions = url.parse().map_err(|_| DbError::Address { url: url.to_owned() })?;
    Ok(options.get_filename().to_owned())
}

/// Copies the database, while others may write to it, and compresses the copy.
///
/// # Errors
/// [`BackupError`].
pub(super) async fn copy(database: &Path, to: &Path) -> Result<(), BackupError> {
    // Not in memory and not in the system's temporary folder, because the copy is as large as the database.
    let plain = Plain::beside(to)?;
    // SQLite writes into an empty file and keeps its rights.
    new_private(&plain.0).map_err(on_file(&plain.0, "made"))?;
    let mut connection = open(database).await?;
    let copied = sqlx::query("vacuum into $1").bind(plain.text()?).execute(&mut connection).await;
    connection.close().await.map_err(DbError::from)?;
    copied.map_err(DbError::from)?;
    check_integrity(&plain.0).await?;
    compress(&plain.0, to)
}

/// Unpacks an archive to a place without a database, by way of a file beside it.
///
/// # Errors
/// [`BackupError::Occupied`] when a database is there; any other [`BackupError`].
pub(super) async fn put(archive: &Path, place: &Path) -> Result<(), BackupError> {
    if let Some(folder) = place.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(on_file(folder, "made"))?;
    }
    // Without this, a running bot would go on with a database whose file was replaced.
    let _ownership = Ownership::of_place(place).await?;
    for ending in ["", "-wal", "-shm"] {
        let part = with(place, ending);
        if part.exists() {
            return Err(BackupError::Occupied { place: format!("`{}`", part.display()) });
        }
    }
    let plain = Plain::beside(place)?;
    unpack(archive, &plain.0)?;
    let foreign = |problem: &str| BackupError::Foreign { file: archive.to_owned(), problem: problem.to_owned() };
    if !is_sqlite(&plain.0)? {
        return Err(foreign("it does not hold a SQLite database"));
    }
    check_integrity(&plain.0).await?;
    if !is_ours(&plain.0).await? {
        return Err(foreign("the database in it was not made by polymarketspy"));
    }
    // Unlike a rename, a hard link does not replace a file that was created meanwhile.
    std::fs::hard_link(&plain.0, place).map_err(on_file(place, "made"))
}

/// An uncompressed copy, removed when dropped.
struct Plain(PathBuf);

impl Plain {
    fn beside(file: &Path) -> Result<Self, BackupError> {
        let path = with(file, ".plain");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(on_file(&path, "removed")(error)),
            _ => Ok(Self(path)),
        }
    }

    fn text(&self) -> Result<&str, BackupError> {
        let unnamed = || BackupError::NotWhole { problem: format!("the path `{}` is not UTF-8", self.0.display()) };
        self.0.to_str().ok_or_else(unnamed)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // It may not exist.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Opens an existing database; a missing one is an error and is not created.
async fn open(file: &Path) -> Result<SqliteConnection, BackupError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(std::time::Duration::from_secs(10))
        .disable_statement_logging();
    Ok(SqliteConnection::connect_with(&options).await.map_err(DbError::from)?)
}

fn is_sqlite(file: &Path) -> Result<bool, BackupError> {
    let mut head = Vec::new();
    let opened = File::open(file).map_err(on_file(file, "read"))?;
    opened.take(16).read_to_end(&mut head).map_err(on_file(file, "read"))?;
    Ok(head == b"SQLite format 3\0")
}

/// Returns whether a SQLite database has our first migration and our ledger. Whether its version is one that this
/// program knows is found when it is opened.
async fn is_ours(file: &Path) -> Result<bool, BackupError> {
    let mut connection = open(file).await?;
    let found = sqlx::query_scalar::<_, i64>(OURS).fetch_one(&mut connection).await;
    connection.close().await.map_err(DbError::from)?;
    // A table of another program may have the name and other columns.
    Ok(found.is_ok_and(|n| n == 1))
}

/// Checks that a copy can be read from its first page to its last.
async fn check_integrity(file: &Path) -> Result<(), BackupError> {
    let mut connection = open(file).await?;
    let result: Result<String, _> = sqlx::query_scalar("pragma quick_check(1)").fetch_one(&mut connection).await;
    let closed = connection.close().await;
    let problem = match result {
        Ok(text) if text == "ok" => return Ok(closed.map_err(DbError::from)?),
        Ok(text) => text,
        Err(error) => error.to_string(),
    };
    Err(BackupError::NotWhole { problem })
}

fn compress(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut plain = BufReader::new(File::open(from).map_err(on_file(from, "read"))?);
    let file = new_private(to).map_err(on_file(to, "made"))?;
    // Half of the content is packed already: level 6 took twice the processor time and saved 5 %.
    let mut packed = GzEncoder::new(BufWriter::new(file), Compression::fast());
    std::io::copy(&mut plain, &mut packed)
        .and_then(|_| packed.finish())
        .and_then(|mut file| file.flush())
        .map_err(on_file(to, "written"))
}

fn unpack(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut packed = GzDecoder::new(BufReader::new(File::open(from).map_err(on_file(from, "read"))?));
    let mut plain = new_private(to).map_err(on_file(to, "made"))?;
    std::io::copy(&mut packed, &mut plain).map_err(on_file(from, "unpacked"))?;
    // `gzip` puts several files one after another; an archive of ours is one.
    let mut rest = [0];
    if packed.into_inner().read(&mut rest).map_err(on_file(from, "read"))? > 0 {
        let problem = "more data follows the database in it".to_owned();
        return Err(BackupError::Foreign { file: from.to_owned(), problem });
    }
    plain.sync_all().map_err(on_file(to, "written"))
}
