//! What `fednode bench engine` compares the engine with: a loop over llama.cpp's C API and nothing else, in this process.

use std::path::Path;
use std::time::Duration;

/// What the loop does.
#[derive(Clone, Copy, Debug)]
pub struct BareLoop {
    /// Tokens of context.
    pub context: u32,
    /// Compute threads.
    pub threads: u32,
    /// Tokens of the prompt, computed at once.
    pub prompt_tokens: u32,
    /// Tokens of the answer, one after the other, greedily.
    pub tokens: u32,
    /// Repetitions, beside one that warms up.
    pub runs: u32,
}

/// Runs the loop; for each repetition how long prompt and answer took. Blocks.
#[cfg(feature = "llama")]
pub fn bare_loop(model: &Path, what: BareLoop) -> Result<Vec<(Duration, Duration)>, String> {
    let BareLoop { context, threads, prompt_tokens, tokens, runs } = what;
    let times = super::llama::run_bare(model, (context, threads), (prompt_tokens, tokens, runs));
    let times = times.map_err(|error| error.to_string())?;
    Ok(times.into_iter().map(|times| (times.prompt, times.decode)).collect())
}

/// Without the engine there is nothing to compare.
#[cfg(not(feature = "llama"))]
pub fn bare_loop(_: &Path, _: BareLoop) -> Result<Vec<(Duration, Duration)>, String> {
    Err("this fednode was built without its engine (cargo feature `llama`)".to_owned())
}
