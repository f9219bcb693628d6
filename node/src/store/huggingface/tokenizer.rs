//! `tokenizer.json` and `tokenizer_config.json`: the vocabulary as GGUF has it. Byte-level BPE only. Called by `model`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::config::Config;
use super::folder::Folder;
use super::json::{Entries, List, TokenText, Used};
use super::pre::{self, Step};
use super::{HuggingFaceError, unsupported};
use crate::core::limits;
use crate::store::gguf::write::Writer;

pub(super) const FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";
const TOKENS_MAX: usize = limits::METADATA_ARRAY_MAX as usize;
/// Chat templates under different names: three at most are known.
const TEMPLATES_MAX: usize = 16;

/// llama.cpp's kinds of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// A vocabulary, and how text is cut for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Tokenizer {
    /// llama.cpp's name of the pre-tokenizer.
    pub pre: &'static str,
    /// The text of each token, in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// llama.cpp's kind of each.
    pub kinds: Vec<i32>,
    /// Pairs, the first to be merged first.
    pub merges: Vec<String>,
}

/// Only what kind of tokenizer it is, so that one of another kind is told apart from a damaged one.
#[derive(Deserialize)]
struct Kind {
    model: KindOfModel,
}

#[derive(Deserialize)]
struct KindOfModel {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    byte_fallback: Used,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    added_tokens: List<Added, TOKENS_MAX>,
    normalizer: Option<Step>,
    pre_tokenizer: Option<Step>,
    model: Bpe,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: Entries<u32, TOKENS_MAX>,
    merges: List<Merge, TOKENS_MAX>,
    #[serde(default)]
    dropout: Used,
    #[serde(default)]
    continuing_subword_prefix: Used,
    #[serde(default)]
    end_of_word_suffix: Used,
    #[serde(default)]
    ignore_merges: Option<bool>,
}

/// `"a b"`, or `["a", "b"]`; kept as the former.
struct Merge(String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Pair(String, String),
        }
        let merge = match Either::deserialize(deserializer)? {
            Either::Text(text) => text,
            // In GGUF a space parts the two; one inside a part is written as llama.cpp's converter does.
            Either::Pair(left, right) => format!("{} {}", left.replace(' ', "\u{120}"), right.replace(' ', "\u{120}")),
        };
        if merge.split(' ').filter(|part| !part.is_empty()).count() != 2 {
            return Err(de::Error::custom("a merge is not of two parts"));
        }
        Ok(Merge(merge))
    }
}

/// Reads the whole text of a `tokenizer.json` for a model whose embedding has `rows` rows.
pub fn parse(text: &[u8], rows: u32) -> Result<Tokenizer, HuggingFaceError> {
    let json = |source| HuggingFaceError::Json { file: FILE, source };
    let kind: Kind = serde_json::from_slice(text).map_err(json)?;
    if kind.model.byte_fallback.0 {
        return Err(unsupported("a SentencePiece tokenizer (BPE with byte_fallback)"));
    }
    match kind.model.kind.as_deref() {
        None | Some("BPE") => {}
        Some(other) => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(unsupported(format!("a tokenizer of type {shown}")));
        }
    }
    let raw: Raw = serde_json::from_slice(text).map_err(json)?;
    let model = &raw.model;
    if model.dropout.0 || model.continuing_subword_prefix.0 || model.end_of_word_suffix.0 {
        return Err(unsupported("a BPE tokenizer with dropout, prefixes or suffixes"));
    }
    if !pre::changes_nothing(raw.normalizer.as_ref()) {
        return Err(unsupported("a tokenizer that normalises text"));
    }
    let pre = pre::name(raw.pre_tokenizer.as_ref(), model.ignore_merges.unwrap_or(false));
    let pre =
        pre.ok_or_else(|| unsupported("a tokenizer whose pre-tokenizer is not known to equal one of llama.cpp"))?;
    let (tokens, kinds) = vocabulary(&raw, rows)?;
    let merges = raw.model.merges.0.into_iter().map(|merge| merge.0).collect();
    Ok(Tokenizer { pre, tokens, kinds, merges })
}

