//! Chunks and hashes against what one plain reading gives.

use super::*;
use crate::store::gguf;
use crate::store::gguf::sample::Sample;

/// The chunk digests of a sample's file.
fn digests(sample: &Sample) -> (FileTable, Vec<Chunk>) {
    let bytes = sample.bytes();
    let table = gguf::parse(&bytes[..], bytes.len() as u64).unwrap().files.remove(0);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let mut last = 0;
    let (chunks, whole) = hash(&file, bytes.len() as u64, &cut(&table), None, &mut |done| last = done).unwrap();
    assert_eq!(whole, Digest::of(&bytes));
    assert_eq!(last, bytes.len() as u64);
    assert!(sound(&file, &chunks).unwrap().iter().all(|&sound| sound));
    file.set_len(bytes.len() as u64 - 1).unwrap();
    assert_eq!(sound(&file, &chunks).unwrap().iter().filter(|&&sound| !sound).count(), 1);
    (table, chunks)
}

#[test]
fn chunks_cover_the_file_and_never_cross_a_tensor() {
    let (table, chunks) = digests(&Sample::model().tensor("big", &[1024, 2100], 0, 4));
    let mut end = 0;
    for chunk in &chunks {
        assert_eq!(chunk.offset, end);
        assert!(chunk.bytes > 0 && chunk.bytes <= limits::CHUNK_BYTES_MAX);
        end = chunk.offset + u64::from(chunk.bytes);
        let crossed = table.tensors.iter().filter(|t| t.offset > chunk.offset && t.offset < end);
        assert_eq!(crossed.count(), 0);
    }
    assert_eq!(end, table.file_bytes);
    assert_eq!(chunks.len(), 1 + 3 + 3); // header; three small tensors; 8.2 MiB in three pieces
}

#[test]
fn fine_tunes_share_the_tensors_they_did_not_change() {
    let base = Sample::model().tensor("same", &[1024, 2100], 0, 4).tensor("changed", &[64, 64], 0, 5);
    let tuned = Sample::model()
        .text("general.description", "a longer header moves every tensor")
        .tensor("same", &[1024, 2100], 0, 4)
        .tensor("changed", &[64, 64], 0, 6);
    let (_, ours) = digests(&base);
    let (_, theirs) = digests(&tuned);
    let shared = ours.iter().filter(|chunk| theirs.iter().any(|other| other.digest == chunk.digest)).count();
    assert_eq!(shared, ours.len() - 2); // all but the header and the changed tensor
}

/// Bytes in memory that may change while they are read.
struct Memory {
    bytes: Vec<u8>,
    /// From here on every reading differs from the one before.
    changes_from: u64,
    reads: AtomicUsize,
}

impl Memory {
    fn new(bytes: u64, changes_from: u64) -> Memory {
        let mut noise = vec![0; bytes as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        Memory { bytes: noise, changes_from, reads: AtomicUsize::new(0) }
    }

    /// Hashed with a first chunk of `header` bytes, which moves all others.
    fn hash(&self, header: u64) -> io::Result<(Vec<Chunk>, Digest)> {
        let bytes = self.bytes.len() as u64;
        let cuts: Vec<Cut> = pieces(0, header).chain(pieces(header, bytes)).collect();
        hash(self, bytes, &cuts, None, &mut |_| {})
    }
}

impl Feed for Memory {
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed) as u8;
        buffer.copy_from_slice(&self.bytes[offset as usize..][..buffer.len()]);
        if offset >= self.changes_from {
            buffer[0] ^= read;
        }
        Ok(())
    }
}

#[test]
fn spans_make_the_same_hashes_as_one_reading() {
    for (bytes, header) in [(1, 0), (SPAN_BYTES, 32), (SPAN_BYTES + 1, 96), (3 * SPAN_BYTES + 7_000_001, 1_000_032)] {
        let memory = Memory::new(bytes, u64::MAX);
        let (chunks, whole) = memory.hash(header).unwrap();
        assert_eq!(whole, Digest::of(&memory.bytes), "{bytes}");
        for chunk in &chunks {
            let piece = &memory.bytes[chunk.offset as usize..][..chunk.bytes as usize];
            assert_eq!(chunk.digest, Digest::of(piece), "{bytes} at {}", chunk.offset);
        }
        assert_eq!(chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum::<u64>(), bytes);
    }
}

#[test]
fn an_empty_file_has_a_hash_and_no_chunks() {
    assert_eq!(Memory::new(0, 0).hash(0).unwrap(), (Vec::new(), Digest::of(b"")));
}

#[test]
fn a_file_that_changes_between_two_readings_is_found_out() {
    let hashed = |changes_from| Memory::new(SPAN_BYTES + 5_000_000, changes_from).hash(1_000_032);
    assert!(hashed(u64::MAX).is_ok());
    assert_eq!(hashed(SPAN_BYTES).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
