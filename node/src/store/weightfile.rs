//! One file of weights on its way to the disk: preallocated, written in chunks at any offset, by several threads.
//!
//! Where the file system takes it, whole blocks bypass the page cache (O_DIRECT): through the cache a durable transfer
//! runs at a fifth of the speed (DESIGN 16). Chunks begin at any 32-byte boundary, so the first and last partial block of
//! a chunk still go through the cache. The two ways must not meet in one page at one time, hence the lock: direct writes
//! share it, cached ones take it alone; the kernel keeps the order right as long as they do not run at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use crate::core::limits;
use crate::store::disk;

/// Direct writes begin and end at multiples of this, in the file and in memory: no common device asks for more.
const BLOCK_BYTES: usize = 4096;
/// Aligned buffers kept for the next write: as many as there are threads that usually write.
const BUFFERS_KEPT: usize = 4;

/// A file of weights, open for writing.
#[derive(Debug)]
pub struct WeightFile {
    cached: File,
    direct: Option<File>,
    /// Shared by direct writes, held alone by cached ones.
    edges: RwLock<()>,
    /// Buffers for data that does not lie aligned in memory.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl WeightFile {
    /// A new file of `bytes`, with its blocks claimed; only its owner may read it.
    pub fn create(path: &Path, bytes: u64) -> io::Result<WeightFile> {
        let cached = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        disk::preallocate(&cached, bytes)?;
        Ok(WeightFile::with(cached, path))
    }

    /// An existing file, to go on with.
    pub fn open(path: &Path) -> io::Result<WeightFile> {
        let cached = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(WeightFile::with(cached, path))
    }

    fn with(cached: File, path: &Path) -> WeightFile {
        WeightFile { cached, direct: open_direct(path), edges: RwLock::new(()), buffers: Mutex::new(Vec::new()) }
    }

    /// The descriptor, to read from.
    pub fn file(&self) -> &File {
        &self.cached
    }

    /// Writes all of `bytes` at `offset`. Not durable before [`WeightFile::sync`].
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let head = (offset.next_multiple_of(BLOCK_BYTES as u64) - offset) as usize;
        let blocks = bytes.len().saturating_sub(head) / BLOCK_BYTES * BLOCK_BYTES;
        let Some(direct) = self.direct.as_ref().filter(|_| blocks > 0) else {
            return self.write_cached(offset, bytes);
        };
        let (first, rest) = bytes.split_at(head);
        let (middle, last) = rest.split_at(blocks);
        let middle_offset = offset + head as u64;
        match self.write_direct(direct, middle_offset, middle) {
            Ok(()) => {}
            // The open was accepted, the write is not: this file system wants something else of direct writes.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return self.write_cached(offset, bytes),
            Err(error) => return Err(error),
        }
        self.write_cached(offset, first)?;
        self.write_cached(middle_offset + blocks as u64, last)
    }

    /// Makes all that was written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.cached.sync_data()
    }

    fn write_cached(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let _alone = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        self.cached.write_all_at(bytes, offset)
    }

    fn write_direct(&self, direct: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.as_ptr().align_offset(BLOCK_BYTES) == 0 {
            let _shared = self.edges.read().unwrap_or_else(PoisonError::into_inner);
            return direct.write_all_at(bytes, offset);
        }
        let mut buffer = self.take_buffer(bytes.len());
        let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
        let aligned = &mut buffer[start..start + bytes.len()];
        aligned.copy_from_slice(bytes);
        let written = {
            let _shared = self.edges.read().unwrap_or_else(PoisonError::into_inner);
            direct.write_all_at(aligned, offset)
        };
        self.keep_buffer(buffer);
        written
    }

    /// Room for `bytes` from an aligned address on.
    fn take_buffer(&self, bytes: usize) -> Vec<u8> {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = kept.unwrap_or_else(|| vec![0; limits::CHUNK_BYTES_MAX as usize + BLOCK_BYTES]);
        if buffer.len() < bytes + BLOCK_BYTES {
            buffer.resize(bytes + BLOCK_BYTES, 0);
        }
        buffer
    }

    fn keep_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    }
}

/// A second descriptor that bypasses the page cache; `None` where the file system has no such thing (tmpfs, some FUSE).
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits();
    OpenOptions::new().write(true).custom_flags(flags as i32).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of uneven lengths, written out of order by several threads, must read back as the whole.
    #[test]
    fn pieces_at_any_offset_make_the_whole() {
        let base = tempfile::tempdir().unwrap();
        let mut whole = vec![0; 3_000_017];
        blake3::Hasher::new().finalize_xof().fill(&mut whole);
        let file = WeightFile::create(&base.path().join("w"), whole.len() as u64).unwrap();
        let mut pieces = Vec::new();
        let mut offset = 0;
        for length in [1, 31, 4064, 4096, 32, 70_000, 8192, 12_288, 5000, 1_000_003].iter().cycle() {
            let end = (offset + length).min(whole.len());
            pieces.push((offset, end));
            offset = end;
            if offset == whole.len() {
                break;
            }
        }
        std::thread::scope(|scope| {
            for lane in 0..3 {
                let (file, whole, pieces) = (&file, &whole, &pieces);
                scope.spawn(move || {
                    for (start, end) in pieces.iter().rev().skip(lane).step_by(3) {
                        file.write_at(*start as u64, &whole[*start..*end]).unwrap();
                    }
                });
            }
        });
        file.sync().unwrap();
        assert_eq!(std::fs::read(base.path().join("w")).unwrap(), whole);
    }
}
