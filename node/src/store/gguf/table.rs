//! The tensor table of a GGUF file: what each tensor is, where its bytes lie, and the checks that make that table
//! trustworthy before an engine sees it. Called by `gguf`.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::Read;

use crate::core::artifact::Precision;
use crate::core::limits;
use crate::store::gguf::GgufError;
use crate::store::gguf::reader::HeaderReader;

/// Dimensions a tensor may have, as in ggml.
const DIMENSIONS_MAX: u32 = 4;
/// ggml keeps names in 64 bytes with a zero at the end.
const TENSOR_NAME_BYTES_MAX: usize = 63;
/// The fewest bytes one entry takes: name length, one letter, dimension count, one dimension, type, offset.
const ENTRY_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// A ggml type: its number in files, its name, elements per block, bytes per block.
type TypeRow = (u32, &'static str, u64, u64);

/// Every type of ggml.h as of 2026, from its block structures. Removed numbers stay unknown.
const TYPES: [TypeRow; 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dtype {
    row: &'static TypeRow,
}

impl Dtype {
    /// IEEE single.
    pub const F32: Dtype = Dtype { row: &TYPES[0] };
    /// IEEE half.
    pub const F16: Dtype = Dtype { row: &TYPES[1] };
    /// Blocks of 32 signed bytes and a scale.
    pub const Q8_0: Dtype = Dtype { row: &TYPES[6] };

    /// The type that files call `number`.
    pub fn from_number(number: u32) -> Option<Dtype> {
        TYPES.iter().find(|row| row.0 == number).map(|row| Dtype { row })
    }

    /// The number that files call it by.
    pub fn number(self) -> u32 {
        self.row.0
    }

    /// Such as `F16` or `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row.1
    }

    /// What whole blocks of `elements` take, if that can be said in 64 bits.
    pub(super) fn bytes_of(self, elements: u64) -> Option<u64> {
        (elements / self.row.2).checked_mul(self.row.3)
    }

    /// Bits per element, times 1024, so that types compare exactly.
    fn weight(self) -> u64 {
        self.row.3 * 8 * 1024 / self.row.2
    }

    /// Where this type stands among precisions: integers and blocks count as quantised.
    pub fn precision(self) -> Precision {
        match self.name() {
            // Nothing computes in double; no precision is lost by treating it as single.
            "F32" | "F64" => Precision::F32,
            "F16" => Precision::F16,
            "BF16" => Precision::Bf16,
            name => Precision::Quantised(name.to_owned()),
        }
    }
}

/// One tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tensor {
    /// Such as `blk.3.ffn_up.weight`.
    pub name: String,
    /// Sizes of its dimensions, the innermost first; one to four, none zero.
    pub dims: Vec<u64>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Tensor {
    /// How many elements it has.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product() // checked when it was read
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes // checked when it was placed
    }
}

/// Reads `count` entries. Offsets are still relative to the data section, whose start is not known yet.
pub(super) fn read_entries<R: Read>(header: &mut HeaderReader<R>, count: u64) -> Result<Vec<Tensor>, GgufError> {
    let mut tensors = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let tensor = read_entry(header)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::DuplicateTensor(tensor.name));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// How many tensors the header says there are.
pub(super) fn read_count<R: Read>(header: &mut HeaderReader<R>) -> Result<u64, GgufError> {
    header.count("the number of tensors", limits::TENSORS_PER_FILE_MAX, ENTRY_BYTES_MIN)
}

fn read_entry<R: Read>(header: &mut HeaderReader<R>) -> Result<Tensor, GgufError> {
    let what = "the tensor table";
    let name = header.name("a tensor's name")?;
    if name.len() > TENSOR_NAME_BYTES_MAX || name.contains(['/', '\\']) {
        return Err(GgufError::BadTensorName(name));
    }
    let bad = |why: String| GgufError::BadTensor { name: name.clone(), why };
    let dimensions = header.u32(what)?;
    if dimensions == 0 || dimensions > DIMENSIONS_MAX {
        return Err(bad(format!("it has {dimensions} dimensions; 1 to {DIMENSIONS_MAX} are possible")));
    }
    let mut dims = Vec::new();
    let mut elements = 1u64;
    for _ in 0..dimensions {
        let dim = header.u64(what)?;
        if dim == 0 {
            return Err(bad("one of its dimensions is zero".to_owned()));
        }
        let product = elements.checked_mul(dim).filter(|&n| n <= i64::MAX as u64);
        elements = product.ok_or_else(|| bad("its dimensions multiply beyond 2^63 elements".to_owned()))?;
        dims.push(dim);
    }
    let number = header.u32(what)?;
    let dtype = Dtype::from_number(number)
        .ok_or_else(|| bad(format!("its type {number} is not known; convert the model to F16 with current tools")))?;
    let (_, type_name, block, _) = *dtype.row;
    if !dims[0].is_multiple_of(block) {
        return Err(bad(format!("rows of {} do not divide into {type_name} blocks of {block}", dims[0])));
    }
    let bytes = dtype.bytes_of(elements).ok_or_else(|| bad("its size overflows".to_owned()))?;
    let offset = header.u64(what)?;
    Ok(Tensor { name, dims, dtype, offset, bytes })
}

/// Moves relative offsets behind `data_start` and checks that every tensor lies aligned, inside the file, and alone.
pub(super) fn place(tensors: &mut [Tensor], data_start: u64, alignment: u64, file_bytes: u64) -> Result<(), GgufError> {
    for tensor in tensors.iter_mut() {
        if !tensor.offset.is_multiple_of(alignment) {
            let why = format!("its offset {} is not a multiple of the alignment {alignment}", tensor.offset);
            return Err(GgufError::BadTensor { name: tensor.name.clone(), why });
        }
        let placed = data_start.checked_add(tensor.offset);
        let end = placed.and_then(|offset| offset.checked_add(tensor.bytes));
        let (Some(offset), Some(end)) = (placed, end) else {
            let why = format!("its offset {} overflows", tensor.offset);
            return Err(GgufError::BadTensor { name: tensor.name.clone(), why });
        };
        if end > file_bytes {
            return Err(GgufError::TensorTruncated { name: tensor.name.clone(), end, file_bytes });
        }
        tensor.offset = offset;
    }
    let mut order: Vec<&Tensor> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].end() > pair[1].offset {
            return Err(GgufError::Overlap { first: pair[0].name.clone(), second: pair[1].name.clone() });
        }
    }
    Ok(())
}

/// The weakest precision among tensors of two or more dimensions: quantised before BF16 before F16 before F32, and among
/// the quantised the one of fewest bits. A file of vectors only is judged by those.
pub(super) fn weakest_precision(tensors: &[&Tensor]) -> Precision {
    let matrices_exist = tensors.iter().any(|tensor| tensor.dims.len() > 1);
    let counted = tensors.iter().filter(|tensor| !matrices_exist || tensor.dims.len() > 1);
    let rank = |dtype: Dtype| {
        let precision = dtype.precision();
        let bits = if matches!(precision, Precision::Quantised(_)) { dtype.weight() } else { 0 };
        (Reverse(precision.weakness()), bits)
    };
    counted.map(|tensor| tensor.dtype).min_by_key(|&dtype| rank(dtype)).map_or(Precision::F32, Dtype::precision)
}
