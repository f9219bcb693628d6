//! How much of the disk the store may take, which chunks are under suspicion, and how a damaged artifact goes back among the
//! partial ones so that the usual transfer repairs it. What may be deleted is decided in `core::keeping`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::warn;

use crate::core::artifact::{ArtifactFile, Bitmap};
use crate::core::keeping::BudgetShort;
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::datadir::sync_folder;
use crate::store::error::StoreError;
use crate::store::partial::Partial;
use crate::store::reading::read_chunk_of;
use crate::store::weightfile::WeightFile;
use crate::store::{FILES_FOLDER, Held, MANIFEST_FILE, PARTIAL_FOLDER, Store, disk, linked, move_folder, partial};
use crate::wire::manifest::VerifiedManifest;

/// What is not to be trusted.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// To be looked at: a chunk, or with `None` the whole artifact.
    suspects: BTreeSet<(Digest, Option<u32>)>,
    /// Known to be damaged while their artifact still counts as complete: neither served nor loaded.
    bad: BTreeSet<(Digest, u32)>,
    /// What the last refusals for want of room lacked, at most.
    shortage_bytes: u64,
}

#[cfg(test)]
impl Watch {
    pub(super) fn mark_bad(&mut self, artifact: Digest, chunk: u32) {
        self.bad.insert((artifact, chunk));
    }
}

/// One artifact and what it takes on this disk.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its manifest.
    pub verified: Arc<VerifiedManifest>,
    /// Whole and verified.
    pub complete: bool,
    /// When it came or was last changed, seconds since the Unix epoch; 0 if the file system does not say.
    pub since_unix_s: u64,
}

impl Store {
    /// Limits what the store as a whole may take; `None`: as much as the disk has.
    pub fn with_budget(mut self, bytes: Option<u64>) -> Store {
        self.budget_bytes = bytes;
        self
    }

    /// What the store may take as a whole, if its owner limited it.
    pub fn budget_bytes(&self) -> Option<u64> {
        self.budget_bytes
    }

    /// What all artifacts take, whole ones and those under way, which have their room claimed. Files that are shared with the
    /// owner's count too: deleting his file must not put the store over its budget.
    pub fn used_bytes(&self) -> u64 {
        self.held().values().map(|held| held.verified().manifest.bytes()).fold(0, u64::saturating_add)
    }

    /// By how much the store exceeds its budget.
    pub fn over_budget_bytes(&self) -> u64 {
        self.budget_bytes.map_or(0, |budget| self.used_bytes().saturating_sub(budget))
    }

    /// Everything here, in order of digest.
    pub fn inventory(&self) -> Vec<Stored> {
        let held: Vec<Held> = self.held().values().cloned().collect();
        let stored = held.iter().map(|held| {
            let verified = held.verified().clone();
            let folder = match held {
                Held::Complete(_) => self.complete_folder(&verified.artifact),
                Held::Partial(partial) => partial.folder().to_owned(),
            };
            let since = fs::metadata(folder).map_or(0, |metadata| metadata.mtime());
            let complete = matches!(held, Held::Complete(_));
            Stored { verified, complete, since_unix_s: u64::try_from(since).unwrap_or(0) }
        });
        stored.collect()
    }

