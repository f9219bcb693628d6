//! Folders that must be refused, each made from a sound one by spoiling one thing, and what a sound one becomes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::core::limits;
use crate::store::feed::Feed;
use crate::store::gguf::reader;
use crate::store::safetensors::sample::Sample;

const WIDE: u64 = 8;
const HEADS: u64 = 2;
const INNER: u64 = 12;
const WORDS: u64 = 6;
const INDEX: &str = "model.safetensors.index.json";

/// A folder in the making: its settings, and its weights before they are dealt out to two shards.
struct Made {
    folder: tempfile::TempDir,
    config: Value,
    tokenizer: Value,
    weights: Vec<(String, &'static str, Vec<u64>)>,
    index: Option<Value>,
}

impl Made {
    fn model() -> Made {
        let layer = |kind: &str| format!("model.layers.0.{kind}.weight");
        let mut weights = vec![("model.embed_tokens.weight".to_owned(), "F16", vec![WORDS, WIDE])];
        let parts: [(&str, Vec<u64>); 9] = [
            ("input_layernorm", vec![WIDE]),
            ("self_attn.q_proj", vec![WIDE, WIDE]),
            ("self_attn.k_proj", vec![WIDE / 2, WIDE]),
            ("self_attn.v_proj", vec![WIDE / 2, WIDE]),
            ("self_attn.o_proj", vec![WIDE, WIDE]),
            ("post_attention_layernorm", vec![WIDE]),
            ("mlp.gate_proj", vec![INNER, WIDE]),
            ("mlp.up_proj", vec![INNER, WIDE]),
            ("mlp.down_proj", vec![WIDE, INNER]),
        ];
        weights.extend(parts.into_iter().map(|(kind, shape)| (layer(kind), "F16", shape)));
        weights.push(("model.norm.weight".to_owned(), "BF16", vec![WIDE]));
        weights.push(("lm_head.weight".to_owned(), "BF16", vec![WORDS, WIDE]));
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": WIDE, "intermediate_size": INNER,
            "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": 1, "hidden_act": "silu",
            "max_position_embeddings": 64, "vocab_size": WORDS, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "rope_scaling": {"type": "linear", "factor": 4.0}, "_name_or_path": "/home/me/models/tiny/",
        });
        let tokenizer = json!({
            "added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 3, "content": "b", "special": false}],
            "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 1, "ab": 2, "b": 3}, "merges": [["a", "b"]]},
        });
        Made { folder: tempfile::tempdir().unwrap(), config, tokenizer, weights, index: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shard(name: &str) -> String {
        format!("model-{}.safetensors", if name.contains("mlp") { 2 } else { 1 })
    }

    fn write(&self) {
        let mut shards = [(1, Sample::default()), (2, Sample::default())];
        let mut map = serde_json::Map::new();
        for (name, dtype, shape) in &self.weights {
            let bytes = shape.iter().product::<u64>() as usize * if *dtype == "F32" { 4 } else { 2 };
            // Small numbers of either 16-bit type.
            let bytes: Vec<u8> = (0..bytes).map(|at| if at % 2 == 0 { at as u8 } else { 0x3b }).collect();
            let shard = &mut shards[usize::from(name.contains("mlp"))].1;
            *shard = std::mem::take(shard).tensor(name, dtype, shape, &bytes);
            map.insert(name.clone(), json!(Made::shard(name)));
        }
        for (number, shard) in shards {
            fs::write(self.path(&format!("model-{number}.safetensors")), shard.bytes()).unwrap();
        }
        let index = self.index.clone().unwrap_or_else(|| json!({ "weight_map": map }));
        fs::write(self.path(INDEX), index.to_string()).unwrap();
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        fs::write(self.path("tokenizer.json"), self.tokenizer.to_string()).unwrap();
    }

    fn open(&self) -> Result<Conversion, HuggingFaceError> {
        open(self.folder.path(), None).map(|opened| opened.conversion)
    }
}

/// Spoils the plan of a sound folder and expects a refusal that says `expected`.
fn refuse(expected: &str, spoil: impl FnOnce(&mut Made)) {
    refuse_written(expected, spoil, |_| {});
}

/// The same, with something done to the written files as well.
fn refuse_written(expected: &str, spoil: impl FnOnce(&mut Made), afterwards: impl FnOnce(&Made)) {
    let mut made = Made::model();
    spoil(&mut made);
    made.write();
    afterwards(&made);
    let error = made.open().err().expect(expected).to_string();
    assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
}

#[test]
fn a_sound_folder_is_described_and_read_alike_in_any_pieces() {
    let made = Made::model();
    made.write();
    let conversion = made.open().unwrap();
    let model = conversion.model();
    assert_eq!((model.name.as_deref(), model.shape.layers, model.shape.vocabulary), (Some("tiny"), 1, 6));
    assert_eq!(model.shape.precision.name(), "F16");
    let value = |key: &str| model.metadata.value(key).cloned();
    assert_eq!(value("llama.rope.scaling.type"), Some(reader::Value::Text("linear".into())));
    assert_eq!(value("llama.rope.scaling.factor"), Some(reader::Value::Float(4.0)));
    assert_eq!(value("tokenizer.ggml.pre"), Some(reader::Value::Text("gpt-2".into())));
    // Control, normal, normal, user-defined (it stands in the vocabulary, too), and two rows of padding.
    assert_eq!(value("tokenizer.ggml.token_type"), Some(reader::Value::Integers(vec![3, 1, 1, 4, 5, 5])));
    let length = model.files[0].file_bytes as usize;
    let mut whole = vec![0; length];
    conversion.fill_at(&mut whole, 0).unwrap();
    for step in [1, 7, 33, 1000] {
        let mut pieces = vec![0xaa; length];
        for (index, piece) in pieces.chunks_mut(step).enumerate() {
            conversion.fill_at(piece, (index * step) as u64).unwrap();
        }
        assert!(pieces == whole, "in pieces of {step}");
    }
    let beyond = conversion.fill_at(&mut [0], length as u64).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn settings_that_make_no_model_are_refused() {
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(u64::MAX)),
        ("num_attention_heads", json!(3)),
        ("num_key_value_heads", json!(0)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("vocab_size", json!(1_u64 << 40)),
        ("max_position_embeddings", json!(null)),
        ("rms_norm_eps", json!(-1.0)),
        ("rope_theta", json!(0)),
        ("rope_scaling", json!({"type": "linear"})),
        ("head_dim", json!(3)),
    ] {
        refuse("config.json is damaged", |made| made.config[key] = value);
    }
    refuse("config.json is damaged", |made| made.config["hidden_size"] = json!(-8));
    refuse("config.json is damaged", |made| made.config = json!([1]));
    let twice = "{\"hidden_size\":8,\"hidden_size\":8}";
    refuse_written("duplicate field", |_| {}, |made| fs::write(made.path("config.json"), twice).unwrap());
    let deep = "{\"a\":".repeat(100_000);
    refuse_written("config.json is damaged", |_| {}, |made| fs::write(made.path("config.json"), deep).unwrap());
    let long = limits::SETTINGS_BYTES_MAX + 1;
    refuse_written("more than", |_| {}, |made| File::create(made.path("config.json")).unwrap().set_len(long).unwrap());
}

#[test]
fn models_of_other_kinds_are_told_the_remedy() {
    let check = |what: &str, spoil: fn(&mut Made)| {
        refuse(what, spoil);
        refuse("convert_hf_to_gguf.py", spoil);
    };
    check("architecture Qwen2ForCausalLM", |made| made.config["architectures"] = json!(["Qwen2ForCausalLM"]));
    check("does not state its architecture", |made| made.config["architectures"] = json!([]));
    check("rope scaling of type yarn", |made| made.config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 2}));
    check("activation gelu", |made| made.config["hidden_act"] = json!("gelu"));
    check("with biases", |made| made.config["attention_bias"] = json!(true));
    check("quantised", |made| made.config["quantization_config"] = json!({"bits": 4}));
    check("type I16", |made| (made.weights[1].1, made.weights[1].2[0]) = ("I16", WIDE));
    check("SentencePiece", |made| made.tokenizer["model"]["byte_fallback"] = json!(true));
    check("type Unigram", |made| made.tokenizer["model"]["type"] = json!("Unigram"));
    check("normalises", |made| made.tokenizer["normalizer"] = json!({"type": "NFC"}));
    check("pre-tokenizer", |made| made.tokenizer["pre_tokenizer"] = json!({"type": "Whitespace"}));
}

