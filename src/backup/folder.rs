//! The folder of archives: one writer, names in order of time, a checksum beside each archive, the newest few kept.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Archive, BackupError, on_file, postgres, sqlite};
use crate::domain::money::units::Timestamp;

const BEGINNING: &str = "polymarketspy-";
const MADE_AT: &str = "%Y%m%dT%H%M%S%.3fZ";
/// Hidden, because it is not an archive. An interrupted backup leaves it behind; the next backup removes it.
const PARTIAL: &str = ".partial";
const LOCK: &str = ".lock";

/// A folder to which only this process writes archives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens the folder; creates it if it does not exist.
    ///
    /// # Errors
    /// [`BackupError::FolderInUse`] while another backup is being made; [`BackupError::File`].
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(on_file(path, "made"))?;
        let name = path.join(LOCK);
        let lock = File::options().create(true).append(true).mode(0o600).open(&name).map_err(on_file(&name, "made"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(BackupError::FolderInUse { folder: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(on_file(&name, "locked")(source)),
        }
    }

    /// Returns the path at which the next archive is written until it is complete.
    ///
    /// # Errors
    /// [`BackupError::File`] when an earlier partial file cannot be removed.
    pub(super) fn partial(&self) -> Result<PathBuf, BackupError> {
        let path = self.path.join(PARTIAL);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(on_file(&path, "removed")(error)),
            _ => Ok(path),
        }
    }

    /// Turns a written file into an archive with checksum and name; both are on the disk when this returns.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub(super) fn admit(&self, partial: &Path, now: Timestamp, ending: &str) -> Result<Archive, BackupError> {
        let time = chrono::DateTime::from_timestamp_millis(now.millis()).unwrap_or_default();
        let file = self.path.join(format!("{BEGINNING}{}{ending}", time.format(MADE_AT)));
        let (bytes, sha256) = digest_of(partial)?;
        // The checksum first: every file with an archive's name has a checksum.
        let checksum = checksum_of(&file);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut written = new_private(&checksum).map_err(on_file(&checksum, "made"))?;
        written
            .write_all(format!("{sha256}  {name}\n").as_bytes())
            .and_then(|()| written.sync_all())
            .map_err(on_file(&checksum, "written"))?;
        let whole = File::open(partial).map_err(on_file(partial, "read"))?;
        // The archive contains e-mails and hashes of tokens: only its owner may read it.
        whole
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| whole.sync_all())
            .map_err(on_file(partial, "written"))?;
        std::fs::rename(partial, &file).map_err(on_file(&file, "made"))?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(on_file(&self.path, "written"))?;
        Ok(Archive { file, made_at: now, bytes, sha256 })
    }

    /// Removes all archives but the newest `n`, and their checksums; returns how many. Other files are left alone.
    ///
    /// # Errors
    /// [`BackupError::File`] when the folder cannot be read or an archive cannot be removed.
    pub fn keep(&self, n: usize) -> Result<usize, BackupError> {
        let archives = archives_in(&self.path)?;
        let old = &archives[..archives.len().saturating_sub(n)];
        for file in old {
            std::fs::remove_file(file).map_err(on_file(file, "removed"))?;
            // A checksum without its archive is useless; if it is missing, that does not matter.
            let _ = std::fs::remove_file(checksum_of(file));
        }
        Ok(old.len())
    }
}

