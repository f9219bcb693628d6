//! What the owner points at: one GGUF file, the parts of a split one, or a Hugging Face folder. Opened once, read and judged
//! before anything is written; what is imported afterwards is read from the same open files. Called by `driver` for
//! `fednode publish`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::core::artifact::{ArtifactKind, Shape};
use crate::store::feed::Feed;
use crate::store::gguf::{self, GgufError, ParsedModel, split};
use crate::store::huggingface::{self, HuggingFaceError};

/// Why a path is nothing that can be imported.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing there, or not for us.
    #[error("cannot open {path}: {source}", path = .path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a model this program takes.
    #[error("{path}: {source}", path = .path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// Not a folder that can be converted.
    #[error("{path}: {source}", path = .path.display())]
    HuggingFace {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<HuggingFaceError>,
    },
}

/// A model or an adapter that was found sound and can be imported.
pub struct Source {
    /// For messages; nothing is opened by it again.
    pub(super) path: PathBuf,
    pub(super) model: ParsedModel,
    pub(super) files: Vec<SourceFile>,
    /// How the files that are read were when they were opened.
    stamps: Vec<(File, Stamp)>,
}

/// One file of the artifact to be.
pub(super) struct SourceFile {
    /// The name it has in the store.
    pub name: String,
    pub bytes: Origin,
}

/// Where its bytes come from.
pub(super) enum Origin {
    /// They are in a file as they will be in the store.
    File(File),
    /// They are made on the way.
    Converted(Box<dyn Feed + Send>),
}

impl Origin {
    pub(super) fn feed(&self) -> &dyn Feed {
        match self {
            Origin::File(file) => file,
            Origin::Converted(feed) => feed.as_ref(),
        }
    }
}

/// What changes when a file is written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Stamp> {
        let metadata = file.metadata()?;
        Ok(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl Source {
    /// Opens what is at `path`. A folder with an adapter in it is made for `base`, the shape of the model it belongs to.
    pub fn open(path: &Path, base: Option<&Shape>) -> Result<Source, SourceError> {
        let open_error = |source| SourceError::Open { path: path.to_owned(), source };
        if fs::metadata(path).map_err(open_error)?.is_dir() {
            return Source::folder(path, base);
        }
        Source::gguf(path)
    }

    fn folder(path: &Path, base: Option<&Shape>) -> Result<Source, SourceError> {
        let opened = huggingface::open(path, base)
            .map_err(|source| SourceError::HuggingFace { path: path.to_owned(), source: Box::new(source) })?;
        let stamps = stamps(&opened.files).map_err(|source| SourceError::Open { path: path.to_owned(), source })?;
        let model = opened.conversion.model().clone();
        let name = file_name(model.kind, 0, 1);
        let files = vec![SourceFile { name, bytes: Origin::Converted(Box::new(opened.conversion)) }];
        Ok(Source { path: path.to_owned(), model, files, stamps })
    }

    fn gguf(path: &Path) -> Result<Source, SourceError> {
        let opened = split::open(path).map_err(|source| match source {
            GgufError::Io(source) => SourceError::Open { path: path.to_owned(), source },
            source => SourceError::Gguf { path: path.to_owned(), source },
        })?;
        let count = opened.files.len();
        let named = |(index, file)| {
            let name = file_name(opened.model.kind, index, count);
            SourceFile { name, bytes: Origin::File(file) }
        };
        let stamps = stamps(&opened.files).map_err(|source| SourceError::Open { path: path.to_owned(), source })?;
        let files = opened.files.into_iter().enumerate().map(named).collect();
        Ok(Source { path: path.to_owned(), model: opened.model, files, stamps })
    }

    /// What it describes.
    pub fn model(&self) -> &ParsedModel {
        &self.model
    }

    /// What people call it: the name it states, or else that of its file or folder.
    pub fn name(&self) -> String {
        let stated = self.model.name.clone();
        stated.unwrap_or_else(|| {
            let stem = gguf::presentable(&split::stem(&self.path).to_string_lossy());
            if stem.is_empty() { UNNAMED.to_owned() } else { stem }
        })
    }

    /// The name in the manifest: the same for the same bytes, whatever their file is called.
    pub(super) fn manifest_name(&self) -> String {
        self.model.name.clone().unwrap_or_else(|| UNNAMED.to_owned())
    }

    /// Were its files left alone since they were opened?
    pub(super) fn is_unchanged(&self) -> bool {
        self.stamps.iter().all(|(file, stamp)| Stamp::of(file).is_ok_and(|now| now == *stamp))
    }
}

/// The manifest's name of a model that states none.
const UNNAMED: &str = "unnamed";

/// The name a file has in the store. Never the owner's: the same bytes are the same artifact wherever they came from. Parts
/// of a split model keep the form that engines find the others by.
fn file_name(kind: ArtifactKind, index: usize, count: usize) -> String {
    let stem = match kind {
        ArtifactKind::Model => "model",
        ArtifactKind::Adapter => "adapter",
    };
    if count == 1 { format!("{stem}.gguf") } else { split::part_name(stem, index + 1, count) }
}

fn stamps(files: &[File]) -> io::Result<Vec<(File, Stamp)>> {
    files.iter().map(|file| Ok((file.try_clone()?, Stamp::of(file)?))).collect()
}