#[test]
fn a_vocabulary_has_one_token_for_each_number() {
    refuse("has the number 6, the model has 6", |made| made.tokenizer["model"]["vocab"]["c"] = json!(6));
    refuse("two tokens have the number 1", |made| made.tokenizer["model"]["vocab"]["c"] = json!(1));
    refuse("\"b\" stands twice", |made| made.tokenizer["added_tokens"][1]["id"] = json!(5));
    refuse("tokenizer.json is damaged", |made| made.tokenizer["model"]["vocab"]["c"] = json!(-1));
    refuse("not of two parts", |made| made.tokenizer["model"]["merges"] = json!(["ab"]));
    refuse("the bos token has the number 99", |made| made.config["bos_token_id"] = json!(99));
    refuse_written(
        "tokenizer.json is damaged",
        |_| {},
        |made| {
            let text =
                r#"{"model":{"type":"BPE","vocab":{"a":1,"a":2},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}"#;
            fs::write(made.path("tokenizer.json"), text).unwrap();
        },
    );
}

#[test]
fn weights_are_those_of_the_settings() {
    refuse("it is missing", |made| drop(made.weights.remove(3)));
    refuse("its shape is [6, 8]", |made| made.config["vocab_size"] = json!(7));
    refuse("no such tensor", |made| made.weights.push(("model.extra".into(), "F16", vec![2])));
    refuse("dimensions is zero", |made| made.weights[0].2[0] = 0);
    refuse("model.layers.1", |made| made.config["num_hidden_layers"] = json!(2));
}

