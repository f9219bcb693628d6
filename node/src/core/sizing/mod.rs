//! How much memory and disk a model needs. One set of formulas for admission, advertisement, placement and `fit`.
//!
//! `footprint = weights + KV + compute + overhead` (DESIGN 9), all from the tensor table and the hyperparameters. The
//! compute and overhead terms follow llama.cpp on a CPU with its default micro-batch of 512 tokens.

mod tier;

use serde::Serialize;

use crate::core::artifact::Shape;
use crate::core::limits;

pub use tier::{Tier, ram_reserve_bytes};

/// llama.cpp's default micro-batch, tokens: compute buffers grow with it.
const MICRO_BATCH: u64 = 512;
/// Bytes of one activation (F32).
const ACTIVATION_BYTES: u64 = 4;
/// An engine process that has loaded nothing yet, rounded up.
const PROCESS_BYTES: u64 = 48 << 20;
/// Allocator, page tables and graph: one part in 40 of the weights.
const OVERHEAD_DIVISOR: u64 = 40;
/// The terms of a replica's footprint, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
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
    2 * u64::from(shape.layers) * u64::from(shape.kv_heads) * u64::from(shape.head_dim) * 2
}

/// Compute buffers that grow with each token of context, bytes: the scores of attention.
pub fn compute_bytes_per_token(shape: &Shape) -> u64 {
    MICRO_BATCH * ACTIVATION_BYTES * u64::from(shape.heads)
}

/// Footprint of one replica at `context` tokens for each of `parallel` sequences, with `adapter_bytes` of adapters.
pub fn footprint(shape: &Shape, context: u32, parallel: u32, adapter_bytes: u64) -> Footprint {
    let tokens = u64::from(context) * u64::from(parallel);
    let logits = u64::from(shape.vocabulary);
    let activations = 4 * u64::from(shape.embedding) + 2 * u64::from(shape.feed_forward);
    Footprint {
        weights_bytes: shape.weights_bytes,
        adapter_bytes,
        kv_bytes: kv_bytes_per_token(shape).saturating_mul(tokens),
        compute_bytes: compute_bytes_per_token(shape)
            .saturating_mul(tokens)
            .saturating_add((MICRO_BATCH * ACTIVATION_BYTES).saturating_mul(logits + activations)),
        overhead_bytes: PROCESS_BYTES + shape.weights_bytes / OVERHEAD_DIVISOR,
    }
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
        // Tenths of a GiB: 14.2 at 2048, 15.3 at 4096, 22.1 at 16384.
        for (context, tenths) in [(2048, 142), (4096, 153), (16384, 221)] {
            let total = footprint(&shape, context, 1, 0).total_bytes();
            let rounded = (total * 10 + (1 << 29)) >> 30;
            assert_eq!(rounded, tenths, "context {context}: {total}");
        }
    }

    #[test]
    fn absurd_shapes_do_not_overflow() {
        let shape = Shape { layers: 1 << 16, kv_heads: 1 << 16, head_dim: 1 << 16, ..reference() };
        let _ = footprint(&shape, 1 << 20, 256, 1 << 50).kv_bytes;
        let _ = disk_needed_bytes(u64::MAX);
    }
}
