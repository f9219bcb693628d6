//! Hugging Face folders on their way to GGUF: a model (`config.json`, `tokenizer.json`, safetensors) or a PEFT LoRA adapter
//! (`adapter_config.json`). What travels in a federation is always what its engines map, so a folder is converted when it is
//! imported, once, and never again. The conversion is deterministic: the same folder gives the same bytes everywhere.
//!
//! Nothing is made smaller than it is: F16 and F32 matrices stay what they are; BF16, which no engine here computes in
//! (DESIGN 16), becomes the nearest F16, and a number beyond F16's range is an error and not an infinity. Called by `source`.

mod adapter;
mod config;
mod convert;
mod folder;
mod json;
mod measured;
mod model;
mod pre;
mod shards;
mod tokenizer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::core::artifact::Shape;
use crate::store::gguf::GgufError;
use crate::store::safetensors::SafetensorsError;

pub(super) use convert::Conversion;
use folder::Folder;

pub use config::parse as parse_config;
pub use measured::{Measured, measure};
pub use pre::name as pre_tokenizer_name;
pub use tokenizer::parse as parse_tokenizer;

/// What to do instead, where this program has no conversion.
const REMEDY: &str = "convert it with llama.cpp (convert_hf_to_gguf.py --outtype f16) and publish that file";

/// Why a folder cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum HuggingFaceError {
    /// Some other folder.
    #[error(
        "this folder has neither config.json nor adapter_config.json; give a GGUF file or a Hugging Face model folder"
    )]
    NotAModel,
    /// A file of it is missing, is no file, or cannot be read.
    #[error("cannot read {file}: {source}; download the folder again")]
    File {
        /// Its name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of it is longer than such files are.
    #[error("{file} has {found} bytes, more than the {max} that are allowed")]
    TooLong {
        /// Its name.
        file: String,
        /// Its length.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Not the JSON that should be there.
    #[error("{file} is damaged: {source}")]
    Json {
        /// Its name.
        file: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A damaged safetensors file.
    #[error("{file}: {source}")]
    Safetensors {
        /// Its name.
        file: String,
        /// What is wrong with it.
        source: SafetensorsError,
    },
    /// Something this program has no conversion for.
    #[error("{what} is not converted here; {REMEDY}")]
    Unsupported {
        /// What it is.
        what: String,
    },
    /// A setting without sense.
    #[error("{file} is damaged: {what}")]
    Setting {
        /// Where it stands.
        file: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The weights are not those of the model that the settings describe.
    #[error("tensor {name}: {why}")]
    Tensor {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// An adapter, published as a model.
    #[error("this folder is a LoRA adapter; say its domain with --domain NAME")]
    NeedsBase,
    /// An adapter of a kind that GGUF has no place for.
    #[error("this adapter uses {what}, which a GGUF adapter cannot carry; merge it into its base, or train it without")]
    Adapter {
        /// What it uses.
        what: String,
    },
    /// What was made would not be taken.
    #[error("the converted file would not be sound: {0}")]
    Gguf(#[from] GgufError),
}

/// A folder that was found sound: what it becomes, and the files that are read for it.
pub(super) struct Opened {
    pub conversion: Conversion,
    pub files: Vec<File>,
}

/// Opens the folder at `path`. `base` is the shape of the model that an adapter goes on top of.
pub(super) fn open(path: &Path, base: Option<&Shape>) -> Result<Opened, HuggingFaceError> {
    let folder = Folder::new(path);
    let plan = if folder.has(adapter::CONFIG_FILE) {
        adapter::plan(&folder, base.ok_or(HuggingFaceError::NeedsBase)?)?
    } else if folder.has(config::FILE) {
        model::plan(&folder)?
    } else {
        return Err(HuggingFaceError::NotAModel);
    };
    let clone = |file: &File| {
        file.try_clone().map_err(|source| HuggingFaceError::File { file: "a safetensors file".to_owned(), source })
    };
    let files = plan.files.iter().map(clone).collect::<Result<Vec<_>, _>>()?;
    Ok(Opened { conversion: plan.conversion()?, files })
}

fn unsupported(what: impl Into<String>) -> HuggingFaceError {
    HuggingFaceError::Unsupported { what: what.into() }
}
