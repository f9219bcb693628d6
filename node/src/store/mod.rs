//! What a node keeps on disk: the data directory, its identity, metadata, and weight files. Synchronous: `driver` calls
//! it from threads that may block. It knows `core` and `wire` only; no socket and no clock.
//!
//! Under the data directory: `artifacts/<digest>/{manifest, files/<name>}` holds whole, verified artifacts;
//! `partial/<digest>/` the same shape for those under way; `incoming/` what is being put together, emptied at start;
//! `meta/` is sled's. An artifact changes folder by one rename, so a crash leaves it in exactly one of them.

pub mod api_keys;
pub mod api_tls;
pub mod chunks;
pub mod datadir;
pub mod disk;
pub mod error;
pub mod externals;
pub mod feed;
mod framed;
pub mod gguf;
pub mod holds;
pub mod huggingface;
pub mod identity;
pub mod import;
pub mod keeping;
mod linked;
pub mod make_model;
pub mod meta;
mod partial;
pub mod pins;
mod reading;
mod resume;
pub mod routes;
pub mod safetensors;
mod scan;
pub mod scrub;
pub mod source;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod weightfile;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::core::artifact::Bitmap;
use crate::core::types::Digest;
use crate::store::datadir::{DataDir, sync_folder};
use crate::store::meta::MetaStore;
use crate::store::partial::Partial;
use crate::wire::manifest::VerifiedManifest;

pub use error::StoreError;

const ARTIFACTS_FOLDER: &str = "artifacts";
const PARTIAL_FOLDER: &str = "partial";
const INCOMING_FOLDER: &str = "incoming";
const META_FOLDER: &str = "meta";
const MANIFEST_FILE: &str = "manifest";
const FILES_FOLDER: &str = "files";
/// In a partial artifact's folder: it was whole once.
const REPAIR_FILE: &str = "repair";

/// The weights and the metadata of one node. All methods may be called from any thread.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    meta: MetaStore,
    held: Mutex<BTreeMap<Digest, Held>>,
    /// Held while a folder is created, moved or removed: one change of structure at a time.
    structure: Mutex<()>,
    /// What the owner allows the store to take.
    budget_bytes: Option<u64>,
    watch: Mutex<keeping::Watch>,
}

/// What the store has of one artifact.
#[derive(Clone, Debug)]
enum Held {
    /// All of it, verified.
    Complete(Arc<VerifiedManifest>),
    /// Some chunks.
    Partial(Arc<Partial>),
}

impl Held {
    fn verified(&self) -> &Arc<VerifiedManifest> {
        match self {
            Held::Complete(verified) => verified,
            Held::Partial(partial) => &partial.verified,
        }
    }
}

