//! Memory for chunks on their way to the disk: kept and given out again, because making four megabytes zero costs as much as
//! encrypting them. A buffer lies in memory as its bytes will lie in the file, to the block, so that a direct write needs no
//! copy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::limits;

/// The unit of direct writes (`store::weightfile`): buffer and file must agree in what is left over from it.
const BLOCK_BYTES: usize = 4096;
/// Room for any chunk at any place within a block.
const ROOM_BYTES: usize = limits::CHUNK_BYTES_MAX as usize + BLOCK_BYTES;

/// Gives out buffers. Clones share what they keep.
#[derive(Clone, Default)]
pub struct Buffers {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Room for one chunk; goes back where it came from when dropped.
pub struct Buffer {
    room: Vec<u8>,
    start: usize,
    length: usize,
    home: Buffers,
}

impl Buffers {
    /// A buffer of `bytes`, at most `CHUNK_BYTES_MAX`, for what will lie at `offset` of a file. What it holds is arbitrary.
    pub fn take(&self, bytes: u32, offset: u64) -> Buffer {
        let room = self.kept().pop().unwrap_or_else(|| vec![0; ROOM_BYTES]);
        let aligned = room.as_ptr().align_offset(BLOCK_BYTES);
        let within = (offset % BLOCK_BYTES as u64) as usize;
        // Within the first block either way: ahead of the boundary or behind it.
        let start = (aligned + within) % BLOCK_BYTES;
        Buffer { room, start, length: bytes as usize, home: self.clone() }
    }

    /// Returns what is kept to the system: nothing is under way any more, or not much.
    pub fn release(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// The chunk.
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.start + self.length]
    }

    /// Where it is put.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }

    /// Less came than was expected.
    pub fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.kept();
        if kept.len() < limits::CHUNKS_IN_FLIGHT_PER_SOURCE {
            kept.push(std::mem::take(&mut self.room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_as_the_file_does_and_come_back() {
        let buffers = Buffers::default();
        for offset in [0, 32, 4095, 4096, 1 << 40, (1 << 40) + 17] {
            let mut buffer = buffers.take(limits::CHUNK_BYTES_MAX, offset);
            assert_eq!(buffer.bytes_mut().len(), limits::CHUNK_BYTES_MAX as usize);
            assert_eq!(buffer.bytes().as_ptr() as usize % BLOCK_BYTES, offset as usize % BLOCK_BYTES, "{offset}");
            buffer.shorten(3);
            assert_eq!(buffer.bytes().len(), 3);
        }
        assert_eq!(buffers.kept().len(), 1, "one was in use at a time");
        buffers.release();
        assert!(buffers.kept().is_empty());
    }
}
