//! Cuts a model file into chunks that never cross a tensor boundary, and hashes with all cores. Called by `import` and by
//! the store when it checks what is on disk.
//!
//! An import reads every byte once. BLAKE3 is a tree, so the hash of a whole file can be put together from those of its
//! spans: each thread takes a span, reads it piece by piece, and feeds each piece, while it is in the core's own cache, both to
//! the span's hash and to the hashes of the chunks that begin in it. The last of those may reach into the next span and is
//! read to its end; both sides hash what they share, so that a file changed between the two readings is found out.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

use crate::core::artifact::Chunk;
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::feed::Feed;
use crate::store::gguf::FileTable;
use crate::store::weightfile::WeightFile;

/// What one thread hashes of a file at a time. A power of two, as BLAKE3's tree needs; 32 MiB keep the part that is read
/// twice (half a chunk per span, on average) below a fifteenth.
const SPAN_BYTES: u64 = 32 << 20;
/// Read, hashed and written at once. It should stay in a core's second-level cache, but chunks begin anywhere and BLAKE3 is
/// slow at the odd ends of what it is fed: 64 KiB measured 2.4 GB/s, 256 KiB 3.4, 1 MiB 4.0 on two cores.
const PIECE_BYTES: usize = 1 << 20;

/// A chunk that was not hashed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Offset in the file.
    pub offset: u64,
    /// Length, 1 to `CHUNK_BYTES_MAX`.
    pub bytes: u32,
}

impl Cut {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }
}

/// Cuts the whole file: the header up to the first tensor, then each tensor with the padding behind it, each in pieces of
/// at most `CHUNK_BYTES_MAX` counted from its own start, so that equal tensors have equal chunks in different files.
pub fn cut(table: &FileTable) -> Vec<Cut> {
    let mut starts: Vec<u64> = table.tensors.iter().map(|tensor| tensor.offset).collect();
    starts.sort_unstable();
    let ends = starts.iter().copied().chain([table.file_bytes]);
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

/// Hashes every cut and the whole of `file_bytes`, with all cores, and writes them to `target` if there is one. The cuts
/// cover the file in order. `progress` hears how many bytes are done. A source that changes meanwhile is `UnexpectedEof`.
pub fn hash(
    feed: &dyn Feed,
    file_bytes: u64,
    cuts: &[Cut],
    target: Option<&WeightFile>,
    progress: &mut dyn FnMut(u64),
) -> io::Result<(Vec<Chunk>, Digest)> {
    let work = Work { feed, file_bytes, cuts, target, next: AtomicUsize::new(0), stop: AtomicBool::new(false) };
    let spans = work.all(progress)?;
    let mut chunks = Vec::with_capacity(cuts.len());
    for (index, span) in spans.iter().enumerate() {
        if index > 0 && spans[index - 1].tail != span.head {
            return Err(changed());
        }
        for digest in &span.digests {
            let cut = cuts[chunks.len()];
            chunks.push(Chunk { offset: cut.offset, bytes: cut.bytes, digest: *digest });
        }
    }
    Ok((chunks, whole(&spans, file_bytes)))
}

/// The BLAKE3 of the whole file as it is now, with all cores.
pub fn hash_whole(file: &File, progress: &mut dyn FnMut(u64)) -> io::Result<Digest> {
    let file_bytes = file.metadata()?.len();
    Ok(hash(file, file_bytes, &[], None, progress)?.1)
}

/// What was read twice was not the same, or ended early.
fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file changed while it was read")
}

/// One file being hashed.
struct Work<'a> {
    feed: &'a dyn Feed,
    file_bytes: u64,
    cuts: &'a [Cut],
    target: Option<&'a WeightFile>,
    /// The span that nobody has taken yet.
    next: AtomicUsize,
    /// A thread failed: the others need not go on.
    stop: AtomicBool,
}

/// What came of one span.
struct Span {
    /// Of the bytes between its start and its end, as a part of the file's tree.
    hash: Subtree,
    /// Of the chunks that begin in it, in order.
    digests: Vec<Digest>,
    /// Of what a chunk of the span before has of it.
    head: Digest,
    /// Of what the last chunk has of the next span.
    tail: Digest,
}

