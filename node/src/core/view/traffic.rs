//! What went through one node since it started: weights and requests.

use serde::{Deserialize, Serialize};

/// Weights that went over this node's lines, and how fast they may.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrafficView {
    /// Bytes of chunks sent to members.
    pub served_bytes: u64,
    /// Bytes of chunks asked of members.
    pub asked_bytes: u64,
    /// What `--limit-up` says.
    pub limit_up_bytes_per_s: Option<u64>,
    /// What `--limit-down` says.
    pub limit_down_bytes_per_s: Option<u64>,
}

/// Requests through this node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RequestsView {
    /// Accepted and not yet ended.
    pub in_flight: u64,
    /// Ended well.
    pub done: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Sent to another holder after the first one failed before its first token.
    pub retried: u64,
}
