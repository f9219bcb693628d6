//! A machine's own small model, in the view.

use serde::{Deserialize, Serialize};

/// The local model of a machine that delegates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalView {
    /// Its name, from the file.
    pub model: String,
    /// Such as `Q4_K`; a local model is no manager and may be quantised.
    pub precision: String,
    /// Tokens.
    pub context: u32,
    /// never | offline | hybrid | always.
    pub policy: String,
    /// ready | loading | failed.
    pub state: String,
    /// Why it does not run, or empty.
    pub reason: String,
}
