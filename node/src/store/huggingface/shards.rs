//! The safetensors files of a folder and where each tensor lies in them: one file, or several with an index that must agree
//! with every one of them. Called by `model` and `adapter`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use super::folder::Folder;
use super::{HuggingFaceError, unsupported};
use crate::core::limits;
use crate::store::safetensors::{self, Dtype, SafetensorsError, Tensor, index};

const INDEX_FILE: &str = "model.safetensors.index.json";
const SINGLE_FILE: &str = "model.safetensors";

/// Where tensors are read from.
#[derive(Debug)]
pub(super) struct Shards {
    pub files: Vec<File>,
    tensors: BTreeMap<String, (usize, Tensor)>,
}

/// One tensor that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Index of its file.
    pub file: usize,
    pub offset: u64,
    pub dtype: Dtype,
}

impl Shards {
    /// The weights of a model's folder.
    pub(super) fn of_model(folder: &Folder) -> Result<Shards, HuggingFaceError> {
        if folder.has(INDEX_FILE) {
            let text = folder.read(INDEX_FILE, limits::SAFETENSORS_HEADER_BYTES_MAX)?;
            let index = index::parse(&text).map_err(|error| of_file(INDEX_FILE, error))?;
            return Shards::indexed(folder, &index);
        }
        if folder.has(SINGLE_FILE) {
            return Shards::single(folder, SINGLE_FILE);
        }
        Err(unsupported("a model without model.safetensors or its index"))
    }

    /// The tensors of one file.
    pub(super) fn single(folder: &Folder, name: &str) -> Result<Shards, HuggingFaceError> {
        let (file, tensors) = open(folder, name)?;
        let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), (0, tensor))).collect();
        Ok(Shards { files: vec![file], tensors })
    }

    fn indexed(folder: &Folder, index: &index::Index) -> Result<Shards, HuggingFaceError> {
        let mut shards = Shards { files: Vec::new(), tensors: BTreeMap::new() };
        for (number, name) in index.shards().into_iter().enumerate() {
            let (file, tensors) = open(folder, name)?;
            shards.files.push(file);
            for tensor in tensors {
                let said = index.files.get(&tensor.name).map(String::as_str);
                if said != Some(name) {
                    let said = said.unwrap_or("nowhere");
                    let why = format!("it is in {name}, the index says {said}; download the folder again");
                    return Err(HuggingFaceError::Tensor { name: tensor.name, why });
                }
                shards.tensors.insert(tensor.name.clone(), (number, tensor));
            }
        }
        match index.files.iter().find(|(tensor, _)| !shards.tensors.contains_key(*tensor)) {
            Some((tensor, file)) => {
                let why = format!("the index says it is in {file}, which does not have it; download the folder again");
                Err(HuggingFaceError::Tensor { name: tensor.clone(), why })
            }
            None => Ok(shards),
        }
    }

    /// Takes out the tensor `name`, which must be of `shape`, the outermost dimension first.
    pub(super) fn take(&mut self, name: &str, shape: &[u64]) -> Result<Found, HuggingFaceError> {
        let missing = || HuggingFaceError::Tensor { name: name.to_owned(), why: "it is missing".to_owned() };
        let (file, tensor) = self.tensors.remove(name).ok_or_else(missing)?;
        if tensor.shape != shape {
            let why = format!("its shape is {:?}, by the settings it should be {shape:?}", tensor.shape);
            return Err(HuggingFaceError::Tensor { name: name.to_owned(), why });
        }
        Ok(Found { file, offset: tensor.offset, dtype: tensor.dtype })
    }

    /// The shape of a tensor that was not taken yet.
    pub(super) fn shape(&self, name: &str) -> Option<&[u64]> {
        self.tensors.get(name).map(|(_, tensor)| tensor.shape.as_slice())
    }

    /// Every tensor that was not taken.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values().map(|(_, tensor)| tensor)
    }

    /// The names that were not taken, in order.
    pub(super) fn left(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

fn open(folder: &Folder, name: &str) -> Result<(File, Vec<Tensor>), HuggingFaceError> {
    let (file, file_bytes) = folder.open(name)?;
    let tensors = safetensors::parse(BufReader::new(&file), file_bytes).map_err(|error| of_file(name, error))?;
    Ok((file, tensors))
}

fn of_file(name: &str, source: SafetensorsError) -> HuggingFaceError {
    HuggingFaceError::Safetensors { file: name.to_owned(), source }
}
