//! `config.json`: the numbers of a llama model, within the bounds that manifests travel under. Called by `model`.

use serde::Deserialize;

use super::json::{FirstId, List, Used};
use super::{HuggingFaceError, unsupported};

pub(super) const FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";
/// Architectures in one file: always one.
const ARCHITECTURES_MAX: usize = 16;

/// A llama model's numbers, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// What the model was called where it was trained, without a path.
    pub name: Option<String>,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub embedding: u32,
    /// Width of the feed-forward layer.
    pub feed_forward: u32,
    /// Attention heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// It is stated, and so has to be written.
    pub head_dim_stated: bool,
    /// Longest context, in tokens.
    pub context: u32,
    /// Rows of the embedding.
    pub vocabulary: u32,
    /// Epsilon of the norms.
    pub norm_epsilon: f32,
    /// Base of the rotary embedding.
    pub rope_base: f32,
    /// Linear scaling of the rotary embedding.
    pub rope_factor: Option<f32>,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// First of each, where stated: begin, end, padding.
    pub token_ids: [Option<u32>; 3],
}

/// As it stands in the file. What is not named here does not matter to inference.
#[derive(Deserialize)]
struct Raw {
    architectures: Option<List<String, ARCHITECTURES_MAX>>,
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: Option<u64>,
    sliding_window: Option<u64>,
    vocab_size: Option<u64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    hidden_act: Option<String>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: Used,
    #[serde(default)]
    mlp_bias: Used,
    #[serde(default)]
    quantization_config: Used,
    bos_token_id: Option<FirstId>,
    eos_token_id: Option<FirstId>,
    pad_token_id: Option<FirstId>,
}

#[derive(Deserialize)]
struct Rope {
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_type: Option<String>,
    factor: Option<f64>,
    rope_theta: Option<f64>,
}

/// What `generation_config.json` may add.
#[derive(Deserialize)]
struct Generation {
    bos_token_id: Option<FirstId>,
    eos_token_id: Option<FirstId>,
    pad_token_id: Option<FirstId>,
}

/// Reads the whole text of a `config.json`, and of a `generation_config.json` if there is one.
pub fn parse(text: &[u8], generation: Option<&[u8]>) -> Result<Config, HuggingFaceError> {
    let raw: Raw = serde_json::from_slice(text).map_err(|source| HuggingFaceError::Json { file: FILE, source })?;
    check_supported(&raw)?;
    let heads = number("num_attention_heads", raw.num_attention_heads, 1 << 16)?;
    let embedding = number("hidden_size", raw.hidden_size, 1 << 20)?;
    let head_dim = match raw.head_dim {
        Some(_) => number("head_dim", raw.head_dim, 1 << 16)?,
        None if embedding.is_multiple_of(heads) => embedding / heads,
        None => return Err(damaged(format!("hidden_size {embedding} does not divide into {heads} heads"))),
    };
    if !head_dim.is_multiple_of(2) {
        return Err(damaged(format!("heads of {head_dim} cannot be rotated: the width must be even")));
    }
    let kv_heads = match raw.num_key_value_heads {
        Some(_) => number("num_key_value_heads", raw.num_key_value_heads, 1 << 16)?,
        None => heads,
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(damaged(format!("{heads} heads do not divide among {kv_heads} key/value heads")));
    }
    let context = number("max_position_embeddings", raw.max_position_embeddings, 1 << 30)?;
    // Within its window a model with sliding attention is one without.
    let window = raw.sliding_window.map(|window| number("sliding_window", Some(window), u32::MAX)).transpose()?;
    let (rope_base, rope_factor) = rope(&raw)?;
    Ok(Config {
        name: raw.name.as_deref().and_then(last_component),
        layers: number("num_hidden_layers", raw.num_hidden_layers, 1 << 16)?,
        embedding,
        feed_forward: number("intermediate_size", raw.intermediate_size, 1 << 24)?,
        heads,
        kv_heads,
        head_dim,
        head_dim_stated: raw.head_dim.is_some(),
        context: context.min(window.unwrap_or(u32::MAX)),
        vocabulary: number("vocab_size", raw.vocab_size, 1 << 21)?,
        norm_epsilon: positive("rms_norm_eps", raw.rms_norm_eps.unwrap_or(1e-6))?,
        rope_base,
        rope_factor,
        tied: raw.tie_word_embeddings.unwrap_or(false),
        token_ids: token_ids(&raw, generation)?,
    })
}

