//! Doors to the decoders that are private to their rooms, for the fuzz targets in `tests/fuzz`. Compiled only there.

use futures::executor::block_on;

use crate::core::artifact::Bitmap;
use crate::core::limits;
use crate::{http, net, store};

/// A chat request's body, as anybody may send it to the API.
pub fn chat_request(body: &[u8]) {
    http::fuzz_chat_request(body);
}

/// What a peer writes on a joining stream or on a weight stream.
pub fn frames(bytes: &[u8]) {
    block_on(net::fuzz_frames(bytes));
}

/// What a peer sends on a connection, under all its streams.
pub fn streams(bytes: &[u8]) {
    net::fuzz_streams(bytes);
}

/// A small file of the data directory.
pub fn stored(bytes: &[u8]) {
    store::fuzz_stored(bytes);
    for chunks in [0, 1, 7, 8, 9, limits::CHUNKS_PER_ARTIFACT_MAX] {
        if let Some(bitmap) = Bitmap::from_bytes(bytes, chunks) {
            assert!(bitmap.len() == chunks && bitmap.count() <= chunks);
        }
    }
}
