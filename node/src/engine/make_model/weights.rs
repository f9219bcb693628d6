//! Pseudo-random weights, the same on every machine: integer arithmetic, and of floating point only what IEEE 754 fixes
//! to the bit. Each tensor depends on the seed and on its own name alone, so its bytes do not move when others change.

use std::io::Write;

use super::gguf::{Dtype, TensorInfo};

/// Different values of one tensor. Drawing from a table costs a few nanoseconds a weight, so 13 GB take well under a
/// minute.
const TABLE: usize = 1 << 12;
/// Weights made at a time; a multiple of the 32 of a Q8_0 block. Bounds the memory.
const BATCH: u64 = 1 << 16;

pub(super) struct WeightSource {
    seed: u64,
    /// Normal-ish values with variance one.
    normal: Vec<f32>,
}

/// Sebastiano Vigna's SplitMix64.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl WeightSource {
    pub(super) fn new(seed: u64) -> WeightSource {
        let mut random = SplitMix(0);
        // The sum of twelve uniform values has variance one.
        let uniform = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32;
        let normal = (0..TABLE).map(|_| (0..12).map(|_| uniform(random.next())).sum::<f32>() - 6.0).collect();
        WeightSource { seed, normal }
    }

    /// Writes the tensor's weights; returns how many bytes they are. Norms are ones; matrices keep the size of what
    /// they multiply, so that hidden states and logits stay of order one however deep the model is.
    pub(super) fn write(&mut self, tensor: &TensorInfo, to: &mut impl Write) -> std::io::Result<u64> {
        if tensor.dimensions.len() == 1 {
            for _ in 0..tensor.elements() {
                to.write_all(&1f32.to_le_bytes())?;
            }
            return Ok(tensor.bytes());
        }
        let scale = 1.0 / (tensor.dimensions[0] as f32).sqrt();
        let values: Vec<f32> = self.normal.iter().map(|value| value * scale).collect();
        let mut random = SplitMix(self.seed ^ hash(&tensor.name));
        let mut left = tensor.elements();
        let mut bytes = Vec::new();
        while left > 0 {
            let count = left.min(BATCH);
            bytes.clear();
            match tensor.dtype {
                Dtype::F32 => {
                    let values: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
                    draw(&mut random, &values, count, &mut bytes);
                }
                Dtype::F16 => {
                    let values: Vec<[u8; 2]> = values.iter().map(|&value| f16_bits(value).to_le_bytes()).collect();
                    draw(&mut random, &values, count, &mut bytes);
                }
                Dtype::Q8_0 => draw_q8_0(&mut random, &values, count, &mut bytes),
            }
            to.write_all(&bytes)?;
            left -= count;
        }
        Ok(tensor.bytes())
    }
}

/// Five values from each 64 random bits.
fn draw<const N: usize>(random: &mut SplitMix, values: &[[u8; N]], count: u64, to: &mut Vec<u8>) {
    let mut left = count;
    while left > 0 {
        let mut bits = random.next();
        for _ in 0..left.min(5) {
            to.extend_from_slice(&values[bits as usize % TABLE]);
            bits >>= TABLE.trailing_zeros();
        }
        left -= left.min(5);
    }
}

/// Blocks of 32: an F16 scale, then 32 signed bytes.
fn draw_q8_0(random: &mut SplitMix, values: &[f32], count: u64, to: &mut Vec<u8>) {
    for _ in 0..count / 32 {
        let block: [f32; 32] = std::array::from_fn(|_| values[random.next() as usize % TABLE]);
        let largest = block.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        to.extend(f16_bits(scale).to_le_bytes());
        to.extend(block.iter().map(|value| if scale == 0.0 { 0 } else { (value / scale).round() as i8 as u8 }));
    }
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// The nearest half-precision number, ties to even. Weights are far below its largest, which is asserted.
pub(super) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7FFF_FFFF;
    assert!(magnitude < 65_504f32.to_bits(), "a weight of {value} is beyond half precision");
    let exponent = (magnitude >> 23) as i32 - 127;
    if exponent < -14 {
        // Subnormal: units of 2^-24. The product is exact, and `round_ties_even` is IEEE's.
        let units = (f32::from_bits(magnitude) * 16_777_216.0).round_ties_even();
        return sign | units as u16;
    }
    let rebased = magnitude - ((127 - 15) << 23);
    let rounded = rebased + 0xFFF + ((rebased >> 13) & 1);
    sign | (rounded >> 13) as u16
}
