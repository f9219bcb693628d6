//! The schemas of what is said: messages of each protocol, calls of tools among them, and the form an answer must have.

use serde_json::{Map, Value, json};

use super::schemas::{empty, nothing_else, object, text};
use crate::core::limits;

/// What says nothing, as clients send it that repeat an answer as history.
fn silent() -> Value {
    json!({"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 0}]})
}

/// Text, or parts of these types.
fn content(types: &[&str]) -> Value {
    let part = json!({
        "type": "object",
        "required": ["type", "text"],
        "properties": {"type": {"enum": types}, "text": text()},
        "additionalProperties": silent(),
    });
    json!({"anyOf": [text(), {"type": "array", "items": part, "minItems": 1}]})
}

fn all(message: Value, max: usize) -> Value {
    json!({"type": "array", "items": message, "minItems": 1, "maxItems": max})
}

/// An object with all of these fields, and no other that says something.
fn message(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let fields: Map<String, Value> = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let needed: Vec<&String> = fields.keys().collect();
    json!({"type": "object", "required": needed, "properties": fields, "additionalProperties": silent()})
}

fn call() -> Value {
    let function = object(&["name", "arguments"], [("name", text()), ("arguments", text())]);
    let index = json!({"type": "integer", "minimum": 0});
    let kind = nothing_else(json!("function"));
    object(&["id", "type", "function"], [("id", text()), ("type", kind), ("function", function), ("index", index)])
}

/// Of `/v1/chat/completions`.
pub(super) fn of_chat() -> Value {
    let content = || content(&["text"]);
    let calls = json!({"type": "array", "items": call(), "minItems": 1, "maxItems": limits::TOOL_CALLS_MAX});
    let said =
        message([("role", json!({"enum": ["system", "developer", "user", "assistant"]})), ("content", content())]);
    let mut called = message([("role", nothing_else(json!("assistant"))), ("tool_calls", calls)]);
    called["properties"]["content"] = json!({"anyOf": [content(), {"type": "null"}]});
    let id = json!({"type": "string", "minLength": 1});
    let tool = message([("role", nothing_else(json!("tool"))), ("content", content()), ("tool_call_id", id)]);
    all(json!({"anyOf": [said, called, tool]}), limits::CHAT_MESSAGES_MAX)
}

/// Of `/v1/responses`.
pub(super) fn of_response() -> Value {
    let fields = [
        ("type", nothing_else(json!("message"))),
        ("role", json!({"enum": ["system", "developer", "user", "assistant"]})),
        ("content", content(&["input_text", "output_text", "text"])),
        ("id", text()),
        ("status", text()),
    ];
    // Instructions are one more.
    all(object(&["role", "content"], fields), limits::CHAT_MESSAGES_MAX - 1)
}

/// Of `/api/chat`.
pub(super) fn of_ollama() -> Value {
    let function = [
        ("name", text()),
        ("arguments", json!({"type": "object"})),
        ("index", json!({"type": "integer", "minimum": 0})),
        ("description", text()),
    ];
    let function = object(&["name", "arguments"], function);
    let call = object(&["function"], [("function", function), ("id", text()), ("type", text())]);
    let calls = json!({"type": "array", "items": call, "maxItems": limits::TOOL_CALLS_MAX});
    let fields = |role: Value| {
        [
            ("role", role),
            ("content", text()),
            ("tool_calls", json!({"anyOf": [calls, empty()]})),
            ("images", empty()),
            ("thinking", nothing_else(json!(""))),
        ]
    };
    let said = object(&["role"], fields(json!({"enum": ["system", "user", "assistant"]})));
    let names = ["tool_name", "name", "tool_call_id"].map(|name| (name, text()));
    let tool = object(&["role"], fields(nothing_else(json!("tool"))).into_iter().chain(names));
    all(json!({"anyOf": [said, tool]}), limits::CHAT_MESSAGES_MAX)
}

/// `{"type": …}`; a schema stands in an object of its own, or beside the type.
pub(super) fn format(nested: bool) -> Value {
    let named = [
        ("name", text()),
        ("schema", json!({"type": "object"})),
        ("description", text()),
        ("strict", json!({"type": "boolean"})),
    ];
    let kind = |name: &str| ("type", nothing_else(json!(name)));
    let schema = match nested {
        true => {
            object(&["type", "json_schema"], [kind("json_schema"), ("json_schema", object(&["name", "schema"], named))])
        }
        false => object(&["type", "name", "schema"], [kind("json_schema")].into_iter().chain(named)),
    };
    json!({"anyOf": [object(&["type"], [kind("text")]), object(&["type"], [kind("json_object")]), schema]})
}
