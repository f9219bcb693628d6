//! Builds small GGUF files for tests: sound ones, and ones with exactly one thing wrong.

/// Metadata type numbers.
pub const U32: u32 = 4;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

/// One entry of the tensor table, as it will be written.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub dims: Vec<u64>,
    pub dtype: u32,
    pub offset: u64,
}

/// A file in the making. Its fields are public so that a test can spoil them.
#[derive(Clone, Debug)]
pub struct Sample {
    pub version: u32,
    pub metadata: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<Entry>,
    pub data: Vec<u8>,
    pub alignment: usize,
    /// Overrides of the counts in the header.
    pub tensor_count: Option<u64>,
    pub metadata_count: Option<u64>,
}

pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl Sample {
    pub fn empty() -> Sample {
        Sample {
            version: 3,
            metadata: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
            alignment: 32,
            tensor_count: None,
            metadata_count: None,
        }
    }

    /// A llama of two layers with two F16 matrices and one F32 norm of made-up numbers.
    pub fn model() -> Sample {
        let mut sample = Sample::empty().text("general.architecture", "llama").text("general.name", "tiny");
        let numbers = [
            ("block_count", 2),
            ("embedding_length", 64),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("context_length", 128),
            ("feed_forward_length", 96),
        ];
        for (key, number) in numbers {
            sample = sample.number(&format!("llama.{key}"), number);
        }
        let mut tokens = STRING.to_le_bytes().to_vec();
        tokens.extend_from_slice(&3u64.to_le_bytes());
        ["<s>", "a", "b"].iter().for_each(|token| tokens.extend_from_slice(&string(token)));
        sample.metadata.push(("tokenizer.ggml.tokens".into(), ARRAY, tokens));
        sample.tensor("token_embd.weight", &[64, 3], 1, 1).tensor("blk.0.attn_norm.weight", &[64], 0, 2).tensor(
            "blk.1.ffn_up.weight",
            &[64, 96],
            1,
            3,
        )
    }

    /// A LoRA adapter for "tiny".
    pub fn adapter() -> Sample {
        Sample::empty()
            .text("general.architecture", "llama")
            .text("general.type", "adapter")
            .text("adapter.type", "lora")
            .text("general.base_model.0.name", "tiny")
            .tensor("blk.0.attn_q.weight.lora_a", &[64, 4], 1, 7)
            .tensor("blk.0.attn_q.weight.lora_b", &[4, 64], 1, 8)
    }

    pub fn text(mut self, key: &str, value: &str) -> Sample {
        self.metadata.push((key.into(), STRING, string(value)));
        self
    }

    pub fn number(mut self, key: &str, value: u32) -> Sample {
        self.metadata.push((key.into(), U32, value.to_le_bytes().to_vec()));
        self
    }

    /// A tensor of 2- or 4-byte elements (types 1 and 0) with bytes that follow from `seed`.
    pub fn tensor(mut self, name: &str, dims: &[u64], dtype: u32, seed: u64) -> Sample {
        let bytes = dims.iter().product::<u64>() as usize * if dtype == 0 { 4 } else { 2 };
        self.pad_data();
        let offset = self.data.len() as u64;
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
        self.data.extend_from_slice(&noise);
        self.tensors.push(Entry { name: name.into(), dims: dims.to_vec(), dtype, offset });
        self
    }

    fn pad_data(&mut self) {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
    }

    /// The header without padding: where it ends is where truncation tests end.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.metadata_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.metadata {
            bytes.extend_from_slice(&string(key));
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(value);
        }
        for entry in &self.tensors {
            bytes.extend_from_slice(&string(&entry.name));
            bytes.extend_from_slice(&(entry.dims.len() as u32).to_le_bytes());
            entry.dims.iter().for_each(|dim| bytes.extend_from_slice(&dim.to_le_bytes()));
            bytes.extend_from_slice(&entry.dtype.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
        }
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// `whole` in `count` parts, as llama-gguf-split makes them: all metadata in the first, tensors dealt out in order.
pub fn split(whole: &Sample, count: usize) -> Vec<Sample> {
    let total = whole.tensors.len();
    let per_part = total.div_ceil(count);
    let part = |number: usize| {
        let mut part = if number == 0 { whole.clone() } else { Sample::empty() };
        (part.tensors, part.data) = (Vec::new(), Vec::new());
        part = part.number("split.no", number as u32).number("split.count", count as u32);
        part = part.number("split.tensors.count", total as u32);
        for (index, entry) in whole.tensors.iter().enumerate().skip(number * per_part).take(per_part) {
            part.pad_data();
            let end = whole.tensors.get(index + 1).map_or(whole.data.len(), |next| next.offset as usize);
            let offset = part.data.len() as u64;
            part.data.extend_from_slice(&whole.data[entry.offset as usize..end]);
            part.tensors.push(Entry { offset, ..entry.clone() });
        }
        part
    };
    (0..count).map(part).collect()
}
