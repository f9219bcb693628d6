//! Models of pseudo-random weights that `fednode dev make-model` makes, and changed copies of them: what the tests of
//! transfers move about. Layers are found by arithmetic, for the shape is known.

use std::path::{Path, PathBuf};

use crate::{Error, NodeProcess};

/// A made model of one shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// Its file.
    pub path: PathBuf,
    layers: u64,
    hidden: u64,
    ffn: u64,
}

const VOCAB: u64 = 512;

impl Model {
    /// Makes one at `path` with the binary of `node`.
    pub fn make(node: &NodeProcess, path: PathBuf, layers: u64, hidden: u64, ffn: u64) -> Result<Model, Error> {
        let numbers = [layers, hidden, 2, ffn, VOCAB, 2048].map(|number| number.to_string());
        let names = ["--layers", "--hidden", "--heads", "--ffn", "--vocab", "--context"];
        let out = path.to_string_lossy().into_owned();
        let mut args = vec!["dev", "make-model", "--out", &out];
        names.iter().zip(&numbers).for_each(|(name, number)| args.extend([*name, number.as_str()]));
        node.command(&args)?;
        Ok(Model { path, layers, hidden, ffn })
    }

    /// All its bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(&self.path).map_err(Error::io(format!("read {}", self.path.display())))
    }

    /// Bytes of one layer: two norms in F32, four square matrices and three of the feed-forward part in F16.
    pub fn layer_bytes(&self) -> u64 {
        2 * self.hidden * 4 + 4 * self.hidden * self.hidden * 2 + 3 * self.hidden * self.ffn * 2
    }

    /// Where layer `index` begins in a file of `file_bytes`: counted from the end, for the header's length is not known.
    pub fn layer_offset(&self, file_bytes: u64, index: u64) -> u64 {
        let after = self.hidden * 4 + VOCAB * self.hidden * 2;
        file_bytes - after - (self.layers - index) * self.layer_bytes()
    }

    /// Where the feed-forward part of layer `index` begins.
    pub fn ffn_offset(&self, file_bytes: u64, index: u64) -> u64 {
        let before = 2 * self.hidden * 4 + 4 * self.hidden * self.hidden * 2;
        self.layer_offset(file_bytes, index) + before
    }

    /// A copy with every byte of these layers changed.
    pub fn with_layers_changed(&self, path: PathBuf, changed: impl Iterator<Item = u64>) -> Result<Model, Error> {
        let mut bytes = self.bytes()?;
        for index in changed {
            let start = self.layer_offset(bytes.len() as u64, index) as usize;
            bytes[start..start + self.layer_bytes() as usize].iter_mut().for_each(|byte| *byte ^= 1);
        }
        self.written(path, &bytes)
    }

    /// A copy whose metadata is 32 bytes longer, so that every tensor lies elsewhere and none changed.
    pub fn with_longer_header(&self, path: PathBuf) -> Result<Model, Error> {
        let mut bytes = self.bytes()?;
        let key = b"tokenizer.chat_template";
        let found = bytes.windows(key.len()).position(|window| window == key);
        let length_at = found.ok_or_else(|| Error::Wrong("the model has no chat template".to_owned()))? + key.len() + 4;
        let length = u64::from_le_bytes(bytes[length_at..length_at + 8].try_into().unwrap_or_default());
        bytes[length_at..length_at + 8].copy_from_slice(&(length + 32).to_le_bytes());
        let end = length_at + 8 + length as usize;
        bytes.splice(end..end, [b' '; 32]);
        self.written(path, &bytes)
    }

    fn written(&self, path: PathBuf, bytes: &[u8]) -> Result<Model, Error> {
        std::fs::write(&path, bytes).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(Model { path, ..self.clone() })
    }
}

/// The bytes of a GGUF file with another chat template, padded with a comment so that every tensor stays aligned.
pub fn with_template(model: &[u8], template: &str) -> Result<Vec<u8>, Error> {
    let key = b"tokenizer.chat_template";
    let found = model.windows(key.len()).position(|window| window == key);
    let length_at = found.ok_or_else(|| Error::Wrong("the model has no chat template".to_owned()))? + key.len() + 4;
    let length = u64::from_le_bytes(model[length_at..length_at + 8].try_into().unwrap_or_default()) as usize;
    let (open, close) = ("{#", "#}");
    let bare = template.len() + open.len() + close.len();
    let padding = (length + 32 - bare % 32) % 32;
    let template = format!("{template}{open}{}{close}", " ".repeat(padding));
    let mut bytes = model[..length_at].to_vec();
    bytes.extend((template.len() as u64).to_le_bytes());
    bytes.extend(template.as_bytes());
    bytes.extend(&model[length_at + 8 + length..]);
    Ok(bytes)
}

/// Publishes a model file into a slot; its artifact.
pub fn publish(node: &NodeProcess, path: &Path, slot: &str) -> Result<String, Error> {
    let done = node.command(&["publish", &path.to_string_lossy(), "--as", slot, "--json"])?.json();
    match done["artifact"].as_str() {
        Some(artifact) => Ok(artifact.to_owned()),
        None => Err(Error::Wrong(format!("publish printed no artifact: {done}"))),
    }
}
