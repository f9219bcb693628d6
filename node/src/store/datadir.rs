//! The data directory: one folder that belongs to one running fednode. Its lock, its layout version, and the small files
//! in it that are written whole or not at all. What the small files mean is `identity`'s business. Called by `driver` at
//! start, and by `cli` through [`DataDir::peek`], which takes no lock and writes nothing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The layout this program reads and writes.
pub const LAYOUT_VERSION: u32 = 1;

/// Says which layout a directory has; its presence says that the directory is ours.
const VERSION_FILE: &str = "version";
/// Held exclusively by the running fednode; its text is that process's number.
const LOCK_FILE: &str = "lock";
/// Temporary files of [`write_atomic`] begin with this; one that is found at start was left by a crash.
const TEMPORARY_PREFIX: &str = ".write-";
/// Small files are small: the largest is the roster of members.
const SMALL_FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error("{path} belongs to another running fednode (pid {pid}); stop that one, or choose another --data-dir", path = .path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// The holder, as far as it could be read.
        pid: String,
    },
    /// Written by a newer program.
    #[error(
        "{path} has layout version {found}, this fednode knows up to {LAYOUT_VERSION}; install the newer fednode that wrote it. Nothing was changed",
        path = .path.display()
    )]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A version file that says nothing.
    #[error(
        "{path}/{VERSION_FILE} is damaged: it should hold a layout number and nothing else. If this is fednode's directory, write {LAYOUT_VERSION} into that file. Nothing was changed",
        path = .0.display()
    )]
    VersionDamaged(PathBuf),
    /// Somebody else's directory.
    #[error(
        "{path} is not empty and was not made by fednode; choose an empty or a new directory with --data-dir. Nothing was changed",
        path = .0.display()
    )]
    NotOurs(PathBuf),
    /// There is none, where one was expected.
    #[error("{path} does not exist; `fednode up` creates it", path = .0.display())]
    Absent(PathBuf),
    /// The system refused.
    #[error("cannot {what} {path}: {source}; choose another --data-dir, or set this one right", path = .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The data directory, held by this process alone until dropped.
#[derive(Debug)]
pub struct DataDir {
    view: DataDirView,
    /// The lock lives as long as this file is open.
    _lock: File,
}

/// A data directory to read from, without a lock and without writing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataDirView {
    path: PathBuf,
}

/// What a look at a path found.
enum Found {
    /// Nothing, or an empty directory, or one in which a creation was cut short.
    Fresh,
    /// A data directory of this layout.
    Ours,
}

impl DataDir {
    /// Opens `path`, creating it (mode 0700) if there is nothing yet, and holds it. A refusal changes nothing on disk.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        if matches!(look(path)?, Found::Fresh) {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| io_error("create", path, e))?;
        }
        let lock = take_lock(path)?;
        // Looked at again under the lock: somebody may have created or upgraded the directory in between.
        let found = look(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|e| io_error("protect", path, e))?;
        if matches!(found, Found::Fresh) {
            write_atomic(&path.join(VERSION_FILE), format!("{LAYOUT_VERSION}\n").as_bytes())
                .map_err(|e| io_error("write the version file in", path, e))?;
        }
        remove_leftovers(path)?;
        Ok(DataDir { view: DataDirView { path: path.to_owned() }, _lock: lock })
    }

    /// Looks at `path` without a lock: for the command line while a node runs. Writes nothing.
    pub fn peek(path: &Path) -> Result<DataDirView, DataDirError> {
        match look(path)? {
            Found::Ours => Ok(DataDirView { path: path.to_owned() }),
            Found::Fresh => Err(DataDirError::Absent(path.to_owned())),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.view.path
    }

    /// What may be read from it without holding it.
    pub fn view(&self) -> &DataDirView {
        &self.view
    }
}

impl DataDirView {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Is no other process using it? Asked without writing, and true only for this moment.
    pub fn check_idle(&self) -> Result<(), DataDirError> {
        let Ok(file) = File::open(self.path.join(LOCK_FILE)) else { return Ok(()) };
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => {
                let pid = read_holder(&self.path).unwrap_or_else(|| "unknown".to_owned());
                Err(DataDirError::Busy { path: self.path.clone(), pid })
            }
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(()),
        }
    }

    /// The number of the process that holds or last held the directory.
    pub fn holder(&self) -> Option<u32> {
        read_holder(&self.path)?.parse().ok()
    }
}

