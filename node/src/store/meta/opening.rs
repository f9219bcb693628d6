//! Opens sled, with the care that DESIGN 14 asks for: a damaged snapshot is moved aside, a ruined store is given up, and
//! a store that merely cannot be opened now is left alone. Called by `meta`.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::store::meta::{MetaError, io_error, is_full};

/// sled's default is a gigabyte; this store holds some kilobytes.
const CACHE_BYTES: u64 = 16 << 20;

/// Tries to open a store that this process itself has not quite let go of yet.
const BUSY_TRIES: u32 = 100;
/// Between two of them.
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// How the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// As it was left.
    Intact,
    /// Without its snapshot, which was damaged; all records are there.
    SnapshotAside,
    /// Empty: the old one was damaged beyond that and moved aside.
    Rebuilt,
}

#[derive(Debug)]
pub(super) struct Trees {
    pub(super) db: sled::Db,
    pub(super) bitmaps: sled::Tree,
    pub(super) catalog: sled::Tree,
    pub(super) provenance: sled::Tree,
    pub(super) scrub: sled::Tree,
}

pub(super) fn open_or_recover(path: &Path) -> Result<(Trees, Recovery), MetaError> {
    match try_open(path) {
        Ok(trees) => return Ok((trees, Recovery::Intact)),
        Err(Refusal::NotNow(error)) => return Err(error),
        Err(Refusal::Damaged(why)) => {
            warn!(path = %path.display(), why, "metadata damaged; trying without its snapshot")
        }
    }
    move_snapshots_aside(path)?;
    match try_open(path) {
        Ok(trees) => return Ok((trees, Recovery::SnapshotAside)),
        Err(Refusal::NotNow(error)) => return Err(error),
        Err(Refusal::Damaged(why)) => {
            warn!(path = %path.display(), why, "metadata damaged; starting with an empty one")
        }
    }
    let aside = unused_name(path, "damaged");
    fs::rename(path, &aside).map_err(|e| io_error("move aside the damaged", path, e))?;
    match try_open(path) {
        Ok(trees) => Ok((trees, Recovery::Rebuilt)),
        Err(Refusal::NotNow(error)) => Err(error),
        Err(Refusal::Damaged(why)) => Err(MetaError::Create { path: path.to_owned(), why }),
    }
}

/// Why sled did not open.
enum Refusal {
    /// Its files are damaged, as far as one can tell.
    Damaged(String),
    /// They may be sound: no reason to give them up.
    NotNow(MetaError),
}

/// Opens sled. On some damaged files it panics instead of failing, which must not take the node down.
fn try_open(path: &Path) -> Result<Trees, Refusal> {
    wait_until_free(path);
    let open = || {
        // No flush thread: everything is flushed where it is promised.
        let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        let (bitmaps, catalog) = (db.open_tree("bitmaps")?, db.open_tree("catalog")?);
        let (provenance, scrub) = (db.open_tree("provenance")?, db.open_tree("scrub")?);
        Ok(Trees { db, bitmaps, catalog, provenance, scrub })
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(trees)) => Ok(trees),
        Ok(Err(sled::Error::Io(error))) if is_passing(&error) || is_locked(path) => {
            Err(Refusal::NotNow(MetaError::Sled { what: "open a tree", source: sled::Error::Io(error) }))
        }
        Ok(Err(error)) => Err(Refusal::Damaged(error.to_string())),
        Err(_) => Err(Refusal::Damaged("sled panicked while it opened the store".to_owned())),
    }
}

/// After a store was dropped sled's own threads may hold its file a moment longer.
fn wait_until_free(path: &Path) {
    for _ in 0..BUSY_TRIES {
        if !is_locked(path) {
            return;
        }
        thread::sleep(BUSY_WAIT);
    }
}

fn is_locked(path: &Path) -> bool {
    let file = fs::File::open(path.join("db"));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// Failures that say nothing about the files.
fn is_passing(error: &io::Error) -> bool {
    is_full(error) || matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn move_snapshots_aside(path: &Path) -> Result<(), MetaError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        // Not a folder at all: the next step moves it aside whole.
        Err(_) => return Ok(()),
    };
    for entry in entries {
        let entry = entry.map_err(|e| io_error("read", path, e))?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            // Out of the folder: sled looks at every file whose name begins so.
            let aside = unused_name(path, "snapshot-damaged");
            fs::rename(entry.path(), aside).map_err(|e| io_error("move aside", &entry.path(), e))?;
        }
    }
    Ok(())
}

/// A name beside `path` that nothing has yet.
fn unused_name(path: &Path, why: &str) -> PathBuf {
    let mut number = 1;
    loop {
        let candidate = path.with_extension(format!("{why}-{number}"));
        if !candidate.exists() {
            return candidate;
        }
        number += 1;
    }
}
