//! The model that is transferred: of about the size that was asked for, with tensors as large as those of real models of that
//! size, and random weights.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::store::make_model::{MakeModel, ModelDtype, make_model};

/// Width, feed-forward width and vocabulary of a family of models.
struct Family {
    hidden: u32,
    ffn: u32,
    vocab: u32,
}

/// From the size on the left, the family on the right; the largest is that of the reference managers.
const FAMILIES: [(u64, Family); 3] = [
    (8 << 30, Family { hidden: 4096, ffn: 11_008, vocab: 32_256 }),
    (1 << 30, Family { hidden: 2048, ffn: 5504, vocab: 32_256 }),
    (0, Family { hidden: 512, ffn: 1376, vocab: 4096 }),
];

/// The smallest model there is.
pub(super) const BYTES_MIN: u64 = 16 << 20;

impl Family {
    /// Two bytes each: the embedding and the output.
    fn fixed_bytes(&self) -> u64 {
        2 * 2 * u64::from(self.hidden) * u64::from(self.vocab)
    }

    fn layer_bytes(&self) -> u64 {
        let [hidden, ffn] = [self.hidden, self.ffn].map(u64::from);
        2 * (4 * hidden * hidden + 3 * hidden * ffn)
    }
}

/// The shape of a model whose file is within half a layer of `bytes`.
fn shape(bytes: u64, out: &Path) -> MakeModel {
    let family = FAMILIES.iter().find(|(from, _)| bytes >= *from).map(|(_, family)| family).unwrap_or(&FAMILIES[2].1);
    let layers = (bytes.saturating_sub(family.fixed_bytes()) + family.layer_bytes() / 2) / family.layer_bytes();
    MakeModel {
        out: out.to_owned(),
        layers: layers.clamp(1, 1024) as u32,
        hidden: family.hidden,
        heads: family.hidden / 128,
        kv_heads: None,
        ffn: family.ffn,
        vocab: family.vocab,
        context: 4096,
        seed: 16,
        dtype: ModelDtype::F16,
    }
}

/// Writes it; says how large it became. Blocks.
pub(super) fn make(bytes: u64, out: &Path) -> Result<u64, Failure> {
    let made = make_model(&shape(bytes, out)).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(made.file_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_about_as_large_as_was_asked() {
        for asked in [BYTES_MIN, 100 << 20, 1 << 30, 4 << 30, 13_480_000_000] {
            let make = shape(asked, Path::new("m.gguf"));
            let (_, family) = FAMILIES.iter().find(|(from, _)| asked >= *from).expect("a family");
            let bytes = family.fixed_bytes() + u64::from(make.layers) * family.layer_bytes();
            assert!(bytes.abs_diff(asked) <= family.layer_bytes() / 2 + 1, "{asked}: {bytes}");
        }
    }
}