/// Creates or empties a file that only its owner may read.
pub(super) fn new_private(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Returns when the newest archive of a folder was made; `None` if there is none, or no folder.
///
/// # Errors
/// [`BackupError::File`] when the folder cannot be read.
pub fn newest_in(folder: &Path) -> Result<Option<Timestamp>, BackupError> {
    if !folder.exists() {
        return Ok(None);
    }
    Ok(archives_in(folder)?.last().and_then(|path| made_at(path)))
}

/// Returns the archives of both kinds of database, oldest first.
fn archives_in(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let unreadable = on_file(folder, "read");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(&unreadable)? {
        let path = entry.map_err(&unreadable)?.path();
        if made_at(&path).is_some() {
            found.push(path);
        }
    }
    found.sort_by_key(|path| made_at(path));
    Ok(found)
}

/// Returns when an archive was made, by its name; `None` for any other file.
fn made_at(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?.strip_prefix(BEGINNING)?;
    let time = [sqlite::ENDING, postgres::ENDING].iter().find_map(|ending| name.strip_suffix(ending))?;
    let time = chrono::NaiveDateTime::parse_from_str(time, MADE_AT).ok()?;
    Some(Timestamp::from_millis(time.and_utc().timestamp_millis()))
}

/// Returns the path of an archive's checksum.
pub(super) fn checksum_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// Verifies the checksum of an archive.
///
/// # Errors
/// [`BackupError::Changed`], [`BackupError::NoChecksum`] or [`BackupError::File`].
pub(super) fn check(file: &Path) -> Result<(), BackupError> {
    let (_, found) = digest_of(file)?;
    let checksum = checksum_of(file);
    let expected = match std::fs::read_to_string(&checksum) {
        Ok(text) => text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(BackupError::NoChecksum { file: file.to_owned(), checksum });
        }
        Err(error) => return Err(on_file(&checksum, "read")(error)),
    };
    match found == expected {
        true => Ok(()),
        false => Err(BackupError::Changed { file: file.to_owned(), found, expected }),
    }
}

/// Returns the length and the SHA-256 of a file on the disk.
fn digest_of(path: &Path) -> Result<(u64, String), BackupError> {
    let unreadable = on_file(path, "read");
    let mut file = File::open(path).map_err(&unreadable)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(&unreadable)? {
            0 => return Ok((bytes, hex::encode(digest.finalize()))),
            n => {
                digest.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Folder, text: &str, second: i64, ending: &str) -> Archive {
        let partial = folder.partial().unwrap();
        std::fs::write(&partial, text).unwrap();
        folder.admit(&partial, Timestamp::from_seconds(second).unwrap(), ending).unwrap()
    }

    #[test]
    fn the_newest_archives_of_both_databases_are_kept_and_other_files_are_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("a/b")).unwrap();
        let others = ["notes.txt", "polymarketspy-yesterday.sqlite.gz", "polymarketspy-20260101T000000.000Z.zip"];
        others.iter().for_each(|name| std::fs::write(folder.path.join(name), "mine").unwrap());
        let oldest = put(&folder, "1", 1_790_000_000, sqlite::ENDING);
        let middle = put(&folder, "2", 1_790_000_100, postgres::ENDING);
        let newest = put(&folder, "3", 1_790_000_200, sqlite::ENDING);
        assert_eq!(newest_in(&folder.path).unwrap(), Some(newest.made_at));
        assert_eq!(folder.keep(2).unwrap(), 1);
        assert!(!oldest.file.exists() && !checksum_of(&oldest.file).exists());
        assert!(middle.file.exists() && newest.file.exists());
        assert!(others.iter().all(|name| folder.path.join(name).exists()));
        assert_eq!(folder.keep(2).unwrap(), 0);
    }

    #[test]
    fn a_changed_archive_and_one_without_a_checksum_are_different_errors() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let archive = put(&folder, "abc", 1_790_000_000, sqlite::ENDING);
        assert!(archive.file.ends_with("polymarketspy-20260921T141320.000Z.sqlite.gz"), "{archive:?}");
        assert_eq!((archive.bytes, &archive.sha256[..8]), (3, "ba7816bf"));
        assert_eq!(archive.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(checksum_of(&archive.file).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        check(&archive.file).unwrap();
        std::fs::write(&archive.file, "abd").unwrap();
        assert!(matches!(check(&archive.file), Err(BackupError::Changed { .. })));
        std::fs::remove_file(checksum_of(&archive.file)).unwrap();
        assert!(matches!(check(&archive.file), Err(BackupError::NoChecksum { .. })));
    }

    #[test]
    fn only_one_backup_runs_at_a_time_and_an_interrupted_one_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert!(matches!(Folder::open(home.path()), Err(BackupError::FolderInUse { .. })));
        std::fs::write(folder.partial().unwrap(), "cut off").unwrap();
        assert_eq!(newest_in(&folder.path).unwrap(), None);
        assert!(!folder.partial().unwrap().exists());
        drop(folder);
        Folder::open(home.path()).unwrap();
    }
}
