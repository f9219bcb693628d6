//! A model of the reference shape (DESIGN 1) as a file that takes no room: all its weights are zero but a few, which make one
//! of it differ from another as fine-tunes do. It can be published, placed and moved like any other of 13.48 GB. It has no
//! tokenizer, so that no engine ever loads it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::Error;

const LAYERS: u32 = 32;
const HIDDEN: u64 = 4096;
const FEED_FORWARD: u64 = 11008;
const VOCABULARY: u64 = 32256;
const HEADS: u32 = 32;
const CONTEXT: u32 = 16384;
const ALIGNMENT: u64 = 32;

/// GGUF's numbers of types.
const TEXT: u32 = 8;
const NUMBER: u32 = 4;
const F32: u32 = 0;
const F16: u32 = 1;

/// A tensor: name, dimensions with the row's length first, type.
type Tensor = (String, Vec<u64>, u32);

/// Writes the model called `name` at `path`; its size in bytes. Models of other names have other weights in one layer.
pub fn reference(path: &Path, name: &str) -> Result<u64, Error> {
    let tensors = tensors();
    let header = header(name, &tensors);
    let begin = header.len() as u64;
    let bytes: u64 = tensors.iter().map(padded).sum();
    let changed: u64 = tensors.iter().take_while(|tensor| tensor.0 != "blk.7.ffn_up.weight").map(padded).sum();
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.set_len(begin + bytes)?;
        file.write_all(&header)?;
        file.seek(SeekFrom::Start(begin + changed))?;
        // Any two bytes are a number of F16.
        file.write_all(name.as_bytes())
    };
    write().map_err(Error::io(format!("write {}", path.display())))?;
    Ok(begin + bytes)
}

fn tensors() -> Vec<Tensor> {
    let matrix = |name: String, row, rows| (name, vec![row, rows], F16);
    let norm = |name: String| (name, vec![HIDDEN], F32);
    let mut tensors = vec![matrix("token_embd.weight".to_owned(), HIDDEN, VOCABULARY)];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.extend([norm(name("attn_norm")), norm(name("ffn_norm"))]);
        let square = ["attn_q", "attn_k", "attn_v", "attn_output"];
        tensors.extend(square.map(|part| matrix(name(part), HIDDEN, HIDDEN)));
        tensors.extend(["ffn_gate", "ffn_up"].map(|part| matrix(name(part), HIDDEN, FEED_FORWARD)));
        tensors.push(matrix(name("ffn_down"), FEED_FORWARD, HIDDEN));
    }
    tensors.extend([norm("output_norm.weight".to_owned()), matrix("output.weight".to_owned(), HIDDEN, VOCABULARY)]);
    tensors
}

fn size(tensor: &Tensor) -> u64 {
    tensor.1.iter().product::<u64>() * if tensor.2 == F32 { 4 } else { 2 }
}

fn padded(tensor: &Tensor) -> u64 {
    size(tensor).next_multiple_of(ALIGNMENT)
}

/// Everything before the first tensor's bytes.
fn header(name: &str, tensors: &[Tensor]) -> Vec<u8> {
    let texts = [("general.architecture", "llama"), ("general.name", name)];
    let numbers = [
        ("general.file_type", 1),
        ("llama.block_count", LAYERS),
        ("llama.context_length", CONTEXT),
        ("llama.embedding_length", HIDDEN as u32),
        ("llama.feed_forward_length", FEED_FORWARD as u32),
        ("llama.attention.head_count", HEADS),
        ("llama.attention.head_count_kv", HEADS),
        ("llama.vocab_size", VOCABULARY as u32),
    ];
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(((texts.len() + numbers.len()) as u64).to_le_bytes());
    for (key, value) in texts {
        push(&mut header, key);
        header.extend(TEXT.to_le_bytes());
        push(&mut header, value);
    }
    for (key, value) in numbers {
        push(&mut header, key);
        header.extend(NUMBER.to_le_bytes());
        header.extend(value.to_le_bytes());
    }
    let mut offset = 0;
    for tensor in tensors {
        push(&mut header, &tensor.0);
        header.extend((tensor.1.len() as u32).to_le_bytes());
        header.extend(tensor.1.iter().flat_map(|dimension| dimension.to_le_bytes()));
        header.extend(tensor.2.to_le_bytes());
        header.extend(u64::to_le_bytes(offset));
        offset += padded(tensor);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    header
}

fn push(header: &mut Vec<u8>, text: &str) {
    header.extend((text.len() as u64).to_le_bytes());
    header.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_reference_managers_parameters() {
        let parameters: u64 = tensors().iter().map(|tensor| tensor.1.iter().product::<u64>()).sum();
        assert_eq!(parameters, 6_740_512_768);
    }
}