/// Writes `bytes` to `path` whole or not at all, durably, readable by the owner alone (mode 0600): a temporary file in
/// the same folder, synced, renamed over the old one, and the folder synced.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Makes renames, creations and removals in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads a small file whole; `None` if there is none.
pub(crate) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any file fednode writes here"));
    }
    Ok(Some(bytes))
}

/// What is at `path`? Reads only.
fn look(path: &Path) -> Result<Found, DataDirError> {
    if let Some(bytes) = read_small(&path.join(VERSION_FILE)).or_else(absent_parent_is_none(path))? {
        let version = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<u32>().ok());
        return match version {
            Some(LAYOUT_VERSION) => Ok(Found::Ours),
            Some(found) if found > LAYOUT_VERSION => Err(DataDirError::TooNew { path: path.to_owned(), found }),
            _ => Err(DataDirError::VersionDamaged(path.to_owned())),
        };
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Fresh),
        Err(error) => return Err(io_error("read", path, error)),
    };
    for entry in entries {
        let name = entry.map_err(|e| io_error("read", path, e))?.file_name();
        let name = name.to_string_lossy();
        // A crash while creating leaves the lock file and at most a temporary one: still ours to finish.
        if name != LOCK_FILE && !name.starts_with(TEMPORARY_PREFIX) {
            return Err(DataDirError::NotOurs(path.to_owned()));
        }
    }
    Ok(Found::Fresh)
}

/// A plain file where the directory should be is reported by what follows, as "not a directory".
fn absent_parent_is_none(path: &Path) -> impl FnOnce(io::Error) -> Result<Option<Vec<u8>>, DataDirError> {
    let path = path.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::NotADirectory => Ok(None),
        _ => Err(io_error("read the version file in", &path, error)),
    }
}

fn take_lock(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|e| io_error("open", &lock_path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let pid = read_holder(path).unwrap_or_else(|| "unknown".to_owned());
            return Err(DataDirError::Busy { path: path.to_owned(), pid });
        }
        Err(fs::TryLockError::Error(error)) => return Err(io_error("lock", &lock_path, error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| io_error("write", &lock_path, e))?;
    Ok(file)
}

fn read_holder(path: &Path) -> Option<String> {
    let bytes = read_small(&path.join(LOCK_FILE)).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim();
    (!text.is_empty() && text.len() < 12).then(|| text.to_owned())
}

fn remove_leftovers(path: &Path) -> Result<(), DataDirError> {
    for entry in fs::read_dir(path).map_err(|e| io_error("read", path, e))? {
        let entry = entry.map_err(|e| io_error("read", path, e))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(entry.path()).map_err(|e| io_error("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file under `path` with its bytes.
    fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
        all.sort();
        all
    }

    #[test]
    fn one_process_holds_it_and_everybody_may_peek() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        assert!(matches!(DataDir::peek(&path), Err(DataDirError::Absent(_))));
        let held = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = DataDir::open(&path).unwrap_err();
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
        assert_eq!(DataDir::peek(&path).unwrap().holder(), Some(std::process::id()));
        drop(held);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_newer_layout_is_refused_and_nothing_changes() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(VERSION_FILE), "2\n").unwrap();
        let before = contents(base.path());
        assert!(matches!(DataDir::open(base.path()), Err(DataDirError::TooNew { found: 2, .. })));
        assert!(matches!(DataDir::peek(base.path()), Err(DataDirError::TooNew { found: 2, .. })));
        assert_eq!(contents(base.path()), before);
    }

    #[test]
    fn what_is_not_ours_is_refused_and_nothing_changes() {
        for (name, text) in [("holiday.jpg", "x"), (VERSION_FILE, "one"), (VERSION_FILE, ""), (VERSION_FILE, "0")] {
            let base = tempfile::tempdir().unwrap();
            fs::write(base.path().join(name), text).unwrap();
            let before = contents(base.path());
            assert!(DataDir::open(base.path()).is_err(), "{name} {text:?}");
            assert_eq!(contents(base.path()), before);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(DataDir::open(file.path()).is_err());
    }

    #[test]
    fn a_creation_that_was_cut_short_is_finished() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(LOCK_FILE), "").unwrap();
        fs::write(base.path().join(".write-abc"), "half").unwrap();
        let held = DataDir::open(base.path()).unwrap();
        assert!(!held.path().join(".write-abc").exists());
    }

    #[test]
    fn an_atomic_write_replaces_the_whole_and_is_private() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("secret");
        write_atomic(&path, b"long and old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(contents(base.path()).len(), 1);
    }
}
