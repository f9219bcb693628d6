//! From what there is to what should be: problem → solve → plan → check. `objective` says what a plan is worth, `solve` how
//! one is found and what is left alone; `explain` and `finish` say it in words, disks and roles; `document` is its JSON.

pub mod check;
mod climb;
pub mod document;
pub mod evaluate;
mod exact;
mod explain;
mod finish;
mod greedy;
pub mod inventory;
mod memory;
pub mod objective;
mod pinned;
pub mod plan;
pub mod problem;
mod remedy;
mod repair;
pub mod solve;
mod space;
#[cfg(test)]
mod tests;
pub mod waits;

pub use check::{Violation, check};
pub use objective::{millis, score};
pub use plan::Plan;
pub use problem::Problem;
pub use solve::solve;
pub use space::footprint_together;
pub use waits::expected_waits;