enum Subtree {
    Part(ChainingValue),
    Whole(Digest),
}

impl Work<'_> {
    fn all(&self, progress: &mut dyn FnMut(u64)) -> io::Result<Vec<Span>> {
        // An empty file has one empty span.
        let count = self.file_bytes.div_ceil(SPAN_BYTES).max(1) as usize;
        let threads = threads().min(count);
        let (told, heard) = mpsc::sync_channel(2 * threads);
        let found: io::Result<Vec<Vec<(usize, Span)>>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let told = told.clone();
                    scope.spawn(move || self.worker(count, &told))
                })
                .collect();
            drop(told);
            let mut done = 0;
            for bytes in heard {
                done += bytes;
                progress(done);
            }
            let panicked = |_| io::Error::other("a hashing thread panicked");
            workers.into_iter().map(|worker| worker.join().map_err(panicked)?).collect()
        });
        let mut spans: Vec<(usize, Span)> = found?.into_iter().flatten().collect();
        spans.sort_by_key(|(index, _)| *index);
        Ok(spans.into_iter().map(|(_, span)| span).collect())
    }

    /// The work of one thread; if it fails, the others need not go on.
    fn worker(&self, count: usize, told: &mpsc::SyncSender<u64>) -> io::Result<Vec<(usize, Span)>> {
        let spans = self.take_spans(count, told);
        if spans.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        spans
    }

    /// Takes spans one after another, as other threads do, until none is left.
    fn take_spans(&self, count: usize, told: &mpsc::SyncSender<u64>) -> io::Result<Vec<(usize, Span)>> {
        let mut spans = Vec::new();
        let mut buffer = vec![0; usize::try_from(self.file_bytes).map_or(PIECE_BYTES, |bytes| bytes.min(PIECE_BYTES))];
        while !self.stop.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            spans.push((index, self.span(index as u64 * SPAN_BYTES, &mut buffer, told)?));
        }
        Ok(spans)
    }

    fn span(&self, start: u64, buffer: &mut [u8], told: &mpsc::SyncSender<u64>) -> io::Result<Span> {
        let end = (start + SPAN_BYTES).min(self.file_bytes);
        let first = self.cuts.partition_point(|cut| cut.offset < start);
        let last = self.cuts.partition_point(|cut| cut.offset < end);
        let mine = &self.cuts[first..last];
        let (mut head, mut tail) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut whole = blake3::Hasher::new();
        whole.set_input_offset(start);
        let mut chunks = ChunkHashes { cuts: mine, hasher: blake3::Hasher::new(), digests: Vec::new() };
        // A last short span may belong to a chunk of the one before; without cuts nothing is shared.
        let head_end = mine.first().map_or(if self.cuts.is_empty() { start } else { end }, |cut| cut.offset);
        let mut position = start;
        while position < end {
            let bytes = piece(buffer, position, end);
            self.feed.fill_at(bytes, position)?;
            whole.update(bytes);
            let shared = head_end.saturating_sub(position).min(bytes.len() as u64) as usize;
            head.update(&bytes[..shared]);
            chunks.update(&bytes[shared..]);
            if let Some(target) = self.target {
                target.write_at(position, bytes)?;
            }
            position += bytes.len() as u64;
            // Nobody listens any more: the other side says why.
            let _ = told.send(bytes.len() as u64);
        }
        let tail_end = mine.last().map_or(end, Cut::end);
        while position < tail_end {
            let bytes = piece(buffer, position, tail_end);
            self.feed.fill_at(bytes, position)?;
            tail.update(bytes);
            chunks.update(bytes);
            position += bytes.len() as u64;
        }
        let is_all = start == 0 && end == self.file_bytes;
        let hash = if is_all { Subtree::Whole(digest(&whole)) } else { Subtree::Part(whole.finalize_non_root()) };
        Ok(Span { hash, digests: chunks.digests, head: digest(&head), tail: digest(&tail) })
    }
}