#[test]
fn the_index_names_each_tensor_where_it_is() {
    let map = |file: &str| json!({ "weight_map": { "model.norm.weight": file } });
    for name in ["../model-1.safetensors", "/etc/passwd", "a/model-1.safetensors", "..", "config.json"] {
        refuse("is not the name of a safetensors file", |made| made.index = Some(map(name)));
    }
    refuse("cannot read model-3.safetensors", |made| made.index = Some(map("model-3.safetensors")));
    refuse("the index says nowhere", |made| made.index = Some(map("model-1.safetensors")));
    refuse_written(
        "which does not have it",
        |_| {},
        |made| {
            let text = fs::read_to_string(made.path(INDEX)).unwrap();
            let text = text
                .replacen('{', "{\"metadata\":{},", 1)
                .replace("\"weight_map\":{", "\"weight_map\":{\"x\":\"model-1.safetensors\",");
            fs::write(made.path(INDEX), text).unwrap();
        },
    );
    refuse_written(
        "the index says model-2.safetensors",
        |_| {},
        |made| {
            let text = fs::read_to_string(made.path(INDEX)).unwrap();
            let moved = "\"model.norm.weight\":\"model-2.safetensors\"";
            fs::write(made.path(INDEX), text.replace("\"model.norm.weight\":\"model-1.safetensors\"", moved)).unwrap();
        },
    );
    refuse_written(
        "model-2.safetensors: truncated",
        |_| {},
        |made| {
            let shard = fs::OpenOptions::new().write(true).open(made.path("model-2.safetensors")).unwrap();
            shard.set_len(300).unwrap();
        },
    );
}

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    for name in ["config.json", "tokenizer.json", INDEX, "model-1.safetensors"] {
        let replaced = |what: &str, replace: fn(&Path)| {
            refuse_written(
                what,
                |_| {},
                |made| {
                    fs::remove_file(made.path(name)).unwrap();
                    replace(&made.path(name));
                },
            );
        };
        let pipe = |path: &Path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        };
        replaced("not a regular file", pipe);
        replaced("not a regular file", |path| fs::create_dir(path).unwrap());
        replaced("not a regular file", |path| symlink("/dev/zero", path).unwrap());
        replaced("cannot read", |path| symlink("nowhere", path).unwrap());
        replaced("cannot read", |path| symlink(path, path).unwrap());
    }
    refuse_written("neither config.json", |_| {}, |made| fs::remove_file(made.path("config.json")).unwrap());
    refuse_written("without tokenizer.json", |_| {}, |made| fs::remove_file(made.path("tokenizer.json")).unwrap());
    // The hub's cache is made of links to files elsewhere.
    let (cache, linked) = (Made::model(), tempfile::tempdir().unwrap());
    cache.write();
    for entry in fs::read_dir(cache.folder.path()).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), linked.path().join(entry.file_name())).unwrap();
    }
    assert!(open(linked.path(), None).is_ok());
}

