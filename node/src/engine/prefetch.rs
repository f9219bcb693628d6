//! Bringing a model's files into memory before llama.cpp maps them, in order and at the disk's speed, and telling how far it is.
//!
//! Page by page is slow, and reading into a buffer copies everything: instead the file is mapped and its pages are brought in,
//! 64 MiB at a time, which takes 0.7 of the time of a plain read and leaves large folios, so that mapping it again takes
//! milliseconds. All of it stays mapped until the last page is there: what nobody has mapped a system drops first. Where a system cannot do that the file is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::llama::Mapping;

/// Brought in at once.
const STEP_BYTES: u64 = 64 << 20;
/// One read, where reading it is.
const BLOCK_BYTES: usize = 4 << 20;

/// How far it is: bytes done of bytes in all.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Files that are in memory while this lives, as far as there is room.
pub(super) struct InMemory {
    _mappings: Vec<Mapping>,
}

/// Brings the files in. A file that cannot be read is an error here rather than a fault later.
pub(super) fn bring_in(files: &[PathBuf], progress: Progress<'_>) -> io::Result<InMemory> {
    let open = |path: &PathBuf| {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    };
    let opened: Vec<(File, u64)> = files.iter().map(open).collect::<io::Result<_>>()?;
    let total = opened.iter().map(|(_, bytes)| bytes).sum();
    let (mut done, mut mappings) = (0, Vec::new());
    for (file, bytes) in opened.iter().filter(|(_, bytes)| *bytes > 0) {
        let mapping = Mapping::of(file, *bytes).ok();
        for at in (0..*bytes).step_by(STEP_BYTES as usize) {
            let len = STEP_BYTES.min(bytes - at);
            // Positions in a file that was mapped fit a usize.
            let brought = mapping.as_ref().is_some_and(|mapping| mapping.bring_in(at as usize, len as usize).is_ok());
            if !brought {
                read(file, at, len)?;
            }
            done += len;
            progress(done, total);
        }
        mappings.extend(mapping);
    }
    Ok(InMemory { _mappings: mappings })
}

/// In a file that became shorter there is nothing more to read, and the load says what is wrong with it.
fn read(file: &File, at: u64, len: u64) -> io::Result<()> {
    let (mut block, mut done) = (vec![0u8; BLOCK_BYTES], 0);
    while done < len {
        let want = (len - done).min(BLOCK_BYTES as u64) as usize;
        match file.read_at(&mut block[..want], at + done) {
            Ok(0) => return Ok(()),
            Ok(count) => done += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_once_and_progress_ends_at_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [STEP_BYTES + 4097, 0, 5];
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
        drop(bring_in(&files, &mut |done, total| seen.push((done, total))).unwrap());
        let total: u64 = sizes.iter().sum();
        assert!(seen.is_sorted() && seen.iter().all(|&(_, of)| of == total));
        assert_eq!(seen.last(), Some(&(total, total)));
        assert!(bring_in(&[folder.path().join("missing")], &mut |_, _| {}).is_err());
        // The other way, for systems that know no such thing; beyond the end there is nothing.
        read(&File::open(&files[0]).unwrap(), STEP_BYTES, STEP_BYTES).unwrap();
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
