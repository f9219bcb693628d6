//! How large the model in a folder is, of whatever family: its settings as they stand, and what the headers of its safetensors files
//! say. Nothing is converted and no weight is read. Called by `fednode fit`.

use std::path::Path;

use super::folder::Folder;
use super::shards::Shards;
use super::{HuggingFaceError, adapter, config};
use crate::core::artifact::Precision;
use crate::core::limits;
use crate::store::safetensors::{Dtype, Tensor};

/// What a folder holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Measured {
    /// The text of its `config.json`.
    pub config: String,
    /// Σ of its tensors, bytes.
    pub weights_bytes: u64,
    /// Σ of their elements.
    pub elements: u64,
    /// The weakest precision of those of two or more dimensions.
    pub precision: Precision,
}

/// Reads the folder at `path`.
pub fn measure(path: &Path) -> Result<Measured, HuggingFaceError> {
    let folder = Folder::new(path);
    if !folder.has(config::FILE) {
        return Err(match folder.has(adapter::CONFIG_FILE) {
            true => HuggingFaceError::NeedsBase,
            false => HuggingFaceError::NotAModel,
        });
    }
    let text = folder.read(config::FILE, limits::SETTINGS_BYTES_MAX)?;
    let shards = Shards::of_model(&folder)?;
    let sum = |each: fn(&Tensor) -> u64| shards.tensors().map(each).fold(0, u64::saturating_add);
    let matrices = shards.tensors().filter(|tensor| tensor.shape.len() > 1);
    Ok(Measured {
        config: String::from_utf8_lossy(&text).into_owned(),
        weights_bytes: sum(|tensor| tensor.bytes),
        elements: sum(|tensor| tensor.bytes / tensor.dtype.bytes().max(1)),
        precision: matrices.map(|tensor| precision(tensor.dtype)).max_by_key(weakness).unwrap_or_default(),
    })
}

fn precision(dtype: Dtype) -> Precision {
    match dtype {
        Dtype::F32 | Dtype::F64 => Precision::F32,
        Dtype::F16 => Precision::F16,
        Dtype::Bf16 => Precision::Bf16,
        other => Precision::Quantised(other.name().to_owned()),
    }
}

fn weakness(precision: &Precision) -> u8 {
    match precision {
        Precision::F32 => 0,
        Precision::F16 => 1,
        Precision::Bf16 => 2,
        Precision::Quantised(_) => 3,
    }
}
