//! What a node keeps on disk: the data directory, its identity, metadata, and weight files. Synchronous: `driver` calls
//! it from threads that may block. It knows `core` and `wire` only; no socket and no clock.

pub mod datadir;
mod framed;
pub mod gguf;
pub mod identity;
pub mod meta;