    /// Refuses `bytes` more if the budget or the disk has no room for them.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        self.check_budget(bytes)?;
        self.check_disk(bytes)
    }

    /// Refuses `bytes` more if the disk has no room for them, whatever the budget says: for what only takes another's place.
    fn check_disk(&self, bytes: u64) -> Result<(), StoreError> {
        disk::check_room(&self.root, bytes).inspect_err(|error| self.short_of(error.shortage_bytes()))
    }

    /// Refuses `bytes` more if the budget has no room for them.
    pub(super) fn check_budget(&self, bytes: u64) -> Result<(), StoreError> {
        let Some(budget) = self.budget_bytes else { return Ok(()) };
        let checked = BudgetShort::check(self.used_bytes(), bytes, budget).map_err(StoreError::from);
        checked.inspect_err(|error| self.short_of(error.shortage_bytes()))
    }

    fn short_of(&self, bytes: u64) {
        let mut watch = self.watch();
        watch.shortage_bytes = watch.shortage_bytes.max(bytes);
    }

    /// What the refusals for want of room since the last call lacked: so much has to go first. 0: there were none.
    pub fn take_shortage(&self) -> u64 {
        std::mem::take(&mut self.watch().shortage_bytes)
    }

    /// Something is wrong with this chunk, or (`None`) with the artifact: the scrub looks at it soon.
    pub fn suspect(&self, artifact: Digest, chunk: Option<u32>) {
        let mut watch = self.watch();
        if watch.suspects.len() < limits::SUSPECTS_MAX {
            watch.suspects.insert((artifact, chunk));
        }
    }

    /// The next to be looked at.
    pub fn take_suspect(&self) -> Option<(Digest, Option<u32>)> {
        self.watch().suspects.pop_first()
    }

    /// Is it whole, with every file as long as it should be, none that its owner changed, and no chunk known to be damaged?
    pub fn is_sound(&self, artifact: &Digest) -> bool {
        let Some(Held::Complete(verified)) = self.held().get(artifact).cloned() else { return false };
        let good = verified.manifest.files.iter().enumerate().all(|(index, file)| {
            let path = self.file_path(&verified, index);
            let as_long = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == file.bytes);
            as_long && self.check_link(artifact, &path).is_ok()
        });
        good && self.bad_chunks(artifact).is_empty()
    }

    /// When a file of a complete artifact was last written to or touched; `None`: it is not here, or does not say.
    pub fn newest_change(&self, artifact: &Digest) -> Option<SystemTime> {
        let Some(Held::Complete(verified)) = self.held().get(artifact).cloned() else { return None };
        linked::newest_change(&self.complete_folder(artifact).join(FILES_FOLDER), &verified).ok()
    }

    /// All of it was read from the disk and is sound, as it was changed last at `seen`, before the reading began: what was
    /// changed until then was a mere touch.
    pub fn vouch(&self, artifact: &Digest, seen: SystemTime) -> Result<(), StoreError> {
        let _structure = self.structure();
        let Some(Held::Complete(_)) = self.held().get(artifact) else { return Ok(()) };
        let manifest = self.complete_folder(artifact).join(MANIFEST_FILE);
        linked::vouch(&manifest, seen).map_err(|e| StoreError::io("stamp", &manifest, e))
    }

    /// Chunks of it that are known to be damaged while it still counts as complete.
    pub fn bad_chunks(&self, artifact: &Digest) -> Vec<u32> {
        self.watch().bad.range((*artifact, 0)..=(*artifact, u32::MAX)).map(|(_, chunk)| *chunk).collect()
    }

    pub(super) fn is_bad(&self, artifact: &Digest, chunk: u32) -> bool {
        self.watch().bad.contains(&(*artifact, chunk))
    }

    /// Nothing bad is known of these chunks any more: they were looked at, or are not here now.
    pub(super) fn trust(&self, artifact: &Digest, chunks: RangeInclusive<u32>) {
        self.watch().bad.retain(|(known, chunk)| known != artifact || !chunks.contains(chunk));
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a complete artifact back among the partial ones, durably, without its `damaged` chunks: the usual transfer then
    /// brings those and verifies the whole again. Says how many chunks are left. From the first moment on the damaged chunks
    /// are neither served nor loaded. A file that the owner shares (a hard link) is replaced by one of the store's own first:
    /// repairing must not write into his.
    pub fn demote(&self, artifact: &Digest, damaged: &[u32]) -> Result<Bitmap, StoreError> {
        let Held::Complete(verified) = self.lookup(artifact)? else { return Err(StoreError::Unknown(*artifact)) };
        let mut bad: BTreeSet<u32> = damaged.iter().copied().collect();
        self.watch().bad.extend(bad.iter().map(|&chunk| (*artifact, chunk)));
        let mut first = 0;
        for (index, file) in verified.manifest.files.iter().enumerate() {
            self.own_file(&verified, index, first, &mut bad)?;
            first += file.chunks.len() as u32; // a manifest has at most CHUNKS_PER_ARTIFACT_MAX
        }
        let mut sound = Bitmap::empty(verified.manifest.chunk_count());
        (0..sound.len()).filter(|chunk| !bad.contains(chunk)).for_each(|chunk| sound.set(chunk));

        let _structure = self.structure();
        let Held::Complete(verified) = self.lookup(artifact)? else { return Err(StoreError::Unknown(*artifact)) };
        // The promise before the folder has its name: chunks that are not sound must never be believed.
        self.meta.put_bitmap(artifact, &sound)?;
        let folder = self.root.join(PARTIAL_FOLDER).join(artifact.to_string());
        partial::mark_repair(&self.complete_folder(artifact))?;
        move_folder(&self.complete_folder(artifact), &folder)?;
        match Partial::open(folder, verified, Some(sound.clone())) {
            Ok(partial) => self.held().insert(*artifact, Held::Partial(Arc::new(partial))),
            // The next start opens it again; until then it is not here.
            Err(error) => {
                self.held().remove(artifact);
                return Err(error);
            }
        };
        self.trust(artifact, 0..=u32::MAX);
        Ok(sound)
    }

    /// Makes sure that file `index` is the store's alone, readable where it is sound, and as long as it should be. Chunks that
    /// cannot be read are added to `bad`.
    fn own_file(
        &self,
        verified: &VerifiedManifest,
        index: usize,
        first: u32,
        bad: &mut BTreeSet<u32>,
    ) -> Result<(), StoreError> {
        let (file, path) = (&verified.manifest.files[index], self.file_path(verified, index));
        let found = fs::metadata(&path).ok().filter(|found| found.is_file());
        let lengthen = |opened: File| opened.set_len(file.bytes);
        match found {
            // Alone: bad blocks are written over where they are, which a disk answers with fresh ones.
            Some(found) if found.nlink() == 1 => {
                let owned = linked::make_writable(&path, &found);
                let opened = owned.and_then(|()| fs::OpenOptions::new().write(true).open(&path));
                return opened.and_then(lengthen).map_err(|e| StoreError::io("restore", &path, e));
            }
            Some(_) => {}
            None => bad.extend((first..).take(file.chunks.len())),
        }
        let staging = self.staging()?;
        let fresh = staging.path().join("file");
        let source = File::open(&path).ok();
        let shared = source.as_ref().is_some_and(|source| disk::reflink(source, &fresh).is_some());
        if !shared {
            self.check_disk(file.bytes)?;
            copy_sound(source.as_ref(), &fresh, file, first, bad).map_err(|e| StoreError::io("copy", &path, e))?;
        }
        let placed = File::open(&fresh).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&fresh, &path));
        placed.and_then(|()| path.parent().map_or(Ok(()), sync_folder)).map_err(|e| StoreError::io("replace", &path, e))
    }
}

/// Copies the chunks that are not in `bad` to a new file at `fresh`; those that cannot be read join `bad`.
fn copy_sound(
    source: Option<&File>,
    fresh: &Path,
    file: &ArtifactFile,
    first: u32,
    bad: &mut BTreeSet<u32>,
) -> io::Result<()> {
    let target = WeightFile::create(fresh, file.bytes)?;
    let Some(source) = source else { return Ok(()) };
    for (index, chunk) in (first..).zip(&file.chunks) {
        if bad.contains(&index) {
            continue;
        }
        match read_chunk_of(source, chunk) {
            Ok(bytes) if Digest::of(&bytes) == chunk.digest => target.write_at(chunk.offset, &bytes)?,
            Ok(_) => drop(bad.insert(index)),
            Err(error) => {
                warn!(chunk = index, %error, "a chunk cannot be read and counts as damaged");
                bad.insert(index);
            }
        }
    }
    target.sync()
}
