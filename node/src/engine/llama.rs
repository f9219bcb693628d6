//! The safe face of llama.cpp, and the only module of this crate with `unsafe`. One [`Llama`] is one loaded model with
//! its adapters and one context. It is neither `Send` nor `Sync`: the worker's thread makes it, uses it and drops it.
//!
//! llama.cpp aborts the process on some misuse (a batch above `n_batch`) and on some damaged files. This module rules out
//! the former; against the latter the node verifies files first and each model lives in its own process.

#![allow(unsafe_code)]

mod bare;
mod batch;
mod device;
mod log;
mod mapping;
mod sampler;

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use self::batch::Aborts;
use self::device::Chosen;
use self::log::{forget_error, init_once, last_error};
use super::batching::Token;
use super::turn::Turns;
use crate::core::limits::{ENGINE_BATCH_TOKENS_MAX, ENGINE_OUTPUTS_MAX};

pub(super) use bare::run as run_bare;
pub(super) use device::devices;
pub(super) use mapping::Mapping;
pub(super) use sampler::{Sampler, Sampling};

/// The size of the context and of the computation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Tokens of one sequence.
    pub context: u32,
    /// Sequences.
    pub parallel: u32,
    pub threads: u32,
    /// Keep the weights in memory.
    pub lock: bool,
}

/// Why llama.cpp did not do as told. `reason` is its own last error message.
#[derive(Debug, thiserror::Error)]
pub(super) enum LlamaError {
    #[error("the path {0} is not one that C can take")]
    Path(PathBuf),
    #[error("this engine knows no device {0}; `fednode engine --devices` lists those it knows")]
    NoDevice(String),
    #[error("not a model that llama.cpp can load: {reason}")]
    Model { reason: String },
    #[error("the model has no vocabulary")]
    NoVocabulary,
    #[error("the adapter {path} does not load: {reason}")]
    Adapter { path: PathBuf, reason: String },
    #[error("no context of {context} tokens × {parallel}: {reason}")]
    Context { context: u32, parallel: u32, reason: String },
    #[error("no adapter for the domain {0} is loaded")]
    UnknownDomain(String),
    #[error("the text is too long to tokenise")]
    TextTooLong,
    #[error("cancelled")]
    Cancelled,
    #[error("a batch of {tokens} tokens is more than this context takes at once")]
    BatchTooLarge { tokens: usize },
    #[error("decoding failed with code {code}: {reason}")]
    Decode { code: i32, reason: String },
}

/// A loaded model, ready to compute.
pub(super) struct Llama {
    model: NonNull<sys::llama_model>,
    context: NonNull<sys::llama_context>,
    vocab: NonNull<sys::llama_vocab>,
    adapters: Vec<(String, NonNull<sys::llama_adapter_lora>)>,
    /// What the abort callback reads; boxed because llama.cpp holds a bare pointer to it.
    aborts: Box<Aborts>,
    /// `None`: it computes whenever it likes.
    turns: Option<Turns>,
    /// What the load took of a GPU's memory, bytes; `None`: it is in host memory.
    device_bytes: Option<u64>,
}

