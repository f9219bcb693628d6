//! An artifact on its way to this disk: its preallocated files, and which of their chunks are verified. Memory knows more
//! than the disk promises: a chunk counts as durable only once its data were synced and the bitmap behind them was
//! flushed. Called by the store alone.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::artifact::{Bitmap, Chunk};
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::chunks;
use crate::store::datadir::sync_folder;
use crate::store::error::StoreError;
use crate::store::meta::MetaStore;
use crate::store::reading::{read_chunk_of, read_piece_of};
use crate::store::weightfile::WeightFile;
use crate::store::{FILES_FOLDER, MANIFEST_FILE, REPAIR_FILE};
use crate::store::{resume, scrub};
use crate::wire::manifest::VerifiedManifest;

#[derive(Debug)]
pub(super) struct Partial {
    pub(super) verified: Arc<VerifiedManifest>,
    folder: PathBuf,
    files: Vec<WeightFile>,
    progress: Mutex<Progress>,
    /// What the disk promises; locked for the length of a checkpoint, so that promises only grow.
    durable: Mutex<Bitmap>,
    /// Some chunks were written by an earlier life of this process, which nobody watches any more.
    resumed: bool,
}

/// What memory knows.
#[derive(Debug)]
struct Progress {
    verified: Bitmap,
    /// Chunks written since the last checkpoint.
    unsaved: u32,
    /// Files they went to.
    touched: BTreeSet<usize>,
}

/// Writes the manifest and makes the preallocated files of an artifact in the empty `folder`, durably.
pub(super) fn lay_out(folder: &Path, verified: &VerifiedManifest) -> Result<(), StoreError> {
    let files_folder = folder.join(FILES_FOLDER);
    fs::create_dir(&files_folder).map_err(|e| StoreError::io("create", &files_folder, e))?;
    for file in &verified.manifest.files {
        let path = files_folder.join(&file.name);
        WeightFile::create(&path, file.bytes)
            .and_then(|created| created.file().sync_all())
            .map_err(|e| StoreError::io("preallocate", &path, e))?;
    }
    seal_folder(folder, verified)
}

/// Writes the manifest beside the files and syncs both folders.
pub(super) fn seal_folder(folder: &Path, verified: &VerifiedManifest) -> Result<(), StoreError> {
    let manifest = folder.join(MANIFEST_FILE);
    let written = fs::write(&manifest, &verified.signed).and_then(|()| File::open(&manifest)?.sync_all());
    written.map_err(|e| StoreError::io("write", &manifest, e))?;
    let folders = [folder.join(FILES_FOLDER), folder.to_owned()];
    folders.iter().try_for_each(|path| sync_folder(path).map_err(|e| StoreError::io("sync", path, e)))
}

/// Notes in `folder` that what lies there was whole once: it is repaired whether the plan wants it here or not, after a
/// restart too, and what the page cache says of it is not believed.
pub(super) fn mark_repair(folder: &Path) -> Result<(), StoreError> {
    let marker = folder.join(REPAIR_FILE);
    let marked = File::create(&marker).and_then(|_| sync_folder(folder));
    marked.map_err(|e| StoreError::io("mark for repair", &marker, e))
}

impl Partial {
    /// Goes on with what lies in `folder`. `durable`: what was promised; `None` makes every chunk be hashed again.
    pub(super) fn open(
        folder: PathBuf,
        verified: Arc<VerifiedManifest>,
        durable: Option<Bitmap>,
    ) -> Result<Partial, StoreError> {
        let open = |name: &String| {
            let path = folder.join(FILES_FOLDER).join(name);
            WeightFile::open(&path).map_err(|e| StoreError::io("open", &path, e))
        };
        let files = verified.manifest.files.iter().map(|file| open(&file.name)).collect::<Result<Vec<_>, _>>()?;
        let empty = Bitmap::empty(verified.manifest.chunk_count());
        let mut partial = Partial {
            verified,
            folder,
            files,
            progress: Mutex::new(Progress { verified: empty.clone(), unsaved: 0, touched: BTreeSet::new() }),
            durable: Mutex::new(empty),
            resumed: false,
        };
        let known = match durable {
            Some(bitmap) => bitmap,
            None => partial.sound_chunks()?,
        };
        partial.resumed = known.count() > 0;
        partial.durable = Mutex::new(known.clone());
        partial.progress().verified = known;
        Ok(partial)
    }

