//! `MetaStore`: the one place that knows sled. It holds only what can be rebuilt from the files on disk or from the
//! other members: which chunks of a partial artifact are durable, catalog records, where imports came from. Each value
//! carries a version and a checksum, and each write is flushed before it is promised.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::core::artifact::Bitmap;
use crate::core::types::Digest;
use crate::store::framed;

const RECORD_VERSION: u8 = 1;
/// sled's default is a gigabyte; this store holds some kilobytes.
const CACHE_BYTES: u64 = 16 << 20;

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
    /// A damaged store could not be moved aside.
    #[error("cannot move the damaged {path} aside: {source}; move it away by hand and start again", path = .path.display())]
    Quarantine {
        /// What should have moved.
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

/// Metadata in sled.
#[derive(Clone, Debug)]
pub struct MetaStore {
    db: sled::Db,
    bitmaps: sled::Tree,
    catalog: sled::Tree,
    provenance: sled::Tree,
    recovery: Recovery,
}

impl MetaStore {
    /// Opens the store in folder `path`; damage never makes this fail, it makes the store start smaller.
    pub fn open(path: &Path) -> Result<MetaStore, MetaError> {
        match try_open(path) {
            Ok(db) => return MetaStore::with(db, Recovery::Intact),
            Err(why) => warn!(path = %path.display(), why, "metadata store damaged; trying without its snapshot"),
        }
        move_snapshots_aside(path)?;
        match try_open(path) {
            Ok(db) => return MetaStore::with(db, Recovery::SnapshotAside),
            Err(why) => warn!(path = %path.display(), why, "metadata store damaged; starting with an empty one"),
        }
        let aside = unused_name(path, "damaged");
        fs::rename(path, &aside).map_err(|source| MetaError::Quarantine { path: path.to_owned(), source })?;
        let db = try_open(path).map_err(|why| MetaError::Create { path: path.to_owned(), why })?;
        MetaStore::with(db, Recovery::Rebuilt)
    }

    fn with(db: sled::Db, recovery: Recovery) -> Result<MetaStore, MetaError> {
        let tree = |name: &str| db.open_tree(name).map_err(|source| MetaError::Sled { what: "open a tree", source });
        let (bitmaps, catalog, provenance) = (tree("bitmaps")?, tree("catalog")?, tree("provenance")?);
        Ok(MetaStore { db, bitmaps, catalog, provenance, recovery })
    }

    /// How the store was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The durable chunks of a partial artifact; `None` if nothing (readable, of `chunks` chunks) was kept.
    pub fn bitmap(&self, artifact: &Digest, chunks: u32) -> Result<Option<Bitmap>, MetaError> {
        let body = read(&self.bitmaps, &artifact.0)?;
        Ok(body.and_then(|bytes| Bitmap::from_bytes(&bytes, chunks)))
    }

    /// Keeps the durable chunks of a partial artifact. The caller has synced the chunks themselves.
    pub fn put_bitmap(&self, artifact: &Digest, bitmap: &Bitmap) -> Result<(), MetaError> {
        self.put(&self.bitmaps, &artifact.0, bitmap.as_bytes())
    }

    /// Forgets a partial artifact.
    pub fn remove_bitmap(&self, artifact: &Digest) -> Result<(), MetaError> {
        self.bitmaps.remove(artifact.0).map_err(|source| MetaError::Sled { what: "remove a bitmap", source })?;
        self.flush()
    }

    /// Keeps a signed catalog record under `key`.
    pub fn put_catalog(&self, key: &str, signed: &[u8]) -> Result<(), MetaError> {
        self.put(&self.catalog, key.as_bytes(), signed)
    }

    /// All signed catalog records that can be read, in order of key; `wire` checks them.
    pub fn catalog(&self) -> Result<Vec<(String, Vec<u8>)>, MetaError> {
        let mut records = Vec::new();
        for item in self.catalog.iter() {
            let (key, value) = item.map_err(|source| MetaError::Sled { what: "read the catalog", source })?;
            match (std::str::from_utf8(&key), framed::unwrap(RECORD_VERSION, &value)) {
                (Ok(key), Ok(body)) => records.push((key.to_owned(), body.to_vec())),
                _ => warn!("a damaged catalog record was skipped; other members send it again"),
            }
        }
        Ok(records)
    }

    /// Keeps where an artifact was imported from, as text for people.
    pub fn put_provenance(&self, artifact: &Digest, text: &str) -> Result<(), MetaError> {
        self.put(&self.provenance, &artifact.0, text.as_bytes())
    }

    /// Where an artifact was imported from, if it was imported here.
    pub fn provenance(&self, artifact: &Digest) -> Result<Option<String>, MetaError> {
        Ok(read(&self.provenance, &artifact.0)?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    fn put(&self, tree: &sled::Tree, key: &[u8], body: &[u8]) -> Result<(), MetaError> {
        let value = framed::wrap(RECORD_VERSION, body);
        tree.insert(key, value).map_err(|source| MetaError::Sled { what: "write", source })?;
        self.flush()
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.db.flush().map(|_| ()).map_err(|source| MetaError::Sled { what: "flush", source })
    }
}

/// A record's body; a damaged one is as good as none, since all of them can be rebuilt.
fn read(tree: &sled::Tree, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
    let value = tree.get(key).map_err(|source| MetaError::Sled { what: "read", source })?;
    Ok(value.and_then(|value| match framed::unwrap(RECORD_VERSION, &value) {
        Ok(body) => Some(body.to_vec()),
        Err(error) => {
            warn!(%error, "a metadata record cannot be read and will be rebuilt");
            None
        }
    }))
}

/// Opens sled. On some damaged files it panics instead of failing, which must not take the node down.
fn try_open(path: &Path) -> Result<sled::Db, String> {
    // No flush thread: everything is flushed where it is promised.
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("sled panicked while it opened the store".to_owned()),
    }
}

fn move_snapshots_aside(path: &Path) -> Result<(), MetaError> {
    let quarantine = |path: &Path, source| MetaError::Quarantine { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        // Not a folder at all: the next step moves it aside whole.
        Err(_) => return Ok(()),
    };
    for entry in entries {
        let entry = entry.map_err(|e| quarantine(path, e))?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            // Out of the folder: sled looks at every file whose name begins so.
            let aside = unused_name(path, "snapshot-damaged");
            fs::rename(entry.path(), aside).map_err(|e| quarantine(&entry.path(), e))?;
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

#[cfg(test)]
mod tests {
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
        assert_eq!(meta.catalog().unwrap().len(), 0);
        meta.put_catalog("k", b"v").unwrap();
        assert_eq!(meta.recovery(), Recovery::Rebuilt);
        assert!(!files(base.path(), "meta.damaged").is_empty());
    }

    #[test]
    fn a_file_where_the_store_should_be_is_moved_aside() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("meta");
        fs::write(&path, "not a folder").unwrap();
        assert_eq!(MetaStore::open(&path).unwrap().recovery(), Recovery::Rebuilt);
    }
}
