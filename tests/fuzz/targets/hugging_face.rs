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
    for rows in [1, 9, 300] {
        if let Ok(tokenizer) = parse_tokenizer(data, rows) {
            assert!(tokenizer.tokens.len() == rows as usize && tokenizer.kinds.len() == rows as usize);
        }
    }
});
