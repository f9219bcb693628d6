//! safetensors, read in Rust with every bound checked: the header of one file, and the index of a model in several. Reads
//! headers only, never weights. Pure functions over bytes and readers; called by `huggingface`. The format:
//! https://github.com/huggingface/safetensors#format

mod header;
pub mod index;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use crate::core::limits;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    /// Truth values, one byte each.
    Bool,
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
    /// Eight-bit floats, five bits of them the exponent.
    F8E5M2,
    /// Eight-bit floats, four bits of them the exponent.
    F8E4M3,
    /// Signed 16-bit numbers.
    I16,
    /// Unsigned 16-bit numbers.
    U16,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed 32-bit numbers.
    I32,
    /// Unsigned 32-bit numbers.
    U32,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// Signed 64-bit numbers.
    I64,
    /// Unsigned 64-bit numbers.
    U64,
}

/// Names as they stand in files, and bytes per element.
const DTYPES: [(Dtype, &str, u64); 15] = [
    (Dtype::Bool, "BOOL", 1),
    (Dtype::U8, "U8", 1),
    (Dtype::I8, "I8", 1),
    (Dtype::F8E5M2, "F8_E5M2", 1),
    (Dtype::F8E4M3, "F8_E4M3", 1),
    (Dtype::I16, "I16", 2),
    (Dtype::U16, "U16", 2),
    (Dtype::F16, "F16", 2),
    (Dtype::Bf16, "BF16", 2),
    (Dtype::I32, "I32", 4),
    (Dtype::U32, "U32", 4),
    (Dtype::F32, "F32", 4),
    (Dtype::F64, "F64", 8),
    (Dtype::I64, "I64", 8),
    (Dtype::U64, "U64", 8),
];

impl Dtype {
    /// The type that files call `name`.
    pub fn from_name(name: &str) -> Option<Dtype> {
        DTYPES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Such as `BF16`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes per element.
    pub fn bytes(self) -> u64 {
        self.row().2
    }

    fn row(self) -> &'static (Dtype, &'static str, u64) {
        // The table has a row for each.
        DTYPES.iter().find(|row| row.0 == self).unwrap_or(&DTYPES[0])
    }
}

/// Why a file is not one of safetensors, or an index not one of such files.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// Shorter than the header's length, or than the header.
    #[error(
        "truncated: its header of {header_bytes} bytes does not fit in the {file_bytes} the file has; download it again"
    )]
    Truncated {
        /// What the first eight bytes say.
        header_bytes: u64,
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
    /// Not the JSON that should be there.
    #[error("damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// An impossible tensor.
    #[error("damaged: tensor {name:?}: {why}")]
    Tensor {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two tensors share bytes, or some bytes belong to none.
    #[error(
        "damaged: tensor {name:?} begins at byte {found} of the data, {expected} was expected: tensors must lie one behind the other"
    )]
    Layout {
        /// Which one.
        name: String,
        /// Where it begins.
        found: u64,
        /// Where the one before it ended.
        expected: u64,
    },
    /// The last tensor does not end where the file does.
    #[error("truncated or damaged: its tensors take {expected} bytes, the file has {found}; download it again")]
    Length {
        /// By the header.
        expected: u64,
        /// On the disk.
        found: u64,
    },
    /// The system refused.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

/// One tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tensor {
    /// Such as `model.layers.3.mlp.up_proj.weight`.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Sizes of its dimensions, the outermost first; none zero.
    pub shape: Vec<u64>,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Reads a file's header from its first byte, and gives its tensors in the order of their bytes. `file_bytes` is the length
/// of the whole file.
pub fn parse<R: Read>(mut reader: R, file_bytes: u64) -> Result<Vec<Tensor>, SafetensorsError> {
    let mut length = [0; 8];
    let truncated = |header_bytes| SafetensorsError::Truncated { header_bytes, file_bytes };
    if file_bytes < length.len() as u64 {
        return Err(truncated(0));
    }
    reader.read_exact(&mut length)?;
    let header_bytes = u64::from_le_bytes(length);
    let max = limits::SAFETENSORS_HEADER_BYTES_MAX;
    if header_bytes > max {
        return Err(SafetensorsError::TooMany { what: "the length of its header", found: header_bytes, max });
    }
    let data_start = 8 + header_bytes;
    if data_start > file_bytes {
        return Err(truncated(header_bytes));
    }
    let mut header = vec![0; header_bytes as usize];
    reader.read_exact(&mut header)?;
    let mut tensors = header::read(&header)?;
    place(&mut tensors, data_start, file_bytes)?;
    Ok(tensors)
}

/// Moves offsets behind the header and checks that the tensors lie one behind the other up to the end of the file.
fn place(tensors: &mut [Tensor], data_start: u64, file_bytes: u64) -> Result<(), SafetensorsError> {
    tensors.sort_by_key(|tensor| tensor.offset);
    let mut expected = 0u64;
    for tensor in tensors.iter_mut() {
        if tensor.offset != expected {
            return Err(SafetensorsError::Layout { name: tensor.name.clone(), found: tensor.offset, expected });
        }
        let end = expected.checked_add(tensor.bytes).filter(|end| end.checked_add(data_start).is_some());
        let overflow = || SafetensorsError::Tensor { name: tensor.name.clone(), why: "its end overflows".to_owned() };
        expected = end.ok_or_else(overflow)?;
        tensor.offset += data_start;
    }
    let end = data_start + expected;
    if end != file_bytes {
        return Err(SafetensorsError::Length { expected: end, found: file_bytes });
    }
    Ok(())
}
