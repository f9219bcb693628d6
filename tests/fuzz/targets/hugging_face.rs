//! `config.json` and `tokenizer.json` of a folder from anywhere: what passes has sizes that nothing overflows with, and one
//! text and kind per row of the embedding.
#![no_main]

use fednode::store::huggingface::{parse_config, parse_tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = parse_config(data, Some(data)) {
        assert!(config.heads.is_multiple_of(config.kv_heads) && config.head_dim.is_multiple_of(2));
        assert!(config.norm_epsilon > 0.0 && config.rope_base > 0.0);
    }
    // What `fednode fit` makes of the same file can always be sized.
    let settings = std::str::from_utf8(data).ok().and_then(|text| fednode::wire::fit::parse_config(text, "model").ok());
    if let Some(model) = settings {
        assert!(model.active_parameters <= model.shape.parameters && model.shape.layers > 0);
        assert!(fednode::core::sizing::footprint(&model.shape, 4096, 1, 0).total_bytes() > 0);
    }
    for rows in [1, 9, 300] {
        if let Ok(tokenizer) = parse_tokenizer(data, rows) {
            assert!(tokenizer.tokens.len() == rows as usize && tokenizer.kinds.len() == rows as usize);
        }
    }
});