    /// Counts what was written before a crash and is sound, though it was not promised; the next checkpoint promises it. Not
    /// for what is under repair: there the page cache may still have bytes that the disk has lost, and a chunk that is taken
    /// from it is never written again.
    pub(super) fn keep_written(&self) -> Result<(), StoreError> {
        let mut progress = self.progress();
        let mut first = 0;
        for (index, file) in self.verified.manifest.files.iter().enumerate() {
            let kept = resume::kept(self.files[index].file(), &file.chunks, first, &progress.verified);
            for chunk in kept.map_err(|e| StoreError::io("hash", &self.path(index), e))? {
                progress.verified.set(chunk);
                progress.unsaved += 1;
                progress.touched.insert(index);
            }
            first += file.chunks.len() as u32; // a manifest has at most CHUNKS_PER_ARTIFACT_MAX
        }
        Ok(())
    }

    /// The verified chunks, durable or not.
    pub(super) fn bitmap(&self) -> Bitmap {
        self.progress().verified.clone()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Was it whole once, found damaged, and is it being repaired?
    pub(super) fn is_under_repair(&self) -> bool {
        self.folder.join(REPAIR_FILE).exists()
    }

    pub(super) fn artifact(&self) -> Digest {
        self.verified.artifact
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chunk(&self, index: u32) -> Result<(usize, Chunk), StoreError> {
        let missing = StoreError::Missing { artifact: self.artifact(), chunk: index };
        self.verified.manifest.chunk(index).ok_or(missing)
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.join(FILES_FOLDER).join(&self.verified.manifest.files[file].name)
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.progress().verified.has(index)
    }

    /// The bytes of a verified chunk.
    pub(super) fn read(&self, index: u32) -> Result<Vec<u8>, StoreError> {
        let (file, chunk) = self.chunk(index)?;
        if !self.has(index) {
            return Err(StoreError::Missing { artifact: self.artifact(), chunk: index });
        }
        read_chunk_of(self.files[file].file(), &chunk).map_err(|e| StoreError::io("read", &self.path(file), e))
    }

    /// A piece of a verified chunk; see [`crate::store::Store::read_piece`].
    pub(super) fn read_piece(&self, index: u32, from: u32, piece: &mut Vec<u8>) -> Result<u32, StoreError> {
        let (file, chunk) = self.chunk(index)?;
        if !self.has(index) {
            return Err(StoreError::Missing { artifact: self.artifact(), chunk: index });
        }
        let read = read_piece_of(self.files[file].file(), &chunk, from, piece);
        read.map_err(|e| StoreError::io("read", &self.path(file), e))
    }

    /// Writes one chunk whose bytes have this digest; false if they are not what the manifest says. Every so many chunks
    /// this also makes them durable.
    pub(super) fn write(&self, index: u32, bytes: &[u8], digest: Digest, meta: &MetaStore) -> Result<bool, StoreError> {
        let (file, chunk) = self.chunk(index)?;
        if bytes.len() != chunk.bytes as usize || digest != chunk.digest {
            return Ok(false);
        }
        if self.has(index) {
            return Ok(true);
        }
        let written = self.files[file].write_at(chunk.offset, bytes);
        written.map_err(|e| StoreError::io("write", &self.path(file), e))?;
        let due = {
            let mut progress = self.progress();
            progress.verified.set(index);
            progress.unsaved += 1;
            progress.touched.insert(file);
            progress.unsaved >= limits::CHUNKS_PER_CHECKPOINT
        };
        if due {
            self.checkpoint(meta)?;
        }
        Ok(true)
    }

    /// Syncs the data, then promises the chunks.
    pub(super) fn checkpoint(&self, meta: &MetaStore) -> Result<(), StoreError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let (bitmap, touched) = {
            let mut progress = self.progress();
            progress.unsaved = 0;
            (progress.verified.clone(), std::mem::take(&mut progress.touched))
        };
        if bitmap == *durable {
            return Ok(());
        }
        for file in touched {
            if let Err(error) = self.files[file].sync() {
                // After a failed sync nobody knows which pages were lost: go back to what the disk promised.
                self.progress().verified = durable.clone();
                return Err(StoreError::io("sync", &self.path(file), error));
            }
        }
        meta.put_bitmap(&self.artifact(), &bitmap)?;
        *durable = bitmap;
        Ok(())
    }

    /// The name of the first file whose hash is not the manifest's.
    ///
    /// Looked for only after a resume. What this process itself verified in memory, wrote, and had synced without an error
    /// is the manifest's content by construction: its chunks cover each file without a gap (`wire::manifest`). Reading all
    /// of it back costs half a transfer on tmpfs and, past the page cache, a whole one on a disk; rot is found by scrubbing.
    /// Where it is looked for, the disk is asked and not the page cache, which may know better than the disk.
    pub(super) fn mismatch(&self) -> Result<Option<String>, StoreError> {
        if !self.resumed {
            return Ok(None);
        }
        for (index, file) in self.verified.manifest.files.iter().enumerate() {
            let opened = self.files[index].file();
            opened.sync_data().map_err(|e| StoreError::io("sync", &self.path(index), e))?;
            scrub::forget_cached(opened, 0, 0);
            let hash = chunks::hash_whole(opened, &mut |_| {});
            if hash.map_err(|e| StoreError::io("hash", &self.path(index), e))? != file.digest {
                return Ok(Some(file.name.clone()));
            }
        }
        Ok(None)
    }

    /// Hashes all chunks again and forgets, durably, those that do not hold; says which.
    pub(super) fn forget_damaged(&self, meta: &MetaStore) -> Result<Vec<u32>, StoreError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let sound = self.sound_chunks()?;
        let damaged = {
            let mut progress = self.progress();
            let damaged = (0..sound.len()).filter(|&index| progress.verified.has(index) && !sound.has(index)).collect();
            progress.verified = sound.clone();
            damaged
        };
        meta.put_bitmap(&self.artifact(), &sound)?;
        *durable = sound;
        Ok(damaged)
    }

