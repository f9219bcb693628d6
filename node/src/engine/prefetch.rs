//! Reading a model's files into the page cache, in order and at the disk's speed, before they are mapped: a page fault waits for
//! a few pages, this for whole blocks with the next ones already asked for. Tells how far it is. What is cached already is
//! not read again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// One read. Large enough that asking costs nothing beside it.
const BLOCK_BYTES: u64 = 4 << 20;
/// The system is told of so much before it is read, so that the disk always has the next request.
#[cfg(target_os = "linux")]
const AHEAD_BYTES: u64 = 8 * BLOCK_BYTES;
/// Whether a block is cached is asked at these distances: the system reads ahead at least as much.
#[cfg(target_os = "linux")]
const PROBE_BYTES: u64 = 128 << 10;

/// How far it is: bytes done of bytes in all.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Reads the files. A file that cannot be read is an error here rather than a fault later.
pub(super) fn read_all(files: &[PathBuf], progress: Progress<'_>) -> io::Result<()> {
    let opened: Vec<(File, u64)> = files
        .iter()
        .map(|path| {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        })
        .collect::<io::Result<_>>()?;
    let total = opened.iter().map(|(_, bytes)| bytes).sum();
    let (mut done, mut block) = (0, vec![0u8; BLOCK_BYTES as usize]);
    for (file, bytes) in &opened {
        let mut told = 0;
        let mut at = 0;
        while at < *bytes {
            let want = BLOCK_BYTES.min(bytes - at);
            if !is_cached(file, at, want) {
                tell_ahead(file, &mut told, at, *bytes);
                // In a file that became shorter there is nothing more to read, and the load says what is wrong with it.
                read_block(file, &mut block[..want as usize], at)?;
            }
            at += want;
            done += want;
            progress(done, total);
        }
    }
    Ok(())
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

#[cfg(target_os = "linux")]
fn tell_ahead(file: &File, told: &mut u64, at: u64, bytes: u64) {
    let until = bytes.min(at + AHEAD_BYTES);
    let from = (*told).max(at);
    if let Some(len) = std::num::NonZeroU64::new(until.saturating_sub(from)) {
        // Where it does nothing, the reads that follow are all there is.
        let _ = rustix::fs::fadvise(file, from, Some(len), rustix::fs::Advice::WillNeed);
        *told = until;
    }
}

#[cfg(not(target_os = "linux"))]
fn tell_ahead(_: &File, _: &mut u64, _: u64, _: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_once_and_progress_ends_at_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [2 * BLOCK_BYTES + 17, 0, 5];
        let files: Vec<PathBuf> = sizes
            .iter()
            .enumerate()
            .map(|(n, &bytes)| {
                let path = folder.path().join(n.to_string());
                std::fs::write(&path, vec![1u8; bytes as usize]).unwrap();
                path
            })
            .collect();
        let mut seen = Vec::new();
        read_all(&files, &mut |done, total| seen.push((done, total))).unwrap();
        let total: u64 = sizes.iter().sum();
        assert!(seen.is_sorted() && seen.iter().all(|&(_, of)| of == total));
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