#[test]
fn a_number_that_f16_cannot_hold_is_an_error_with_its_tensor() {
    let made = Made::model();
    made.write();
    let conversion = made.open().unwrap();
    let path = made.path("model-1.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    // lm_head is the last of its shard: BF16, all ones in the exponent but one.
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&0x7f00u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let mut whole = vec![0; conversion.model().files[0].file_bytes as usize];
    let error = conversion.fill_at(&mut whole, 0).unwrap_err();
    assert!(error.to_string().contains("lm_head.weight") && error.to_string().contains("F16"), "{error}");
}

/// An adapter of the model above with one thing about it changed.
fn adapter(change: impl FnOnce(&mut Value, &mut Sample)) -> Result<Opened, HuggingFaceError> {
    let folder = tempfile::tempdir().unwrap();
    let of = |matrix: &str| format!("base_model.model.model.layers.0.self_attn.k_proj.lora_{matrix}.weight");
    let mut weights = Sample::default().tensor(&of("A"), "BF16", &[2, WIDE], &[0x3c; 32]).tensor(
        &of("B"),
        "F32",
        &[WIDE / 2, 2],
        &[0x3c; 32],
    );
    let mut config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none",
        "base_model_name_or_path": "me/tiny", "init_lora_weights": true, "modules_to_save": []});
    change(&mut config, &mut weights);
    fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    fs::write(folder.path().join("adapter_model.safetensors"), weights.bytes()).unwrap();
    let made = Made::model();
    made.write();
    open(folder.path(), Some(&made.open().unwrap().model().shape))
}

#[test]
fn adapters_carry_what_gguf_has_a_place_for_and_nothing_else() {
    let sound = adapter(|_, _| {}).unwrap().conversion;
    assert_eq!((sound.model().base_name.as_str(), sound.model().tensors().count()), ("tiny", 2));
    assert_eq!(sound.model().shape.precision.name(), "F32", "BF16 is widened: an adapter is small");
    let check = |expected: &str, change: fn(&mut Value, &mut Sample)| {
        let error = adapter(change).err().expect(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    };
    check("use_rslora", |config, _| config["use_rslora"] = json!(true));
    check("use_dora", |config, _| config["use_dora"] = json!(true));
    check("modules_to_save", |config, _| config["modules_to_save"] = json!(["lm_head"]));
    check("trained biases", |config, _| config["bias"] = json!("all"));
    check("rank_pattern", |config, _| config["rank_pattern"] = json!({"q_proj": 4}));
    check("pissa", |config, _| config["init_lora_weights"] = json!("pissa_niter_4"));
    check("OLoRA", |config, _| config["init_lora_weights"] = json!("OLoRA"));
    check("lora_ga", |config, _| config["init_lora_weights"] = json!("lora_ga"));
    check("alora_invocation_tokens", |config, _| config["alora_invocation_tokens"] = json!([7, 8]));
    check("layer_replication", |config, _| config["layer_replication"] = json!([[0, 1], [0, 1]]));
    check("use_bdlora", |config, _| config["use_bdlora"] = json!({"nblocks": 2}));
    check("the method IA3", |config, _| config["peft_type"] = json!("IA3"));
    check("r is missing", |config, _| config["r"] = json!(0));
    check("lora_alpha", |config, _| config["lora_alpha"] = json!(null));
    check("its shape is [2, 8]", |config, _| config["r"] = json!(4));
    check("it is missing", |_, weights| {
        weights.entries.pop();
        weights.data.truncate(32);
    });
    check("has no place for it", |_, weights| {
        *weights = weights.clone().tensor("lm_head.lora_A", "F16", &[1], &[0; 2])
    });
    check("the adapter is empty", |_, weights| *weights = Sample::default());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    assert!(matches!(open(folder.path(), None), Err(HuggingFaceError::NeedsBase)));
}
