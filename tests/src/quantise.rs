//! Makes of an F16 GGUF what somebody might put in its place: its Q8_0 copy, and a file of the same types and length whose weights
//! went through Q8_0. Reads only what a sound model has; a fault of the file is a fault of the test.

/// A model, taken apart.
struct Gguf<'a> {
    bytes: &'a [u8],
    /// Where the tensor table begins.
    table: usize,
    tensors: Vec<Tensor>,
    /// Where the tensors' data begins.
    data: usize,
}

struct Tensor {
    name: String,
    dims: Vec<u64>,
    kind: u32,
    offset: usize,
}

const F32: u32 = 0;
const F16: u32 = 1;
const Q8_0: u32 = 8;
const ALIGNMENT: usize = 32;
/// Weights that share a scale.
const BLOCK: usize = 32;

/// The same model with every matrix in Q8_0.
pub fn quantised(model: &[u8]) -> Vec<u8> {
    let gguf = Gguf::parse(model);
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for tensor in &gguf.tensors {
        let kind = if tensor.is_matrix() { Q8_0 } else { tensor.kind };
        table.extend((tensor.name.len() as u64).to_le_bytes());
        table.extend(tensor.name.as_bytes());
        table.extend((tensor.dims.len() as u32).to_le_bytes());
        tensor.dims.iter().for_each(|dim| table.extend(dim.to_le_bytes()));
        table.extend(kind.to_le_bytes());
        table.extend((data.len() as u64).to_le_bytes());
        match kind {
            Q8_0 => gguf.halves(tensor).chunks(BLOCK).for_each(|block| {
                let (scale, steps) = block_of(block);
                data.extend(half_of(scale).to_le_bytes());
                data.extend(steps.iter().map(|&step| step as u8));
            }),
            _ => data.extend(gguf.data_of(tensor)),
        }
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    let mut file = model[..gguf.table].to_vec();
    file.extend(table);
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    file.extend(data);
    file
}

/// The same model, of the same types and length, with every matrix as Q8_0 would have left it.
pub fn through_q8_0(model: &[u8]) -> Vec<u8> {
    let gguf = Gguf::parse(model);
    let mut file = model.to_vec();
    for tensor in gguf.tensors.iter().filter(|tensor| tensor.is_matrix()) {
        let mut at = gguf.data + tensor.offset;
        for block in gguf.halves(tensor).chunks(BLOCK) {
            let (scale, steps) = block_of(block);
            for step in steps {
                file[at..at + 2].copy_from_slice(&half_of(f32::from(step) * scale).to_le_bytes());
                at += 2;
            }
        }
    }
    file
}

/// The scale as half precision has it, and each weight in steps of it.
fn block_of(weights: &[f32]) -> (f32, Vec<i8>) {
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let scale = single_of(half_of(largest / 127.0));
    let step = |weight: &f32| if scale == 0.0 { 0 } else { (weight / scale).round().clamp(-127.0, 127.0) as i8 };
    (scale, weights.iter().map(step).collect())
}

impl Tensor {
    /// In half precision, with rows of whole blocks.
    fn is_matrix(&self) -> bool {
        self.kind == F16 && self.dims.len() > 1 && self.dims[0].is_multiple_of(BLOCK as u64)
    }

    fn bytes(&self) -> usize {
        let elements = self.dims.iter().product::<u64>() as usize;
        elements * if self.kind == F16 { 2 } else { 4 }
    }
}

impl Gguf<'_> {
    fn parse(bytes: &[u8]) -> Gguf<'_> {
        assert_eq!(&bytes[..8], b"GGUF\x03\0\0\0", "GGUF, version 3");
        let mut reader = Reader { bytes, at: 8 };
        let (tensors, entries) = (reader.u64(), reader.u64());
        for _ in 0..entries {
            reader.text();
            let kind = reader.u32();
            reader.skip_value(kind);
        }
        let table = reader.at;
        let tensors = (0..tensors).map(|_| {
            let name = reader.text();
            let dims = (0..reader.u32()).map(|_| reader.u64()).collect();
            let kind = reader.u32();
            assert!(kind == F16 || kind == F32, "{name} is of type {kind}");
            Tensor { name, dims, kind, offset: reader.u64() as usize }
        });
        let tensors = tensors.collect();
        Gguf { bytes, table, tensors, data: reader.at.next_multiple_of(ALIGNMENT) }
    }

    fn data_of(&self, tensor: &Tensor) -> &[u8] {
        let start = self.data + tensor.offset;
        &self.bytes[start..start + tensor.bytes()]
    }

    fn halves(&self, tensor: &Tensor) -> Vec<f32> {
        self.data_of(tensor).chunks_exact(2).map(|half| single_of(u16::from_le_bytes([half[0], half[1]]))).collect()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, bytes: usize) -> &[u8] {
        self.at += bytes;
        &self.bytes[self.at - bytes..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    fn text(&mut self) -> String {
        let bytes = self.u64() as usize;
        String::from_utf8_lossy(self.take(bytes)).into_owned()
    }

    fn skip_value(&mut self, kind: u32) {
        match kind {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => self.at += 4,
            10..=12 => self.at += 8,
            8 => drop(self.text()),
            9 => {
                let of = self.u32();
                (0..self.u64()).for_each(|_| self.skip_value(of));
            }
            other => panic!("no such metadata type as {other}"),
        }
    }
}

fn single_of(half: u16) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(half) >> 15 << 31, u32::from(half) >> 10 & 31, u32::from(half) & 1023);
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7F80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// The nearest, ties to even; for what is smaller than the largest half.
fn half_of(single: f32) -> u16 {
    let (sign, size) = ((single.to_bits() >> 31 << 15) as u16, single.abs());
    assert!(size < 65_504.0, "{single} is no half");
    if size < 6.103_515_6e-5 {
        return sign | (size * 16_777_216.0).round_ties_even() as u16;
    }
    let rebased = size.to_bits() - (112 << 23);
    sign | ((rebased + 0xFFF + (rebased >> 13 & 1)) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives() {
        let finite = (0..=u16::MAX).filter(|half| half >> 10 & 31 != 31 && half & 0x7FFF < 0x7BFF);
        for half in finite {
            assert_eq!(half_of(single_of(half)), half, "{half:04x}");
        }
    }

    #[test]
    fn a_block_is_kept_to_half_a_step() {
        let weights: Vec<f32> = (0..32).map(|n| (n as f32 - 11.0) * 0.013).collect();
        let (scale, steps) = block_of(&weights);
        for (weight, step) in weights.iter().zip(steps) {
            assert!((weight - f32::from(step) * scale).abs() < scale * 0.51, "{weight} is {step} steps of {scale}");
        }
        assert_eq!(block_of(&[0.0; 32]), (0.0, vec![0; 32]));
    }

    #[test]
    fn what_is_put_in_place_of_a_manager_has_its_shape() {
        let model = std::fs::read(crate::managers::file("UCM")).expect("a manager");
        let through = through_q8_0(&model);
        let differing = model.iter().zip(&through).filter(|(a, b)| a != b).count();
        assert!(through.len() == model.len() && differing > model.len() / 4, "{differing} of {}", model.len());
        let small = quantised(&model);
        assert!(small.len() < model.len() * 2 / 3, "{} of {}", small.len(), model.len());
        assert_eq!(through_q8_0(&through).len(), model.len());
    }
}