impl Store {
    /// Opens the store in `dir` and finds out what it holds. What is damaged is repaired from the files, or put aside.
    pub fn open(dir: &DataDir) -> Result<Store, StoreError> {
        let root = dir.path().to_owned();
        for folder in [ARTIFACTS_FOLDER, PARTIAL_FOLDER, INCOMING_FOLDER] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|e| StoreError::io("create", &path, e))?;
        }
        let meta = MetaStore::open(&root.join(META_FOLDER))?;
        scan::empty_folder(&root.join(INCOMING_FOLDER))?;
        let held = scan::scan(&root, &meta)?;
        Ok(Store {
            root,
            meta,
            held: Mutex::new(held),
            structure: Mutex::new(()),
            budget_bytes: None,
            watch: Mutex::default(),
        })
    }

    /// The metadata store, for catalog records.
    pub fn meta(&self) -> &MetaStore {
        &self.meta
    }

    /// Artifacts that are here whole and verified, in order of digest.
    pub fn complete(&self) -> Vec<Digest> {
        let held = self.held();
        held.iter().filter(|(_, held)| matches!(held, Held::Complete(_))).map(|(digest, _)| *digest).collect()
    }

    /// Artifacts under way, with the chunks that are verified.
    pub fn partial(&self) -> Vec<(Digest, Bitmap)> {
        let partials: Vec<Arc<Partial>> = self.held().values().filter_map(as_partial).collect();
        partials.iter().map(|partial| (partial.artifact(), partial.bitmap())).collect()
    }

    /// Of those under way the ones that were whole once and were found damaged.
    pub fn under_repair(&self) -> Vec<Digest> {
        let partials: Vec<Arc<Partial>> = self.held().values().filter_map(as_partial).collect();
        partials.iter().filter(|partial| partial.is_under_repair()).map(|partial| partial.artifact()).collect()
    }

    /// The manifest of an artifact that is here, wholly or in part.
    pub fn manifest(&self, artifact: &Digest) -> Option<Arc<VerifiedManifest>> {
        self.held().get(artifact).map(|held| held.verified().clone())
    }

    /// Begins or resumes an artifact: claims its room on the disk and says which chunks are already here.
    pub fn begin(&self, verified: VerifiedManifest) -> Result<Bitmap, StoreError> {
        let _structure = self.structure();
        let chunks = verified.manifest.chunk_count();
        let known = self.held().get(&verified.artifact).cloned();
        match known {
            Some(Held::Complete(_)) => return Ok(Bitmap::full(chunks)),
            Some(Held::Partial(partial)) => return Ok(partial.bitmap()),
            None => {}
        }
        self.check_room(verified.manifest.bytes())?;
        let staging = self.staging()?;
        partial::lay_out(staging.path(), &verified)?;
        // Before the folder has its name: an old promise for the same name must never be believed.
        self.meta.put_bitmap(&verified.artifact, &Bitmap::empty(chunks))?;
        let folder = self.root.join(PARTIAL_FOLDER).join(verified.artifact.to_string());
        place(staging, &folder)?;
        let verified = Arc::new(verified);
        let partial = Partial::open(folder, verified.clone(), Some(Bitmap::empty(chunks)))?;
        self.held().insert(verified.artifact, Held::Partial(Arc::new(partial)));
        Ok(Bitmap::empty(chunks))
    }

    /// Verifies and writes one chunk of an artifact that was begun. False: the bytes are corrupt, nothing was written.
    pub fn write_chunk(&self, artifact: &Digest, index: u32, bytes: &[u8]) -> Result<bool, StoreError> {
        match self.lookup(artifact)? {
            Held::Partial(partial) => partial.write(index, bytes, Digest::of(bytes), &self.meta),
            Held::Complete(_) => Ok(true),
        }
    }

    /// The same for bytes that were hashed already, on their way here: `digest` must be theirs.
    pub fn write_hashed(
        &self,
        artifact: &Digest,
        index: u32,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<bool, StoreError> {
        match self.lookup(artifact)? {
            Held::Partial(partial) => partial.write(index, bytes, digest, &self.meta),
            Held::Complete(_) => Ok(true),
        }
    }

    /// Copies the missing chunks of `artifact` that any artifact here has; says how many.
    pub fn copy_local_chunks(&self, artifact: &Digest) -> Result<u32, StoreError> {
        let Held::Partial(partial) = self.lookup(artifact)? else { return Ok(0) };
        let sources = self.chunk_sources();
        let mut copied = 0;
        let digests = partial.verified.manifest.files.iter().flat_map(|file| &file.chunks).map(|chunk| chunk.digest);
        for (index, digest) in (0..).zip(digests) {
            let Some(&(source, source_index)) = sources.get(&digest) else { continue };
            if partial.has(index) {
                continue;
            }
            match self.read_chunk(&source, source_index) {
                // A source that rotted on the disk is no reason to fail: the chunk is fetched instead.
                Ok(bytes) if partial.write(index, &bytes, Digest::of(&bytes), &self.meta)? => copied += 1,
                Ok(_) => self.suspect(source, Some(source_index)),
                Err(error) => warn!(source = %source.short(), %error, "a local chunk could not be read"),
            }
        }
        partial.checkpoint(&self.meta)?;
        Ok(copied)
    }

    /// Makes all chunks written so far durable.
    pub fn checkpoint(&self, artifact: &Digest) -> Result<(), StoreError> {
        match self.lookup(artifact)? {
            Held::Partial(partial) => partial.checkpoint(&self.meta),
            Held::Complete(_) => Ok(()),
        }
    }

    /// Hashes every file as a whole, makes the artifact durable and moves it among the complete ones.
    /// [`StoreError::Damaged`]: fetch those chunks again. [`StoreError::Inconsistent`]: the artifact was dropped.
    pub fn finish(&self, artifact: &Digest) -> Result<(), StoreError> {
        let Held::Partial(partial) = self.lookup(artifact)? else { return Ok(()) };
        let bitmap = partial.bitmap();
        if !bitmap.is_full() {
            return Err(StoreError::Incomplete { artifact: *artifact, missing: bitmap.len() - bitmap.count() });
        }
        partial.checkpoint(&self.meta)?;
        if let Some(file) = partial.mismatch()? {
            let chunks = partial.forget_damaged(&self.meta)?;
            if !chunks.is_empty() {
                return Err(StoreError::Damaged { artifact: *artifact, chunks });
            }
            self.discard(artifact)?;
            return Err(StoreError::Inconsistent { artifact: *artifact, file });
        }
        partial.sync_all()?;
        self.accept(&partial)
    }

    /// Moves what was verified among the complete ones, if it is still that which lies here.
    fn accept(&self, partial: &Arc<Partial>) -> Result<(), StoreError> {
        let artifact = &partial.artifact();
        let _structure = self.structure();
        match self.lookup(artifact)? {
            Held::Complete(_) => return Ok(()), // another thread finished it meanwhile
            Held::Partial(now) if Arc::ptr_eq(&now, partial) => {}
            // Discarded and begun again meanwhile: nobody has looked at what lies there now.
            Held::Partial(_) => return Err(StoreError::Unknown(*artifact)),
        }
        // The manifest came before the bytes, which a later hard link to them must not make suspicious.
        let seen = linked::newest_change(&partial.folder().join(FILES_FOLDER), &partial.verified);
        let vouched = seen.and_then(|seen| linked::vouch(&partial.folder().join(MANIFEST_FILE), seen));
        if let Err(error) = vouched {
            warn!(artifact = %artifact.short(), %error, "when it was verified was not kept");
        }
        let folder = self.complete_folder(artifact);
        move_folder(partial.folder(), &folder)?;
        self.held().insert(*artifact, Held::Complete(partial.verified.clone()));
        self.trust(artifact, 0..=u32::MAX);
        self.forget_bitmap(artifact);
        // Left behind by a crash it does no harm: in a complete artifact's folder it says nothing.
        let _ = fs::remove_file(folder.join(REPAIR_FILE));
        Ok(())
    }

    /// Hashes all chunks of a complete artifact again and says which do not hold: what scrubbing does.
    pub fn damaged_chunks(&self, artifact: &Digest) -> Result<Vec<u32>, StoreError> {
        let Held::Complete(verified) = self.lookup(artifact)? else { return Ok(Vec::new()) };
        let sound = partial::sound_chunks(&verified, |index| File::open(self.file_path(&verified, index)))
            .map_err(|e| StoreError::io("hash", &self.complete_folder(artifact), e))?;
        Ok((0..sound.len()).filter(|&index| !sound.has(index)).collect())
    }

    /// Removes an artifact, whole or partial. Whether it may go is the caller's decision.
    pub fn discard(&self, artifact: &Digest) -> Result<(), StoreError> {
        let _structure = self.structure();
        let Some(held) = self.held().remove(artifact) else { return Err(StoreError::Unknown(*artifact)) };
        let folder = match &held {
            Held::Complete(_) => self.complete_folder(artifact),
            Held::Partial(partial) => partial.folder().to_owned(),
        };
        self.trust(artifact, 0..=u32::MAX);
        self.remove_folder(&folder)?;
        self.forget_bitmap(artifact);
        Ok(())
    }

    /// What may still be stored here, bytes: the free disk, or what the budget leaves of it; zero when it cannot be measured.
    pub fn disk_free(&self) -> u64 {
        let free = disk::free_bytes(&self.root).unwrap_or(0);
        self.budget_bytes.map_or(free, |budget| free.min(budget.saturating_sub(self.used_bytes())))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn structure(&self) -> MutexGuard<'_, ()> {
        self.structure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lookup(&self, artifact: &Digest) -> Result<Held, StoreError> {
        self.held().get(artifact).cloned().ok_or(StoreError::Unknown(*artifact))
    }

    fn complete_folder(&self, artifact: &Digest) -> PathBuf {
        self.root.join(ARTIFACTS_FOLDER).join(artifact.to_string())
    }

    fn file_path(&self, verified: &VerifiedManifest, file: usize) -> PathBuf {
        self.complete_folder(&verified.artifact).join(FILES_FOLDER).join(&verified.manifest.files[file].name)
    }

    /// A bitmap without a folder does no harm: `begin` writes a new one before it makes the folder.
    fn forget_bitmap(&self, artifact: &Digest) {
        if let Err(error) = self.meta.remove_bitmap(artifact) {
            warn!(artifact = %artifact.short(), %error, "a bitmap that is no longer needed was not removed");
        }
    }

    /// An empty folder that vanishes unless it is placed; a crash leaves it to the next start.
    fn staging(&self) -> Result<tempfile::TempDir, StoreError> {
        let incoming = self.root.join(INCOMING_FOLDER);
        tempfile::tempdir_in(&incoming).map_err(|e| StoreError::io("create a folder in", &incoming, e))
    }

    /// Where each chunk on this disk can be read: one place per digest.
    fn chunk_sources(&self) -> BTreeMap<Digest, (Digest, u32)> {
        let all: Vec<Held> = self.held().values().cloned().collect();
        let mut sources = BTreeMap::new();
        for held in &all {
            let present = as_partial(held).map(|partial| partial.bitmap());
            let verified = held.verified();
            let chunks = verified.manifest.files.iter().flat_map(|file| &file.chunks);
            for (index, chunk) in (0..).zip(chunks) {
                if present.as_ref().is_none_or(|bitmap| bitmap.has(index)) {
                    sources.entry(chunk.digest).or_insert((verified.artifact, index));
                }
            }
        }
        sources
    }

    /// Out of sight by one rename, then gone piece by piece.
    fn remove_folder(&self, folder: &Path) -> Result<(), StoreError> {
        let grave = self.staging()?;
        move_folder(folder, &grave.path().join("removed"))?;
        grave.close().map_err(|e| StoreError::io("remove", folder, e))
    }
}

fn as_partial(held: &Held) -> Option<Arc<Partial>> {
    match held {
        Held::Partial(partial) => Some(partial.clone()),
        Held::Complete(_) => None,
    }
}

/// Gives a staged folder its final name; from here on it stays.
fn place(staging: tempfile::TempDir, folder: &Path) -> Result<(), StoreError> {
    move_folder(staging.path(), folder)?;
    // It has moved away: there is nothing left to clean up.
    let _ = staging.keep();
    Ok(())
}

/// Renames a folder and makes that durable on both sides.
fn move_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|e| StoreError::io("move into place", to, e))?;
    let parents = [from.parent(), to.parent()].into_iter().flatten();
    parents.into_iter().try_for_each(|path| sync_folder(path).map_err(|e| StoreError::io("sync", path, e)))
}

/// See `fuzzing`.
#[cfg(fuzzing)]
pub(crate) fn fuzz_stored(bytes: &[u8]) {
    for version in 0..3 {
        let _ = framed::unwrap(version, bytes);
    }
    assert_eq!(framed::unwrap(1, &framed::wrap(1, bytes)), Ok(bytes));
    let wrapped = framed::wrap(1, bytes);
    if let Ok(promises) = holds::decode(&wrapped) {
        assert_eq!(holds::encode(promises.into_iter()), wrapped);
    }
    let stored = <identity::StoredMembership as prost::Message>::decode(bytes);
    let _ = stored.map(identity::StoredMembership::into_membership);
}