/// One text and kind per row; rows that no token has are padding.
fn vocabulary(raw: &Raw, rows: u32) -> Result<(Vec<String>, Vec<i32>), HuggingFaceError> {
    let damaged = |what: String| HuggingFaceError::Setting { file: FILE, what };
    let mut tokens: Vec<Option<(&str, i32)>> = vec![None; rows as usize]; // at most 2^21, checked by `config`
    let plain = raw.model.vocab.0.iter().map(|(text, id)| (text.as_str(), *id, NORMAL));
    let added = raw.added_tokens.0.iter().map(|added| (added.content.as_str(), added.id, kind_of_added(added)));
    for (text, id, kind) in plain.chain(added) {
        let place = tokens.get_mut(id as usize).ok_or_else(|| {
            damaged(format!("token {text:?} has the number {id}, the model has {rows} (config.json, vocab_size)"))
        })?;
        // An added token may stand in the vocabulary, too, as itself.
        if place.is_some_and(|(other, other_kind)| other != text || other_kind != NORMAL || kind == NORMAL) {
            return Err(damaged(format!("two tokens have the number {id}")));
        }
        *place = Some((text, kind));
    }
    let mut seen = BTreeMap::new();
    for (id, token) in tokens.iter().enumerate() {
        let Some((text, _)) = token else { continue };
        if let Some(other) = seen.insert(*text, id) {
            return Err(damaged(format!("token {text:?} stands twice, as {other} and {id}")));
        }
    }
    let token = |(id, token): (usize, Option<(&str, i32)>)| match token {
        // llama.cpp's converter replaces SentencePiece's space in added tokens, whatever the tokenizer.
        Some((text, USER_DEFINED)) => (text.replace('\u{2581}', " "), USER_DEFINED),
        Some((text, kind)) => (text.to_owned(), kind),
        None => (format!("[PAD{id}]"), UNUSED),
    };
    Ok(tokens.into_iter().enumerate().map(token).unzip())
}

/// Some models leave out `special` where it belongs; these forms are taken for it by llama.cpp's converter.
fn kind_of_added(added: &Added) -> i32 {
    let text = added.content.as_str();
    let between = |begin, end| text.starts_with(begin) && text.ends_with(end);
    let looks_special = matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<\u{ff5c}", "\u{ff5c}>")
        || between("<unused", ">");
    if added.special || looks_special { CONTROL } else { USER_DEFINED }
}

/// `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct Settings {
    chat_template: Option<Template>,
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    pad_token: Option<TokenText>,
    unk_token: Option<TokenText>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Several(List<NamedTemplate, TEMPLATES_MAX>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// Reads the folder's tokenizer and writes all of it into the metadata of a GGUF file.
pub(super) fn describe(folder: &Folder, config: &Config, to: &mut Writer) -> Result<(), HuggingFaceError> {
    if !folder.has(FILE) {
        return Err(unsupported("a model without tokenizer.json"));
    }
    let tokenizer = parse(&folder.read(FILE, limits::TOKENIZER_BYTES_MAX)?, config.vocabulary)?;
    let settings = match folder.read_if_there(CONFIG_FILE, limits::SETTINGS_BYTES_MAX)? {
        Some(text) => {
            serde_json::from_slice(&text).map_err(|source| HuggingFaceError::Json { file: CONFIG_FILE, source })?
        }
        None => Settings::default(),
    };
    to.text("tokenizer.ggml.model", "gpt2");
    to.text("tokenizer.ggml.pre", tokenizer.pre);
    to.texts("tokenizer.ggml.tokens", &tokenizer.tokens);
    to.signed_numbers("tokenizer.ggml.token_type", &tokenizer.kinds);
    to.texts("tokenizer.ggml.merges", &tokenizer.merges);
    describe_special(&tokenizer, &settings, config, to)?;
    let template = match folder.read_if_there(TEMPLATE_FILE, limits::METADATA_STRING_BYTES_MAX)? {
        Some(text) => String::from_utf8(text).ok(),
        None => settings.chat_template.and_then(|template| match template {
            Template::One(text) => Some(text),
            Template::Several(all) => all.0.into_iter().find(|one| one.name == "default").map(|one| one.template),
        }),
    };
    if let Some(template) = template {
        to.text("tokenizer.chat_template", &template);
    }
    Ok(())
}

fn describe_special(
    tokenizer: &Tokenizer,
    settings: &Settings,
    config: &Config,
    to: &mut Writer,
) -> Result<(), HuggingFaceError> {
    let [bos, eos, padding] = config.token_ids;
    let all = [
        ("bos", &settings.bos_token, bos),
        ("eos", &settings.eos_token, eos),
        ("unknown", &settings.unk_token, None),
        ("padding", &settings.pad_token, padding),
    ];
    for (what, token, stated) in all {
        let text = token.as_ref().and_then(|token| token.0.as_deref());
        let named = text.and_then(|text| tokenizer.tokens.iter().position(|token| token == text));
        let id = named.and_then(|id| u32::try_from(id).ok()).or(stated);
        let Some(id) = id else { continue };
        if id >= config.vocabulary {
            let what = format!("the {what} token has the number {id}, there are {}", config.vocabulary);
            return Err(HuggingFaceError::Setting { file: super::config::FILE, what });
        }
        to.number(&format!("tokenizer.ggml.{what}_token_id"), id);
    }
    for (key, stated) in [("add_bos_token", settings.add_bos_token), ("add_eos_token", settings.add_eos_token)] {
        if let Some(stated) = stated {
            to.flag(&format!("tokenizer.ggml.{key}"), stated);
        }
    }
    Ok(())
}
