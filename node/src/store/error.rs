//! Why the store refuses, fails or pauses. One enum, so that callers tell the cases apart without reading text.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::keeping::BudgetShort;
use crate::core::types::{Digest, human_bytes};
use crate::store::meta::MetaError;

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not enough room to begin with.
    #[error(
        "not enough disk: {artifact_bytes} for the artifact and {margin} beside it make {needed}, {free} are free in {path}, short {short}",
        artifact_bytes = human_bytes(*.artifact_bytes),
        margin = human_bytes(.needed_bytes.saturating_sub(*.artifact_bytes)),
        needed = human_bytes(*.needed_bytes),
        free = human_bytes(*.free_bytes),
        short = human_bytes(.needed_bytes.saturating_sub(*.free_bytes)),
        path = .path.display()
    )]
    DiskShort {
        /// Where.
        path: PathBuf,
        /// What the artifact itself takes.
        artifact_bytes: u64,
        /// With the margin (DESIGN 10).
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The owner allows the store no more.
    #[error("{0}; `fednode gc` shows what may go, --disk-budget allows more")]
    BudgetShort(#[from] BudgetShort),
    /// The disk filled up on the way. What is there stays; the transfer resumes when there is room.
    #[error("the disk is full: cannot {what} {path}; free some space, the transfer then goes on", path = .path.display())]
    DiskFull {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Nothing of this artifact is here.
    #[error("artifact {artifact} is not in this store", artifact = .0.short())]
    Unknown(Digest),
    /// That chunk is not here (yet), or the artifact has no such chunk.
    #[error("chunk {chunk} of artifact {artifact} is not in this store", artifact = .artifact.short())]
    Missing {
        /// Of which artifact.
        artifact: Digest,
        /// Which chunk.
        chunk: u32,
    },
    /// A file that was imported with `--link` is not what it was.
    #[error("{path} was changed after it was imported with --link; put the old file back under that name, or publish the new one", path = .0.display())]
    LinkChanged(PathBuf),
    /// Finished too early.
    #[error("artifact {artifact} still lacks {missing} chunks", artifact = .artifact.short())]
    Incomplete {
        /// Which artifact.
        artifact: Digest,
        /// How many chunks it lacks.
        missing: u32,
    },
    /// Bytes changed on the disk between writing and finishing. These chunks are to be fetched again.
    #[error("artifact {artifact}: {count} chunks were damaged on this disk and are to be fetched again", artifact = .artifact.short(), count = .chunks.len())]
    Damaged {
        /// Which artifact.
        artifact: Digest,
        /// Which chunks.
        chunks: Vec<u32>,
    },
    /// All chunks hold, the whole does not: whoever wrote the manifest wrote nonsense. Nothing of it is kept.
    #[error("artifact {artifact}: the hash of file {file} contradicts the hashes of its chunks; publish the model again", artifact = .artifact.short())]
    Inconsistent {
        /// Which artifact.
        artifact: Digest,
        /// Which of its files.
        file: String,
    },
    /// Metadata.
    #[error(transparent)]
    Meta(MetaError),
    /// The system refused.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<MetaError> for StoreError {
    fn from(error: MetaError) -> StoreError {
        if error.is_disk_full() {
            return StoreError::DiskFull { what: "keep metadata in", path: PathBuf::from("meta") };
        }
        StoreError::Meta(error)
    }
}

impl StoreError {
    /// How much had to go for the refused thing to have room; 0 if it was refused for another reason.
    pub fn shortage_bytes(&self) -> u64 {
        match self {
            StoreError::BudgetShort(short) => short.short_bytes(),
            StoreError::DiskShort { needed_bytes, free_bytes, .. } => needed_bytes.saturating_sub(*free_bytes),
            _ => 0,
        }
    }

    /// A failed system call; a full disk is told apart, because it passes.
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> StoreError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { what, path },
            _ => StoreError::Io { what, path, source },
        }
    }
}
