//! An SQLite database as one compressed file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{BackupError, on_file};
use crate::db::{DbError, Ownership};

pub(super) const ENDING: &str = ".sqlite.gz";

/// The file to which an address leads.
pub(super) fn file_of(url: &str) -> Result<PathBuf, BackupError> {
    let options: SqliteConnectOptions = url.parse().map_err(|_| DbError::Address { url: url.to_owned() })?;
    Ok(options.get_filename().to_owned())
}

/// Copies the database, whoever writes to it meanwhile, and compresses the copy.
pub(super) async fn copy(database: &Path, to: &Path) -> Result<(), BackupError> {
    // Not in memory and not in the system's temporary folder: it is as large as the database.
    let plain = Plain::beside(to)?;
    let mut connection = open(database).await?;
    let copied = sqlx::query("vacuum into $1").bind(plain.text()?).execute(&mut connection).await;
    connection.close().await.map_err(DbError::from)?;
    copied.map_err(DbError::from)?;
    prove(&plain.0).await?;
    compress(&plain.0, to)
}

/// Unpacks an archive to a place where no database is, by way of a file beside it.
pub(super) async fn put(archive: &Path, place: &Path) -> Result<(), BackupError> {
    if let Some(folder) = place.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(on_file(folder, "made"))?;
    }
    // A bot goes on with a database whose file was taken from under it.
    let _ownership = Ownership::of(place).await?;
    for ending in ["", "-wal", "-shm"] {
        let part = with(place, ending);
        if part.exists() {
            return Err(BackupError::Occupied { place: format!("`{}`", part.display()) });
        }
    }
    let plain = Plain::beside(place)?;
    unpack(archive, &plain.0)?;
    prove(&plain.0).await?;
    // A hard link, unlike a rename, does not take the place of a file that came meanwhile.
    std::fs::hard_link(&plain.0, place).map_err(on_file(place, "made"))
}

/// A plain copy for as long as it is needed.
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
        let unnamed = || BackupError::NotWhole { problem: format!("`{}` is no text", self.0.display()) };
        self.0.to_str().ok_or_else(unnamed)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Opens a database that is there; one that is not is an error, and not made.
async fn open(file: &Path) -> Result<SqliteConnection, BackupError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(std::time::Duration::from_secs(10))
        .disable_statement_logging();
    Ok(SqliteConnection::connect_with(&options).await.map_err(DbError::from)?)
}

/// Whether a copy can be read from its first page to its last.
async fn prove(file: &Path) -> Result<(), BackupError> {
    let mut connection = open(file).await?;
    let said: Result<String, _> = sqlx::query_scalar("pragma quick_check(1)").fetch_one(&mut connection).await;
    let closed = connection.close().await;
    let problem = match said {
        Ok(said) if said == "ok" => return Ok(closed.map_err(DbError::from)?),
        Ok(said) => said,
        Err(error) => error.to_string(),
    };
    Err(BackupError::NotWhole { problem })
}

fn compress(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut plain = BufReader::new(File::open(from).map_err(on_file(from, "read"))?);
    let file = File::create(to).map_err(on_file(to, "made"))?;
    let mut packed = GzEncoder::new(BufWriter::new(file), Compression::default());
    std::io::copy(&mut plain, &mut packed)
        .and_then(|_| packed.finish())
        .and_then(|mut file| file.flush())
        .map_err(on_file(to, "written"))
}

fn unpack(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut packed = GzDecoder::new(BufReader::new(File::open(from).map_err(on_file(from, "read"))?));
    let mut plain = File::create(to).map_err(on_file(to, "made"))?;
    std::io::copy(&mut packed, &mut plain).map_err(on_file(from, "unpacked"))?;
    plain.sync_all().map_err(on_file(to, "written"))
}
