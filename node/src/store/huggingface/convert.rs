//! The bytes of a GGUF file that is nowhere: made from safetensors files wherever they are read, by as many threads as read
//! them. Every byte follows from the plan and the source alone, whatever pieces it is read in. Called by `import` through
//! `Feed`, and planned by `model` and `adapter`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::shards::Found;
use super::{HuggingFaceError, unsupported};
use crate::store::feed::Feed;
use crate::store::gguf::{self, ParsedModel, table, write::ALIGNMENT, write::NewTensor, write::Writer};
use crate::store::safetensors::Dtype;

/// How the rows of a matrix are put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rows {
    AsTheyAre,
    /// Queries and keys: Hugging Face rotates the first half of a head against the second, llama.cpp each even row against
    /// the odd one behind it.
    Interleaved {
        head_dim: u64,
    },
}

impl Rows {
    /// Which row of the source is row `row` of the result?
    fn source(self, row: u64) -> u64 {
        match self {
            Rows::AsTheyAre => row,
            Rows::Interleaved { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                head * head_dim + within % 2 * (head_dim / 2) + within / 2
            }
        }
    }
}

/// One tensor of the file to be.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    to: NewTensor,
    /// Its name in the source, for messages.
    name: String,
    found: Found,
    rows: Rows,
}

impl Planned {
    /// `shape` is the outermost dimension first, as in the source. `widen`: BF16 becomes F32 and not F16.
    pub(super) fn new(
        to: String,
        name: String,
        shape: &[u64],
        rows: Rows,
        found: Found,
        widen: bool,
    ) -> Result<Planned, HuggingFaceError> {
        let dtype = match found.dtype {
            Dtype::F32 => table::Dtype::F32,
            Dtype::F16 | Dtype::Bf16 if shape.len() < 2 => table::Dtype::F32,
            Dtype::Bf16 if widen => table::Dtype::F32,
            Dtype::F16 | Dtype::Bf16 => table::Dtype::F16,
            other => return Err(unsupported(format!("tensor {name} of type {}", other.name()))),
        };
        let dims = shape.iter().rev().copied().collect(); // the source has as many, and its size was checked
        Ok(Planned { to: NewTensor::new(to, dims, dtype), name, found, rows })
    }

    /// Does it become a matrix of F16?
    pub(super) fn is_half_matrix(&self) -> bool {
        self.to.dims.len() > 1 && self.to.dtype == table::Dtype::F16
    }

    fn width(&self) -> u64 {
        if self.to.dtype.name() == "F32" { 4 } else { 2 }
    }

    /// Fills `out` with whole elements from number `first` on.
    fn elements(&self, file: &File, first: u64, out: &mut [u8]) -> io::Result<()> {
        let row_elements = match self.rows {
            // One endless row: nothing moves.
            Rows::AsTheyAre => u64::MAX,
            Rows::Interleaved { .. } => self.to.dims[0],
        };
        let (width, source_width) = (self.width(), self.found.dtype.bytes());
        let mut raw = Vec::new();
        let mut element = first;
        let mut rest = out;
        while !rest.is_empty() {
            let (row, column) = (element / row_elements, element % row_elements);
            let run = (row_elements - column).min(rest.len() as u64 / width);
            let (now, later) = rest.split_at_mut((run * width) as usize);
            let row = if row_elements == u64::MAX { 0 } else { self.rows.source(row) * row_elements };
            let offset = self.found.offset + (row + column) * source_width;
            if source_width == width {
                file.read_exact_at(now, offset)?;
            } else {
                raw.resize((run * source_width) as usize, 0);
                file.read_exact_at(&mut raw, offset)?;
            }
            let sound = match (self.found.dtype, width) {
                (Dtype::Bf16, 2) => bf16_to_f16(now),
                (Dtype::Bf16, _) => bf16_to_f32(&raw, now),
                (Dtype::F16, 4) => f16_to_f32(&raw, now),
                _ => true,
            };
            if !sound {
                let why = "it has a number beyond the range of F16; such a model cannot be hosted at F16".to_owned();
                let error = HuggingFaceError::Tensor { name: self.name.clone(), why };
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            element += run;
            rest = later;
        }
        Ok(())
    }

    /// Fills `out` with the bytes from `at` on, wherever elements begin.
    fn fill(&self, file: &File, at: u64, out: &mut [u8]) -> io::Result<()> {
        let width = self.width();
        let end = at + out.len() as u64;
        let (first, last) = (at / width, end.div_ceil(width));
        if first * width == at && last * width == end {
            return self.elements(file, first, out);
        }
        let mut whole = vec![0; ((last - first) * width) as usize];
        self.elements(file, first, &mut whole)?;
        out.copy_from_slice(&whole[(at - first * width) as usize..][..out.len()]);
        Ok(())
    }
}

/// A header in the making, and the tensors behind it.
pub(super) struct Plan {
    pub writer: Writer,
    pub tensors: Vec<Planned>,
    pub files: Vec<File>,
}

impl Plan {
    /// The file it makes, read once as any other to see that it is sound.
    pub(super) fn conversion(self) -> Result<Conversion, HuggingFaceError> {
        let table: Vec<NewTensor> = self.tensors.iter().map(|tensor| tensor.to.clone()).collect();
        let header = self.writer.header(&table);
        let mut end = header.len() as u64;
        let mut tensors = Vec::new();
        for tensor in self.tensors {
            let start = end;
            end += tensor.to.bytes.next_multiple_of(ALIGNMENT);
            tensors.push((start, tensor));
        }
        let model = gguf::parse(&header[..], end)?;
        Ok(Conversion { header, tensors, files: self.files, model })
    }
}

/// A GGUF file that is made while it is read.
pub struct Conversion {
    header: Vec<u8>,
    /// Each with where it begins, in order.
    tensors: Vec<(u64, Planned)>,
    files: Vec<File>,
    model: ParsedModel,
}

impl Conversion {
    /// What it describes.
    pub(in crate::store) fn model(&self) -> &ParsedModel {
        &self.model
    }
}

impl Feed for Conversion {
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buffer);
        let in_header = self.header.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let (now, later) = rest.split_at_mut(rest.len().min(in_header.len()));
        now.copy_from_slice(&in_header[..now.len()]);
        (at, rest) = (at + now.len() as u64, later);
        let mut next = self.tensors.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        while !rest.is_empty() {
            let (start, tensor) = self.tensors.get(next).ok_or(io::ErrorKind::UnexpectedEof)?;
            let padded = start + tensor.to.bytes.next_multiple_of(ALIGNMENT);
            let left = padded.checked_sub(at).filter(|&left| left > 0).ok_or(io::ErrorKind::UnexpectedEof)?;
            let (now, later) = rest.split_at_mut(left.min(rest.len() as u64) as usize);
            let data = (start + tensor.to.bytes).saturating_sub(at).min(now.len() as u64);
            let (bytes, padding) = now.split_at_mut(data as usize);
            let file = self.files.get(tensor.found.file).ok_or(io::ErrorKind::NotFound)?;
            tensor.fill(file, at - start, bytes)?;
            padding.fill(0);
            at += now.len() as u64;
            (rest, next) = (later, next + 1);
        }
        Ok(())
    }
}

