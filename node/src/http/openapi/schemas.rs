//! The bodies of requests as JSON schemas: the fields that are taken, and no other. A test compares them with what the handlers
//! ask for.

use serde_json::{Map, Value, json};

use super::messages;
use crate::core::limits;
use crate::http::owner;

/// An object of these fields, each of which but the needed ones may be null.
pub(super) fn object(needed: &[&str], fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let field = |(name, schema): (&'static str, Value)| match needed.contains(&name) {
        true => (name.to_owned(), schema),
        false => (name.to_owned(), json!({"anyOf": [schema, {"type": "null"}]})),
    };
    let fields: Map<String, Value> = fields.into_iter().map(field).collect();
    json!({"type": "object", "properties": fields, "required": needed, "additionalProperties": false})
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn number(min: f64, max: f64) -> Value {
    json!({"type": "number", "minimum": min, "maximum": max})
}

fn integer(min: u64, max: u64) -> Value {
    json!({"type": "integer", "minimum": min, "maximum": max})
}

fn one_of(values: &[Value]) -> Value {
    json!({"enum": values})
}

pub(super) fn nothing_else(value: Value) -> Value {
    json!({"const": value})
}

/// Either kind: programs that know no types send what is at hand.
pub(super) fn empty() -> Value {
    json!({"anyOf": [{"type": "object", "maxProperties": 0}, {"type": "array", "maxItems": 0}]})
}

fn tokens() -> Value {
    integer(1, limits::MAX_TOKENS_MAX.into())
}

fn model() -> (&'static str, Value) {
    ("model", json!({"type": "string", "description": "SLOT or SLOT:domain"}))
}

fn seed_and_stop() -> [(&'static str, Value); 2] {
    let texts = json!({"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": limits::STOPS_MAX});
    [
        ("seed", json!({"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX})),
        ("stop", json!({"anyOf": [{"type": "string", "minLength": 1}, texts]})),
    ]
}

fn sampling() -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("temperature", number(0.0, 2.0)),
        ("top_p", number(0.0, 1.0)),
        ("top_k", integer(0, u32::MAX.into())),
        ("min_p", number(0.0, 1.0)),
        ("presence_penalty", number(-2.0, 2.0)),
        ("frequency_penalty", number(-2.0, 2.0)),
    ];
    fields.extend(seed_and_stop());
    fields
}

fn streaming() -> [(&'static str, Value); 2] {
    let options = object(&[], [("include_usage", boolean()), ("include_obfuscation", nothing_else(json!(false)))]);
    [("stream", boolean()), ("stream_options", options)]
}

fn labels() -> [(&'static str, Value); 3] {
    ["user", "safety_identifier", "prompt_cache_key"].map(|name| (name, text()))
}

fn tools() -> [(&'static str, Value); 3] {
    let function = object(
        &["name"],
        [
            ("name", json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"})),
            ("description", text()),
            ("parameters", json!({"type": "object"})),
            ("strict", boolean()),
        ],
    );
    let of_function = |function: Value| {
        object(&["type", "function"], [("type", nothing_else(json!("function"))), ("function", function)])
    };
    let named = of_function(object(&["name"], [("name", text())]));
    let tool = of_function(function);
    [
        ("tools", json!({"type": "array", "items": tool, "maxItems": limits::TOOLS_MAX})),
        ("tool_choice", json!({"anyOf": [{"enum": ["none", "auto", "required"]}, named]})),
        ("parallel_tool_calls", boolean()),
    ]
}

/// `/v1/chat/completions`.
pub(in crate::http) fn chat() -> Value {
    let fields = [
        model(),
        ("messages", messages::of_chat()),
        ("max_tokens", tokens()),
        ("max_completion_tokens", tokens()),
        ("n", integer(1, limits::CHOICES_MAX as u64)),
        ("logprobs", boolean()),
        ("top_logprobs", integer(0, limits::TOP_LOGPROBS_MAX.into())),
        ("response_format", messages::format(true)),
        ("logit_bias", empty()),
        ("functions", empty()),
        ("function_call", nothing_else(json!("none"))),
        ("modalities", nothing_else(json!(["text"]))),
        ("metadata", empty()),
        ("store", nothing_else(json!(false))),
        ("service_tier", one_of(&[json!("auto"), json!("default")])),
        ("reasoning_effort", nothing_else(json!("none"))),
        ("verbosity", nothing_else(json!("medium"))),
        ("prediction", json!({"type": "null"})),
    ];
    let fields = fields.into_iter().chain(sampling()).chain(streaming()).chain(labels()).chain(tools());
    object(&["model", "messages"], fields)
}

/// `/v1/completions`.
pub(in crate::http) fn completion() -> Value {
    let one = json!({"type": "string", "minLength": 1});
    let several = json!({"type": "array", "items": one, "minItems": 1, "maxItems": limits::CHOICES_MAX});
    let fields = [
        model(),
        ("prompt", json!({"anyOf": [one, several]})),
        ("max_tokens", tokens()),
        ("n", integer(1, limits::CHOICES_MAX as u64)),
        ("logprobs", integer(0, 5)),
        ("echo", nothing_else(json!(false))),
        ("suffix", nothing_else(json!(""))),
        ("best_of", nothing_else(json!(1))),
        ("logit_bias", empty()),
    ];
    object(&["model", "prompt"], fields.into_iter().chain(sampling()).chain(streaming()).chain(labels()))
}

/// `/v1/responses`.
pub(in crate::http) fn response() -> Value {
    let nothing = || json!({"type": "null"});
    let fields = [
        model(),
        ("input", json!({"anyOf": [text(), messages::of_response()]})),
        ("instructions", text()),
        ("max_output_tokens", tokens()),
        ("text", object(&[], [("format", messages::format(false)), ("verbosity", nothing_else(json!("medium")))])),
        ("stream", boolean()),
        ("stream_options", empty()),
        ("background", nothing_else(json!(false))),
        ("conversation", nothing()),
        ("include", empty()),
        ("max_tool_calls", nothing()),
        ("metadata", empty()),
        ("parallel_tool_calls", boolean()),
        ("previous_response_id", nothing()),
        ("prompt", nothing()),
        ("reasoning", empty()),
        ("service_tier", one_of(&[json!("auto"), json!("default")])),
        ("store", nothing_else(json!(false))),
        ("tool_choice", one_of(&[json!("none"), json!("auto")])),
        ("tools", empty()),
        ("top_logprobs", nothing_else(json!(0))),
        ("truncation", nothing_else(json!("disabled"))),
    ];
    object(&["model", "input"], fields.into_iter().chain(sampling()).chain(labels()))
}

/// `/v1/embeddings`.
pub(in crate::http) fn embeddings() -> Value {
    let one = json!({"type": "string", "minLength": 1});
    let several = json!({"type": "array", "items": one, "minItems": 1, "maxItems": limits::EMBED_TEXTS_MAX});
    let fields = [
        model(),
        ("input", json!({"anyOf": [one, several]})),
        ("encoding_format", one_of(&[json!("float"), json!("base64")])),
        ("dimensions", json!({"type": "null"})),
    ];
    object(&["model", "input"], fields.into_iter().chain(labels()))
}

/// `/tokenize`.
pub(in crate::http) fn tokenize() -> Value {
    let fields = [
        model(),
        // Of bytes there may be so many; a character has one at least.
        ("content", json!({"type": "string", "maxLength": limits::TOKENIZED_BYTES_MAX})),
        ("with_pieces", boolean()),
        ("add_special", nothing_else(json!(false))),
        ("parse_special", nothing_else(json!(true))),
    ];
    object(&["model", "content"], fields)
}

/// `/detokenize`.
pub(in crate::http) fn detokenize() -> Value {
    let items = integer(0, u32::MAX.into());
    let tokens = json!({"type": "array", "items": items, "maxItems": limits::DETOKENIZED_MAX});
    object(&["model", "tokens"], [model(), ("tokens", tokens)])
}

fn of_ollama() -> Vec<(&'static str, Value)> {
    let one = || nothing_else(json!(1.0));
    let options = [
        ("temperature", number(0.0, 2.0)),
        ("top_k", integer(0, u32::MAX.into())),
        ("top_p", number(0.0, 1.0)),
        ("min_p", number(0.0, 1.0)),
        ("presence_penalty", number(-2.0, 2.0)),
        ("frequency_penalty", number(-2.0, 2.0)),
        ("num_predict", json!({"anyOf": [tokens(), {"enum": [-1, -2]}]})),
        ("num_ctx", integer(1, u32::MAX.into())),
        ("repeat_penalty", one()),
        ("repeat_last_n", nothing_else(json!(0))),
        ("mirostat", nothing_else(json!(0))),
        ("tfs_z", one()),
        ("typical_p", one()),
        ("num_keep", nothing_else(json!(0))),
    ];
    vec![
        model(),
        ("stream", boolean()),
        ("format", json!({"anyOf": [{"enum": ["", "json"]}, {"type": "object"}]})),
        ("options", object(&[], options.into_iter().chain(seed_and_stop()))),
        ("keep_alive", json!({"type": "null"})),
        ("think", nothing_else(json!(false))),
        ("images", empty()),
        ("suffix", nothing_else(json!(""))),
        ("context", empty()),
        ("template", nothing_else(json!(""))),
    ]
}

/// `/api/chat`.
pub(in crate::http) fn ollama_chat() -> Value {
    let messages = ("messages", messages::of_ollama());
    object(&["model", "messages"], of_ollama().into_iter().chain([messages]).chain(tools()))
}

/// `/api/generate`.
pub(in crate::http) fn ollama_generate() -> Value {
    let prompt = ("prompt", json!({"type": "string", "minLength": 1}));
    let fields = [prompt, ("system", text()), ("raw", boolean())];
    object(&["model", "prompt"], of_ollama().into_iter().chain(fields))
}

/// `/api/show`.
pub(in crate::http) fn ollama_show() -> Value {
    object(&["model"], [model(), ("verbose", nothing_else(json!(false)))])
}

/// `/owner/invite`.
pub(in crate::http) fn owner_invite() -> Value {
    let role = json!({"enum": ["full", "delegate", null]});
    object(&[], [("role", role), ("ttl_s", integer(1, owner::INVITATION_S_MAX.into()))])
}

/// `/owner/revoke`.
pub(in crate::http) fn owner_revoke() -> Value {
    object(&["peer_id"], [("peer_id", json!({"type": "string"}))])
}
