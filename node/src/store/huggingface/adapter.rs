//! A PEFT LoRA adapter's folder as a plan. GGUF has a place for the two matrices of each layer and for alpha, and for
//! nothing else: what else PEFT can do is refused. Called by `huggingface`.

use serde::Deserialize;

use super::config::last_component;
use super::convert::{Plan, Planned, Rows};
use super::folder::Folder;
use super::json::{TokenText, Used};
use super::shards::Shards;
use super::{HuggingFaceError, unsupported};
use crate::core::artifact::Shape;
use crate::core::limits;
use crate::store::gguf::write::Writer;

pub(super) const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_FILE: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// As it stands in the file. What is not named here does not matter to inference.
#[derive(Deserialize)]
struct Config {
    peft_type: Option<String>,
    r: Option<u64>,
    lora_alpha: Option<f64>,
    base_model_name_or_path: Option<String>,
    bias: Option<String>,
    #[serde(default)]
    init_lora_weights: TokenText,
    #[serde(default)]
    use_rslora: Used,
    #[serde(default)]
    use_dora: Used,
    #[serde(default)]
    lora_bias: Used,
    #[serde(default)]
    fan_in_fan_out: Used,
    #[serde(default)]
    modules_to_save: Used,
    #[serde(default)]
    rank_pattern: Used,
    #[serde(default)]
    alpha_pattern: Used,
    #[serde(default)]
    alora_invocation_tokens: Used,
    #[serde(default)]
    layer_replication: Used,
    #[serde(default)]
    use_qalora: Used,
    #[serde(default)]
    use_bdlora: Used,
    #[serde(default)]
    arrow_config: Used,
    #[serde(default)]
    kasa_config: Used,
}

/// Plans the conversion of the adapter in `folder`, which goes on top of a model of the shape `base`.
pub(super) fn plan(folder: &Folder, base: &Shape) -> Result<Plan, HuggingFaceError> {
    let text = folder.read(CONFIG_FILE, limits::SETTINGS_BYTES_MAX)?;
    let config: Config =
        serde_json::from_slice(&text).map_err(|source| HuggingFaceError::Json { file: CONFIG_FILE, source })?;
    check_supported(&config)?;
    if base.architecture != "llama" {
        return Err(unsupported(format!("an adapter of a model of architecture {}", base.architecture)));
    }
    let damaged = |what: &str| HuggingFaceError::Setting { file: CONFIG_FILE, what: what.to_owned() };
    let rank = config.r.filter(|&rank| rank > 0 && rank <= u64::from(base.embedding));
    let rank = rank.ok_or_else(|| damaged("r is missing, zero, or more than the model is wide"))?;
    let alpha = config.lora_alpha.map(|alpha| alpha as f32).filter(|alpha| alpha.is_finite() && *alpha > 0.0);
    let alpha = alpha.ok_or_else(|| damaged("lora_alpha is missing or no positive number"))?;
    if !folder.has(WEIGHTS_FILE) {
        return Err(unsupported("an adapter without adapter_model.safetensors"));
    }
    let mut shards = Shards::single(folder, WEIGHTS_FILE)?;
    let tensors = tensors(base, rank, &mut shards)?;
    let mut writer = Writer::default();
    writer.text("general.architecture", &base.architecture);
    writer.text("general.type", "adapter");
    if let Some(name) = config.base_model_name_or_path.as_deref().and_then(last_component) {
        writer.number("general.base_model.count", 1);
        writer.text("general.base_model.0.name", &name);
        writer.text("fednode.base", &name);
    }
    writer.text("adapter.type", "lora");
    writer.float("adapter.lora.alpha", alpha);
    Ok(Plan { writer, tensors, files: shards.files })
}

