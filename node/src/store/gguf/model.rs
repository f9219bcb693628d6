//! What a sound GGUF file describes: a model or an adapter, its shape, its name. Called by `gguf::split`.

use crate::core::artifact::{ArtifactKind, Shape};
use crate::store::gguf::reader::{Metadata, Value};
use crate::store::gguf::table::{Tensor, weakest_precision};
use crate::store::gguf::{FileTable, GgufError, ParsedModel};

/// The longest name a manifest carries.
const NAME_BYTES_MAX: usize = 128;

/// What the files say together; `metadata` is that of the first.
pub(super) fn describe(metadata: Metadata, files: Vec<FileTable>) -> Result<ParsedModel, GgufError> {
    let tensors: Vec<&Tensor> = files.iter().flat_map(|file| &file.tensors).collect();
    if tensors.is_empty() {
        return Err(GgufError::NoTensors);
    }
    let kind = match metadata.text("general.type") {
        None | Some("model") => ArtifactKind::Model,
        Some("adapter") => ArtifactKind::Adapter,
        Some(other) => return Err(GgufError::Kind(other.chars().take(40).collect())),
    };
    let shape = match kind {
        ArtifactKind::Model => model_shape(&metadata, &tensors)?,
        ArtifactKind::Adapter => adapter_shape(&metadata, &tensors)?,
    };
    let base = metadata.text("fednode.base").or_else(|| metadata.text("general.base_model.0.name"));
    let base_name = match kind {
        ArtifactKind::Model => String::new(),
        ArtifactKind::Adapter => base.map(presentable).unwrap_or_default(),
    };
    let name = metadata.text("general.name").map(presentable).filter(|name| !name.is_empty());
    let has_chat_template = metadata.value("tokenizer.chat_template").is_some();
    Ok(ParsedModel { kind, shape, name, base_name, has_chat_template, metadata, files })
}

/// `text` without control characters, cut to what a manifest may carry.
pub(crate) fn presentable(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}

/// Reads numbers under an architecture's prefix, within the bounds that manifests travel under.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn optional(&self, name: &str, max: u32) -> Result<Option<u32>, GgufError> {
        let key = format!("{}.{name}", self.architecture);
        match self.metadata.value(&key) {
            None => Ok(None),
            Some(_) => match self.metadata.number(&key) {
                Some(number) if number <= max => Ok(Some(number)),
                _ => Err(GgufError::MissingKey(key)),
            },
        }
    }

    fn required(&self, name: &str, max: u32) -> Result<u32, GgufError> {
        let found = self.optional(name, max)?.filter(|&number| number > 0);
        found.ok_or_else(|| GgufError::MissingKey(format!("{}.{name}", self.architecture)))
    }
}

fn architecture(metadata: &Metadata) -> Result<&str, GgufError> {
    let key = "general.architecture";
    let sound = |name: &&str| !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control);
    metadata.text(key).filter(sound).ok_or_else(|| GgufError::MissingKey(key.to_owned()))
}

/// Sizes that follow from the tensor table alone; the table's checks keep both sums below 2^64, the wire's below 2^50.
fn sizes(architecture: &str, tensors: &[&Tensor]) -> Result<Shape, GgufError> {
    let total = |each: fn(&Tensor) -> u64| tensors.iter().map(|tensor| each(tensor)).try_fold(0u64, u64::checked_add);
    let bounded = |sum: Option<u64>| {
        let found = sum.unwrap_or(u64::MAX);
        if found <= 1 << 50 {
            Ok(found)
        } else {
            Err(GgufError::TooMany { what: "the model's size", found, max: 1 << 50 })
        }
    };
    Ok(Shape {
        architecture: architecture.to_owned(),
        weights_bytes: bounded(total(|tensor| tensor.bytes))?,
        parameters: bounded(total(Tensor::elements))?,
        precision: weakest_precision(tensors),
        ..Shape::default()
    })
}

fn adapter_shape(metadata: &Metadata, tensors: &[&Tensor]) -> Result<Shape, GgufError> {
    match metadata.text("adapter.type") {
        Some("lora") => sizes(architecture(metadata)?, tensors),
        _ => Err(GgufError::Kind("adapter, but not of adapter.type lora".to_owned())),
    }
}

fn model_shape(metadata: &Metadata, tensors: &[&Tensor]) -> Result<Shape, GgufError> {
    let architecture = architecture(metadata)?;
    let keys = Keys { metadata, architecture };
    let embedding = keys.required("embedding_length", 1 << 20)?;
    // Models without attention (state space models) state no heads and need no KV cache.
    let heads = keys.optional("attention.head_count", 1 << 16)?.unwrap_or(0);
    let kv_heads = keys.optional("attention.head_count_kv", 1 << 16)?.unwrap_or(heads);
    let head_dim = keys.optional("attention.key_length", 1 << 16)?;
    let head_dim = head_dim.unwrap_or_else(|| embedding.checked_div(heads).unwrap_or(0));
    Ok(Shape {
        layers: keys.required("block_count", 1 << 16)?,
        embedding,
        heads,
        kv_heads,
        head_dim,
        context_max: keys.required("context_length", 1 << 30)?,
        vocabulary: vocabulary(&keys)?,
        feed_forward: keys.optional("feed_forward_length", 1 << 24)?.unwrap_or(0),
        ..sizes(architecture, tensors)?
    })
}

/// Tokens: as the tokenizer lists them, else as the model states.
fn vocabulary(keys: &Keys<'_>) -> Result<u32, GgufError> {
    let listed = match keys.metadata.value("tokenizer.ggml.tokens") {
        Some(Value::Array(length)) => u32::try_from(*length).ok(),
        _ => None,
    };
    match listed {
        Some(length) => Ok(length), // at most METADATA_ARRAY_MAX
        None => Ok(keys.optional("vocab_size", 1 << 26)?.unwrap_or(0)),
    }
}
