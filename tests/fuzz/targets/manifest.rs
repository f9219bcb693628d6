//! Manifests from peers and from disk: what passes names plain files whose chunks cover them.
#![no_main]

use fednode::core::limits;
use fednode::wire::manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = manifest::open(data);
    let Ok(verified) = manifest::open(&fednode_fuzz::manifest(data)) else { return };
    for file in &verified.manifest.files {
        assert!(manifest::is_plain_file_name(&file.name));
        let mut end = 0;
        for chunk in &file.chunks {
            assert!(chunk.offset == end && chunk.bytes > 0 && chunk.bytes <= limits::CHUNK_BYTES_MAX);
            end += u64::from(chunk.bytes);
        }
        assert_eq!(end, file.bytes);
    }
    let again = manifest::seal(verified.manifest.clone(), &fednode_fuzz::key());
    assert_eq!(manifest::open(&again.signed).expect("what was sealed here").manifest, verified.manifest);
});
