//! Builds small safetensors files for tests: sound ones, and ones with exactly one thing wrong.

use std::fmt::Write;

/// One tensor as it will be written.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub dtype: String,
    pub shape: String,
    pub begin: i128,
    pub end: i128,
}

/// A file in the making. Its fields are public so that a test can spoil them.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub entries: Vec<Entry>,
    pub data: Vec<u8>,
    /// Instead of the header's true length.
    pub header_bytes: Option<u64>,
    /// Put into the header as it is.
    pub extra: String,
}

impl Sample {
    pub fn tensor(mut self, name: &str, dtype: &str, shape: &[u64], bytes: &[u8]) -> Sample {
        let begin = self.data.len() as i128;
        self.data.extend_from_slice(bytes);
        let (dtype, shape) = (dtype.to_owned(), format!("{shape:?}"));
        self.entries.push(Entry { name: name.to_owned(), dtype, shape, begin, end: self.data.len() as i128 });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
        for Entry { name, dtype, shape, begin, end } in &self.entries {
            let name = serde_json::to_string(name).expect("a string");
            let body = format!("{{\"dtype\":{dtype:?},\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}");
            write!(header, ",{name}:{body}").expect("to a string");
        }
        header += &self.extra;
        header.push('}');
        let length = self.header_bytes.unwrap_or(header.len() as u64);
        [&length.to_le_bytes()[..], header.as_bytes(), &self.data].concat()
    }
}
