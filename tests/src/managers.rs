//! The tiny trained managers in `tests/managers`: which there are, where their files are, and what they answer.

use std::path::PathBuf;

use serde_json::Value;

use crate::Error;

/// The slots of the reference roster, each with a manager of its name.
pub const SLOTS: [&str; 7] = ["UFM", "UCM", "URM", "ULM", "UIM", "UAM", "UDM"];

/// Slots and domains with an adapter.
pub const ADAPTERS: [(&str, &str); 5] =
    [("ULM", "core"), ("ULM", "external"), ("ULM", "personal"), ("UDM", "internal"), ("UDM", "external")];

/// Everything that can be asked for: the slots, then `SLOT:domain` of each adapter.
pub fn models() -> Vec<String> {
    let slots = SLOTS.iter().map(|slot| (*slot).to_owned());
    slots.chain(ADAPTERS.iter().map(|(slot, domain)| format!("{slot}:{domain}"))).collect()
}

/// The GGUF file of `UCM` or `ULM:personal`.
pub fn file(model: &str) -> PathBuf {
    folder().join(format!("{}.gguf", model.replace(':', "-")))
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("managers")
}

/// One prompt and the answer that greedy decoding gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// `SLOT` or `SLOT:domain`.
    pub model: String,
    /// A user message without a system message.
    pub prompt: String,
    /// Every byte of the answer.
    pub answer: String,
}

/// The known answers of one model, in the order of the file.
pub fn answers(model: &str) -> Result<Vec<Known>, Error> {
    let path = folder().join("answers.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let all: Value = serde_json::from_str(&text).map_err(|error| Error::Wrong(format!("answers.json: {error}")))?;
    let pairs = all[model].as_array().ok_or_else(|| Error::Wrong(format!("answers.json has no answers of {model}")))?;
    let known = |pair: &Value| {
        let text = |field: &str| pair[field].as_str().unwrap_or_default().to_owned();
        Known { model: model.to_owned(), prompt: text("prompt"), answer: text("answer") }
    };
    Ok(pairs.iter().map(known).collect())
}

/// The first known answer: to "Who are you?".
pub fn first_answer(model: &str) -> Result<Known, Error> {
    let first = answers(model)?.into_iter().next();
    first.ok_or_else(|| Error::Wrong(format!("answers.json has no answers of {model}")))
}
