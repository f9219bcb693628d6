//! GGUF headers, as a file from anywhere may have them: what passes has its tensors inside the file, apart from each other,
//! and is cut into chunks that cover it.
#![no_main]

use fednode::core::limits;
use fednode::store::chunks;
use fednode::store::gguf::{self, FileTable};
use libfuzzer_sys::fuzz_target;

/// A header alone may describe tensors that lie behind it.
const BEHIND_BYTES: u64 = 32 << 20;

fuzz_target!(|data: &[u8]| {
    for file_bytes in [data.len() as u64, data.len() as u64 + BEHIND_BYTES] {
        let header = gguf::parse_header(data, file_bytes);
        if let Ok(model) = gguf::parse(data, file_bytes) {
            assert_eq!(header.as_ref().map(|header| &header.table).ok(), model.files.first());
        }
        if let Ok(header) = header {
            check(&header.table, file_bytes);
        }
    }
});

fn check(table: &FileTable, file_bytes: u64) {
    let mut tensors: Vec<_> = table.tensors.iter().map(|tensor| (tensor.offset, tensor.bytes)).collect();
    tensors.sort_unstable();
    let mut end = table.data_start;
    for (offset, bytes) in tensors {
        assert!(offset >= end && bytes > 0);
        end = offset + bytes;
    }
    assert!(end <= file_bytes);
    let mut end = 0;
    for cut in chunks::cut(table) {
        assert!(cut.offset == end && cut.bytes > 0 && cut.bytes <= limits::CHUNK_BYTES_MAX);
        end += u64::from(cut.bytes);
    }
    assert_eq!(end, file_bytes);
}
