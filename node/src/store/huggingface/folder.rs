//! Opens files of a Hugging Face folder by names that are known beforehand or were checked. Symbolic links are followed, for
//! the hub's own cache is made of them; what they lead to must be a regular file, and a pipe or a device is never waited
//! for. Called by `huggingface`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::HuggingFaceError;
use crate::store::gguf::split::open_file;

pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned() }
    }

    /// Is there something called `name`? A link that leads nowhere counts: it is refused when it is opened.
    pub(super) fn has(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    /// Opens the regular file `name`.
    pub(super) fn open(&self, name: &str) -> Result<(File, u64), HuggingFaceError> {
        let opened = open_file(&self.path.join(name)).and_then(|file| {
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
            }
            Ok((file, metadata.len()))
        });
        opened.map_err(|source| HuggingFaceError::File { file: name.to_owned(), source })
    }

    /// The whole of a file of at most `max` bytes.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, HuggingFaceError> {
        let (file, found) = self.open(name)?;
        if found > max {
            return Err(HuggingFaceError::TooLong { file: name.to_owned(), found, max });
        }
        let mut bytes = Vec::new();
        let read = file.take(max).read_to_end(&mut bytes);
        read.map_err(|source| HuggingFaceError::File { file: name.to_owned(), source })?;
        Ok(bytes)
    }

    /// The same, or nothing if there is no such file.
    pub(super) fn read_if_there(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, HuggingFaceError> {
        if self.has(name) { self.read(name, max).map(Some) } else { Ok(None) }
    }
}
