//! safetensors headers and indexes, as a folder from anywhere may have them: what passes has its tensors one behind the
//! other up to the end of the file, and files with plain names.
#![no_main]

use fednode::store::safetensors::{self, index};
use libfuzzer_sys::fuzz_target;

/// A header alone may describe tensors that lie behind it.
const BEHIND_BYTES: u64 = 14;

fuzz_target!(|data: &[u8]| {
    for file_bytes in [data.len() as u64, data.len() as u64 + BEHIND_BYTES] {
        let Ok(tensors) = safetensors::parse(data, file_bytes) else { continue };
        let mut end = tensors.first().map_or(file_bytes, |tensor| tensor.offset);
        for tensor in tensors {
            assert!(tensor.offset == end && tensor.bytes > 0 && !tensor.shape.contains(&0));
            end += tensor.bytes;
        }
        assert_eq!(end, file_bytes);
    }
    if let Ok(index) = index::parse(data) {
        assert!(index.shards().into_iter().all(|name| !name.contains(['/', '\\']) && !name.starts_with('.')));
    }
});