impl Llama {
    /// Maps the model, attaches the adapters, and makes the context with an F16 KV cache; on the GPUs that `devices` names,
    /// if any. Blocks for seconds.
    pub(super) fn open(
        path: &Path,
        adapters: &[(String, PathBuf)],
        shape: Shape,
        devices: &str,
    ) -> Result<Llama, LlamaError> {
        init_once();
        forget_error();
        let file = c_path(path)?;
        let chosen = Chosen::named(devices)?;
        let (free_before, mut listed) = (chosen.free_bytes(), chosen.terminated());
        // SAFETY: the parameters are llama.cpp's defaults with plain values changed; `file` and `listed` outlive the call.
        let model = unsafe {
            let mut params = sys::llama_model_default_params();
            params.devices = listed.as_mut_ptr();
            params.split_mode = chosen.split_mode();
            params.n_gpu_layers = if chosen.is_empty() { 0 } else { i32::MAX };
            params.load_mode = if shape.lock { sys::LLAMA_LOAD_MODE_MMAP_MLOCK } else { sys::LLAMA_LOAD_MODE_MMAP };
            sys::llama_model_load_from_file(file.as_ptr(), params)
        };
        let model = OwnedModel(NonNull::new(model).ok_or_else(|| LlamaError::Model { reason: last_error() })?);
        let vocab = vocabulary(&model)?;
        // Adapters come before the context: llama.cpp sizes its graph by the adapters it knows.
        let adapters = adapters
            .iter()
            .map(|(domain, path)| Ok((domain.clone(), load_adapter(&model, path)?)))
            .collect::<Result<Vec<_>, LlamaError>>()?;
        let context = new_context(&model, shape)?;
        let aborts = batch::abortable(context);
        let device_bytes = (!chosen.is_empty()).then(|| free_before.saturating_sub(chosen.free_bytes()));
        Ok(Llama { model: model.keep(), context, vocab, adapters, aborts, turns: None, device_bytes })
    }

    /// Computes in turns with others from now on.
    pub(super) fn take_turns(&mut self, turns: Turns) {
        self.turns = Some(turns);
    }

    /// What the load took of a GPU's memory, bytes; `None`: it is in host memory.
    pub(super) fn device_bytes(&self) -> Option<u64> {
        self.device_bytes
    }

    /// The size of all tensors.
    pub(super) fn weights_bytes(&self) -> u64 {
        // SAFETY: the model lives as long as `self`; the call only reads.
        unsafe { sys::llama_model_size(self.model.as_ptr()) }
    }

    /// The size of the KV cache, from the model's shape (DESIGN 9): llama.cpp does not tell.
    pub(super) fn kv_bytes(&self) -> u64 {
        // SAFETY: model and context live as long as `self`; the calls only read.
        let (cells, layers, heads, kv_heads, hidden) = unsafe {
            let model = self.model.as_ptr();
            (
                u64::from(sys::llama_n_ctx(self.context.as_ptr())),
                sys::llama_model_n_layer(model).max(0) as u64,
                sys::llama_model_n_head(model).max(1) as u64,
                sys::llama_model_n_head_kv(model).max(0) as u64,
                sys::llama_model_n_embd(model).max(0) as u64,
            )
        };
        let architecture = self.metadata(c"general.architecture").unwrap_or_default();
        let head_dim = |kind: &str| -> u64 {
            let key = CString::new(format!("{architecture}.attention.{kind}_length")).ok();
            key.and_then(|key| self.metadata(&key)?.parse().ok()).unwrap_or(hidden / heads)
        };
        layers * kv_heads * cells * 2 * (head_dim("key") + head_dim("value"))
    }

    /// The context the model was trained for.
    pub(super) fn trained_context(&self) -> u32 {
        // SAFETY: the model lives as long as `self`; the call only reads.
        unsafe { sys::llama_model_n_ctx_train(self.model.as_ptr()) }.max(0).unsigned_abs()
    }

    /// The model's default chat template.
    pub(super) fn chat_template(&self) -> Option<String> {
        // SAFETY: a null name asks for the default; the answer is null or a string that the model owns.
        unsafe { owned_text(sys::llama_model_chat_template(self.model.as_ptr(), std::ptr::null())) }
    }

    /// The texts of the beginning- and end-of-sequence tokens; empty where the vocabulary has none.
    pub(super) fn sequence_tokens(&self) -> (String, String) {
        let vocab = self.vocab.as_ptr();
        let text = |token: sys::llama_token| {
            let known = token >= 0;
            // SAFETY: the token is one of the vocabulary's own, and the text is null or owned by the vocabulary.
            known.then(|| unsafe { owned_text(sys::llama_vocab_get_text(vocab, token)) }).flatten().unwrap_or_default()
        };
        // SAFETY: the vocabulary belongs to the model, which lives as long as `self`.
        unsafe { (text(sys::llama_vocab_bos(vocab)), text(sys::llama_vocab_eos(vocab))) }
    }

