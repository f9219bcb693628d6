//! What others read of the store: chunks for members, whole files for engines. Nothing that is known to be damaged, or that
//! its owner changed under the store, is handed out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::core::artifact::Chunk;
use crate::core::types::Digest;
use crate::store::{Held, MANIFEST_FILE, Store, StoreError, linked};
use crate::wire::manifest::VerifiedManifest;

impl Store {
    /// The bytes of a chunk that is here and verified. Whoever receives them hashes them.
    pub fn read_chunk(&self, artifact: &Digest, index: u32) -> Result<Vec<u8>, StoreError> {
        let verified = match self.lookup(artifact)? {
            Held::Partial(partial) => return partial.read(index),
            Held::Complete(verified) => verified,
        };
        let (path, chunk) = self.sound_chunk(&verified, index)?;
        let read = File::open(&path).and_then(|file| Ok((read_chunk_of(&file, &chunk)?, linked::is_linked(&file)?)));
        let (bytes, is_linked) = read.map_err(|e| self.read_error(artifact, index, &path, e))?;
        if is_linked && Digest::of(&bytes) != chunk.digest {
            self.suspect(*artifact, None);
            return Err(StoreError::LinkChanged(path));
        }
        Ok(bytes)
    }

    /// A piece of a chunk that is here and verified, from its byte `from` on: fills `piece`, or shortens it to what is left.
    /// Says how long the chunk is.
    pub fn read_piece(&self, artifact: &Digest, index: u32, from: u32, piece: &mut Vec<u8>) -> Result<u32, StoreError> {
        let verified = match self.lookup(artifact)? {
            Held::Partial(partial) => return partial.read_piece(index, from, piece),
            Held::Complete(verified) => verified,
        };
        let (path, chunk) = self.sound_chunk(&verified, index)?;
        if from == 0 {
            self.check_link(artifact, &path)?;
        }
        let read = File::open(&path).and_then(|file| read_piece_of(&file, &chunk, from, piece));
        read.map_err(|e| self.read_error(artifact, index, &path, e))
    }

    /// Where a chunk of a complete artifact lies, unless it is known to be damaged.
    fn sound_chunk(&self, verified: &VerifiedManifest, index: u32) -> Result<(PathBuf, Chunk), StoreError> {
        let artifact = verified.artifact;
        let found = verified.manifest.chunk(index).filter(|_| !self.is_bad(&artifact, index));
        let (file, chunk) = found.ok_or(StoreError::Missing { artifact, chunk: index })?;
        Ok((self.file_path(verified, file), chunk))
    }

    fn read_error(&self, artifact: &Digest, index: u32, path: &Path, error: io::Error) -> StoreError {
        self.suspect(*artifact, Some(index));
        StoreError::io("read", path, error)
    }

    /// Refuses a file that is its owner's as well (`--link`) and was written to since it was hashed, and has it looked at: it
    /// may have been a mere `touch`.
    pub(super) fn check_link(&self, artifact: &Digest, path: &Path) -> Result<(), StoreError> {
        let manifest = self.complete_folder(artifact).join(MANIFEST_FILE);
        let changed = linked::was_changed(path, &manifest).map_err(|e| StoreError::io("look at", path, e))?;
        if changed {
            self.suspect(*artifact, None);
            return Err(StoreError::LinkChanged(path.to_owned()));
        }
        Ok(())
    }

    /// The first file of a complete artifact: what an engine loads. Refused if it is known to be damaged, or if a file of it is
    /// its owner's as well and was written to.
    pub fn path_to_load(&self, artifact: &Digest) -> Result<PathBuf, StoreError> {
        let Held::Complete(verified) = self.lookup(artifact)? else { return Err(StoreError::Unknown(*artifact)) };
        let chunks = self.bad_chunks(artifact);
        if !chunks.is_empty() {
            return Err(StoreError::Damaged { artifact: *artifact, chunks });
        }
        for index in 0..verified.manifest.files.len() {
            self.check_link(artifact, &self.file_path(&verified, index))?;
        }
        Ok(self.file_path(&verified, 0))
    }
}

/// The bytes of `chunk`, all of them or an error.
pub(super) fn read_chunk_of(file: &File, chunk: &Chunk) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; chunk.bytes as usize];
    file.read_exact_at(&mut bytes, chunk.offset)?;
    Ok(bytes)
}

/// A piece of `chunk`; see [`Store::read_piece`].
pub(super) fn read_piece_of(file: &File, chunk: &Chunk, from: u32, piece: &mut Vec<u8>) -> io::Result<u32> {
    piece.truncate(chunk.bytes.saturating_sub(from) as usize);
    file.read_exact_at(piece, chunk.offset + u64::from(from))?;
    Ok(chunk.bytes)
}
