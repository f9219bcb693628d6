//! The little of GGUF v3 that writing needs: metadata, tensor table, alignment. What it writes is read back by `parse`
//! before it is used. Called by `huggingface` and `make_model`.

use crate::store::gguf::table::Dtype;

const VERSION: u32 = 3;
/// The default, which needs no entry of its own.
pub const ALIGNMENT: u64 = 32;

const TYPE_U32: u32 = 4;
const TYPE_I32: u32 = 5;
const TYPE_F32: u32 = 6;
const TYPE_BOOL: u32 = 7;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

/// One line of the tensor table to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTensor {
    /// Such as `blk.3.ffn_up.weight`.
    pub name: String,
    /// The row's length first.
    pub dims: Vec<u64>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// How many bytes it has, without padding.
    pub bytes: u64,
}

impl NewTensor {
    /// Of dimensions that were checked: their product, and the bytes it takes, are far from overflow.
    pub fn new(name: String, dims: Vec<u64>, dtype: Dtype) -> NewTensor {
        let bytes = dtype.bytes_of(dims.iter().product()).unwrap_or(u64::MAX);
        NewTensor { name, dims, dtype, bytes }
    }

    /// How many elements it has.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// The metadata, encoded as it is added.
#[derive(Clone, Default, Debug)]
pub struct Writer {
    entries: u64,
    encoded: Vec<u8>,
}

impl Writer {
    /// A string.
    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key, TYPE_STRING);
        push_text(&mut self.encoded, value);
    }

    /// A 32-bit number.
    pub fn number(&mut self, key: &str, value: u32) {
        self.key(key, TYPE_U32);
        self.encoded.extend(value.to_le_bytes());
    }

    /// A single-precision number.
    pub fn float(&mut self, key: &str, value: f32) {
        self.key(key, TYPE_F32);
        self.encoded.extend(value.to_le_bytes());
    }

    /// A truth value.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.key(key, TYPE_BOOL);
        self.encoded.push(u8::from(value));
    }

    /// An array of strings.
    pub fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        self.array(key, TYPE_STRING, values.len());
        for value in values {
            push_text(&mut self.encoded, value.as_ref());
        }
    }

    /// An array of signed numbers.
    pub fn signed_numbers(&mut self, key: &str, values: &[i32]) {
        self.array(key, TYPE_I32, values.len());
        self.encoded.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Everything up to the first tensor's bytes. Tensors follow each other in their order, each aligned.
    pub fn header(&self, tensors: &[NewTensor]) -> Vec<u8> {
        let mut header = b"GGUF".to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend(self.entries.to_le_bytes());
        header.extend(&self.encoded);
        let mut offset = 0u64;
        for tensor in tensors {
            push_text(&mut header, &tensor.name);
            header.extend((tensor.dims.len() as u32).to_le_bytes());
            header.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            header.extend(tensor.dtype.number().to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset += tensor.bytes.next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
        header
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

fn push_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}
