//! Pseudo-random weights, the same on every machine: integer arithmetic, and of floating point only what IEEE 754 fixes
//! to the bit. Each tensor depends on the seed and on its own name alone, so its bytes do not move when others change.
//!
//! A weight is made as a half-precision number straight from random bits: sign and mantissa as they come, and the
//! exponent one of four. That is symmetric around zero and mostly small, like trained weights, and costs so little that
//! even an unoptimised build makes 13 GB in minutes.

use std::io::Write;

use crate::core::artifact::Precision;
use crate::core::chance;
use crate::store::gguf::write::NewTensor;

/// Made and written at a time; bounds the memory. A multiple of the 32 of a Q8_0 block.
const BATCH: u64 = 1 << 16;
/// Of each of four halves: sign, two low bits of the exponent, mantissa.
const RANDOM_BITS: u64 = 0x8FFF_8FFF_8FFF_8FFF;
/// One in each of four halves.
const EACH_HALF: u64 = 0x0001_0001_0001_0001;

/// Writes the tensor's weights; returns how many bytes they are. Norms are ones; matrices keep the size of what they
/// multiply, so that hidden states and logits stay of order one however deep the model is.
pub(super) fn write(seed: u64, tensor: &NewTensor, to: &mut impl Write) -> std::io::Result<u64> {
    if tensor.dims.len() == 1 {
        for _ in 0..tensor.elements() {
            to.write_all(&1f32.to_le_bytes())?;
        }
        return Ok(tensor.bytes);
    }
    let exponent = exponent_for(tensor.dims[0]);
    let mut random = seed ^ hash(&tensor.name);
    let mut left = tensor.elements();
    while left > 0 {
        let count = left.min(BATCH);
        let mut halves = Vec::with_capacity(2 * count as usize + 8);
        while (halves.len() as u64) < 2 * count {
            let four = (chance::next(&mut random) & RANDOM_BITS) + EACH_HALF * (exponent << 10);
            halves.extend_from_slice(&four.to_le_bytes());
        }
        halves.truncate(2 * count as usize);
        match tensor.dtype.precision() {
            Precision::F16 => to.write_all(&halves)?,
            Precision::F32 => to.write_all(&Vec::from_iter(values(&halves).flat_map(f32::to_le_bytes)))?,
            _ => to.write_all(&q8_0(&Vec::from_iter(values(&halves))))?,
        }
        left -= count;
    }
    Ok(tensor.bytes)
}

/// The lowest of the four exponents, as stored, that makes rows of `row` weights have a length near one.
///
/// With it, the mean square of a weight is 4^(exponent - 15) · (1 + 4 + 16 + 64) / 4 · 7 / 3 = 49.6 · 4^(exponent - 15).
fn exponent_for(row: u64) -> u64 {
    let too_long = |exponent: u64| 49.6 * 4f64.powi(exponent as i32 - 15) * row as f64 > 2.0;
    // 12 is the highest that leaves room for four in half precision's 1 to 30; real rows need 1 to 12.
    (1..=12).rev().find(|&exponent| !too_long(exponent)).unwrap_or(1)
}

fn values(halves: &[u8]) -> impl Iterator<Item = f32> {
    halves.chunks_exact(2).map(|half| {
        let half = u32::from(u16::from_le_bytes([half[0], half[1]]));
        // All of these are normal numbers: rebase the exponent, keep the rest.
        f32::from_bits(((half & 0x8000) << 16) | (((half & 0x7FFF) << 13) + ((127 - 15) << 23)))
    })
}

/// Blocks of 32: an F16 scale, then 32 signed bytes.
fn q8_0(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / 32 * 34);
    for block in values.chunks_exact(32) {
        let largest = block.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        bytes.extend(f16_bits(scale).to_le_bytes());
        bytes.extend(block.iter().map(|value| (value / scale).round() as i8 as u8));
    }
    bytes
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// The nearest half-precision number, ties to even, of a positive number below half precision's largest.
pub(super) fn f16_bits(value: f32) -> u16 {
    assert!((0.0..65_504.0).contains(&value), "a scale of {value} is not one of half precision");
    let bits = value.to_bits();
    if value < 6.103_515_6e-5 {
        // Subnormal: units of 2^-24. The product is exact, and `round_ties_even` is IEEE's.
        return (value * 16_777_216.0).round_ties_even() as u16;
    }
    let rebased = bits - ((127 - 15) << 23);
    let rounded = rebased + 0xFFF + ((rebased >> 13) & 1);
    (rounded >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gguf::table::Dtype;

    #[test]
    fn half_precision_is_rounded_to_the_nearest() {
        let check = |value: f32, expect: u16| assert_eq!(f16_bits(value), expect, "{value}");
        check(0.0, 0);
        check(1.0, 0x3C00);
        check(0.1, 0x2E66);
        check(1.0 + 1.0 / 2048.0, 0x3C00);
        check(1.0 + 3.0 / 2048.0, 0x3C02);
        check(6.103_515_6e-5, 0x0400);
        check(6.1e-5, 0x03FF);
        check(6.0e-8, 0x0001);
        check(2.0e-8, 0x0000);
    }

    #[test]
    fn rows_have_a_length_near_one() {
        for row in [32u64, 64, 768, 4096, 11008, 28672] {
            let tensor = NewTensor::new("x".to_owned(), vec![row, 64], Dtype::F32);
            let mut bytes = Vec::new();
            assert_eq!(write(1, &tensor, &mut bytes).unwrap(), row * 64 * 4);
            let squares = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).powi(2));
            let length = (squares.sum::<f32>() / 64.0).sqrt();
            assert!((0.6..1.5).contains(&length), "{row}: {length}");
        }
    }

    #[test]
    fn a_quantised_copy_holds_the_same_weights_to_half_a_step() {
        let of = |dtype| {
            let tensor = NewTensor::new("x".to_owned(), vec![64, 40], dtype);
            let mut bytes = Vec::new();
            write(5, &tensor, &mut bytes).unwrap();
            bytes
        };
        let (whole, quantised) = (of(Dtype::F32), of(Dtype::Q8_0));
        let whole: Vec<f32> = whole.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (mut furthest, mut differing) = (0f32, 0);
        for (values, block) in whole.chunks_exact(32).zip(quantised.chunks_exact(34)) {
            let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs())) / 127.0;
            for (value, step) in values.iter().zip(&block[2..]) {
                let off = (value - f32::from(*step as i8) * scale).abs() / scale;
                furthest = furthest.max(off);
                differing += usize::from(off > 0.01);
            }
        }
        assert!(furthest < 0.501, "{furthest} steps");
        assert!(differing > whole.len() / 2, "only {differing} of {} differ at all", whole.len());
    }

    #[test]
    fn halves_and_singles_hold_the_same_weights() {
        let of = |dtype| {
            let tensor = NewTensor::new("x".to_owned(), vec![64, 3], dtype);
            let mut bytes = Vec::new();
            write(5, &tensor, &mut bytes).unwrap();
            bytes
        };
        let singles: Vec<u8> = values(&of(Dtype::F16)).flat_map(f32::to_le_bytes).collect();
        assert_eq!(singles, of(Dtype::F32));
    }
}
