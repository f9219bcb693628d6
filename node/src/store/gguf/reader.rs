//! Reads the scalars, strings and metadata of a GGUF header, with every length checked against what the file still has
//! before anything is allocated for it. Knows nothing of tensors; called by `gguf`.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::core::limits;
use crate::store::gguf::GgufError;

/// Arrays of numbers up to this long are kept: per-layer settings.
const ARRAY_KEPT_MAX: u64 = 4096;

/// A metadata value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Any integer type.
    Integer(i128),
    /// Either float type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string short enough to keep.
    Text(String),
    /// The length of a longer one.
    LongText(u64),
    /// A short array of integers.
    Integers(Vec<i128>),
    /// Any other array: how many elements.
    Array(u64),
}

/// All metadata of one file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number; of a per-layer array the largest.
    pub fn number(&self, key: &str) -> Option<u32> {
        let number = match self.values.get(key)? {
            Value::Integer(number) => *number,
            Value::Integers(numbers) => *numbers.iter().max()?,
            _ => return None,
        };
        u32::try_from(number).ok()
    }

    /// How many elements an array has.
    pub fn array_length(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Array(length) => Some(*length),
            Value::Integers(numbers) => Some(numbers.len() as u64),
            _ => None,
        }
    }

    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<(), GgufError> {
        if self.values.contains_key(&key) {
            return Err(GgufError::DuplicateKey(key));
        }
        self.values.insert(key, value);
        Ok(())
    }
}

/// A header being read: where we are, and how long the file is.
pub(super) struct HeaderReader<R> {
    inner: R,
    position: u64,
    file_bytes: u64,
}

impl<R: Read> HeaderReader<R> {
    pub(super) fn new(inner: R, file_bytes: u64) -> HeaderReader<R> {
        HeaderReader { inner, position: 0, file_bytes }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    fn left(&self) -> u64 {
        self.file_bytes.saturating_sub(self.position)
    }

    fn fill(&mut self, what: &'static str, buffer: &mut [u8]) -> Result<(), GgufError> {
        let truncated = GgufError::HeaderTruncated { what, position: self.position, file_bytes: self.file_bytes };
        if buffer.len() as u64 > self.left() {
            return Err(truncated);
        }
        match self.inner.read_exact(buffer) {
            Ok(()) => self.position += buffer.len() as u64,
            // Shorter than it was when it was measured.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(truncated),
            Err(error) => return Err(GgufError::Io(error)),
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(what, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `bytes_each` bytes of the file.
    pub(super) fn count(&mut self, what: &'static str, max: u64, bytes_each: u64) -> Result<u64, GgufError> {
        let found = self.u64(what)?;
        self.check_count(what, found, max, bytes_each)
    }

    fn check_count(&self, what: &'static str, found: u64, max: u64, bytes_each: u64) -> Result<u64, GgufError> {
        if found > max {
            return Err(GgufError::TooMany { what, found, max });
        }
        if found.saturating_mul(bytes_each) > self.left() {
            return Err(GgufError::HeaderTruncated { what, position: self.position, file_bytes: self.file_bytes });
        }
        Ok(found)
    }

    /// A name that will be kept: bounded, UTF-8, no control characters.
    pub(super) fn name(&mut self, what: &'static str) -> Result<String, GgufError> {
        let length = self.count(what, limits::METADATA_KEY_BYTES_MAX, 1)?;
        let mut bytes = vec![0; length as usize];
        self.fill(what, &mut bytes)?;
        match String::from_utf8(bytes) {
            Ok(name) if !name.is_empty() && !name.chars().any(char::is_control) => Ok(name),
            _ => Err(GgufError::BadName { what, position: self.position }),
        }
    }

    fn skip(&mut self, what: &'static str, mut bytes: u64) -> Result<(), GgufError> {
        let mut scratch = [0; 4096];
        while bytes > 0 {
            let step = bytes.min(scratch.len() as u64) as usize;
            self.fill(what, &mut scratch[..step])?;
            bytes -= step as u64;
        }
        Ok(())
    }

    fn text(&mut self, what: &'static str) -> Result<Value, GgufError> {
        let length = self.count(what, limits::METADATA_STRING_BYTES_MAX, 1)?;
        if length > limits::METADATA_TEXT_KEPT_BYTES_MAX {
            self.skip(what, length)?;
            return Ok(Value::LongText(length));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(what, &mut bytes)?;
        // Text for people; a stray byte in a licence is no reason to refuse a model.
        Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// One value of metadata type `kind`.
    pub(super) fn value(&mut self, key: &str, kind: u32) -> Result<Value, GgufError> {
        let what = "a metadata value";
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array(what)?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array(what)?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array(what)?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array(what)?).into()),
            4 => Value::Integer(u32::from_le_bytes(self.array(what)?).into()),
            5 => Value::Integer(i32::from_le_bytes(self.array(what)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(what)?).into()),
            7 => Value::Bool(self.array::<1>(what)? != [0]),
            8 => self.text(what)?,
            9 => self.elements(key)?,
            10 => Value::Integer(u64::from_le_bytes(self.array(what)?).into()),
            11 => Value::Integer(i64::from_le_bytes(self.array(what)?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            kind => return Err(GgufError::BadType { key: key.to_owned(), kind }),
        })
    }

    fn elements(&mut self, key: &str) -> Result<Value, GgufError> {
        let what = "a metadata array";
        let kind = self.u32(what)?;
        let bytes_each = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8, // a string takes at least its length field
            // Arrays of arrays are written by nobody and read by no engine.
            _ => return Err(GgufError::BadType { key: key.to_owned(), kind }),
        };
        let length = self.count(what, limits::METADATA_ARRAY_MAX, bytes_each)?;
        if kind == 8 {
            for _ in 0..length {
                let bytes = self.count(what, limits::METADATA_STRING_BYTES_MAX, 1)?;
                self.skip(what, bytes)?;
            }
            return Ok(Value::Array(length));
        }
        let integers = matches!(kind, 0..=5 | 10 | 11);
        if !integers || length > ARRAY_KEPT_MAX {
            self.skip(what, length * bytes_each)?;
            return Ok(Value::Array(length));
        }
        let mut numbers = Vec::with_capacity(length as usize);
        for _ in 0..length {
            if let Value::Integer(number) = self.value(key, kind)? {
                numbers.push(number);
            }
        }
        Ok(Value::Integers(numbers))
    }
}
