//! What `fednode gc` reports: written by the driver, read by the command line, printed as they are
//! with `--json`. Plain data; a field that an older or newer node leaves out has its default.

use serde::{Deserialize, Serialize};

/// What may go from a node's disk, what stays, and what went.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GcReport {
    /// What all artifacts take.
    pub used_bytes: u64,
    /// What the owner allows.
    pub budget_bytes: Option<u64>,
    /// What may go, in order.
    pub delete: Vec<GcEntry>,
    /// What stays.
    pub keep: Vec<GcEntry>,
    /// What all of `delete` takes.
    pub would_free_bytes: u64,
    /// Empty unless it was carried out.
    pub deleted: Vec<GcEntry>,
    /// What all of `deleted` took.
    pub freed_bytes: u64,
    /// It was not only explained.
    pub carried_out: bool,
}

/// One artifact, and why it goes or stays.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GcEntry {
    /// Artifact, hex.
    pub artifact: String,
    /// What people call it.
    pub name: String,
    /// What it takes.
    pub bytes: u64,
    /// One sentence.
    pub why: String,
    /// Members that could hold it instead, or the one that does.
    pub holders: Vec<String>,
}