/// In place, to the nearest, ties to even. False: a number is too large for F16, or none at all.
fn bf16_to_f16(numbers: &mut [u8]) -> bool {
    let mut largest = 0;
    for pair in numbers.chunks_exact_mut(2) {
        let bits = u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16;
        largest = largest.max(bits & 0x7fff_ffff);
        pair.copy_from_slice(&f32_bits_to_f16(bits).to_le_bytes());
    }
    // From 65520 on the nearest is infinity; infinities and what is no number are larger still.
    largest < 65_520f32.to_bits()
}

/// The nearest F16 of a number below 65520, by its bits.
fn f32_bits_to_f16(bits: u32) -> u16 {
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    let (sign, size) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    let half = if size < SMALLEST_NORMAL {
        // 0.5 has F16's smallest step as its own last bit: adding it makes the processor round.
        (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits())
    } else {
        size.wrapping_add(0xfff + ((size >> 13) & 1)).wrapping_sub((127 - 15) << 23) >> 13
    };
    sign | half as u16
}

fn bf16_to_f32(numbers: &[u8], out: &mut [u8]) -> bool {
    for (pair, out) in numbers.chunks_exact(2).zip(out.chunks_exact_mut(4)) {
        out.copy_from_slice(&[0, 0, pair[0], pair[1]]);
    }
    true
}

fn f16_to_f32(numbers: &[u8], out: &mut [u8]) -> bool {
    for (pair, out) in numbers.chunks_exact(2).zip(out.chunks_exact_mut(4)) {
        let bits = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
        let (sign, exponent, mantissa) = ((bits & 0x8000) << 16, bits >> 10 & 0x1f, bits & 0x3ff);
        let size = match exponent {
            // A multiple of 2^-24, exact in F32.
            0 => (mantissa as f32 / 16_777_216.0).to_bits(),
            31 => 0x7f80_0000 | mantissa << 13,
            _ => (exponent + 127 - 15) << 23 | mantissa << 13,
        };
        out.copy_from_slice(&(sign | size).to_le_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_to_single_and_back() {
        for bits in 0..=u16::MAX {
            let mut single = [0; 4];
            f16_to_f32(&bits.to_le_bytes(), &mut single);
            let single = u32::from_le_bytes(single);
            if bits & 0x7c00 != 0x7c00 {
                assert_eq!(f32_bits_to_f16(single), bits, "{bits:04x}");
            }
        }
    }

    #[test]
    fn bf16_is_rounded_to_the_nearest_half() {
        let check = |value: f32, expected: u16| {
            let mut bytes = ((value.to_bits() >> 16) as u16).to_le_bytes();
            assert!(bf16_to_f16(&mut bytes));
            assert_eq!(u16::from_le_bytes(bytes), expected, "{value}");
        };
        check(0.0, 0);
        check(-0.0, 0x8000);
        check(1.0, 0x3c00);
        check(-1.5, 0xbe00);
        check(65_280.0, 0x7bf8);
        check(2f32.powi(-14), 0x0400);
        check(2f32.powi(-24), 1);
        check(2f32.powi(-25), 0); // a tie, to even
        check(1.5 * 2f32.powi(-25), 1);
        check(1.5 * 2f32.powi(-24), 2); // a tie, to even
        check(2f32.powi(-126), 0);
        for beyond in [65_536.0, -65_536.0, f32::MAX, f32::INFINITY, f32::NAN] {
            assert!(!bf16_to_f16(&mut ((beyond.to_bits() >> 16) as u16).to_le_bytes()), "{beyond}");
        }
    }

    #[test]
    fn rows_of_a_head_are_interleaved() {
        let rows = Rows::Interleaved { head_dim: 6 };
        let order: Vec<u64> = (0..12).map(|row| rows.source(row)).collect();
        assert_eq!(order, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
