//! How much one peer, or one address, may take of what all share: rates that are earned back with time ([`Allowance`]), places
//! that nobody can fill alone ([`Crowd`]), and the door at which unauthenticated connections wait ([`Door`]). Pure: the
//! network room asks, with the time in hand, and acts on the answer.

mod allowance;
mod crowd;
mod door;

pub use allowance::{Allowance, Rate};
pub use crowd::Crowd;
pub use door::{Answer, Door, Place, Source};
