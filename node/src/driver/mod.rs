//! The driver joins the core to the world: one event loop that owns the machine, carries its outputs out, and brings what
//! happened back as inputs. It logs both. All rooms meet here and nowhere else.

mod address_book;
mod api;
pub mod api_keys;
mod buffers;
mod clock;
mod doctor;
mod effects;
mod error;
mod event_loop;
mod gc;
mod keeping;
mod membership;
mod node;
mod pins;
mod publish;
mod replicas;
mod requests;
mod rests;
mod scrub;
mod scrub_now;
mod services;
mod start;
mod sync;
mod throttle;
mod view;
mod weights;
mod writer;

use crate::cli::up::UpOptions;

pub use error::RunError;

/// Runs a node until it is told to stop.
pub async fn run(options: UpOptions) -> Result<(), RunError> {
    start::run(options).await
}
