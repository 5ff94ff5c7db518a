//! The file of a SQLite database: which file it is, whether it is still in its place, and its lock.
//!
//! A path says little: a symbolic link or a hard link is another path of the same file, and another file can be put at
//! the same path. The device and the number of the file on it (its inode) say which file it is.

use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::error::DbError;

/// The database file as this process has it open.
#[derive(Debug, Clone)]
pub struct DatabaseFile {
    path: PathBuf,
    handle: Arc<Handle>,
}

/// What is at the path of the database now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePlace {
    /// The file that this process has open.
    Ours,
    Missing,
    /// Another file.
    Other,
}

/// One descriptor of the database file for the whole process, for the lock.
///
/// POSIX releases all locks that a process has on a file when the process closes any descriptor of that file, and
/// SQLite's locks are of this kind. So this descriptor must not be closed while a connection of this process is open:
/// every [`DatabaseFile`] of the same file shares it, and it is closed with the last of them. The lock itself is of
/// `flock`, which is independent of POSIX locks on a local disk and belongs to the file and not to a path.
#[derive(Debug)]
struct Handle {
    id: FileId,
    file: File,
    /// Whether a bot of this process holds the lock: `flock` does not refuse its own process.
    is_owned: AtomicBool,
}

/// The device and the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

/// The lock on a file, released when dropped.
#[derive(Debug)]
pub(crate) struct FileLock(Arc<Handle>);

/// The open files of this process. Process-wide, because POSIX locks are.
static OPEN: Mutex<Vec<Weak<Handle>>> = Mutex::new(Vec::new());

impl DatabaseFile {
    /// Opens a database file that exists.
    ///
    /// # Errors
    /// [`DbError::File`] when it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, DbError> {
        let unusable = |source| DbError::File { path: path.display().to_string(), source };
        let handle = Handle::open(path).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Returns the path that the settings name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what is at the path now. A path that cannot be looked at counts as ours: it may be a moment's fault.
    pub fn place(&self) -> FilePlace {
        match std::fs::metadata(&self.path) {
            Ok(found) if FileId::of(&found) == self.handle.id => FilePlace::Ours,
            Ok(_) => FilePlace::Other,
            Err(error) if error.kind() == ErrorKind::NotFound => FilePlace::Missing,
            Err(_) => FilePlace::Ours,
        }
    }

    /// Locks the file for one bot; `None` when another bot has it.
    ///
    /// # Errors
    /// The system's error when the lock cannot be asked for.
    pub(crate) fn try_lock(&self) -> Result<Option<FileLock>, Error> {
        if self.handle.is_owned.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        match self.handle.file.try_lock() {
            Ok(()) => Ok(Some(FileLock(self.handle.clone()))),
            Err(refused) => {
                self.handle.is_owned.store(false, Ordering::Release);
                match refused {
                    TryLockError::WouldBlock => Ok(None),
                    TryLockError::Error(source) => Err(source),
                }
            }
        }
    }

    /// Returns whether a bot, of this process or another, holds the lock.
    ///
    /// # Errors
    /// The system's error when the lock cannot be asked for.
    pub(crate) fn is_locked(&self) -> Result<bool, Error> {
        if self.handle.is_owned.load(Ordering::Acquire) {
            return Ok(true);
        }
        // A shared lock, so that two processes that check do not take each other for a bot.
        match self.handle.file.try_lock_shared() {
            Ok(()) => self.handle.file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }
}

impl Handle {
    fn open(path: &Path) -> Result<Arc<Self>, Error> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|handle| handle.strong_count() > 0);
        let id = FileId::of(&std::fs::metadata(path)?);
        // By its id and before opening it: a descriptor that is not needed would have to be closed.
        if let Some(known) = open.iter().filter_map(Weak::upgrade).find(|handle| handle.id == id) {
            return Ok(known);
        }
        let file = File::open(path)?;
        let id = FileId::of(&file.metadata()?);
        let handle = Arc::new(Self { id, file, is_owned: AtomicBool::new(false) });
        open.push(Arc::downgrade(&handle));
        Ok(handle)
    }
}

impl FileId {
    fn of(found: &Metadata) -> Self {
        Self(found.dev(), found.ino())
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Unlocked and not closed: connections of this process may still be open. An error leaves the lock until the
        // process ends.
        let _ = self.0.file.unlock();
        self.0.is_owned.store(false, Ordering::Release);
    }
}

/// Makes the folder of a database file, and the file itself, for its owner alone; SQLite gives the files beside it the
/// same rights. Nothing that exists is changed.
///
/// # Errors
/// [`DbError::Folder`], [`DbError::File`]; `Gone` when a bot has worked here and its database is missing.
pub(super) fn make_private(file: &Path) -> Result<(), DbError> {
    if file.exists() {
        return Ok(());
    }
    let lock = lock_file_of(file);
    if std::fs::metadata(&lock).is_ok_and(|lock| lock.len() > 0) {
        return Err(DbError::Gone { path: file.display().to_string(), lock: lock.display().to_string() });
    }
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| DbError::Folder { path: file.display().to_string(), source })?;
    }
    match make_new_private(file) {
        // Another process was faster.
        Err(DbError::File { source, .. }) if source.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Makes an empty file for its owner alone.
///
/// # Errors
/// [`DbError::File`] when it exists or cannot be made.
pub(super) fn make_new_private(file: &Path) -> Result<(), DbError> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(file);
    made.map(drop).map_err(|source| DbError::File { path: file.display().to_string(), source })
}

/// Returns the path of the lock file beside a database, without the symbolic links of the path.
pub(crate) fn lock_file_of(database: &Path) -> PathBuf {
    let real = std::fs::canonicalize(database).or_else(|_| {
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::canonicalize(folder).map(|folder| folder.join(database.file_name().unwrap_or_default()))
    });
    let mut path = real.unwrap_or_else(|_| database.to_owned()).into_os_string();
    path.push(".lock");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_belongs_to_the_file_and_not_to_one_of_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.db"), "").unwrap();
        std::os::unix::fs::symlink(path("a.db"), path("symbolic.db")).unwrap();
        std::fs::hard_link(path("a.db"), path("hard.db")).unwrap();
        let first = DatabaseFile::open(&path("a.db")).unwrap();
        let lock = first.try_lock().unwrap().unwrap();
        for name in ["a.db", "symbolic.db", "hard.db"] {
            let again = DatabaseFile::open(&path(name)).unwrap();
            assert!(again.try_lock().unwrap().is_none() && again.is_locked().unwrap(), "{name}");
        }
        assert_eq!(lock_file_of(&path("symbolic.db")), lock_file_of(&path("a.db")));
        drop(lock);
        assert!(!first.is_locked().unwrap());
        assert!(first.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
        make_private(&path).unwrap();
        let file = DatabaseFile::open(&path).unwrap();
        assert_eq!(file.place(), FilePlace::Ours);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.place(), FilePlace::Missing);
        std::fs::write(&other, "").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(file.place(), FilePlace::Other);
    }

    #[test]
    fn a_new_database_and_its_folder_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data/a.db");
        make_private(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        // What exists is left as it is: a group may be meant to read it.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn a_database_that_a_bot_worked_on_is_not_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.db");
        std::fs::write(lock_file_of(&path), "a bot worked here").unwrap();
        assert!(matches!(make_private(&path), Err(DbError::Gone { .. })));
        assert!(!path.exists());
    }
}