fn check_supported(raw: &Raw) -> Result<(), HuggingFaceError> {
    let architectures = raw.architectures.as_ref().map(|list| list.0.as_slice()).unwrap_or_default();
    let shown = |name: &str| name.chars().filter(|c| !c.is_control()).take(60).collect::<String>();
    match architectures {
        [name] if name == "LlamaForCausalLM" || name == "MistralForCausalLM" => {}
        [] => return Err(unsupported("a model that does not state its architecture")),
        [name, ..] => return Err(unsupported(format!("the architecture {}", shown(name)))),
    }
    match raw.hidden_act.as_deref() {
        None | Some("silu" | "swish") => {}
        Some(other) => return Err(unsupported(format!("the activation {}", shown(other)))),
    }
    for (used, what) in [
        (raw.attention_bias, "an attention with biases"),
        (raw.mlp_bias, "a feed-forward layer with biases"),
        (raw.quantization_config, "a quantised model"),
    ] {
        if used.0 {
            return Err(unsupported(what));
        }
    }
    Ok(())
}

/// Base and linear factor of the rotary embedding, from either of the two places they stand in.
fn rope(raw: &Raw) -> Result<(f32, Option<f32>), HuggingFaceError> {
    let rope = raw.rope_scaling.as_ref().or(raw.rope_parameters.as_ref());
    let stated = raw.rope_theta.or_else(|| rope.and_then(|rope| rope.rope_theta));
    let stated = stated.or_else(|| raw.rope_parameters.as_ref().and_then(|rope| rope.rope_theta));
    let base = positive("rope_theta", stated.unwrap_or(10_000.0))?;
    let kind = rope.and_then(|rope| rope.rope_type.as_deref().or(rope.kind.as_deref()));
    match (kind, rope.and_then(|rope| rope.factor)) {
        (None, None) | (Some("default"), _) => Ok((base, None)),
        (Some("linear"), Some(factor)) => Ok((base, Some(positive("the factor of rope_scaling", factor)?))),
        (Some("linear") | None, _) => Err(damaged("rope_scaling has no type or no factor".to_owned())),
        (Some(other), _) => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(60).collect();
            Err(unsupported(format!("rope scaling of type {shown}")))
        }
    }
}

fn token_ids(raw: &Raw, generation: Option<&[u8]>) -> Result<[Option<u32>; 3], HuggingFaceError> {
    let json = |source| HuggingFaceError::Json { file: GENERATION_FILE, source };
    let generation: Option<Generation> = generation.map(serde_json::from_slice).transpose().map_err(json)?;
    let id = |ours: Option<FirstId>, theirs: fn(&Generation) -> Option<FirstId>| {
        let theirs = || generation.as_ref().and_then(theirs).and_then(|id| id.0);
        ours.and_then(|id| id.0).or_else(theirs)
    };
    Ok([
        id(raw.bos_token_id, |generation| generation.bos_token_id),
        id(raw.eos_token_id, |generation| generation.eos_token_id),
        id(raw.pad_token_id, |generation| generation.pad_token_id),
    ])
}

/// What stands behind the last slash of a hub name or a path; `None` if that names nothing.
pub(super) fn last_component(path: &str) -> Option<String> {
    let last = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    let name = crate::store::gguf::presentable(last);
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

fn number(key: &str, found: Option<u64>, max: u32) -> Result<u32, HuggingFaceError> {
    let found = found.ok_or_else(|| damaged(format!("{key} is missing")))?;
    let number = u32::try_from(found).ok().filter(|&number| number > 0 && number <= max);
    number.ok_or_else(|| damaged(format!("{key} is {found}; 1 to {max} are possible")))
}

fn positive(key: &str, found: f64) -> Result<f32, HuggingFaceError> {
    let single = found as f32;
    let sound = single.is_finite() && single > 0.0;
    if sound { Ok(single) } else { Err(damaged(format!("{key} is {found}, which is no positive number"))) }
}

fn damaged(what: String) -> HuggingFaceError {
    HuggingFaceError::Setting { file: FILE, what }
}
