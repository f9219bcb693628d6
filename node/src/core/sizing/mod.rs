//! How much memory and disk a model needs. One set of formulas for admission, advertisement, placement and `fit`.
//!
//! `footprint = weights + KV + compute + overhead` (DESIGN 9), all from the tensor table and the hyperparameters. The terms
//! follow what llama.cpp allocates on a CPU with flash attention, one KV cache for all sequences, and batches of
//! `ENGINE_BATCH_TOKENS_MAX` tokens. `fednode bench footprint` holds them against what an engine really takes.

mod band;
mod tier;

use serde::Serialize;

use crate::core::artifact::Shape;
use crate::core::limits;

pub use band::{Band, percent};
pub use tier::{Tier, VRAM_RESERVE_BYTES, ram_reserve_bytes};

/// Tokens that one step computes at most: compute buffers grow with it.
const BATCH_TOKENS: u64 = limits::ENGINE_BATCH_TOKENS_MAX as u64;
/// Bytes of one activation or logit (F32).
const ACTIVATION_BYTES: u64 = 4;
/// Bytes of one number of the KV cache, of the attention mask, and of activations as they are multiplied with F16 weights.
const HALF_BYTES: u64 = 2;
/// Rows as wide as the residual stream that live at once: block input, residual, normed input, the batch's embeddings (a row
/// that the graph keeps for inputs that are not tokens), and the one being computed.
const ROWS_ALIVE: u64 = 5;
/// A candidate of sampling: token, logit, probability.
const CANDIDATE_BYTES: u64 = 12;
/// An engine process that has loaded nothing yet, and its buffers for a small graph: half of it are the program's own pages.
const PROCESS_BYTES: u64 = 25 << 20;
/// A token of the vocabulary: its text twice, its piece, its entry in the table from text to token.
const VOCABULARY_TOKEN_BYTES: u64 = 128;
/// The graphs of one block: three are kept, each with eight nodes of 400 bytes for each of its nine tensors.
const BLOCK_BYTES: u64 = 3 * 8 * 9 * 400;
/// Mapped weights need page tables: eight bytes for each page of 4 KiB.
const PAGE_TABLE_DIVISOR: u64 = 512;

/// The terms of a replica's footprint, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default, Serialize)]
pub struct Footprint {
    /// Σ of the tensor table.
    pub weights_bytes: u64,
    /// Adapters attached.
    pub adapter_bytes: u64,
    /// Keys and values at F16.
    pub kv_bytes: u64,
    /// Activations and logits.
    pub compute_bytes: u64,
    /// The process itself.
    pub overhead_bytes: u64,
}

impl Footprint {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes.saturating_add(self.own_bytes())
    }

    /// All but the weights: what each replica needs even when its base's weights are shared.
    pub fn own_bytes(&self) -> u64 {
        let terms = [self.adapter_bytes, self.kv_bytes, self.compute_bytes, self.overhead_bytes];
        terms.into_iter().fold(0, u64::saturating_add)
    }
}

/// KV cache of one token, bytes: 2 (K and V) · layers · kv_heads · head_dim · 2 (F16).
pub fn kv_bytes_per_token(shape: &Shape) -> u64 {
    let numbers = [shape.layers, shape.kv_heads, shape.head_dim].map(u64::from);
    numbers.into_iter().fold(2 * HALF_BYTES, u64::saturating_mul)
}

/// Compute buffers that grow with each token of context, bytes: the mask of attention. Its scores are never all there at once.
pub fn compute_bytes_per_token() -> u64 {
    BATCH_TOKENS * HALF_BYTES
}

/// Footprint of one replica at `context` tokens for each of `parallel` sequences, with `adapter_bytes` of adapters.
pub fn footprint(shape: &Shape, context: u32, parallel: u32, adapter_bytes: u64) -> Footprint {
    let sequences = u64::from(parallel.max(1));
    // llama.cpp rounds up to 256 cells, and contexts are multiples of that.
    let cells = u64::from(context) * sequences;
    let vocabulary = VOCABULARY_TOKEN_BYTES * u64::from(shape.vocabulary);
    let blocks = BLOCK_BYTES * u64::from(shape.layers);
    Footprint {
        weights_bytes: shape.weights_bytes,
        adapter_bytes,
        kv_bytes: kv_bytes_per_token(shape).saturating_mul(cells),
        compute_bytes: compute_bytes(shape, cells, sequences),
        overhead_bytes: PROCESS_BYTES + vocabulary + blocks + shape.weights_bytes / PAGE_TABLE_DIVISOR,
    }
}