fn check_supported(config: &Config) -> Result<(), HuggingFaceError> {
    let refused = |what: String| Err(HuggingFaceError::Adapter { what });
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(40).collect::<String>();
    match config.peft_type.as_deref() {
        Some("LORA") => {}
        other => return refused(format!("the method {}", shown(other.unwrap_or("(none stated)")))),
    }
    if let Some(bias) = config.bias.as_deref().filter(|&bias| bias != "none") {
        return refused(format!("trained biases (bias {})", shown(bias)));
    }
    // These change the base as well: the adapter alone does not fit the base that is published.
    let ways = ["pissa", "olora", "loftq", "corda", "lora_ga"];
    let changes_base = |way: &&str| ways.iter().any(|start| way.to_ascii_lowercase().starts_with(start));
    if let Some(way) = config.init_lora_weights.0.as_deref().filter(changes_base) {
        return refused(format!("an initialisation that changes the base (init_lora_weights {})", shown(way)));
    }
    for (used, what) in [
        (config.use_rslora, "rank-stabilised scaling (use_rslora)"),
        (config.use_dora, "DoRA (use_dora)"),
        (config.lora_bias, "biases of its own (lora_bias)"),
        (config.fan_in_fan_out, "transposed weights (fan_in_fan_out)"),
        (config.modules_to_save, "whole trained layers (modules_to_save)"),
        (config.rank_pattern, "ranks that differ between layers (rank_pattern)"),
        (config.alpha_pattern, "alphas that differ between layers (alpha_pattern)"),
        (config.alora_invocation_tokens, "activation from certain tokens on (alora_invocation_tokens)"),
        (config.layer_replication, "layers used more than once (layer_replication)"),
        (config.use_qalora, "pooled inputs (use_qalora)"),
        (config.use_bdlora, "block-diagonal matrices (use_bdlora)"),
        (config.arrow_config, "a choice among adapters (arrow_config)"),
        (config.kasa_config, "a changed base (kasa_config)"),
    ] {
        if used.0 {
            return refused(what.to_owned());
        }
    }
    Ok(())
}

fn tensors(base: &Shape, rank: u64, shards: &mut Shards) -> Result<Vec<Planned>, HuggingFaceError> {
    let (wide, inner) = (u64::from(base.embedding), u64::from(base.feed_forward));
    let head = u64::from(base.head_dim);
    let (queries, keys) = (u64::from(base.heads) * head, u64::from(base.kv_heads) * head);
    // Name in GGUF, name in PEFT, width it reads, width it writes, rows.
    let turned = Rows::Interleaved { head_dim: head };
    let kinds = [
        ("attn_q", "self_attn.q_proj", wide, queries, turned),
        ("attn_k", "self_attn.k_proj", wide, keys, turned),
        ("attn_v", "self_attn.v_proj", wide, keys, Rows::AsTheyAre),
        ("attn_output", "self_attn.o_proj", queries, wide, Rows::AsTheyAre),
        ("ffn_gate", "mlp.gate_proj", wide, inner, Rows::AsTheyAre),
        ("ffn_up", "mlp.up_proj", wide, inner, Rows::AsTheyAre),
        ("ffn_down", "mlp.down_proj", inner, wide, Rows::AsTheyAre),
    ];
    let mut all = Vec::new();
    for layer in 0..base.layers {
        for (to, from, reads, writes, rows) in kinds {
            let from = format!("{PREFIX}model.layers.{layer}.{from}");
            let (a, b) = (format!("{from}.lora_A.weight"), format!("{from}.lora_B.weight"));
            if shards.shape(&a).is_none() && shards.shape(&b).is_none() {
                continue; // not every layer need be adapted
            }
            let to = format!("blk.{layer}.{to}.weight");
            let found = shards.take(&a, &[rank, reads])?;
            // Of the inner matrix nothing is rotated: only what it writes is a query or a key.
            all.push(Planned::new(format!("{to}.lora_a"), a, &[rank, reads], Rows::AsTheyAre, found, true)?);
            let found = shards.take(&b, &[writes, rank])?;
            all.push(Planned::new(format!("{to}.lora_b"), b, &[writes, rank], rows, found, true)?);
        }
    }
    match shards.left().next() {
        Some(name) => Err(HuggingFaceError::Tensor {
            name: name.to_owned(),
            why: "a GGUF adapter has no place for it, or the model in the slot has no such layer".to_owned(),
        }),
        None if all.is_empty() => {
            let why = "there is none; the adapter is empty".to_owned();
            Err(HuggingFaceError::Tensor { name: "lora_A".to_owned(), why })
        }
        None => Ok(all),
    }
}
