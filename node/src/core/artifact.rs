//! Artifacts as the core sees them: manifests, shapes, chunks. Built by `store::import` and by `wire` from the network;
//! a value of these types has already passed its bounds checks.

use serde::Serialize;

use super::types::Digest;

/// What an artifact is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// A whole model.
    Model,
    /// A LoRA adapter that needs a base.
    Adapter,
}

/// The numbers footprints are computed from; all taken from the model's own tensor table and metadata.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Shape {
    /// `general.architecture`, such as `llama`.
    pub architecture: String,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub embedding: u32,
    /// Attention heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Longest context the model was made for, in tokens.
    pub context_max: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Width of the feed-forward layer.
    pub feed_forward: u32,
    /// Sum of the tensor table, bytes.
    pub weights_bytes: u64,
    /// Sum of the elements of all tensors.
    pub parameters: u64,
    /// The weakest precision found among tensors of two or more dimensions.
    pub precision: Precision,
}

/// The weakest precision of an artifact's tensors of two or more dimensions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// IEEE half.
    #[default]
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE single.
    F32,
    /// Anything with fewer bits, by its GGUF name, such as `Q8_0`.
    Quantised(String),
}

impl Precision {
    /// Does it satisfy a roster whose floor is `f16`? (BF16 is not F16: computing in it looks like Q8_0; DESIGN 16.)
    pub fn meets_f16_floor(&self) -> bool {
        matches!(self, Precision::F16 | Precision::F32)
    }

    /// The higher, the weaker.
    pub fn weakness(&self) -> u8 {
        match self {
            Precision::F32 => 0,
            Precision::F16 => 1,
            Precision::Bf16 => 2,
            Precision::Quantised(_) => 3,
        }
    }

    /// The name used in files, on the wire and in answers.
    pub fn name(&self) -> &str {
        match self {
            Precision::F16 => "F16",
            Precision::Bf16 => "BF16",
            Precision::F32 => "F32",
            Precision::Quantised(name) => name,
        }
    }

    /// The inverse of [`Precision::name`]; anything unknown counts as quantised.
    pub fn from_name(name: &str) -> Precision {
        match name {
            "F16" => Precision::F16,
            "BF16" => Precision::Bf16,
            "F32" => Precision::F32,
            other => Precision::Quantised(other.to_owned()),
        }
    }
}

impl Serialize for Precision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A run of bytes of one file, hashed on its own; never crosses a tensor boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Offset in its file, bytes.
    pub offset: u64,
    /// Length, 1 to `CHUNK_BYTES_MAX`.
    pub bytes: u32,
    /// BLAKE3 of the bytes.
    pub digest: Digest,
}

/// One file of an artifact; its chunks cover it exactly, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArtifactFile {
    /// A plain file name: no separators, no dots first, checked by `wire`.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    pub digest: Digest,
    /// The chunks, contiguous from offset 0.
    pub chunks: Vec<Chunk>,
}

/// What an artifact consists of. Named by the BLAKE3 of its canonical encoding (`wire::manifest`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Model or adapter.
    pub kind: ArtifactKind,
    /// `general.name` or the file's stem.
    pub name: String,
    /// The publisher's version, free text.
    pub version: String,
    /// Hyperparameters and sizes.
    pub shape: Shape,
    /// The files, at least one.
    pub files: Vec<ArtifactFile>,
    /// Adapters: the base they name, if they do.
    pub base_name: String,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Chunks of all files; chunks are numbered across files in order.
    pub fn chunk_count(&self) -> u32 {
        self.files.iter().map(|file| file.chunks.len() as u32).sum()
    }

    /// The file index and chunk that `index` names.
    pub fn chunk(&self, index: u32) -> Option<(usize, Chunk)> {
        let mut left = index as usize;
        for (file_index, file) in self.files.iter().enumerate() {
            if let Some(chunk) = file.chunks.get(left) {
                return Some((file_index, *chunk));
            }
            left -= file.chunks.len();
        }
        None
    }
}

/// A set of chunk numbers, bit i of byte i/8, lowest bit first. The same bytes travel and rest on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bitmap {
    bytes: Vec<u8>,
    len: u32,
}

impl Bitmap {
    /// `len` chunks, none set.
    pub fn empty(len: u32) -> Bitmap {
        Bitmap { bytes: vec![0; len.div_ceil(8) as usize], len }
    }

    /// `len` chunks, all set.
    pub fn full(len: u32) -> Bitmap {
        let mut all = Bitmap::empty(len);
        (0..len).for_each(|index| all.set(index));
        all
    }

    /// From bytes that were stored or received; `None` if they cannot describe `len` chunks.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Bitmap> {
        let map = Bitmap { bytes: bytes.to_vec(), len };
        let spare_clear = len.is_multiple_of(8) || bytes.last().is_none_or(|last| last >> (len % 8) == 0);
        (bytes.len() == len.div_ceil(8) as usize && spare_clear).then_some(map)
    }

    /// The bytes, as stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many chunks the map speaks of.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True for an artifact of no chunks.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Is chunk `index` in the set? False beyond the end.
    pub fn has(&self, index: u32) -> bool {
        index < self.len && self.bytes[(index / 8) as usize] & (1 << (index % 8)) != 0
    }

    /// Adds chunk `index`; beyond the end it is ignored.
    pub fn set(&mut self, index: u32) {
        if index < self.len {
            self.bytes[(index / 8) as usize] |= 1 << (index % 8);
        }
    }

    /// How many chunks are in the set.
    pub fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Are all chunks in the set?
    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_refuse_bytes_that_claim_more_chunks_than_there_are() {
        assert!(Bitmap::from_bytes(&[0xff], 7).is_none());
        assert!(Bitmap::from_bytes(&[0x7f], 7).expect("seven bits").is_full());
        assert!(Bitmap::from_bytes(&[1, 0], 8).is_none());
        assert!(Bitmap::from_bytes(&[], 0).expect("none").is_full());
    }

    #[test]
    fn chunks_are_numbered_across_files() {
        let file = |n: u32| ArtifactFile {
            name: format!("f{n}"),
            bytes: 8,
            digest: Digest::default(),
            chunks: (0..n).map(|i| Chunk { offset: u64::from(i), bytes: 1, digest: Digest::default() }).collect(),
        };
        let manifest = Manifest {
            kind: ArtifactKind::Model,
            name: String::new(),
            version: String::new(),
            shape: Shape::default(),
            files: vec![file(2), file(3)],
            base_name: String::new(),
        };
        assert_eq!(manifest.chunk(1).map(|(file, chunk)| (file, chunk.offset)), Some((0, 1)));
        assert_eq!(manifest.chunk(4).map(|(file, chunk)| (file, chunk.offset)), Some((1, 2)));
        assert_eq!(manifest.chunk(5), None);
    }
}
