//! The JSON of a safetensors header. A map that keeps the last of two equal keys would hide a tensor, so this reads the
//! entries one by one and refuses the second. Called by `safetensors`.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Dtype, SafetensorsError, Tensor};
use crate::core::limits;

/// The one key that is no tensor.
const METADATA_KEY: &str = "__metadata__";
/// More dimensions than any weight has.
const DIMENSIONS_MAX: usize = 8;

/// The tensors of a header, their offsets still relative to the data.
pub(super) fn read(header: &[u8]) -> Result<Vec<Tensor>, SafetensorsError> {
    let mut json = serde_json::Deserializer::from_slice(header);
    let entries = json.deserialize_map(Entries)?;
    json.end()?;
    entries.into_iter().map(|(name, entry)| entry.check(name)).collect()
}

/// A tensor as its file states it. Unknown fields, and fields that stand twice, are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "dimensions")]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check(self, name: String) -> Result<Tensor, SafetensorsError> {
        let bad = |why: String| SafetensorsError::Tensor { name: name.clone(), why };
        let dtype = Dtype::from_name(&self.dtype);
        let dtype = dtype.ok_or_else(|| bad(format!("its type {:?} is not known", shortened(&self.dtype))))?;
        if self.shape.contains(&0) {
            return Err(bad("one of its dimensions is zero".to_owned()));
        }
        let bytes = self.shape.iter().try_fold(dtype.bytes(), |product, &dim| product.checked_mul(dim));
        let bytes = bytes.filter(|&bytes| bytes <= i64::MAX as u64);
        let bytes = bytes.ok_or_else(|| bad("its dimensions multiply beyond 2^63 bytes".to_owned()))?;
        let (begin, end) = self.data_offsets;
        if end.checked_sub(begin) != Some(bytes) {
            let shape = self.shape.clone();
            return Err(bad(format!(
                "its offsets {begin} to {end} do not fit {shape:?} of {}, {bytes} bytes",
                dtype.name()
            )));
        }
        Ok(Tensor { name, dtype, shape: self.shape, offset: begin, bytes })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A short list of numbers: longer ones are refused before they are kept.
fn dimensions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "at most {DIMENSIONS_MAX} dimensions")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut dims = Vec::new();
            while let Some(dim) = list.next_element()? {
                if dims.len() == DIMENSIONS_MAX {
                    return Err(de::Error::invalid_length(dims.len() + 1, &self));
                }
                dims.push(dim);
            }
            Ok(dims)
        }
    }
    deserializer.deserialize_seq(Dimensions)
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, Entry)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with a tensor under each name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, Entry)> = Vec::new();
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format_args!("{name:?} stands twice")));
            }
            if name == METADATA_KEY {
                // Notes for people: no tensor depends on them.
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if entries.len() as u64 == limits::TENSORS_PER_FILE_MAX {
                return Err(de::Error::custom(format_args!("more than {} tensors", limits::TENSORS_PER_FILE_MAX)));
            }
            entries.push((name, map.next_value()?));
        }
        Ok(entries)
    }
}

/// A tensor's name: bounded, not empty, no control characters.
pub(super) struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a name of 1 to {} bytes without control characters", limits::METADATA_KEY_BYTES_MAX)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        let sound = !name.is_empty() && name.len() as u64 <= limits::METADATA_KEY_BYTES_MAX;
        if !sound || name.chars().any(char::is_control) {
            return Err(E::custom(format_args!("{:?} is not {}", shortened(name), ExpectedName)));
        }
        Ok(name.to_owned())
    }
}

struct ExpectedName;

impl fmt::Display for ExpectedName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        Name.expecting(f)
    }
}
