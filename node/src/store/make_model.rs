//! Makes models with pseudo-random weights, for tests and benches: the body of `fednode dev make-model`. They have the
//! shape and the size of real ones and answer with nonsense, the same nonsense on every machine.
//!
//! The file is GGUF v3 with the llama architecture, a byte-level gpt2 vocabulary and a plain chat template. It is
//! written in one pass with memory bounded by one buffer, so that 13 GB can be made on any machine.

mod weights;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::store::gguf::table::Dtype;
use crate::store::gguf::write::{ALIGNMENT, NewTensor, Writer};

/// The special tokens, in the order of their ids.
const SPECIAL: [&str; 5] = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"];
/// Bytes and special tokens: the smallest vocabulary.
const VOCAB_MIN: u32 = 256 + SPECIAL.len() as u32;
/// Above any known model, so that sizes stay far from overflow.
const DIMENSION_MAX: u32 = 1 << 20;
const LAYERS_MAX: u32 = 1024;

const CHAT_TEMPLATE: &str = concat!(
    "{{ bos_token }}",
    "{% for message in messages %}",
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}",
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}",
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
);

/// The shape of a model to make; also the arguments of `fednode dev make-model`.
#[derive(Clone, Debug, clap::Args)]
pub struct MakeModel {
    /// The GGUF file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Transformer layers
    #[arg(long)]
    pub layers: u32,
    /// Hidden size
    #[arg(long)]
    pub hidden: u32,
    /// Attention heads
    #[arg(long)]
    pub heads: u32,
    /// Heads of keys and values [default: as many as attention heads]
    #[arg(long)]
    pub kv_heads: Option<u32>,
    /// Size of the feed-forward layer
    #[arg(long)]
    pub ffn: u32,
    /// Tokens of the vocabulary
    #[arg(long)]
    pub vocab: u32,
    /// Context length that the file states
    #[arg(long)]
    pub context: u32,
    /// Another seed makes another model of the same shape
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Type of the tensors with two dimensions
    #[arg(long, value_enum, default_value_t = ModelDtype::F16)]
    pub dtype: ModelDtype,
}

/// The types that tensors of two dimensions can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModelDtype {
    F16,
    F32,
    /// Quantised: a file that a slot with the floor `f16` must refuse.
    #[value(name = "q8_0")]
    Q8_0,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeModel {
    pub path: PathBuf,
    /// Of the whole file.
    pub file_bytes: u64,
    /// Of all tensors, without padding.
    pub weights_bytes: u64,
    pub parameters: u64,
}

/// Why no model was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeModelError {
    #[error("a model of this shape cannot be: {0}")]
    Shape(String),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Writes the model beside `out` and renames it there, so that `out` is never half a model.
pub fn make_model(make: &MakeModel) -> Result<MadeModel, MakeModelError> {
    check(make)?;
    let tensors = tensors(make);
    let mut partial = make.out.clone().into_os_string();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    write(make, &tensors, &partial)
        .and_then(|file_bytes| std::fs::rename(&partial, &make.out).map(|()| file_bytes))
        .map(|file_bytes| MadeModel {
            path: make.out.clone(),
            file_bytes,
            weights_bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
            parameters: tensors.iter().map(NewTensor::elements).sum(),
        })
        .map_err(|source| MakeModelError::Write { path: make.out.clone(), source })
}

impl MakeModel {
    fn kv_heads(&self) -> u32 {
        self.kv_heads.unwrap_or(self.heads)
    }

    fn head_dim(&self) -> u32 {
        self.hidden / self.heads
    }
}

fn check(make: &MakeModel) -> Result<(), MakeModelError> {
    let MakeModel { layers, hidden, heads, ffn, vocab, context, .. } = *make;
    let sizes = [hidden, heads, make.kv_heads(), ffn, vocab, context];
    let problem = if sizes.iter().any(|&size| size == 0 || size > DIMENSION_MAX) || layers == 0 || layers > LAYERS_MAX {
        format!("each size must be 1 to {DIMENSION_MAX}, and layers at most {LAYERS_MAX}")
    } else if hidden % heads != 0 || (hidden / heads) % 2 != 0 {
        format!("hidden {hidden} must be an even multiple of heads {heads}")
    } else if heads % make.kv_heads() != 0 {
        format!("heads {heads} must be a multiple of kv-heads {}", make.kv_heads())
    } else if vocab < VOCAB_MIN {
        format!("vocab {vocab} must be at least {VOCAB_MIN}: the bytes and the special tokens")
    } else if make.dtype == ModelDtype::Q8_0 && (hidden % 32 != 0 || ffn % 32 != 0) {
        "q8_0 packs rows in blocks of 32: hidden and ffn must be multiples of 32".to_owned()
    } else {
        return Ok(());
    };
    Err(MakeModelError::Shape(problem))
}

