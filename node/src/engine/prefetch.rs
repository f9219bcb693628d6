//! Reading a model's files into the page cache, in order and at the disk's speed, before they are mapped. Tells how far it is.
//! What is cached already is not read again.
//!
//! Two threads read long spans of the file in turn: while one copies, the other waits for the disk. Plain reads, because the
//! system then caches in large folios, which map in milliseconds; what is asked for ahead (`WILLNEED`) it caches in single pages,
//! and mapping 13 GB of those takes half a second.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// One read.
const BLOCK_BYTES: u64 = 4 << 20;
/// What one thread reads in order: many times what the system reads ahead.
const SPAN_BYTES: u64 = 128 << 20;
const THREADS: usize = 2;
/// Whether a block is cached is asked at these distances; a hole between them costs a page fault.
#[cfg(target_os = "linux")]
const PROBE_BYTES: u64 = 256 << 10;

/// How far it is: bytes done of bytes in all.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Reads the files. A file that cannot be read is an error here rather than a fault later.
pub(super) fn read_all(files: &[PathBuf], progress: Progress<'_>) -> io::Result<()> {
    let bytes = |path: &PathBuf| Ok(std::fs::metadata(path)?.len());
    let sizes: Vec<u64> = files.iter().map(bytes).collect::<io::Result<_>>()?;
    let (total, done) = (sizes.iter().sum(), AtomicU64::new(0));
    for (path, &bytes) in files.iter().zip(&sizes) {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        read_spans(path, bytes, &next, &mut |read| {
                            done.fetch_add(read, Ordering::Relaxed);
                        })
                    })
                })
                .collect();
            let mut tell = |read: u64| progress(done.fetch_add(read, Ordering::Relaxed) + read, total);
            let own = read_spans(path, bytes, &next, &mut tell);
            let others =
                helpers.into_iter().map(|helper| helper.join().map_err(|_| io::Error::other("a reader broke"))?);
            others.chain([own]).collect::<io::Result<()>>()
        })?;
    }
    progress(total, total);
    Ok(())
}

/// Reads spans as long as there are any.
fn read_spans(path: &Path, bytes: u64, next: &AtomicU64, done: &mut dyn FnMut(u64)) -> io::Result<()> {
    let (file, mut block) = (File::open(path)?, vec![0u8; BLOCK_BYTES as usize]);
    loop {
        let begin = next.fetch_add(SPAN_BYTES, Ordering::Relaxed);
        if begin >= bytes {
            return Ok(());
        }
        let end = bytes.min(begin + SPAN_BYTES);
        for at in (begin..end).step_by(BLOCK_BYTES as usize) {
            let want = BLOCK_BYTES.min(end - at);
            if !is_cached(&file, at, want) {
                // In a file that became shorter there is nothing more to read, and the load says what is wrong with it.
                read_block(&file, &mut block[..want as usize], at)?;
            }
            done(want);
        }
    }
}

/// All files of a model: of one that is split, llama.cpp is told the first.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let count = name.strip_suffix(".gguf").and_then(|stem| {
        let (stem, count) = stem.rsplit_once("-of-")?;
        let (stem, first) = stem.rsplit_once('-')?;
        let count: u32 = count.parse().ok().filter(|_| count.len() == 5 && first == "00001")?;
        Some((stem.to_owned(), count))
    });
    match count {
        Some((stem, count)) => {
            let part = |n: u32| path.with_file_name(format!("{stem}-{n:05}-of-{count:05}.gguf"));
            (1..=count).map(part).collect()
        }
        None => vec![path.to_owned()],
    }
}

fn read_block(file: &File, block: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < block.len() {
        match file.read_at(&mut block[done..], at + done as u64) {
            Ok(0) => return Ok(()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_cached(file: &File, at: u64, bytes: u64) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut one = [0u8; 1];
    (at..at + bytes).step_by(PROBE_BYTES as usize).all(|at| {
        // Fails where it would have to wait, and where the file system cannot tell.
        let mut buffers = [io::IoSliceMut::new(&mut one)];
        preadv2(file, &mut buffers, at, ReadWriteFlags::NOWAIT).is_ok()
    })
}

#[cfg(not(target_os = "linux"))]
fn is_cached(_: &File, _: u64, _: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_once_and_progress_ends_at_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [SPAN_BYTES + BLOCK_BYTES + 17, 0, 5];
        let files: Vec<PathBuf> = sizes
            .iter()
            .enumerate()
            .map(|(n, &bytes)| {
                let path = folder.path().join(n.to_string());
                File::create(&path).unwrap().set_len(bytes).unwrap();
                path
            })
            .collect();
        let mut seen = Vec::new();
        read_all(&files, &mut |done, total| seen.push((done, total))).unwrap();
        let total: u64 = sizes.iter().sum();
        assert!(seen.iter().all(|&(_, of)| of == total));
        assert_eq!(seen.last(), Some(&(total, total)));
        assert!(read_all(&[folder.path().join("missing")], &mut |_, _| {}).is_err());
    }

    #[test]
    fn the_parts_of_a_split_model_are_found() {
        let names =
            |path: &str| files_of(Path::new(path)).iter().map(|p| p.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names("/a/model.gguf"), ["/a/model.gguf"]);
        assert_eq!(names("/a/m-00001-of-00002.gguf"), ["/a/m-00001-of-00002.gguf", "/a/m-00002-of-00002.gguf"]);
        assert_eq!(names("/a/m-00002-of-00002.gguf"), ["/a/m-00002-of-00002.gguf"]);
        assert_eq!(names("/a/m-00001-of-2.gguf"), ["/a/m-00001-of-2.gguf"]);
    }
}