    /// Tokens of a rendered prompt: special tokens in the text are recognised, none is added.
    pub(super) fn tokenize(&self, text: &str) -> Result<Vec<Token>, LlamaError> {
        let text_len = i32::try_from(text.len()).map_err(|_| LlamaError::TextTooLong)?;
        let mut tokens = vec![0; text.len().max(1)];
        loop {
            // A vector never has more than `isize::MAX` bytes, so the count of what grew from an i32 fits again.
            let room = i32::try_from(tokens.len()).map_err(|_| LlamaError::TextTooLong)?;
            // SAFETY: both buffers are as long as stated and live through the call.
            let count = unsafe {
                let (vocab, from) = (self.vocab.as_ptr(), text.as_ptr().cast());
                sys::llama_tokenize(vocab, from, text_len, tokens.as_mut_ptr(), room, false, true)
            };
            match usize::try_from(count) {
                Ok(count) => return Ok(tokens[..count].iter().map(|&token| Token(token.unsigned_abs())).collect()),
                Err(_) if count == i32::MIN => return Err(LlamaError::TextTooLong),
                Err(_) => tokens.resize(count.unsigned_abs() as usize, 0),
            }
        }
    }

    /// The bytes of a token; control tokens have none. A character may span several tokens.
    pub(super) fn piece(&self, token: Token) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        loop {
            // A token's text is far below 2 GiB; the `resize` below asks only for what llama.cpp counted in an i32.
            let room = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            // SAFETY: the buffer is as long as stated and lives through the call.
            let len = unsafe {
                let to = bytes.as_mut_ptr().cast::<c_char>();
                sys::llama_token_to_piece(self.vocab.as_ptr(), raw(token), to, room, 0, false)
            };
            match usize::try_from(len) {
                Ok(len) => {
                    bytes.truncate(len);
                    return bytes;
                }
                Err(_) => bytes.resize(len.unsigned_abs() as usize, 0),
            }
        }
    }

    /// Whether the token ends the answer.
    pub(super) fn is_end(&self, token: Token) -> bool {
        // SAFETY: the vocabulary belongs to the model, which lives as long as `self`; the call checks the token.
        unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), raw(token)) }
    }

    /// Tokens of the vocabulary.
    pub(super) fn vocabulary_size(&self) -> u32 {
        // SAFETY: the vocabulary belongs to the model, which lives as long as `self`; the call only reads.
        unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) }.max(0).unsigned_abs()
    }

    /// A control token's text, which [`Llama::piece`] leaves out.
    pub(super) fn token_text(&self, token: Token) -> String {
        // SAFETY: the vocabulary checks the token; the text is null or its own.
        unsafe { owned_text(sys::llama_vocab_get_text(self.vocab.as_ptr(), raw(token))) }.unwrap_or_default()
    }

    /// The end-of-sequence token.
    pub(super) fn end_token(&self) -> Option<Token> {
        // SAFETY: the vocabulary belongs to the model, which lives as long as `self`.
        let token = unsafe { sys::llama_vocab_eos(self.vocab.as_ptr()) };
        u32::try_from(token).ok().map(Token)
    }

    /// Where the adapter of `domain` stands among those attached; none for the base.
    pub(super) fn adapter(&self, domain: &str) -> Result<Option<usize>, LlamaError> {
        let found = self.adapters.iter().position(|(name, _)| name == domain);
        match found {
            None if domain.is_empty() => Ok(None),
            None => Err(LlamaError::UnknownDomain(domain.to_owned())),
            found => Ok(found),
        }
    }

    fn metadata(&self, key: &CStr) -> Option<String> {
        let mut buffer = [0u8; 128];
        // SAFETY: the buffer is as long as stated; llama.cpp terminates what it writes.
        let len = unsafe {
            let to = buffer.as_mut_ptr().cast::<c_char>();
            sys::llama_model_meta_val_str(self.model.as_ptr(), key.as_ptr(), to, buffer.len())
        };
        usize::try_from(len).ok()?;
        Some(CStr::from_bytes_until_nul(&buffer).ok()?.to_string_lossy().into_owned())
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        // SAFETY: nothing else holds these; the context goes before the model it refers to, and the model frees its
        // adapters.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            sys::llama_model_free(self.model.as_ptr());
        }
    }
}

