//! A loop over llama.cpp's C API and nothing else: what this machine can do at most. `fednode bench engine` compares the engine
//! with it.

use std::path::Path;
use std::time::{Duration, Instant};

use llama_cpp_sys_2 as sys;

use super::{Llama, LlamaError, Sampler, Sampling, Shape};
use crate::core::limits::ENGINE_BATCH_TOKENS_MAX;

/// How long a prompt and an answer took.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct BareTimes {
    pub prompt: Duration,
    pub decode: Duration,
}

/// Computes `prompt_tokens` tokens at once and then `tokens` one after the other, greedily, `runs` times; the first run warms up
/// and does not count.
pub(in crate::engine) fn run(
    path: &Path,
    (context, threads): (u32, u32),
    (prompt_tokens, tokens, runs): (u32, u32, u32),
) -> Result<Vec<BareTimes>, LlamaError> {
    let shape = Shape { context, parallel: 1, threads, lock: false };
    let llama = Llama::open(path, &[], shape, "")?;
    let context = llama.context.as_ptr();
    let vocabulary = llama.vocabulary_size().max(1);
    let mut ids: Vec<sys::llama_token> = (0..prompt_tokens).map(|n| (n * 7 % vocabulary) as i32).collect();
    let mut all = Vec::new();
    for _ in 0..=runs {
        let sampler = Sampler::new(&Sampling::default(), vocabulary);
        // SAFETY: the context lives as long as `llama`; the batches point at `ids` and `token`, which live through the calls and
        // are no longer than `n_batch`; each sample follows a decode.
        unsafe {
            sys::llama_memory_clear(sys::llama_get_memory(context), false);
            let begun = Instant::now();
            for part in ids.chunks_mut(ENGINE_BATCH_TOKENS_MAX as usize) {
                decode(context, part)?;
            }
            let prompt = begun.elapsed();
            let begun = Instant::now();
            for _ in 0..tokens {
                let mut token = [sys::llama_sampler_sample(sampler.raw(), context, -1)];
                decode(context, &mut token)?;
            }
            all.push(BareTimes { prompt, decode: begun.elapsed() });
        }
    }
    all.remove(0);
    Ok(all)
}

/// # Safety
/// The context is alive and takes as many tokens at once.
unsafe fn decode(context: *mut sys::llama_context, ids: &mut [sys::llama_token]) -> Result<(), LlamaError> {
    // SAFETY: as the caller promises; the batch points at `ids`, which lives through the call.
    let code = unsafe { sys::llama_decode(context, sys::llama_batch_get_one(ids.as_mut_ptr(), ids.len() as i32)) };
    if code == 0 { Ok(()) } else { Err(LlamaError::Decode { code, reason: "the bare loop".to_owned() }) }
}