/// The chunks of one span, fed from its first chunk on without a gap.
struct ChunkHashes<'a> {
    cuts: &'a [Cut],
    hasher: blake3::Hasher,
    digests: Vec<Digest>,
}

impl ChunkHashes<'_> {
    fn update(&mut self, mut bytes: &[u8]) {
        while let Some(cut) = self.cuts.get(self.digests.len()).filter(|_| !bytes.is_empty()) {
            let missing = u64::from(cut.bytes) - self.hasher.count();
            let (now, rest) = bytes.split_at(bytes.len().min(missing as usize));
            self.hasher.update(now);
            if now.len() as u64 == missing {
                self.digests.push(digest(&self.hasher));
                self.hasher.reset();
            }
            bytes = rest;
        }
    }
}

fn piece(buffer: &mut [u8], position: u64, end: u64) -> &mut [u8] {
    let bytes = (end - position).min(buffer.len() as u64) as usize;
    &mut buffer[..bytes]
}

fn digest(hasher: &blake3::Hasher) -> Digest {
    Digest(*hasher.finalize().as_bytes())
}

/// The hash of a file from those of its spans.
fn whole(spans: &[Span], file_bytes: u64) -> Digest {
    let parts = |spans: &[Span]| -> Vec<ChainingValue> {
        let part = |span: &Span| match &span.hash {
            Subtree::Part(part) => *part,
            Subtree::Whole(digest) => digest.0,
        };
        spans.iter().map(part).collect()
    };
    match &spans[0].hash {
        Subtree::Whole(digest) => *digest,
        Subtree::Part(_) => {
            let parts = parts(spans);
            let left_bytes = hazmat::left_subtree_len(file_bytes);
            let (left, right) = parts.split_at((left_bytes / SPAN_BYTES) as usize);
            let (left, right) = (subtree(left, left_bytes), subtree(right, file_bytes - left_bytes));
            Digest(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
        }
    }
}

fn subtree(parts: &[ChainingValue], bytes: u64) -> ChainingValue {
    if let [part] = parts {
        return *part;
    }
    let left_bytes = hazmat::left_subtree_len(bytes);
    let (left, right) = parts.split_at((left_bytes / SPAN_BYTES) as usize);
    let (left, right) = (subtree(left, left_bytes), subtree(right, bytes - left_bytes));
    hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// Which of `chunks` does `file` hold as they should be? A file that is too short holds fewer.
pub fn sound(file: &File, chunks: &[Chunk]) -> io::Result<Vec<bool>> {
    let length = file.metadata()?.len();
    let cuts = chunks.iter().map(|chunk| Cut { offset: chunk.offset, bytes: chunk.bytes });
    let inside: Vec<Cut> = cuts.take_while(|cut| cut.end() <= length).collect();
    let digests = digests(file, &inside)?;
    let mut sound = vec![false; chunks.len()];
    for (index, digest) in digests.iter().enumerate() {
        sound[index] = *digest == chunks[index].digest;
    }
    Ok(sound)
}

/// The digests of `cuts`, by as many threads as there are cores.
fn digests(file: &File, cuts: &[Cut]) -> io::Result<Vec<Digest>> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let worker = || hash_cuts(file, cuts, &next);
        let workers: Vec<_> = (0..threads().min(cuts.len())).map(|_| scope.spawn(worker)).collect();
        let mut digests = vec![Digest::default(); cuts.len()];
        for worker in workers {
            for (index, digest) in worker.join().map_err(|_| io::Error::other("a hashing thread panicked"))?? {
                digests[index] = digest;
            }
        }
        Ok(digests)
    })
}

/// Takes cuts one after another, as other threads do, until none is left.
fn hash_cuts(file: &File, cuts: &[Cut], next: &AtomicUsize) -> io::Result<Vec<(usize, Digest)>> {
    let mut digests = Vec::new();
    let mut buffer = vec![0; limits::CHUNK_BYTES_MAX as usize];
    loop {
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
mod tests;
