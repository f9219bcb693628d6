//! `model.safetensors.index.json`: which tensor is in which of several files. The names of the files come from outside and
//! are opened beside the index, so nothing but a plain file name is taken. Called by `huggingface`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::SafetensorsError;
use super::header::Name;
use crate::core::limits;

/// Which tensors each file has to have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    /// File by tensor.
    pub files: BTreeMap<String, String>,
}

impl Index {
    /// The names of the files, each once.
    pub fn shards(&self) -> Vec<&str> {
        let mut shards: Vec<&str> = self.files.values().map(String::as_str).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

/// Reads the whole text of an index, which is at most `SAFETENSORS_HEADER_BYTES_MAX` long.
pub fn parse(text: &[u8]) -> Result<Index, SafetensorsError> {
    let max = limits::SAFETENSORS_HEADER_BYTES_MAX;
    if text.len() as u64 > max {
        return Err(SafetensorsError::TooMany { what: "the length of the index", found: text.len() as u64, max });
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let index = json.deserialize_map(Document)?;
    json.end()?;
    let shards = index.shards().len();
    if shards > limits::FILES_PER_ARTIFACT_MAX {
        let (found, max) = (shards as u64, limits::FILES_PER_ARTIFACT_MAX as u64);
        return Err(SafetensorsError::TooMany { what: "the number of files", found, max });
    }
    Ok(index)
}

/// Is `name` that of a safetensors file in the same folder: no separators, not hidden, nothing that leads elsewhere?
pub fn is_shard_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | ':');
    name.len() <= 255 && !name.starts_with('.') && name.ends_with(".safetensors") && name.chars().all(plain)
}

struct Document;

impl<'de> Visitor<'de> for Document {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an index with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut index = None;
        while let Some(key) = map.next_key_seed(Name)? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if index.is_some() {
                return Err(de::Error::duplicate_field("weight_map"));
            }
            index = Some(map.next_value_seed(WeightMap)?);
        }
        index.ok_or_else(|| de::Error::missing_field("weight_map"))
    }
}

struct WeightMap;

impl<'de> de::DeserializeSeed<'de> for WeightMap {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Index, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with a file name under each tensor's name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut index = Index::default();
        while let Some(tensor) = map.next_key_seed(Name)? {
            let file = map.next_value_seed(Name)?;
            if !is_shard_name(&file) {
                let shown: String = file.chars().take(80).collect();
                return Err(de::Error::custom(format_args!(
                    "{shown:?} is not the name of a safetensors file in this folder"
                )));
            }
            if index.files.len() as u64 == limits::TENSORS_PER_FILE_MAX {
                return Err(de::Error::custom(format_args!("more than {} tensors", limits::TENSORS_PER_FILE_MAX)));
            }
            if let Some(file) = index.files.insert(tensor, file) {
                return Err(de::Error::custom(format_args!("a tensor of {file:?} stands twice")));
            }
        }
        Ok(index)
    }
}
