//! What went through one node since it started: weights, requests and loads.

use serde::{Deserialize, Serialize};

use super::Spread;

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
    /// From the client's question to its first token: of requests that came from clients of this node, not from members.
    #[serde(default)]
    pub first_token: Spread,
    /// The same to the end of the answer.
    #[serde(default)]
    pub duration: Spread,
    /// Tokens of the prompts of those that were answered.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    #[serde(default)]
    pub answer_tokens: u64,
}

/// What became of the loads of this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LoadsView {
    /// Managers that were brought into this node's memory.
    pub done: u64,
    /// Loads that failed.
    pub failed: u64,
    /// Managers that left its memory as they were meant to.
    pub unloaded: u64,
    /// Managers whose process ended by itself.
    pub died: u64,
}
