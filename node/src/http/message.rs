//! The messages of a chat request: roles and text. Anything the engine would not see (images, tool calls, names) is
//! refused, because an answer that silently left it out would be wrong.

use fednode_proto::v1;
use serde_json::{Map, Value};

use super::ApiError;
use super::error::echo;
use crate::core::limits;

/// The field `messages`, bounded and in the words of the engine.
pub(super) fn parse(value: Value) -> Result<Vec<v1::Message>, ApiError> {
    let Value::Array(items) = value else {
        return Err(ApiError::invalid("messages", "messages must be an array of objects with role and content"));
    };
    if items.is_empty() || items.len() > limits::CHAT_MESSAGES_MAX {
        let (found, max) = (items.len(), limits::CHAT_MESSAGES_MAX);
        return Err(ApiError::invalid("messages", format!("a request has 1 to {max} messages, this one has {found}")));
    }
    items.into_iter().enumerate().map(|(index, item)| one(index, item)).collect()
}

fn one(index: usize, item: Value) -> Result<v1::Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let Value::Object(mut fields) = item else {
        let param = format!("messages[{index}]");
        return Err(ApiError::invalid(&param, format!("{param} must be an object with role and content")));
    };
    let role = role(&at("role"), fields.remove("role"))?;
    let content = content(&at("content"), fields.remove("content"))?;
    match fields.into_iter().find(|(_, value)| !says_nothing(value)) {
        None => Ok(v1::Message { role, content, ..v1::Message::default() }),
        Some((field, _)) => {
            let param = at(&echo(&field));
            let message = format!("{param} is not supported: a manager sees only role and content; leave it out");
            Err(ApiError::invalid(&param, message))
        }
    }
}

/// Clients that send an answer back as history keep its empty fields, such as `"refusal": null`.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn role(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    match value.as_ref().and_then(Value::as_str) {
        // OpenAI's newer name for the same thing; chat templates know only `system`.
        Some("system" | "developer") => Ok("system".to_owned()),
        Some(role @ ("user" | "assistant")) => Ok(role.to_owned()),
        Some(other) => {
            let other = echo(other);
            Err(ApiError::invalid(param, format!("role {other:?} is not supported; use system, user or assistant")))
        }
        None => Err(ApiError::invalid(param, format!("{param} is missing; use system, user or assistant"))),
    }
}

fn content(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let texts: Result<Vec<String>, ApiError> =
                parts.into_iter().enumerate().map(|(index, part)| text_part(param, index, part)).collect();
            // As llama.cpp's and vLLM's servers do.
            texts.map(|texts| texts.join("\n"))
        }
        _ => Err(ApiError::invalid(param, format!("{param} must be text, or an array of parts of type text"))),
    }
}

fn text_part(param: &str, index: usize, part: Value) -> Result<String, ApiError> {
    let param = format!("{param}[{index}]");
    let bad = |why: &str| ApiError::invalid(&param, format!("{param} {why}"));
    let Value::Object(mut part) = part else { return Err(bad("must be an object with type and text")) };
    match part.remove("type").as_ref().and_then(Value::as_str) {
        Some("text") => only_text(part).ok_or_else(|| bad("must have the field text and no other than type")),
        Some(other) => Err(bad(&format!("has type {:?}; managers read only parts of type text", echo(other)))),
        None => Err(bad("has no type; managers read only parts of type text")),
    }
}

fn only_text(mut part: Map<String, Value>) -> Option<String> {
    match part.remove("text") {
        Some(Value::String(text)) if part.is_empty() => Some(text),
        _ => None,
    }
}
