//! What the end-to-end tests and the demo share: real `fednode` processes on loopback, in one temporary directory that
//! removes itself, and a small client of their HTTP API. Nothing here links the node: it is driven from outside, as a
//! user would. The tests in `tests/` and `bin/demo` call it.
//!
//! ```no_run
//! use fednode_tests::{Federation, NodeSpec, Question};
//!
//! # fn main() -> Result<(), fednode_tests::Error> {
//! let mut federation = Federation::new()?;
//! federation.create(NodeSpec::full("griffith").memory("128GB"))?;
//! federation.join(NodeSpec::delegate("laptop"), "griffith")?;
//! federation.node("griffith").publish("UCM")?;
//! let answer = federation.node("laptop").client().chat("UCM", "Who are you?")?;
//! assert_eq!(answer.node.as_deref(), Some("griffith"));
//! # Ok(())
//! # }
//! ```

pub mod binary;
pub mod chat;
mod cleanup;
pub mod disk;
mod error;
mod federation;
mod http;
pub mod lan;
pub mod load;
pub mod managers;
pub mod model;
mod node;
mod ports;
mod process;
pub mod quantise;
mod random;
pub mod sparse;
mod wait;

pub use chat::{Answer, Question};
pub use error::Error;
pub use federation::Federation;
pub use http::{Client, Reply};
pub use node::{NodeProcess, NodeSpec, Output};
pub use process::{engines_of, status_bytes};
pub use random::Random;
pub use wait::until;
