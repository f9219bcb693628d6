//! The messages and services of fednode, generated from `fednode/v1/*.proto`. No logic lives here: parsing into types
//! that cannot be wrong is the work of `fednode::wire`.

/// Version 1 of the protocol.
#[allow(clippy::all, missing_docs, unused_qualifications)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/fednode.v1.rs"));
}
