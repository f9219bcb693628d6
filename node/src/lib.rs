//! fednode: a personal federation of machines that hosts large language models at full FP16.
//!
//! `core` decides and `wire` parses; both are pure and all there is without the `node` feature. The other rooms touch
//! the world, know `core` and `wire` but never each other, and are joined only by `driver`. See ARCHITECTURE.md.

#![deny(unsafe_code)]

pub mod core;
pub mod wire;

#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod driver;
#[cfg(feature = "node")]
pub mod engine;
#[cfg(all(fuzzing, feature = "node"))]
pub mod fuzzing;
#[cfg(feature = "node")]
pub mod hardware;
#[cfg(feature = "node")]
pub mod http;
#[cfg(feature = "node")]
pub mod net;
#[cfg(feature = "node")]
pub mod rpc;
#[cfg(feature = "node")]
pub mod store;
