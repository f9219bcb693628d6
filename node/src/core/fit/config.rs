//! A model by its settings alone: how many parameters it has and what shape, from the numbers of a Hugging Face `config.json`.
//! Presets are such settings too. Where weights are at hand their own tensor table is asked instead.

use serde::Deserialize;

use crate::core::artifact::Shape;

/// Families whose parameters are counted exactly; others are counted as if they were of the llama family, and that is said.
const KNOWN: [&str; 10] =
    ["llama", "mistral", "mixtral", "qwen2", "qwen2_5_vl", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3", "yi"];
/// The largest value of any setting: far above any model, and no product of four of them overflows 128 bits.
const SETTING_MAX: u64 = 1 << 24;
/// Parameters of the largest model that is believed: 2^44 are 17 millions of millions.
const PARAMETERS_MAX: u128 = 1 << 44;

/// Why settings describe no model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number that must be there.
    #[error(
        "{0} is missing; a model's config.json states it, so this one is of a kind that fit cannot count: give its GGUF file"
    )]
    Missing(&'static str),
    /// A number outside its range.
    #[error("{key} is {found}, but must be from 1 to {max}")]
    Range {
        /// Which setting.
        key: &'static str,
        /// What it says.
        found: u64,
        /// The largest value.
        max: u64,
    },
    /// Together they make more than any model has.
    #[error("these settings make a model of more than 2^44 parameters, which cannot be meant")]
    Absurd,
}

/// The settings that sizes depend on, by the names that Hugging Face gives them. Everything else in the file is ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    model_type: Option<String>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: Option<u64>,
    vocab_size: Option<u64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    /// Mixture of experts, under the names that families use.
    num_experts: Option<u64>,
    num_local_experts: Option<u64>,
    n_routed_experts: Option<u64>,
    num_experts_per_tok: Option<u64>,
    moe_intermediate_size: Option<u64>,
    shared_expert_intermediate_size: Option<u64>,
    n_shared_experts: Option<u64>,
    first_k_dense_replace: Option<u64>,
    /// Latent attention.
    q_lora_rank: Option<u64>,
    kv_lora_rank: Option<u64>,
    qk_nope_head_dim: Option<u64>,
    qk_rope_head_dim: Option<u64>,
    v_head_dim: Option<u64>,
    /// Of so many layers one keeps keys and values of every token.
    full_attention_interval: Option<u64>,
    /// The language model of one that also sees.
    text_config: Option<Box<Config>>,
}

/// What settings say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Its shape; `weights_bytes` is 0 until a precision is chosen.
    pub shape: Shape,
    /// Parameters that one token is computed with: fewer than all in a mixture of experts.
    pub active_parameters: u64,
    /// Not counted exactly, with the reason; empty if it is.
    pub estimate: String,
}

/// The numbers, checked.
struct Numbers {
    hidden: u128,
    layers: u128,
    heads: u128,
    kv_heads: u128,
    head_dim: u128,
    inner: u128,
    vocabulary: u128,
}

/// Feed-forward blocks: parameters of a layer in all and in use for one token.
struct Forward {
    dense_layers: u128,
    dense: u128,
    all: u128,
    active: u128,
    /// Width of what one token goes through.
    width: u128,
}

impl Config {
    /// Counts. A preset's own statement of its parameters outweighs the count.
    pub fn count(&self, stated_parameters: Option<u64>) -> Result<Counted, ConfigError> {
        if let Some(text) = &self.text_config {
            // One level: what sees has settings of its own, which are not counted.
            let inner = Config { text_config: None, ..(**text).clone() };
            let counted = inner.count(stated_parameters)?;
            let estimate = "only its language model is counted, not what sees or hears".to_owned();
            return Ok(Counted { estimate, ..counted });
        }
        let numbers = self.numbers()?;
        let forward = self.forward(&numbers)?;
        let attention = self.attention(&numbers)?;
        let Numbers { hidden, layers, heads, vocabulary, .. } = numbers;
        let embeddings = vocabulary * hidden * if self.tie_word_embeddings.unwrap_or(false) { 1 } else { 2 };
        // Two norms in each layer, one at the end.
        let rest = embeddings + layers * (attention + 2 * hidden) + hidden + forward.dense_layers * forward.dense;
        let sparse_layers = layers - forward.dense_layers;
        let all = rest + sparse_layers * forward.all;
        let active = rest + sparse_layers * forward.active;
        if all > PARAMETERS_MAX {
            return Err(ConfigError::Absurd);
        }
        let all = u64::try_from(all).map_err(|_| ConfigError::Absurd)?;
        let parameters = stated_parameters.unwrap_or(all);
        let (kv_heads, head_dim) = self.kept(&numbers)?;
        let small = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        let context = bounded("max_position_embeddings", self.max_position_embeddings, 1 << 30)?;
        Ok(Counted {
            shape: Shape {
                architecture: self.family().to_owned(),
                layers: small(layers),
                embedding: small(hidden),
                heads: small(heads),
                kv_heads: small(kv_heads),
                head_dim: small(head_dim),
                context_max: small(context),
                vocabulary: small(vocabulary),
                feed_forward: small(forward.width),
                weights_bytes: 0,
                parameters,
                ..Shape::default()
            },
            active_parameters: u64::try_from(active).unwrap_or(u64::MAX).min(parameters),
            estimate: self.estimate(stated_parameters.is_some()),
        })
    }

    fn family(&self) -> &str {
        self.model_type.as_deref().unwrap_or("llama")
    }