/// The tensor table in file order; dimensions as GGUF has them, the row's length first.
fn tensors(make: &MakeModel) -> Vec<NewTensor> {
    let dtype = match make.dtype {
        ModelDtype::F16 => Dtype::F16,
        ModelDtype::F32 => Dtype::F32,
        ModelDtype::Q8_0 => Dtype::Q8_0,
    };
    let [hidden, ffn, vocab] = [make.hidden, make.ffn, make.vocab].map(u64::from);
    let kv = u64::from(make.kv_heads() * make.head_dim());
    let norm = |name: String| NewTensor::new(name, vec![hidden], Dtype::F32);
    let matrix = |name: String, row: u64, rows: u64| NewTensor::new(name, vec![row, rows], dtype);
    let mut tensors = vec![matrix("token_embd.weight".to_owned(), hidden, vocab)];
    for layer in 0..make.layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.extend([
            norm(name("attn_norm")),
            matrix(name("attn_q"), hidden, hidden),
            matrix(name("attn_k"), hidden, kv),
            matrix(name("attn_v"), hidden, kv),
            matrix(name("attn_output"), hidden, hidden),
            norm(name("ffn_norm")),
            matrix(name("ffn_gate"), hidden, ffn),
            matrix(name("ffn_up"), hidden, ffn),
            matrix(name("ffn_down"), ffn, hidden),
        ]);
    }
    tensors.push(norm("output_norm.weight".to_owned()));
    tensors.push(matrix("output.weight".to_owned(), hidden, vocab));
    tensors
}

fn header(make: &MakeModel) -> Writer {
    let mut header = Writer::default();
    // llama.cpp's numbers for "mostly F16" and its kin.
    let file_type = match make.dtype {
        ModelDtype::F32 => 0,
        ModelDtype::F16 => 1,
        ModelDtype::Q8_0 => 7,
    };
    header.text("general.architecture", "llama");
    header.text("general.name", "made");
    header.number("general.file_type", file_type);
    header.number("llama.block_count", make.layers);
    header.number("llama.context_length", make.context);
    header.number("llama.embedding_length", make.hidden);
    header.number("llama.feed_forward_length", make.ffn);
    header.number("llama.attention.head_count", make.heads);
    header.number("llama.attention.head_count_kv", make.kv_heads());
    header.number("llama.rope.dimension_count", make.head_dim());
    header.number("llama.vocab_size", make.vocab);
    header.float("llama.rope.freq_base", 10_000.0);
    header.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    header.text("tokenizer.ggml.model", "gpt2");
    header.text("tokenizer.ggml.pre", "gpt-2");
    let (tokens, kinds) = vocabulary(make.vocab);
    header.texts("tokenizer.ggml.tokens", &tokens);
    header.signed_numbers("tokenizer.ggml.token_type", &kinds);
    // No merges: every byte stays a token of its own.
    header.texts::<&str>("tokenizer.ggml.merges", &[]);
    header.number("tokenizer.ggml.bos_token_id", 0);
    header.number("tokenizer.ggml.eos_token_id", 1);
    header.flag("tokenizer.ggml.add_bos_token", false);
    header.text("tokenizer.chat_template", CHAT_TEMPLATE);
    header
}

/// The special tokens, the bytes in gpt2's notation, then made-up words up to `count`; and llama.cpp's kind of each.
fn vocabulary(count: u32) -> (Vec<String>, Vec<i32>) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let mut tokens: Vec<String> = SPECIAL.iter().map(|&token| token.to_owned()).collect();
    tokens.extend((0..=255u8).map(|byte| gpt2_letter(byte).to_string()));
    // "Ġ" is a space in gpt2's notation, so that an answer looks like words.
    tokens.extend((VOCAB_MIN..count).map(|n| format!("Ġw{n}")));
    let kinds = (0..tokens.len()).map(|id| if id < SPECIAL.len() { CONTROL } else { NORMAL }).collect();
    (tokens, kinds)
}

/// gpt2 writes each byte as one printable letter: printable ones as themselves, the others in order from U+0100.
fn gpt2_letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + before).expect("at most 256 letters from U+0100 on, all assigned")
}

fn write(make: &MakeModel, tensors: &[NewTensor], path: &Path) -> std::io::Result<u64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let header = header(make).header(tensors);
    file.write_all(&header)?;
    let mut written = header.len() as u64;
    for tensor in tensors {
        written += weights::write(make.seed, tensor, &mut file)?;
        let padding = written.next_multiple_of(ALIGNMENT) - written;
        file.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
        written += padding;
    }
    file.flush()?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
    Ok(written)
}

#[cfg(test)]
mod tests;