    /// Makes the files durable.
    pub(super) fn sync_files(&self) -> Result<(), StoreError> {
        let mut files = self.files.iter().enumerate();
        files.try_for_each(|(index, file)| {
            file.file().sync_all().map_err(|e| StoreError::io("sync", &self.path(index), e))
        })
    }

    /// Makes the files and their folders durable, for the last time.
    pub(super) fn sync_all(&self) -> Result<(), StoreError> {
        self.sync_files()?;
        let folders = [self.folder.join(FILES_FOLDER), self.folder.clone()];
        folders.iter().try_for_each(|path| sync_folder(path).map_err(|e| StoreError::io("sync", path, e)))
    }

    fn sound_chunks(&self) -> Result<Bitmap, StoreError> {
        sound_chunks(&self.verified, |index| Ok(self.files[index].file()))
            .map_err(|e| StoreError::io("hash", &self.folder, e))
    }
}

/// Which chunks of an artifact are on the disk as they should be; `open` gives its files one after another.
pub(super) fn sound_chunks<F: Borrow<File>>(
    verified: &VerifiedManifest,
    open: impl Fn(usize) -> io::Result<F>,
) -> io::Result<Bitmap> {
    let mut bitmap = Bitmap::empty(verified.manifest.chunk_count());
    let mut first = 0;
    for (index, file) in verified.manifest.files.iter().enumerate() {
        let opened = open(index)?;
        for (chunk, sound) in (first..).zip(chunks::sound(opened.borrow(), &file.chunks)?) {
            if sound {
                bitmap.set(chunk);
            }
        }
        first += file.chunks.len() as u32; // a manifest has at most CHUNKS_PER_ARTIFACT_MAX
    }
    Ok(bitmap)
}
