//! The decisions of a federation, pure: no clock, socket, thread, disk or randomness of its own; no floating point and
//! no `HashMap`. Inputs and time come in, outputs come out; `driver` and `federation-sim` carry them out.

pub mod api_keys;
pub mod artifact;
pub mod assess;
pub mod catalog;
pub mod chance;
pub mod checks;
pub mod checkup;
pub mod coordinator;
pub mod demand;
pub mod external;
pub mod fingerprint;
pub mod fit;
pub mod guard;
pub mod keeping;
pub mod limits;
pub mod machine;
pub mod membership;
pub mod pins;
pub mod placement;
pub mod reports;
pub mod residency;
pub mod roster;
pub mod route;
pub mod seeded;
pub mod sizing;
pub mod transfer;
pub mod types;
pub mod view;
