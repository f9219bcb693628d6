//! Reads a tiny manager's GGUF file, plainly and without checks, and writes it again in the other shapes that are imported:
//! parts, a Hugging Face folder, a PEFT folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// One tensor: its dimensions, the row's length first; whether it is F16 (or else F32); its bytes.
pub struct Tensor {
    pub dims: Vec<u64>,
    pub is_half: bool,
    pub bytes: Vec<u8>,
}

/// A whole file. The metadata also as it was encoded, to be written again.
pub struct Tiny {
    pub metadata: BTreeMap<String, Value>,
    pub encoded: Vec<u8>,
    pub entries: u64,
    pub order: Vec<String>,
    pub tensors: BTreeMap<String, Tensor>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.at += N;
        self.bytes[self.at - N..self.at].try_into().unwrap()
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let length = self.number() as usize;
        self.at += length;
        String::from_utf8(self.bytes[self.at - length..self.at].to_vec()).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            4 => json!(u32::from_le_bytes(self.take())),
            5 => json!(i32::from_le_bytes(self.take())),
            6 => json!(f32::from_le_bytes(self.take())),
            7 => json!(self.take::<1>() != [0]),
            8 => json!(self.text()),
            9 => {
                let kind = u32::from_le_bytes(self.take());
                let length = self.number();
                Value::Array((0..length).map(|_| self.value(kind)).collect())
            }
            other => panic!("the tiny managers have no metadata of type {other}"),
        }
    }
}

pub fn read(path: &Path) -> Tiny {
    let bytes = fs::read(path).unwrap();
    let mut reader = Reader { bytes: &bytes, at: 8 };
    let (tensor_count, entries) = (reader.number(), reader.number());
    let begin = reader.at;
    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let key = reader.text();
        let kind = u32::from_le_bytes(reader.take());
        metadata.insert(key, reader.value(kind));
    }
    let encoded = bytes[begin..reader.at].to_vec();
    let mut table = Vec::new();
    for _ in 0..tensor_count {
        let name = reader.text();
        let dimensions = u32::from_le_bytes(reader.take());
        let dims: Vec<u64> = (0..dimensions).map(|_| reader.number()).collect();
        let is_half = u32::from_le_bytes(reader.take()) == 1;
        table.push((name, dims, is_half, reader.number() as usize));
    }
    let data = reader.at.next_multiple_of(32);
    let order = table.iter().map(|(name, ..)| name.clone()).collect();
    let tensor = |(name, dims, is_half, offset): (String, Vec<u64>, bool, usize)| {
        let length = dims.iter().product::<u64>() as usize * if is_half { 2 } else { 4 };
        (name, Tensor { dims, is_half, bytes: bytes[data + offset..][..length].to_vec() })
    };
    Tiny { metadata, encoded, entries, order, tensors: table.into_iter().map(tensor).collect() }
}

fn push_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

impl Tiny {
    fn number(&self, key: &str) -> u64 {
        self.metadata[key].as_u64().unwrap()
    }

    fn text(&self, key: &str) -> &str {
        self.metadata[key].as_str().unwrap()
    }

    /// Writes `count` parts into `folder`, as llama-gguf-split does.
    pub fn write_parts(&self, folder: &Path, prefix: &str, count: usize) {
        let per_part = self.order.len().div_ceil(count);
        for (number, names) in self.order.chunks(per_part).enumerate() {
            let mut file = b"GGUF".to_vec();
            file.extend(3u32.to_le_bytes());
            file.extend((names.len() as u64).to_le_bytes());
            let (entries, encoded) = if number == 0 { (self.entries, &self.encoded[..]) } else { (0, &[][..]) };
            file.extend((entries + 3).to_le_bytes());
            file.extend(encoded);
            // 16-bit numbers, and a signed one of 32 bits.
            for (key, value) in [("split.no", number as u16), ("split.count", count as u16)] {
                push_text(&mut file, key);
                file.extend(2u32.to_le_bytes());
                file.extend(value.to_le_bytes());
            }
            push_text(&mut file, "split.tensors.count");
            file.extend(5u32.to_le_bytes());
            file.extend((self.order.len() as i32).to_le_bytes());
            let mut offset = 0u64;
            for name in names {
                let tensor = &self.tensors[name];
                push_text(&mut file, name);
                file.extend((tensor.dims.len() as u32).to_le_bytes());
                tensor.dims.iter().for_each(|dim| file.extend(dim.to_le_bytes()));
                file.extend(u32::from(tensor.is_half).to_le_bytes());
                file.extend(offset.to_le_bytes());
                offset += (tensor.bytes.len() as u64).next_multiple_of(32);
            }
            for name in names {
                file.resize(file.len().next_multiple_of(32), 0);
                file.extend(&self.tensors[name].bytes);
            }
            file.resize(file.len().next_multiple_of(32), 0);
            fs::write(folder.join(format!("{prefix}-{:05}-of-{count:05}.gguf", number + 1)), file).unwrap();
        }
    }

