//! GGUF (versions 2 and 3), read in Rust with every bound checked, so that no byte of a model reaches native code before
//! it was found sound here. Reads headers only, never weights. Called by `store::source` and by the
//! driver. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

mod model;
pub mod reader;
pub mod split;
pub mod table;
pub mod write;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::core::artifact::{ArtifactKind, Shape};
use crate::core::limits;
use crate::store::gguf::reader::{HeaderReader, Metadata};
use crate::store::gguf::table::Tensor;

pub(crate) use model::presentable;

const MAGIC: [u8; 4] = *b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u64 = 32;
/// The fewest bytes one metadata entry takes: key length, one letter, type, one byte.
const ENTRY_BYTES_MIN: u64 = 8 + 1 + 4 + 1;

/// Why a file is not a model this program takes.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// A folder where a file was expected.
    #[error("this is a folder, not a GGUF file; give the file itself")]
    Folder,
    /// Neither a file nor a folder.
    #[error("not a regular file")]
    NotAFile,
    /// Something else altogether.
    #[error("not a model: the file does not begin with GGUF; convert the model to a GGUF file in F16")]
    Magic,
    /// A version that is not read.
    #[error("GGUF version {0} is not supported (2 and 3 are); convert the model again with current tools")]
    Version(u32),
    /// Written for other machines.
    #[error("this GGUF file is big-endian, which no engine here reads; convert the model again for little-endian")]
    BigEndian,
    /// The header ends early.
    #[error(
        "truncated: {what} at byte {position} reaches past the end of the file, which has {file_bytes} bytes; copy or download it again"
    )]
    HeaderTruncated {
        /// What was being read.
        what: &'static str,
        /// Where.
        position: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// A tensor ends behind the file.
    #[error("truncated: tensor {name} ends at byte {end}, the file has {file_bytes}; copy or download it again")]
    TensorTruncated {
        /// Which tensor.
        name: String,
        /// Where it should end.
        end: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// An absurd count or length.
    #[error("damaged: {what} is {found}, more than the {max} that are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// A name that is none.
    #[error("damaged: {what} before byte {position} is empty, not UTF-8, or has control characters")]
    BadName {
        /// Which name.
        what: &'static str,
        /// Where it ended.
        position: u64,
    },
    /// A tensor's name that no engine takes.
    #[error("tensor name {0:?} is refused: at most 63 bytes, no path separators")]
    BadTensorName(String),
    /// An unknown metadata type.
    #[error("damaged: metadata {key:?} has the unknown type {kind}")]
    BadType {
        /// Which entry.
        key: String,
        /// The number found.
        kind: u32,
    },
    /// A key that stands twice.
    #[error("damaged: metadata {0:?} stands twice")]
    DuplicateKey(String),
    /// A tensor that stands twice.
    #[error("damaged: tensor {0} stands twice")]
    DuplicateTensor(String),
    /// An impossible alignment.
    #[error("damaged: {ALIGNMENT_KEY} is {0}, which is not a power of two up to 1 MiB")]
    Alignment(i128),
    /// An impossible tensor.
    #[error("tensor {name}: {why}")]
    BadTensor {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two tensors share bytes.
    #[error("damaged: tensors {first} and {second} overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// A vocabulary, say.
    #[error("not a model: the file has no tensors")]
    NoTensors,
    /// One of several parts, alone.
    #[error(
        "this is one of {0} parts of a split model, but its name does not say so; name the parts NAME-00001-of-{0:05}.gguf and so on, and give the first"
    )]
    Split(u32),
    /// A part is not where the others are.
    #[error("part {path} of this split model cannot be opened: {source}; put all its parts into one folder")]
    PartMissing {
        /// The missing file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A part is damaged.
    #[error("part {number}: {source}")]
    Part {
        /// Which part, from 1.
        number: usize,
        /// What is wrong with it.
        source: Box<GgufError>,
    },
    /// The parts do not belong together.
    #[error("part {number} of this split model does not belong to the first: {why}; copy or download all parts again")]
    PartMixed {
        /// Which part, from 1.
        number: usize,
        /// What does not match.
        why: String,
    },
    /// A GGUF file that is neither model nor LoRA adapter.
    #[error("general.type is {0:?}; fednode takes models and LoRA adapters")]
    Kind(String),
    /// A number that must be there.
    #[error("not a model an engine could run: metadata {0:?} is missing or out of range")]
    MissingKey(String),
    /// The system refused.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

/// A GGUF model or adapter found sound, as far as the headers and lengths of its files can tell.
#[derive(Clone, PartialEq, Debug)]
pub struct ParsedModel {
    /// Model or adapter.
    pub kind: ArtifactKind,
    /// Hyperparameters and sizes.
    pub shape: Shape,
    /// `general.name`, fit to be shown; `None` if the file states none.
    pub name: Option<String>,
    /// Adapters: the base they name, or empty.
    pub base_name: String,
    /// A chat template is there.
    pub has_chat_template: bool,
    /// All metadata, of the first file; of large values only their size.
    pub metadata: Metadata,
    /// The tensor tables: one, or one per part of a split model, in order.
    pub files: Vec<FileTable>,
}

/// Where the tensors of one file lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileTable {
    /// The tensors in the order of the table.
    pub tensors: Vec<Tensor>,
    /// Where the data section begins.
    pub data_start: u64,
    /// The file's length.
    pub file_bytes: u64,
}

impl ParsedModel {
    /// The tensors of all files.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.files.iter().flat_map(|file| &file.tensors)
    }
}

