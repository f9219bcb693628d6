//! The driver joins the core to the world: one event loop that owns the machine, carries its outputs out, and brings what
//! happened back as inputs. It logs both. All rooms meet here and nowhere else.

mod address_book;
mod api;
pub mod api_keys;
pub mod bell;
mod buffers;
mod clock;
mod doctor;
mod effects;
mod enrol;
mod error;
mod event_loop;
mod externals;
mod figures;
pub mod fingerprint;
mod footprints;
mod fresh;
mod gc;
mod invitations;
mod keeping;
mod loading;
mod locking;
mod members;
mod membership;
mod node;
pub mod owner;
mod owner_session;
mod pins;
mod planned;
mod publish;
mod reading;
mod replicas;
mod requests;
mod rests;
pub mod routes;
mod scrub;
mod scrub_now;
mod seats;
mod services;
mod shunned;
mod signing;

mod start;
mod sync;
mod throttle;
mod traces;
mod verify;
mod view;
mod watching;
mod weights;
mod wishes;
mod writer;

use crate::cli::up::UpOptions;

pub use crate::net::join::JoinStep;
pub use enrol::{Enrolment, Told};
pub use error::RunError;

/// Runs a node until it is told to stop. `told` hears how joining goes, where a ticket was given.
pub async fn run(options: UpOptions, told: &Told<'_>) -> Result<(), RunError> {
    start::run(options, told).await
}