/// The buffers of a computation over `cells` of KV cache for `sequences`: the mask of attention, the activations of a batch, their
/// copy in F16 for a product with weights, and logits: in the graph, as they are handed out, and as candidates of sampling.
fn compute_bytes(shape: &Shape, cells: u64, sequences: u64) -> u64 {
    let [hidden, inner, vocabulary] = [shape.embedding, shape.feed_forward, shape.vocabulary].map(u64::from);
    let activations = activations_per_token(shape).saturating_mul(BATCH_TOKENS * ACTIVATION_BYTES);
    let logits = ACTIVATION_BYTES * sequences.max(u64::from(limits::ENGINE_OUTPUTS_MAX)) * vocabulary;
    // The last logits take the place of the activations, all but the rows that outlive a block.
    let last = BATCH_TOKENS * ACTIVATION_BYTES * ROWS_ALIVE * hidden + logits;
    let mask = compute_bytes_per_token().saturating_mul(cells);
    let halves = BATCH_TOKENS * HALF_BYTES * hidden.max(inner);
    let sampling = CANDIDATE_BYTES * sequences * vocabulary;
    [activations.max(last), mask, halves, logits, sampling].into_iter().fold(0, u64::saturating_add)
}

/// The most activations of one token that live at once: in attention queries, keys and values beside the rows, in the
/// feed-forward part the gate, what it gates, and their product, which fits where attention was unless it is wide.
fn activations_per_token(shape: &Shape) -> u64 {
    let [hidden, inner, heads, kv_heads, head_dim] =
        [shape.embedding, shape.feed_forward, shape.heads, shape.kv_heads, shape.head_dim].map(u64::from);
    let rows = hidden.max(heads.saturating_mul(head_dim)).saturating_mul(ROWS_ALIVE);
    let attention = rows.saturating_add(kv_heads.saturating_mul(2 * head_dim).max(hidden));
    let forward = rows.saturating_add(if inner > 2 * hidden { 3 * inner } else { 2 * inner });
    attention.max(forward)
}

/// Free disk needed before an artifact of `bytes` is fetched or imported: its size, 5 % and 2 GiB (DESIGN 10); small ones,
/// which can do a disk little harm, need less.
pub fn disk_needed_bytes(bytes: u64) -> u64 {
    if bytes < limits::ARTIFACT_SMALL_BYTES {
        return bytes + limits::DISK_MARGIN_SMALL_BYTES;
    }
    bytes.saturating_add(bytes / 20).saturating_add(limits::DISK_MARGIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn reference() -> Shape {
        Shape {
            architecture: "llama".into(),
            layers: 32,
            embedding: 4096,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            context_max: 16384,
            vocabulary: 32256,
            feed_forward: 11008,
            weights_bytes: 13_481_025_536,
            parameters: 6_740_512_768,
            ..Shape::default()
        }
    }

    #[test]
    fn the_reference_manager_needs_what_the_design_says() {
        let shape = reference();
        assert_eq!(kv_bytes_per_token(&shape), 512 << 10);
        // Tenths of a GiB. DESIGN 9 says about 14.2, 15.3 and 22.1, from before engines were measured.
        for (context, tenths) in [(2048, 137), (4096, 147), (16384, 207)] {
            let total = footprint(&shape, context, 1, 0).total_bytes();
            let rounded = (total * 10 + (1 << 29)) >> 30;
            assert_eq!(rounded, tenths, "context {context}: {total}");
        }
    }

    #[test]
    fn absurd_shapes_do_not_overflow() {
        let wide = [1 << 16, u32::MAX];
        for width in wide {
            let shape = Shape { layers: width, heads: width, kv_heads: width, head_dim: width, ..reference() };
            let shape =
                Shape { embedding: width, feed_forward: width, vocabulary: width, weights_bytes: u64::MAX, ..shape };
            assert_eq!(footprint(&shape, 1 << 20, 256, 1 << 50).total_bytes(), u64::MAX);
        }
        let _ = disk_needed_bytes(u64::MAX);
    }
}