    fn estimate(&self, stated: bool) -> String {
        match stated || KNOWN.contains(&self.family()) {
            true => String::new(),
            false => {
                let shown: String = self.family().chars().filter(|c| !c.is_control()).take(40).collect();
                format!("the family {shown} is not known here: it is counted as if it were of the llama family")
            }
        }
    }

    fn numbers(&self) -> Result<Numbers, ConfigError> {
        let hidden = bounded("hidden_size", self.hidden_size, SETTING_MAX)?;
        let heads = bounded("num_attention_heads", self.num_attention_heads, 1 << 16)?;
        let or = |key, given: Option<u64>, default: u128, max| given.map_or(Ok(default), |_| bounded(key, given, max));
        Ok(Numbers {
            hidden,
            layers: bounded("num_hidden_layers", self.num_hidden_layers, 1 << 16)?,
            heads,
            kv_heads: or("num_key_value_heads", self.num_key_value_heads, heads, 1 << 16)?,
            head_dim: or("head_dim", self.head_dim, hidden / heads, 1 << 16)?,
            inner: bounded("intermediate_size", self.intermediate_size, SETTING_MAX)?,
            vocabulary: bounded("vocab_size", self.vocab_size, SETTING_MAX)?,
        })
    }

    /// Parameters of one layer's attention.
    fn attention(&self, numbers: &Numbers) -> Result<u128, ConfigError> {
        let Numbers { hidden, heads, kv_heads, head_dim, .. } = *numbers;
        if let Some(latent) = self.kv_lora_rank {
            let latent = bounded("kv_lora_rank", Some(latent), 1 << 16)?;
            let plain = bounded("qk_nope_head_dim", self.qk_nope_head_dim, 1 << 16)?;
            let turned = bounded("qk_rope_head_dim", self.qk_rope_head_dim, 1 << 16)?;
            let values = bounded("v_head_dim", self.v_head_dim, 1 << 16)?;
            let queries = heads * (plain + turned);
            let asking = match self.q_lora_rank {
                None => hidden * queries,
                rank => {
                    let rank = bounded("q_lora_rank", rank, 1 << 16)?;
                    hidden * rank + rank + rank * queries
                }
            };
            let kept = hidden * (latent + turned) + latent + latent * heads * (plain + values);
            return Ok(asking + kept + heads * values * hidden);
        }
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let family = self.family();
        let biases = match family.starts_with("qwen2") {
            true => queries + 2 * keys,
            false if self.attention_bias == Some(true) && !family.starts_with("qwen3") => queries + 2 * keys + hidden,
            false => 0,
        };
        // Each head's queries and keys have a norm.
        let norms = if family.starts_with("qwen3") { 2 * head_dim } else { 0 };
        Ok(hidden * (queries + 2 * keys) + queries * hidden + biases + norms)
    }

    fn forward(&self, numbers: &Numbers) -> Result<Forward, ConfigError> {
        let Numbers { hidden, layers, inner, .. } = *numbers;
        let gated = |width: u128| 3 * hidden * width;
        let experts = self.num_experts.or(self.num_local_experts).or(self.n_routed_experts);
        let Some(experts) = experts.filter(|&experts| experts > 1) else {
            return Ok(Forward { dense_layers: layers, dense: gated(inner), all: 0, active: 0, width: inner });
        };
        let experts = bounded("the number of experts", Some(experts), 1 << 16)?;
        let used = bounded("num_experts_per_tok", self.num_experts_per_tok, 1 << 16)?.min(experts);
        let width = match self.moe_intermediate_size {
            None => inner,
            width => bounded("moe_intermediate_size", width, SETTING_MAX)?,
        };
        let shared = match (self.shared_expert_intermediate_size, self.n_shared_experts) {
            (Some(0), _) | (None, None | Some(0)) => 0,
            (wide @ Some(_), _) => bounded("shared_expert_intermediate_size", wide, SETTING_MAX)?,
            (None, count) => bounded("n_shared_experts", count, 1 << 16)? * width,
        };
        // The router has a row for each expert; some families add a number to each row's outcome.
        let router = experts * (hidden + u128::from(self.family() == "deepseek_v3"));
        let dense_layers = u128::from(self.first_k_dense_replace.unwrap_or(0)).min(layers);
        Ok(Forward {
            dense_layers,
            dense: gated(inner),
            all: router + gated(experts * width + shared),
            active: router + gated(used * width + shared),
            width: (used * width + shared).max(if dense_layers > 0 { inner } else { 0 }),
        })
    }

    /// Keys and values as a cache has them, as heads and their width: latent attention keeps one row of numbers for both, and where
    /// only some layers keep any, each counts with its part.
    fn kept(&self, numbers: &Numbers) -> Result<(u128, u128), ConfigError> {
        if let Some(latent) = self.kv_lora_rank {
            let latent = bounded("kv_lora_rank", Some(latent), 1 << 16)?;
            let turned = bounded("qk_rope_head_dim", self.qk_rope_head_dim, 1 << 16)?;
            return Ok((1, (latent + turned).div_ceil(2)));
        }
        match self.full_attention_interval {
            None => Ok((numbers.kv_heads, numbers.head_dim)),
            every => {
                let every = bounded("full_attention_interval", every, 1 << 16)?;
                Ok((1, (numbers.kv_heads * numbers.head_dim).div_ceil(every)))
            }
        }
    }
}

fn bounded(key: &'static str, found: Option<u64>, max: u64) -> Result<u128, ConfigError> {
    match found.ok_or(ConfigError::Missing(key))? {
        found if (1..=max).contains(&found) => Ok(u128::from(found)),
        found => Err(ConfigError::Range { key, found, max }),
    }
}
