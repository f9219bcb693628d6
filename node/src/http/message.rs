//! The messages of a chat request: roles, text, calls of tools and their answers. Anything the engine would not see (images,
//! names) is refused, because an answer that silently left it out would be wrong.

use fednode_proto::v1;
use serde_json::{Map, Value, json};

use super::ApiError;
use super::error::echo;
use super::fields::Fields;
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
    let mut message = v1::Message { role, ..v1::Message::default() };
    if message.role == "assistant"
        && let Some(calls) = fields.remove("tool_calls").filter(|calls| !says_nothing(calls))
    {
        message.tool_calls_json = tool_calls(&at("tool_calls"), calls)?;
    }
    if message.role == "tool" {
        let id = fields.remove("tool_call_id").and_then(|id| id.as_str().map(str::to_owned));
        let must = || ApiError::invalid(&at("tool_call_id"), format!("{} must be text, and there", at("tool_call_id")));
        message.tool_call_id = id.filter(|id| !id.is_empty()).ok_or_else(must)?;
    }
    let said = fields.remove("content");
    // Whoever calls a tool need not say anything.
    let silent = !message.tool_calls_json.is_empty() && said.as_ref().is_none_or(Value::is_null);
    message.content = if silent { String::new() } else { content(&at("content"), said)? };
    match fields.into_iter().find(|(_, value)| !says_nothing(value)) {
        None => Ok(message),
        Some((field, _)) => {
            let param = at(&echo(&field));
            let why = format!("{param} is not supported: a manager does not see it; leave it out");
            Err(ApiError::invalid(&param, why))
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
        Some(role @ ("user" | "assistant" | "tool")) => Ok(role.to_owned()),
        Some(other) => {
            let other = echo(other);
            let message = format!("role {other:?} is not supported; use system, user, assistant or tool");
            Err(ApiError::invalid(param, message))
        }
        None => Err(ApiError::invalid(param, format!("{param} is missing; use system, user, assistant or tool"))),
    }
}

/// What an assistant called, as OpenAI's API has it.
fn tool_calls(param: &str, value: Value) -> Result<String, ApiError> {
    let wrong = || ApiError::invalid(param, format!("{param} must be an array of calls"));
    let Value::Array(items) = value else { return Err(wrong()) };
    if items.len() > limits::TOOL_CALLS_MAX {
        return Err(wrong());
    }
    let call = |(index, item): (usize, Value)| {
        let mut call = Fields::of(item, &format!("{param}[{index}]"))?;
        let id = call.needed("id")?;
        if call.needed("type")? != "function" {
            return Err(call.wrong("type", "function"));
        }
        let mut function = Fields::of(call.take("function").unwrap_or_default(), &call.param("function"))?;
        let (name, arguments) = (function.needed("name")?, function.needed("arguments")?);
        function.refuse_the_rest(&[])?;
        call.refuse_the_rest(&[("index", Value::is_u64, "something unknown")])?;
        Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
    };
    let calls = items.into_iter().enumerate().map(call).collect::<Result<Vec<Value>, ApiError>>()?;
    Ok(Value::Array(calls).to_string())
}

/// Text, or parts of type text.
fn content(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    parts(param, value, &["text"])
}

/// Text, or an array of parts of the types `known`, each with `text`.
pub(super) fn parts(param: &str, value: Option<Value>, known: &[&str]) -> Result<String, ApiError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let texts: Result<Vec<String>, ApiError> =
                parts.into_iter().enumerate().map(|(index, part)| text_part(param, index, part, known)).collect();
            // As llama.cpp's and vLLM's servers do.
            texts.map(|texts| texts.join("\n"))
        }
        _ => {
            let types = known.join(" or ");
            Err(ApiError::invalid(param, format!("{param} must be text, or an array of parts of type {types}")))
        }
    }
}

fn text_part(param: &str, index: usize, part: Value, known: &[&str]) -> Result<String, ApiError> {
    let param = format!("{param}[{index}]");
    let bad = |why: &str| ApiError::invalid(&param, format!("{param} {why}"));
    let Value::Object(mut part) = part else { return Err(bad("must be an object with type and text")) };
    match part.remove("type").as_ref().and_then(Value::as_str) {
        Some(kind) if known.contains(&kind) => {
            only_text(part).ok_or_else(|| bad("must have the field text and no other than type"))
        }
        Some(other) => Err(bad(&format!("has type {:?}; managers read only text", echo(other)))),
        None => Err(bad("has no type; managers read only text")),
    }
}

fn only_text(mut part: Map<String, Value>) -> Option<String> {
    let text = part.remove("text");
    // Of answers that are sent back as history.
    let empty = part.values().all(says_nothing);
    match text {
        Some(Value::String(text)) if empty => Some(text),
        _ => None,
    }
}