/// Frees the model when loading goes wrong half-way.
struct OwnedModel(NonNull<sys::llama_model>);

impl OwnedModel {
    fn keep(self) -> NonNull<sys::llama_model> {
        let model = self.0;
        std::mem::forget(self);
        model
    }
}

impl Drop for OwnedModel {
    fn drop(&mut self) {
        // SAFETY: ours alone; frees the adapters loaded so far, too.
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

fn vocabulary(model: &OwnedModel) -> Result<NonNull<sys::llama_vocab>, LlamaError> {
    // SAFETY: the model lives through the calls, which only read.
    let (vocab, kind) = unsafe {
        let vocab = sys::llama_model_get_vocab(model.0.as_ptr());
        (vocab, if vocab.is_null() { sys::LLAMA_VOCAB_TYPE_NONE } else { sys::llama_vocab_type(vocab) })
    };
    // Tokenising without a vocabulary would abort the process.
    let known = kind != sys::LLAMA_VOCAB_TYPE_NONE;
    NonNull::new(vocab.cast_mut()).filter(|_| known).ok_or(LlamaError::NoVocabulary)
}

fn load_adapter(model: &OwnedModel, path: &Path) -> Result<NonNull<sys::llama_adapter_lora>, LlamaError> {
    forget_error();
    let file = c_path(path)?;
    // SAFETY: `file` outlives the call; the adapter belongs to the model and is freed with it.
    let adapter = unsafe { sys::llama_adapter_lora_init(model.0.as_ptr(), file.as_ptr()) };
    NonNull::new(adapter).ok_or_else(|| LlamaError::Adapter { path: path.to_owned(), reason: last_error() })
}

fn new_context(model: &OwnedModel, shape: Shape) -> Result<NonNull<sys::llama_context>, LlamaError> {
    forget_error();
    let Shape { context, parallel, threads, .. } = shape;
    let failed = |reason: String| LlamaError::Context { context, parallel, reason };
    let parallel = parallel.max(1);
    let cells = context.checked_mul(parallel).filter(|&cells| cells > 0);
    let cells = cells.ok_or_else(|| failed("the size is zero or too large".to_owned()))?;
    let threads = i32::try_from(threads.max(1)).map_err(|_| failed("too many threads".to_owned()))?;
    // SAFETY: the parameters are llama.cpp's defaults with plain values changed; the model outlives the context.
    let pointer = unsafe {
        let mut params = sys::llama_context_default_params();
        params.n_ctx = cells;
        params.n_seq_max = parallel;
        params.n_batch = ENGINE_BATCH_TOKENS_MAX;
        params.n_ubatch = ENGINE_BATCH_TOKENS_MAX;
        // A few tokens of each batch are looked at; the default would keep room for the logits of all of them.
        params.n_outputs_max = parallel.max(ENGINE_OUTPUTS_MAX);
        params.type_k = sys::GGML_TYPE_F16;
        params.type_v = sys::GGML_TYPE_F16;
        params.n_threads = threads;
        params.n_threads_batch = threads;
        sys::llama_init_from_model(model.0.as_ptr(), params)
    };
    NonNull::new(pointer).ok_or_else(|| failed(last_error()))
}

/// A token as llama.cpp counts it; what is none of the vocabulary's becomes one that it refuses.
fn raw(token: Token) -> sys::llama_token {
    i32::try_from(token.0).unwrap_or(-1)
}

fn c_path(path: &Path) -> Result<CString, LlamaError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| LlamaError::Path(path.to_owned()))
}

/// # Safety
/// `text` is null or a terminated string that lives through the call.
unsafe fn owned_text(text: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
