//! Reads stored weights again and hashes them, past the page cache: what is in memory says nothing about the disk, and reading
//! through the cache would push out weights that are staged for loading. One chunk at a time; the pace is the caller's.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::core::artifact::Chunk;
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::error::StoreError;
use crate::store::{Held, Store};

/// Direct reads begin and end at multiples of this, in the file and in memory.
const BLOCK_BYTES: usize = 4096;

/// What one chunk turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As it should be.
    Sound,
    /// Not what the manifest says, or not readable.
    Damaged,
    /// The artifact is not here whole any more, or has no such chunk: nothing to look at.
    Gone,
}

/// Memory for one chunk with the blocks around it, used again and again.
#[derive(Debug, Default)]
pub struct ScrubBuffer(Vec<u8>);

impl ScrubBuffer {
    /// `bytes` of it that begin at an aligned address.
    fn aligned(&mut self, bytes: usize) -> &mut [u8] {
        if self.0.len() < bytes + BLOCK_BYTES {
            self.0 = vec![0; (bytes + BLOCK_BYTES).max(limits::CHUNK_BYTES_MAX as usize + 3 * BLOCK_BYTES)];
        }
        let start = self.0.as_ptr().align_offset(BLOCK_BYTES);
        &mut self.0[start..start + bytes]
    }
}

impl Store {
    /// Reads chunk `index` of a complete artifact from the disk and hashes it.
    pub fn verify_chunk(&self, artifact: &Digest, index: u32, buffer: &mut ScrubBuffer) -> Result<Verdict, StoreError> {
        let Some(Held::Complete(verified)) = self.held().get(artifact).cloned() else { return Ok(Verdict::Gone) };
        let Some((file, chunk)) = verified.manifest.chunk(index) else { return Ok(Verdict::Gone) };
        let path = self.file_path(&verified, file);
        match read_from_disk(&path, &chunk, buffer) {
            Ok(bytes) if Digest::of(bytes) == chunk.digest => {
                self.trust(artifact, index..=index);
                Ok(Verdict::Sound)
            }
            Ok(_) => Ok(Verdict::Damaged),
            // Deleted, moved to the partial ones or finished again meanwhile: it is not this file's fault.
            Err(_) if !matches!(self.held().get(artifact), Some(Held::Complete(_))) => Ok(Verdict::Gone),
            Err(error) if is_damage(&error) => Ok(Verdict::Damaged),
            Err(error) => Err(StoreError::io("scrub", &path, error)),
        }
    }
}

/// Failures that mean that the bytes are not there; any other (too many open files, say) means nothing about them.
fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let raw = error.raw_os_error();
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
        || [Errno::IO, Errno::BADMSG].iter().any(|errno| raw == Some(errno.raw_os_error()))
}

fn read_from_disk<'a>(path: &Path, chunk: &Chunk, buffer: &'a mut ScrubBuffer) -> io::Result<&'a [u8]> {
    let block = BLOCK_BYTES as u64;
    let begin = chunk.offset / block * block;
    let end = (chunk.offset + u64::from(chunk.bytes)).next_multiple_of(block);
    let inside = (chunk.offset - begin) as usize; // less than a block
    let room = buffer.aligned((end - begin) as usize); // a chunk and two blocks
    let needed = inside + chunk.bytes as usize;
    match open_direct(path).map(|file| read_up_to(&file, room, begin)) {
        Some(Ok(read)) if read >= needed => {}
        Some(Ok(_)) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Err(error)) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
        // Not this way on this file system.
        _ => read_cached(path, chunk, &mut room[inside..needed])?,
    }
    Ok(&room[inside..needed])
}

/// As much of `room` as the file has from `offset` on.
fn read_up_to(file: &File, room: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < room.len() {
        match file.read_at(&mut room[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !read.is_multiple_of(BLOCK_BYTES) {
            break; // a direct read ends within a block only at the end of the file
        }
    }
    Ok(read)
}

/// Through the page cache, told to forget these pages before, so that the disk is asked, and after.
fn read_cached(path: &Path, chunk: &Chunk, into: &mut [u8]) -> io::Result<()> {
    let file = File::open(path)?;
    forget_cached(&file, chunk.offset, u64::from(chunk.bytes));
    file.read_exact_at(into, chunk.offset)?;
    forget_cached(&file, chunk.offset, u64::from(chunk.bytes));
    Ok(())
}

/// Drops what the page cache has of `bytes` from `offset` on (0: of all that follows), unless it was not written back yet.
#[cfg(target_os = "linux")]
pub(super) fn forget_cached(file: &File, offset: u64, bytes: u64) {
    // A hint: where it is not taken (tmpfs) there is no disk behind the cache either.
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZero::new(bytes), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn forget_cached(_file: &File, _offset: u64, _bytes: u64) {}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits();
    OpenOptions::new().read(true).custom_flags(flags as i32).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}
