//! `MetaStore`: the one place that knows sled. It holds only what can be rebuilt from the files on disk or from the
//! other members: which chunks of a partial artifact are durable, catalog records, where imports came from. Each value
//! carries a version and a checksum, and each write is flushed before it is promised.

mod catalog_copy;
mod cursor;
mod opening;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::core::artifact::Bitmap;
use crate::core::types::Digest;
use crate::store::framed;
use crate::store::meta::opening::{Trees, open_or_recover};

pub use cursor::ScrubCursor;
pub use opening::Recovery;

const RECORD_VERSION: u8 = 1;
/// Why metadata could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// sled refused.
    #[error("cannot {what} in the metadata store: {source}")]
    Sled {
        /// What was attempted.
        what: &'static str,
        /// What sled said.
        source: sled::Error,
    },
    /// A file beside sled's could not be read, written or moved aside.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not even an empty store can be made.
    #[error("cannot create a metadata store at {path}: {why}", path = .path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl MetaError {
    /// Did it fail only for want of space?
    pub fn is_disk_full(&self) -> bool {
        match self {
            MetaError::Sled { source: sled::Error::Io(source), .. } | MetaError::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

/// Metadata in sled. After a failed write sled refuses everything until it is opened again, which the next call does.
#[derive(Debug)]
pub struct MetaStore {
    path: PathBuf,
    /// `None` after a failure.
    trees: Mutex<Option<Trees>>,
    recovery: Recovery,
}

impl MetaStore {
    /// Opens the store in folder `path`; damage never makes this fail, it makes the store start smaller. The catalog has
    /// a copy beside the folder, because in a federation of one machine nobody else could send it again.
    pub fn open(path: &Path) -> Result<MetaStore, MetaError> {
        let (trees, recovery) = open_or_recover(path)?;
        if recovery == Recovery::Rebuilt {
            for (key, signed) in catalog_copy::read(&copy_path(path))? {
                put(&trees, &trees.catalog, key.as_bytes(), &signed)
                    .map_err(|source| MetaError::Sled { what: "restore the catalog", source })?;
            }
        }
        Ok(MetaStore { path: path.to_owned(), trees: Mutex::new(Some(trees)), recovery })
    }

    /// How the store was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The durable chunks of a partial artifact; `None` if nothing (readable, of `chunks` chunks) was kept.
    pub fn bitmap(&self, artifact: &Digest, chunks: u32) -> Result<Option<Bitmap>, MetaError> {
        let body = self.with("read a bitmap", |trees| read(&trees.bitmaps, &artifact.0))?;
        Ok(body.and_then(|bytes| Bitmap::from_bytes(&bytes, chunks)))
    }

    /// Keeps the durable chunks of a partial artifact. The caller has synced the chunks themselves.
    pub fn put_bitmap(&self, artifact: &Digest, bitmap: &Bitmap) -> Result<(), MetaError> {
        self.with("write a bitmap", |trees| put(trees, &trees.bitmaps, &artifact.0, bitmap.as_bytes()))
    }

    /// Forgets a partial artifact.
    pub fn remove_bitmap(&self, artifact: &Digest) -> Result<(), MetaError> {
        self.with("remove a bitmap", |trees| {
            trees.bitmaps.remove(artifact.0)?;
            trees.db.flush().map(|_| ())
        })
    }

    /// Keeps a signed catalog record under `key`.
    pub fn put_catalog(&self, key: &str, signed: &[u8]) -> Result<(), MetaError> {
        let records = self.with("write the catalog", |trees| {
            put(trees, &trees.catalog, key.as_bytes(), signed)?;
            catalog_of(trees)
        })?;
        catalog_copy::write(&copy_path(&self.path), &records)
    }

    /// All signed catalog records that can be read, in order of key; `wire` checks them.
    pub fn catalog(&self) -> Result<Vec<(String, Vec<u8>)>, MetaError> {
        self.with("read the catalog", catalog_of)
    }

    /// Keeps where an artifact was imported from, as text for people.
    pub fn put_provenance(&self, artifact: &Digest, text: &str) -> Result<(), MetaError> {
        self.with("write a provenance", |trees| put(trees, &trees.provenance, &artifact.0, text.as_bytes()))
    }

    /// Where an artifact was imported from, if it was imported here.
    pub fn provenance(&self, artifact: &Digest) -> Result<Option<String>, MetaError> {
        let body = self.with("read a provenance", |trees| read(&trees.provenance, &artifact.0))?;
        Ok(body.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Does `work` on the open store, opening it again first if the last work failed.
    fn with<T>(&self, what: &'static str, work: impl FnOnce(&Trees) -> sled::Result<T>) -> Result<T, MetaError> {
        let mut slot = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let trees = match slot.take() {
            Some(trees) => trees,
            None => open_or_recover(&self.path)?.0,
        };
        let result = work(&trees).map_err(|source| MetaError::Sled { what, source });
        // Left empty after a failure.
        *slot = result.is_ok().then_some(trees);
        result
    }
}

fn put(trees: &Trees, tree: &sled::Tree, key: &[u8], body: &[u8]) -> sled::Result<()> {
    tree.insert(key, framed::wrap(RECORD_VERSION, body))?;
    trees.db.flush().map(|_| ())
}

fn catalog_of(trees: &Trees) -> sled::Result<Vec<(String, Vec<u8>)>> {
    let mut records = Vec::new();
    for item in trees.catalog.iter() {
        let (key, value) = item?;
        match (std::str::from_utf8(&key), framed::unwrap(RECORD_VERSION, &value)) {
            (Ok(key), Ok(body)) => records.push((key.to_owned(), body.to_vec())),
            _ => warn!("a damaged catalog record was skipped; other members send it again"),
        }
    }
    Ok(records)
}

/// A record's body; a damaged one is as good as none, since all of them can be rebuilt.
fn read(tree: &sled::Tree, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
    Ok(tree.get(key)?.and_then(|value| match framed::unwrap(RECORD_VERSION, &value) {
        Ok(body) => Some(body.to_vec()),
        Err(error) => {
            warn!(%error, "a metadata record cannot be read and will be rebuilt");
            None
        }
    }))
}

/// Where the catalog's copy lies: beside sled's folder, so that it survives what happens to that.
fn copy_path(path: &Path) -> PathBuf {
    path.with_file_name("catalog")
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> MetaError {
    MetaError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn filled(path: &Path) {
        let meta = MetaStore::open(path).unwrap();
        let mut bitmap = Bitmap::empty(10);
        bitmap.set(3);
        meta.put_bitmap(&Digest([1; 32]), &bitmap).unwrap();
        meta.put_catalog("slot/UFM", b"signed").unwrap();
        meta.put_provenance(&Digest([1; 32]), "a file").unwrap();
    }

    fn files(path: &Path, prefix: &str) -> Vec<PathBuf> {
        let all = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        all.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path()).collect()
    }

    #[test]
    fn records_survive_a_restart() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("meta");
        filled(&path);
        let meta = MetaStore::open(&path).unwrap();
        assert_eq!(meta.recovery(), Recovery::Intact);
        assert!(meta.bitmap(&Digest([1; 32]), 10).unwrap().unwrap().has(3));
        assert_eq!(meta.bitmap(&Digest([1; 32]), 17).unwrap(), None);
        assert_eq!(meta.catalog().unwrap(), [("slot/UFM".to_owned(), b"signed".to_vec())]);
        assert_eq!(meta.provenance(&Digest([1; 32])).unwrap().as_deref(), Some("a file"));
        meta.remove_bitmap(&Digest([1; 32])).unwrap();
        assert_eq!(meta.bitmap(&Digest([1; 32]), 10).unwrap(), None);
    }

    #[test]
    fn a_damaged_snapshot_costs_nothing() {
        for damage in [&b""[..], &[0xa5; 300][..]] {
            let base = tempfile::tempdir().unwrap();
            let path = base.path().join("meta");
            filled(&path);
            drop(MetaStore::open(&path).unwrap());
            let snapshots = files(&path, "snap.");
            assert!(!snapshots.is_empty());
            snapshots.iter().for_each(|snapshot| fs::write(snapshot, damage).unwrap());
            let meta = MetaStore::open(&path).unwrap();
            assert_eq!(meta.recovery(), Recovery::SnapshotAside);
            assert!(meta.bitmap(&Digest([1; 32]), 10).unwrap().unwrap().has(3));
            assert_eq!(meta.catalog().unwrap().len(), 1);
        }
    }

    #[test]
    fn a_ruined_store_is_moved_aside_and_an_empty_one_begins() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("meta");
        filled(&path);
        for name in ["conf", "db"] {
            fs::write(path.join(name), [0x5a; 700]).unwrap();
        }
        let meta = MetaStore::open(&path).unwrap();
        assert_eq!(meta.recovery(), Recovery::Rebuilt);
        assert_eq!(meta.bitmap(&Digest([1; 32]), 10).unwrap(), None);
        // The catalog comes back from its copy.
        assert_eq!(meta.catalog().unwrap(), [("slot/UFM".to_owned(), b"signed".to_vec())]);
        meta.put_catalog("k", b"v").unwrap();
        assert!(!files(base.path(), "meta.damaged").is_empty());
    }

    #[test]
    fn after_a_failure_the_next_call_opens_the_store_again() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("meta");
        filled(&path);
        let meta = MetaStore::open(&path).unwrap();
        let failed = meta.with("fail", |_| Err::<(), _>(sled::Error::Io(io::ErrorKind::StorageFull.into())));
        assert!(failed.unwrap_err().is_disk_full());
        assert_eq!(meta.catalog().unwrap().len(), 1);
        assert!(meta.bitmap(&Digest([1; 32]), 10).unwrap().is_some());
    }

    #[test]
    fn a_file_where_the_store_should_be_is_moved_aside() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("meta");
        fs::write(&path, "not a folder").unwrap();
        assert_eq!(MetaStore::open(&path).unwrap().recovery(), Recovery::Rebuilt);
    }
}
