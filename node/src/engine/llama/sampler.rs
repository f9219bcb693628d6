//! Choosing the next token from logits, as a request wants it.

use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::{Llama, Token, raw};

/// Tokens of an answer that penalties look back at.
const PENALTY_TOKENS: i32 = 4096;

/// How a request wants its tokens chosen. Temperature 0 is greedy; else temperature, then `top_k` (0: off), `top_p` (1: off),
/// `min_p` (0: off), then chance from the seed, in this order, as Hugging Face has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::engine) struct Sampling {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub seed: u64,
}

/// See [`Sampling`]. Knows the tokens it chose, for the penalties.
pub(in crate::engine) struct Sampler(NonNull<sys::llama_sampler>);

impl Sampler {
    /// For a model with so many tokens.
    pub(in crate::engine) fn new(wish: &Sampling, vocabulary: u32) -> Sampler {
        // SAFETY: each sampler made here is owned by the chain it is added to.
        unsafe {
            let chain = sys::llama_sampler_chain_init(sys::llama_sampler_chain_default_params());
            let add = |sampler| sys::llama_sampler_chain_add(chain, sampler);
            if wish.presence_penalty != 0.0 || wish.frequency_penalty != 0.0 {
                add(sys::llama_sampler_init_penalties(
                    i32::try_from(vocabulary).unwrap_or(i32::MAX),
                    PENALTY_TOKENS,
                    1.0,
                    wish.frequency_penalty,
                    wish.presence_penalty,
                ));
            }
            if wish.temperature > 0.0 {
                add(sys::llama_sampler_init_temp(wish.temperature));
                if wish.top_k > 0 {
                    add(sys::llama_sampler_init_top_k(i32::try_from(wish.top_k).unwrap_or(i32::MAX)));
                }
                if wish.top_p > 0.0 && wish.top_p < 1.0 {
                    add(sys::llama_sampler_init_top_p(wish.top_p, 1));
                }
                if wish.min_p > 0.0 {
                    add(sys::llama_sampler_init_min_p(wish.min_p, 1));
                }
                add(sys::llama_sampler_init_dist(fold_seed(wish.seed)));
            } else {
                add(sys::llama_sampler_init_greedy());
            }
            Sampler(NonNull::new(chain).expect("llama.cpp allocates with new, which never returns null"))
        }
    }
}

impl Sampler {
    pub(super) fn raw(&self) -> *mut sys::llama_sampler {
        self.0.as_ptr()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: the chain is ours alone and frees the samplers in it.
        unsafe { sys::llama_sampler_free(self.0.as_ptr()) }
    }
}

impl Llama {
    /// Chooses the token after the last step's entry at `index`, which must have been an output.
    pub(in crate::engine) fn sample(&mut self, sampler: &mut Sampler, index: usize) -> Token {
        // SAFETY: context and sampler live through the call; the last decode left logits at `index`.
        let token = unsafe { sys::llama_sampler_sample(sampler.0.as_ptr(), self.context.as_ptr(), index as i32) };
        debug_assert_eq!(raw(Token(token.unsigned_abs())), token, "llama.cpp chooses from its vocabulary");
        Token(token.unsigned_abs())
    }
}

/// llama.cpp takes 32 bits of seed, and means "any" by all ones.
fn fold_seed(seed: u64) -> u32 {
    let folded = (seed ^ (seed >> 32)) as u32;
    if folded == u32::MAX { 0 } else { folded }
}
