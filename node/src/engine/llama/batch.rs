//! Decoding: one step over several sequences, what it leaves to look at, and its end when nobody wants it any more.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llama_cpp_sys_2 as sys;

use super::{Llama, LlamaError, forget_error, last_error, raw};
use crate::engine::batching::{Decoder, Entry, Token};
use crate::engine::turn::Turn;

/// Ends a step when each of those who wait for it has gone. Empty: the step goes on to its end.
#[derive(Default)]
pub(super) struct Aborts {
    cancels: Vec<Arc<AtomicBool>>,
}

/// Makes the context ask the answer while it computes.
pub(super) fn abortable(context: NonNull<sys::llama_context>) -> Box<Aborts> {
    let aborts = Box::<Aborts>::default();
    let data = std::ptr::from_ref(&*aborts).cast_mut().cast::<c_void>();
    // SAFETY: `Llama` keeps the box for as long as the context, which is freed first; its content does not move.
    unsafe { sys::llama_set_abort_callback(context.as_ptr(), Some(is_cancelled), data) };
    aborts
}

unsafe extern "C" fn is_cancelled(data: *mut c_void) -> bool {
    // SAFETY: `abortable` passed the address of an `Aborts` that outlives the context; it is written only between steps, by
    // the thread that computes.
    let aborts = unsafe { &*data.cast::<Aborts>() };
    !aborts.cancels.is_empty() && aborts.cancels.iter().all(|cancel| cancel.load(Ordering::Relaxed))
}

impl Decoder for Llama {
    type Error = LlamaError;

    fn batch_max(&self) -> usize {
        // SAFETY: the context lives as long as `self`; the call only reads.
        unsafe { sys::llama_n_batch(self.context.as_ptr()) }.max(1) as usize
    }

    fn decode(
        &mut self,
        adapter: Option<usize>,
        entries: &[Entry],
        cancels: Vec<Arc<AtomicBool>>,
    ) -> Result<(), LlamaError> {
        // More would abort the process.
        if entries.len() > self.batch_max() {
            return Err(LlamaError::BatchTooLarge { tokens: entries.len() });
        }
        forget_error();
        self.aborts.cancels = cancels;
        self.apply(adapter);
        let mut tokens: Vec<sys::llama_token> = entries.iter().map(|entry| raw(entry.token)).collect();
        // Positions and sequences are below the context's size, an i32.
        let mut positions: Vec<sys::llama_pos> = entries.iter().map(|entry| entry.position as i32).collect();
        let mut sequences: Vec<sys::llama_seq_id> = entries.iter().map(|entry| entry.sequence as i32).collect();
        let mut counts = vec![1i32; entries.len()];
        let mut lists: Vec<*mut sys::llama_seq_id> = sequences.iter_mut().map(std::ptr::from_mut).collect();
        let mut outputs: Vec<i8> = entries.iter().map(|entry| i8::from(entry.output)).collect();
        let batch = sys::llama_batch {
            n_tokens: entries.len() as i32,
            token: tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: counts.as_mut_ptr(),
            seq_id: lists.as_mut_ptr(),
            logits: outputs.as_mut_ptr(),
        };
        let _turn = self.turn();
        // SAFETY: the batch points at vectors of `n_tokens` elements that live through the call; it is no larger than `n_batch`.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), batch) };
        match code {
            0 => Ok(()),
            2 => Err(LlamaError::Cancelled),
            code => Err(LlamaError::Decode { code, reason: last_error() }),
        }
    }

    fn forget(&mut self, sequence: u32, from: u32) {
        // SAFETY: the context lives as long as `self`; a sequence beyond its own is refused by the call.
        unsafe {
            let memory = sys::llama_get_memory(self.context.as_ptr());
            sys::llama_memory_seq_rm(memory, sequence as i32, from as i32, -1);
        }
    }

    fn is_cancelled(error: &LlamaError) -> bool {
        matches!(error, LlamaError::Cancelled)
    }
}

fn entries(tokens: &[Token], position: u32, sequence: u32, output: bool) -> Vec<Entry> {
    let one = |(at, &token): (usize, &Token)| Entry { token, position: position + at as u32, sequence, output };
    tokens.iter().enumerate().map(one).collect()
}

impl Llama {
    /// The logits of the last step's entry at `index`, which must have been an output; one for each token of the vocabulary.
    pub(in crate::engine) fn logits(&mut self, index: usize) -> Result<&mut [f32], LlamaError> {
        let len = self.vocabulary_size() as usize;
        // SAFETY: null, or as many numbers as the vocabulary has tokens, which the context owns until the next step; the borrow
        // of `self` keeps it from making one.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.context.as_ptr(), index as i32);
            NonNull::new(logits).map(|logits| std::slice::from_raw_parts_mut(logits.as_ptr(), len))
        }
        .ok_or_else(|| LlamaError::Decode { code: 0, reason: "the step left no logits".to_owned() })
    }

    /// The last hidden state of these tokens, computed on a free sequence, which is empty again afterwards.
    pub(in crate::engine) fn embed(
        &mut self,
        adapter: Option<usize>,
        sequence: u32,
        tokens: &[Token],
    ) -> Result<Vec<f32>, LlamaError> {
        let embedded = self.embed_on(adapter, sequence, tokens);
        self.forget(sequence, 0);
        embedded
    }

    fn embed_on(&mut self, adapter: Option<usize>, sequence: u32, tokens: &[Token]) -> Result<Vec<f32>, LlamaError> {
        let (before, last) = tokens.split_at(tokens.len().saturating_sub(1));
        let mut position = 0;
        for part in before.chunks(self.batch_max()) {
            self.decode(adapter, &entries(part, position, sequence, false), Vec::new())?;
            position += part.len() as u32;
        }
        // While embeddings are asked for every token of a step is looked at, and with more than the context has room for
        // llama.cpp aborts: the last token is a step of its own.
        // SAFETY: the context lives as long as `self`.
        unsafe { sys::llama_set_embeddings(self.context.as_ptr(), true) };
        let decoded = self.decode(adapter, &entries(last, position, sequence, true), Vec::new());
        // SAFETY: as above.
        unsafe { sys::llama_set_embeddings(self.context.as_ptr(), false) };
        decoded?;
        // SAFETY: null, or as many numbers as the model's hidden size, which the context owns until the next step.
        let values = unsafe {
            let len = sys::llama_model_n_embd(self.model.as_ptr()).max(0) as usize;
            let values = sys::llama_get_embeddings_ith(self.context.as_ptr(), 0);
            NonNull::new(values).map(|values| std::slice::from_raw_parts(values.as_ptr(), len).to_vec())
        };
        values.ok_or_else(|| LlamaError::Decode { code: 0, reason: "the step left no embedding".to_owned() })
    }

    /// The other children of this node wait meanwhile.
    fn turn(&self) -> Option<Turn<'_>> {
        let turn = self.turns.as_ref()?.take();
        turn.inspect_err(|error| tracing::warn!(%error, "computing without a turn")).ok()
    }

    /// The adapter of the next steps; changing it costs microseconds (DESIGN 16).
    fn apply(&mut self, adapter: Option<usize>) {
        let mut chosen: Vec<_> =
            adapter.and_then(|at| self.adapters.get(at)).map(|(_, lora)| lora.as_ptr()).into_iter().collect();
        let mut scales = vec![1.0f32; chosen.len()];
        // SAFETY: the context lives as long as `self`; both lists have the stated length and are copied by the call.
        unsafe {
            sys::llama_set_adapters_lora(self.context.as_ptr(), chosen.as_mut_ptr(), chosen.len(), scales.as_mut_ptr());
        }
    }
}
