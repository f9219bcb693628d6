//! A llama model's folder as a plan: the GGUF header, and for each tensor of it where its numbers come from. Names, order and
//! layout are those that llama.cpp expects. Called by `huggingface`.

use super::config::{self, Config};
use super::convert::{Plan, Planned, Rows};
use super::folder::Folder;
use super::shards::Shards;
use super::{HuggingFaceError, tokenizer};
use crate::core::limits;
use crate::store::gguf::write::Writer;

/// Plans the conversion of the model in `folder`.
pub(super) fn plan(folder: &Folder) -> Result<Plan, HuggingFaceError> {
    let text = folder.read(config::FILE, limits::SETTINGS_BYTES_MAX)?;
    let generation = folder.read_if_there("generation_config.json", limits::SETTINGS_BYTES_MAX)?;
    let config = config::parse(&text, generation.as_deref())?;
    let mut shards = Shards::of_model(folder)?;
    let tensors = tensors(&config, &mut shards)?;
    // Recomputed by every engine; only old files carry it.
    if let Some(name) = shards.left().find(|name| !name.ends_with(".rotary_emb.inv_freq")) {
        let why = "a llama model has no such tensor; look whether config.json belongs to these weights".to_owned();
        return Err(HuggingFaceError::Tensor { name: name.to_owned(), why });
    }
    let mut writer = Writer::default();
    describe(&config, &tensors, &mut writer);
    tokenizer::describe(folder, &config, &mut writer)?;
    Ok(Plan { writer, tensors, files: shards.files })
}

fn tensors(config: &Config, shards: &mut Shards) -> Result<Vec<Planned>, HuggingFaceError> {
    let Config { layers, heads, kv_heads, tied, .. } = *config;
    let wide = u64::from(config.embedding);
    let head = u64::from(config.head_dim);
    let (queries, keys) = (u64::from(heads) * head, u64::from(kv_heads) * head);
    let (inner, words) = (u64::from(config.feed_forward), u64::from(config.vocabulary));
    let mut all = Vec::new();
    let mut take = |to: String, from: String, shape: &[u64], rows: Rows| -> Result<(), HuggingFaceError> {
        let found = shards.take(&from, shape)?;
        all.push(Planned::new(to, from, shape, rows, found, false)?);
        Ok(())
    };
    let plain = Rows::AsTheyAre;
    let turned = Rows::Interleaved { head_dim: head };
    take("token_embd.weight".into(), "model.embed_tokens.weight".into(), &[words, wide], plain)?;
    for layer in 0..layers {
        let parts: [(&str, &str, &[u64], Rows); 9] = [
            ("attn_norm", "input_layernorm", &[wide], plain),
            ("attn_q", "self_attn.q_proj", &[queries, wide], turned),
            ("attn_k", "self_attn.k_proj", &[keys, wide], turned),
            ("attn_v", "self_attn.v_proj", &[keys, wide], plain),
            ("attn_output", "self_attn.o_proj", &[wide, queries], plain),
            ("ffn_norm", "post_attention_layernorm", &[wide], plain),
            ("ffn_gate", "mlp.gate_proj", &[inner, wide], plain),
            ("ffn_up", "mlp.up_proj", &[inner, wide], plain),
            ("ffn_down", "mlp.down_proj", &[wide, inner], plain),
        ];
        for (to, from, shape, rows) in parts {
            take(format!("blk.{layer}.{to}.weight"), format!("model.layers.{layer}.{from}.weight"), shape, rows)?;
        }
    }
    take("output_norm.weight".into(), "model.norm.weight".into(), &[wide], plain)?;
    // Engines use the embedding where there is no output matrix.
    if !tied {
        take("output.weight".into(), "lm_head.weight".into(), &[words, wide], plain)?;
    } else if shards.shape("lm_head.weight").is_some() {
        shards.take("lm_head.weight", &[words, wide])?;
    }
    Ok(all)
}

fn describe(config: &Config, tensors: &[Planned], to: &mut Writer) {
    // llama.cpp's numbers for "all F32" and "mostly F16".
    let file_type = u32::from(tensors.iter().any(Planned::is_half_matrix));
    to.text("general.architecture", "llama");
    to.text("general.type", "model");
    if let Some(name) = &config.name {
        to.text("general.name", name);
    }
    to.number("general.file_type", file_type);
    to.number("llama.block_count", config.layers);
    to.number("llama.context_length", config.context);
    to.number("llama.embedding_length", config.embedding);
    to.number("llama.feed_forward_length", config.feed_forward);
    to.number("llama.attention.head_count", config.heads);
    to.number("llama.attention.head_count_kv", config.kv_heads);
    to.float("llama.attention.layer_norm_rms_epsilon", config.norm_epsilon);
    if config.head_dim_stated {
        to.number("llama.attention.key_length", config.head_dim);
        to.number("llama.attention.value_length", config.head_dim);
    }
    to.number("llama.rope.dimension_count", config.head_dim);
    to.float("llama.rope.freq_base", config.rope_base);
    if let Some(factor) = config.rope_factor {
        to.text("llama.rope.scaling.type", "linear");
        to.float("llama.rope.scaling.factor", factor);
    }
    to.number("llama.vocab_size", config.vocabulary);
}
