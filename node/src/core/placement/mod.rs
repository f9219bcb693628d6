//! From what there is to what should be: problem → plan → check → explain.

pub mod plan;
