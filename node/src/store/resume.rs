//! After a start: chunks that were written and not yet promised. A killed process leaves them in the page cache, a power
//! cut leaves some of them on the disk; whatever still has the right hash need not be fetched again. Called by `partial`.

use std::fs::File;
use std::io;

use crate::core::artifact::{Bitmap, Chunk};
use crate::core::limits;
use crate::store::chunks;

/// Of `chunks`, the first of which is number `first`, those that are not `promised` and yet sound. Only what was ever
/// written is read: preallocated blocks are holes until then.
pub(super) fn kept(file: &File, chunks: &[Chunk], first: u32, promised: &Bitmap) -> io::Result<Vec<u32>> {
    let unpromised = (first..).zip(chunks).filter(|(index, _)| !promised.has(*index));
    let mut written: Vec<(u32, Chunk)> = Vec::new();
    for (index, chunk) in unpromised {
        if is_written(file, chunk)? {
            written.push((index, *chunk));
        }
    }
    let bytes: u64 = written.iter().map(|(_, chunk)| u64::from(chunk.bytes)).sum();
    if bytes > limits::RESUME_BYTES_MAX {
        return Ok(Vec::new());
    }
    let (numbers, chunks): (Vec<u32>, Vec<Chunk>) = written.into_iter().unzip();
    let sound = chunks::sound(file, &chunks)?;
    Ok(numbers.into_iter().zip(sound).filter(|(_, sound)| *sound).map(|(index, _)| index).collect())
}

/// Does no hole begin before the chunk's end?
#[cfg(target_os = "linux")]
fn is_written(file: &File, chunk: &Chunk) -> io::Result<bool> {
    use rustix::fs::SeekFrom;
    use rustix::io::Errno;
    match rustix::fs::seek(file, SeekFrom::Hole(chunk.offset)) {
        Ok(hole) => Ok(hole >= chunk.offset + u64::from(chunk.bytes)),
        Err(Errno::NXIO) => Ok(false), // beyond the end
        // A file system that knows no holes: anything may have been written.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn is_written(_file: &File, _chunk: &Chunk) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::core::types::Digest;
    use crate::store::disk;

    #[test]
    fn what_was_written_and_is_sound_is_kept_and_nothing_else() {
        const BYTES: u32 = 64 << 10;
        let file = tempfile::tempfile().unwrap();
        disk::preallocate(&file, 8 * u64::from(BYTES)).unwrap();
        let body = |index: u32| vec![index as u8 + 1; BYTES as usize];
        let chunk = |index: u32| Chunk {
            offset: u64::from(index * BYTES),
            bytes: BYTES,
            digest: if index == 6 { Digest::of(&vec![0; BYTES as usize]) } else { Digest::of(&body(index)) },
        };
        let chunks: Vec<Chunk> = (0..8).map(chunk).collect();
        for index in [1, 2, 4] {
            file.write_all_at(&body(index), chunks[index as usize].offset).unwrap();
        }
        file.write_all_at(b"torn", chunks[4].offset + 100).unwrap();
        file.write_all_at(&body(5)[..1000], chunks[5].offset).unwrap();
        let mut promised = Bitmap::empty(18);
        promised.set(12);
        // The file's chunks are numbers 10 to 17 of its artifact: 12 is promised, 14 torn, 15 begun, 16 all zeros and a hole.
        assert_eq!(kept(&file, &chunks, 10, &promised).unwrap(), [11]);
        file.write_all_at(&vec![0; BYTES as usize], chunks[6].offset).unwrap();
        assert_eq!(kept(&file, &chunks, 10, &promised).unwrap(), [11, 16]);
    }
}
