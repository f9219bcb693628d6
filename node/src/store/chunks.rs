//! Cuts a model file into chunks that never cross a tensor boundary, and hashes files with all cores. Bounded memory: one
//! chunk per thread. Called by `import` and by the store when it checks what is on disk.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::core::artifact::Chunk;
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::gguf::ParsedModel;

/// Bytes read at once for the hash of a whole file.
const READ_BYTES: usize = 1 << 20;

/// A chunk that was not hashed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Offset in the file.
    pub offset: u64,
    /// Length, 1 to `CHUNK_BYTES_MAX`.
    pub bytes: u32,
}

/// Cuts the whole file: the header up to the first tensor, then each tensor with the padding behind it, each in pieces of
/// at most `CHUNK_BYTES_MAX` counted from its own start, so that equal tensors have equal chunks in different files.
pub fn cut(model: &ParsedModel) -> Vec<Cut> {
    let mut starts: Vec<u64> = model.tensors.iter().map(|tensor| tensor.offset).collect();
    starts.sort_unstable();
    let ends = starts.iter().copied().chain([model.file_bytes]);
    let begins = [0].into_iter().chain(starts.iter().copied());
    begins.zip(ends).flat_map(|(begin, end)| pieces(begin, end)).collect()
}

fn pieces(begin: u64, end: u64) -> impl Iterator<Item = Cut> {
    let step = u64::from(limits::CHUNK_BYTES_MAX);
    let count = (end - begin).div_ceil(step);
    (0..count).map(move |index| {
        let offset = begin + index * step;
        Cut { offset, bytes: (end - offset).min(step) as u32 } // at most CHUNK_BYTES_MAX
    })
}

/// Hashes every cut and the whole file. This thread hashes the whole and reports bytes done; the others hash the cuts.
pub fn hash(file: &File, cuts: &[Cut], progress: &mut dyn FnMut(u64)) -> io::Result<(Vec<Chunk>, Digest)> {
    let (digests, whole) = digests(file, cuts, || hash_whole(file, progress))?;
    let chunk = |(cut, digest): (&Cut, Digest)| Chunk { offset: cut.offset, bytes: cut.bytes, digest };
    Ok((cuts.iter().zip(digests).map(chunk).collect(), whole))
}

/// Which of `chunks` does `file` hold as they should be? A file that is too short holds fewer.
pub fn sound(file: &File, chunks: &[Chunk]) -> io::Result<Vec<bool>> {
    let length = file.metadata()?.len();
    let cuts = chunks.iter().map(|chunk| Cut { offset: chunk.offset, bytes: chunk.bytes });
    let inside: Vec<Cut> = cuts.take_while(|cut| cut.offset + u64::from(cut.bytes) <= length).collect();
    let (digests, ()) = digests(file, &inside, || Ok(()))?;
    let mut sound = vec![false; chunks.len()];
    for (index, digest) in digests.iter().enumerate() {
        sound[index] = *digest == chunks[index].digest;
    }
    Ok(sound)
}

/// The digests of `cuts`, by as many threads as there are cores, while this thread does `alongside`.
fn digests<T>(file: &File, cuts: &[Cut], alongside: impl FnOnce() -> io::Result<T>) -> io::Result<(Vec<Digest>, T)> {
    let next = AtomicUsize::new(0);
    // Ends the threads early when this one fails: the scope would otherwise wait for all their work.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = || hash_cuts(file, cuts, &next, &stop);
        let workers: Vec<_> = (0..threads().min(cuts.len())).map(|_| scope.spawn(worker)).collect();
        let beside = alongside();
        stop.store(beside.is_err(), Ordering::Relaxed);
        let mut digests = vec![Digest::default(); cuts.len()];
        for worker in workers {
            for (index, digest) in worker.join().map_err(|_| io::Error::other("a hashing thread panicked"))?? {
                digests[index] = digest;
            }
        }
        Ok((digests, beside?))
    })
}

/// The BLAKE3 of the whole file as it is now.
pub fn hash_whole(file: &File, progress: &mut dyn FnMut(u64)) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let read = match file.read_at(&mut buffer, offset) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        offset += read as u64;
        progress(offset);
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Takes cuts one after another, as other threads do, until none is left.
fn hash_cuts(file: &File, cuts: &[Cut], next: &AtomicUsize, stop: &AtomicBool) -> io::Result<Vec<(usize, Digest)>> {
    let mut digests = Vec::new();
    let mut buffer = vec![0; limits::CHUNK_BYTES_MAX as usize];
    while !stop.load(Ordering::Relaxed) {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(cut) = cuts.get(index) else { break };
        let bytes = &mut buffer[..cut.bytes as usize];
        file.read_exact_at(bytes, cut.offset)?;
        digests.push((index, Digest::of(bytes)));
    }
    Ok(digests)
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gguf;
    use crate::store::gguf::sample::Sample;

    /// The chunk digests of a sample's file.
    fn digests(sample: &Sample) -> (ParsedModel, Vec<Chunk>) {
        let bytes = sample.bytes();
        let model = gguf::parse(&bytes[..], bytes.len() as u64).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let mut last = 0;
        let (chunks, whole) = hash(&file, &cut(&model), &mut |done| last = done).unwrap();
        assert_eq!(whole, Digest::of(&bytes));
        assert_eq!(last, bytes.len() as u64);
        assert!(sound(&file, &chunks).unwrap().iter().all(|&sound| sound));
        file.set_len(bytes.len() as u64 - 1).unwrap();
        assert_eq!(sound(&file, &chunks).unwrap().iter().filter(|&&sound| !sound).count(), 1);
        (model, chunks)
    }

    #[test]
    fn chunks_cover_the_file_and_never_cross_a_tensor() {
        let (model, chunks) = digests(&Sample::model().tensor("big", &[1024, 2100], 0, 4));
        let mut end = 0;
        for chunk in &chunks {
            assert_eq!(chunk.offset, end);
            assert!(chunk.bytes > 0 && chunk.bytes <= limits::CHUNK_BYTES_MAX);
            end = chunk.offset + u64::from(chunk.bytes);
            let crossed = model.tensors.iter().filter(|t| t.offset > chunk.offset && t.offset < end);
            assert_eq!(crossed.count(), 0);
        }
        assert_eq!(end, model.file_bytes);
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
}
