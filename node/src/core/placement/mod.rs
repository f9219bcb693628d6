//! From what there is to what should be: problem → plan → check → explain.

pub mod check;
pub mod document;
mod explain;
mod pinned;
pub mod plan;
pub mod problem;
pub mod solve;
#[cfg(test)]
mod tests;

pub use check::{Violation, check, score};
pub use plan::Plan;
pub use problem::Problem;
pub use solve::solve;