    /// Writes the model as transformers would save it, in two shards.
    pub fn write_hugging_face(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let write = |name: &str, value: &Value| {
            fs::write(folder.join(name), serde_json::to_vec_pretty(value).unwrap()).unwrap();
        };
        let tokens: Vec<&str> =
            self.metadata["tokenizer.ggml.tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let kinds = self.metadata["tokenizer.ggml.token_type"].as_array().unwrap();
        let special = |id: usize| kinds[id].as_i64() == Some(3);
        let vocabulary: Map<String, Value> =
            (0..tokens.len()).filter(|&id| !special(id)).map(|id| (tokens[id].to_owned(), json!(id))).collect();
        let added: Vec<Value> = (0..tokens.len())
            .filter(|&id| special(id))
            .map(|id| json!({"id": id, "content": tokens[id], "special": true, "normalized": false}))
            .collect();
        write(
            "tokenizer.json",
            &json!({
                "version": "1.0", "added_tokens": added, "normalizer": null,
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
                "post_processor": null, "decoder": {"type": "ByteLevel"},
                "model": {"type": "BPE", "dropout": null, "unk_token": null, "vocab": vocabulary,
                    "merges": self.metadata["tokenizer.ggml.merges"]},
            }),
        );
        write(
            "tokenizer_config.json",
            &json!({
                "bos_token": tokens[self.number("tokenizer.ggml.bos_token_id") as usize],
                "eos_token": {"content": tokens[self.number("tokenizer.ggml.eos_token_id") as usize]},
                "add_bos_token": false, "add_eos_token": false,
                "chat_template": self.text("tokenizer.chat_template"),
            }),
        );
        write(
            "config.json",
            &json!({
                "architectures": ["LlamaForCausalLM"], "_name_or_path": format!("someone/{}", self.text("general.name")),
                "hidden_size": self.number("llama.embedding_length"), "hidden_act": "silu",
                "intermediate_size": self.number("llama.feed_forward_length"),
                "num_hidden_layers": self.number("llama.block_count"),
                "num_attention_heads": self.number("llama.attention.head_count"),
                "num_key_value_heads": self.number("llama.attention.head_count_kv"),
                "max_position_embeddings": self.number("llama.context_length"), "vocab_size": tokens.len(),
                "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null, "torch_dtype": "float16",
            }),
        );
        self.write_shards(folder, &write);
    }

    fn write_shards(&self, folder: &Path, write: &dyn Fn(&str, &Value)) {
        let head_dim = self.number("llama.embedding_length") / self.number("llama.attention.head_count");
        let mut weight_map = Map::new();
        for (shard, names) in self.order.chunks(self.order.len().div_ceil(2)).enumerate() {
            let file = format!("model-{:05}-of-00002.safetensors", shard + 1);
            let tensors = names.iter().map(|name| {
                let tensor = &self.tensors[name];
                let turned = name.contains("attn_q.") || name.contains("attn_k.");
                let bytes = if turned { turn_back(tensor, head_dim) } else { tensor.bytes.clone() };
                (hugging_face_name(name), tensor, bytes)
            });
            let tensors: Vec<_> = tensors.collect();
            tensors.iter().for_each(|(name, ..)| drop(weight_map.insert(name.clone(), json!(file))));
            fs::write(folder.join(file), safetensors(&tensors)).unwrap();
        }
        write("model.safetensors.index.json", &json!({"metadata": {"total_size": 0}, "weight_map": weight_map}));
    }

    /// Writes the adapter as PEFT would save it; `base` is the model it was trained on.
    pub fn write_peft(&self, base: &Tiny, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let head_dim = base.number("llama.embedding_length") / base.number("llama.attention.head_count");
        let tensors = self.order.iter().map(|name| {
            let tensor = &self.tensors[name];
            let (of, matrix) = name.rsplit_once('.').unwrap();
            let turned = matrix == "lora_b" && (of.contains("attn_q.") || of.contains("attn_k."));
            let bytes = if turned { turn_back(tensor, head_dim) } else { tensor.bytes.clone() };
            let layer = hugging_face_name(of);
            let matrix = if matrix == "lora_a" { "lora_A" } else { "lora_B" };
            let name = format!("base_model.model.{}.{matrix}.weight", layer.strip_suffix(".weight").unwrap());
            (name, tensor, bytes)
        });
        let tensors: Vec<_> = tensors.collect();
        fs::write(folder.join("adapter_model.safetensors"), safetensors(&tensors)).unwrap();
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": self.metadata["adapter.lora.alpha"],
            "base_model_name_or_path": format!("someone/{}", self.text("fednode.base")), "bias": "none",
            "use_rslora": false, "use_dora": false, "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {},
            "fan_in_fan_out": false, "init_lora_weights": true,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        });
        fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    }
}

fn hugging_face_name(name: &str) -> String {
    match name {
        "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => return "model.norm.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        _ => {}
    }
    let mut parts = name.split('.');
    let (_, layer, kind) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
    let kind = match kind {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => panic!("no llama has {other}"),
    };
    format!("model.layers.{layer}.{kind}.weight")
}

/// llama.cpp's order of rows into Hugging Face's: even rows of a head into its first half, odd ones into its second.
fn turn_back(tensor: &Tensor, head_dim: u64) -> Vec<u8> {
    let row_bytes = (tensor.dims[0] * if tensor.is_half { 2 } else { 4 }) as usize;
    let mut bytes = vec![0; tensor.bytes.len()];
    for (row, from) in tensor.bytes.chunks_exact(row_bytes).enumerate() {
        let (head, within) = (row as u64 / head_dim, row as u64 % head_dim);
        let to = (head * head_dim + within % 2 * head_dim / 2 + within / 2) as usize;
        bytes[to * row_bytes..][..row_bytes].copy_from_slice(from);
    }
    bytes
}

fn safetensors(tensors: &[(String, &Tensor, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, tensor, bytes) in tensors {
        let shape: Vec<u64> = tensor.dims.iter().rev().copied().collect();
        let dtype = if tensor.is_half { "F16" } else { "F32" };
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}