/// One file's header, before it is known what the file is part of.
#[derive(Clone, PartialEq, Debug)]
pub struct Header {
    /// All metadata; of large values only their size.
    pub metadata: Metadata,
    /// Where the tensors lie.
    pub table: FileTable,
}

/// Reads the header of the file at `path`, and those of the other parts if it is one part of a split model.
pub fn inspect(path: &Path) -> Result<ParsedModel, GgufError> {
    Ok(split::open(path)?.model)
}

/// Reads the header of an open file, whatever its position.
pub fn parse_file(file: &File) -> Result<Header, GgufError> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(GgufError::Folder);
    }
    if !metadata.is_file() {
        return Err(GgufError::NotAFile);
    }
    parse_header(BufReader::with_capacity(64 << 10, FromStart { file, position: 0 }), metadata.len())
}

/// Reads a whole model's header from its first byte. `file_bytes` is the length of the whole file.
pub fn parse<R: Read>(reader: R, file_bytes: u64) -> Result<ParsedModel, GgufError> {
    split::join(vec![parse_header(reader, file_bytes)?])
}

/// Reads one file's header from its first byte; the file may be a part of a split model.
pub fn parse_header<R: Read>(reader: R, file_bytes: u64) -> Result<Header, GgufError> {
    let mut header = HeaderReader::new(reader, file_bytes);
    if file_bytes < MAGIC.len() as u64 || header.array("the magic")? != MAGIC {
        return Err(GgufError::Magic);
    }
    match header.u32("the version")? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
        version => return Err(GgufError::Version(version)),
    }
    let tensor_count = table::read_count(&mut header)?;
    let metadata = read_metadata(&mut header)?;
    let mut tensors = table::read_entries(&mut header, tensor_count)?;
    let alignment = alignment(&metadata)?;
    let data_start = header.position().next_multiple_of(alignment);
    table::place(&mut tensors, data_start, alignment, file_bytes)?;
    // A file of metadata alone, as the first part of a split may be, need not be padded.
    let data_start = data_start.min(file_bytes);
    Ok(Header { metadata, table: FileTable { tensors, data_start, file_bytes } })
}

fn read_metadata<R: Read>(header: &mut HeaderReader<R>) -> Result<Metadata, GgufError> {
    let count = header.count("the number of metadata entries", limits::METADATA_ENTRIES_MAX, ENTRY_BYTES_MIN)?;
    let mut metadata = Metadata::default();
    for _ in 0..count {
        let key = header.name("a metadata key")?;
        let kind = header.u32("a metadata type")?;
        let value = header.value(&key, kind)?;
        metadata.insert(key, value)?;
    }
    Ok(metadata)
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    match metadata.value(ALIGNMENT_KEY) {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(reader::Value::Integer(found)) => match u64::try_from(*found) {
            Ok(alignment) if alignment.is_power_of_two() && alignment <= limits::TENSOR_ALIGNMENT_MAX => Ok(alignment),
            _ => Err(GgufError::Alignment(*found)),
        },
        Some(_) => Err(GgufError::Alignment(0)),
    }
}

/// Reads a file from its beginning without moving the position it shares with other users of the descriptor.
struct FromStart<'a> {
    file: &'a File,
    position: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
