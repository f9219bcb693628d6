//! The little of GGUF v3 that writing needs: header, tensor table, alignment.

use std::io::Write;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
const ALIGNMENT: u64 = 32;

const TYPE_U32: u32 = 4;
const TYPE_I32: u32 = 5;
const TYPE_F32: u32 = 6;
const TYPE_BOOL: u32 = 7;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

/// The types written; the numbers are GGUF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    F32 = 0,
    F16 = 1,
    Q8_0 = 8,
}

/// One line of the tensor table.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub name: String,
    /// The row's length first.
    pub dimensions: Vec<u64>,
    pub dtype: Dtype,
}

impl TensorInfo {
    pub(super) fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }

    /// Without padding.
    pub(super) fn bytes(&self) -> u64 {
        match self.dtype {
            Dtype::F32 => self.elements() * 4,
            Dtype::F16 => self.elements() * 2,
            // A scale of two bytes and 32 weights of one.
            Dtype::Q8_0 => self.elements() / 32 * 34,
        }
    }
}

/// The metadata, encoded as it is added.
#[derive(Default)]
pub(super) struct Header {
    entries: u64,
    encoded: Vec<u8>,
}

impl Header {
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key, TYPE_STRING);
        push_text(&mut self.encoded, value);
    }

    pub(super) fn number(&mut self, key: &str, value: u32) {
        self.key(key, TYPE_U32);
        self.encoded.extend(value.to_le_bytes());
    }

    pub(super) fn float(&mut self, key: &str, value: f32) {
        self.key(key, TYPE_F32);
        self.encoded.extend(value.to_le_bytes());
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key, TYPE_BOOL);
        self.encoded.push(u8::from(value));
    }

    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        self.array(key, TYPE_STRING, values.len());
        for value in values {
            push_text(&mut self.encoded, value);
        }
    }

    pub(super) fn signed_numbers(&mut self, key: &str, values: &[i32]) {
        self.array(key, TYPE_I32, values.len());
        self.encoded.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Writes everything up to the first tensor's bytes; returns how many bytes that were.
    pub(super) fn write(&self, tensors: &[TensorInfo], to: &mut impl Write) -> std::io::Result<u64> {
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend(self.entries.to_le_bytes());
        head.extend(&self.encoded);
        let mut offset = 0u64;
        for tensor in tensors {
            push_text(&mut head, &tensor.name);
            head.extend((tensor.dimensions.len() as u32).to_le_bytes());
            head.extend(tensor.dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()));
            head.extend((tensor.dtype as u32).to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        to.write_all(&head)?;
        let written = head.len() as u64;
        Ok(written + pad(written, to)?)
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.entries += 1;
        push_text(&mut self.encoded, key);
        self.encoded.extend(kind.to_le_bytes());
    }

    fn array(&mut self, key: &str, kind: u32, len: usize) {
        self.key(key, TYPE_ARRAY);
        self.encoded.extend(kind.to_le_bytes());
        self.encoded.extend((len as u64).to_le_bytes());
    }
}

/// Zeroes up to the next alignment after `written` bytes; returns how many.
pub(super) fn pad(written: u64, to: &mut impl Write) -> std::io::Result<u64> {
    let missing = written.next_multiple_of(ALIGNMENT) - written;
    to.write_all(&[0; ALIGNMENT as usize][..missing as usize])?;
    Ok(missing)
}

fn push_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}
