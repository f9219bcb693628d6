//! What the others look like from here, as the election asks.

use crate::core::types::Time;

/// Looked up when it is asked for: in a federation of a thousand an answer takes a while, and mostly none is needed.
pub trait Around {
    /// How many living candidates come before this node; whoever asks needs no more than `enough` of them counted.
    fn rank(&self, enough: u64) -> u64;
    /// This node may sit at all.
    fn eligible(&self) -> bool;
    /// The lease's holder is known to be gone since then (its address refuses), not merely silent.
    fn holder_gone_since(&self) -> Option<Time>;
    /// Every other member that could sit is accounted for: connected, or known to be gone.
    fn all_accounted(&self) -> bool;
    /// No other member that could sit exists at all.
    fn alone(&self) -> bool;
    /// Another member that could sit is connected.
    fn company(&self) -> bool;
}
