//! The request: input and instructions become messages; what is not about text is refused by name.

use fednode_proto::v1;
use serde_json::{Value, json};

use crate::core::limits;
use crate::http::chat_request::LABELS;
use crate::http::fields::{Fields, Model, Neutral, is_empty, is_false};
use crate::http::{ApiError, format, message, sampling};

/// A request that passed.
pub(super) struct ResponseRequest {
    pub model: Model,
    pub stream: bool,
    pub generate: v1::GenerateRequest,
    /// What the answer repeats of the request.
    pub echo: Value,
}

const NEUTRAL: [Neutral; 16] = [
    ("background", is_false, "answering in the background"),
    ("conversation", |_| false, "conversations that are stored"),
    ("include", is_empty, "more than text"),
    ("max_tool_calls", |_| false, "calling tools"),
    ("metadata", is_empty, "storing metadata"),
    ("parallel_tool_calls", Value::is_boolean, "calling tools"),
    ("previous_response_id", |_| false, "answers that are stored: send the conversation in input"),
    ("prompt", |_| false, "prompts that are stored"),
    ("reasoning", is_empty, "reasoning"),
    ("service_tier", |value| value == "auto" || value == "default", "service tiers"),
    ("store", is_false, "storing answers"),
    ("tool_choice", |value| value == "none" || value == "auto", "calling tools, which chats can"),
    ("tools", is_empty, "calling tools, which chats can"),
    ("top_logprobs", |value| value.as_u64() == Some(0), "log probabilities, which chats can tell"),
    ("truncation", |value| value == "disabled", "leaving out the middle of the input"),
    ("stream_options", is_empty, "options of streams"),
];

pub(super) fn parse(body: &[u8]) -> Result<ResponseRequest, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let model = fields.model()?;
    let instructions = fields.text("instructions")?;
    let mut messages = input(&mut fields)?;
    if let Some(content) = &instructions {
        let role = "system".to_owned();
        messages.insert(0, v1::Message { role, content: content.clone(), ..v1::Message::default() });
    }
    let asked_tokens = fields.integer("max_output_tokens", (1, limits::MAX_TOKENS_MAX))?;
    let mut generate = v1::GenerateRequest {
        messages,
        max_tokens: asked_tokens.unwrap_or(limits::MAX_TOKENS_DEFAULT),
        ..sampling::take(&mut fields, &model)?
    };
    let format = text_format(&mut fields, &mut generate)?;
    let stream = fields.boolean("stream", false)?;
    fields.labels(&LABELS)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    let echo = json!({
        "instructions": instructions,
        "max_output_tokens": asked_tokens,
        "temperature": generate.temperature,
        "top_p": generate.top_p,
        "text": {"format": format},
    });
    Ok(ResponseRequest { model, stream, generate, echo })
}

/// `text.format`, as the answer repeats it.
fn text_format(fields: &mut Fields, generate: &mut v1::GenerateRequest) -> Result<Value, ApiError> {
    let plain = || json!({"type": "text"});
    let Some(text) = fields.take("text") else { return Ok(plain()) };
    let mut text = Fields::of(text, "text")?;
    let format = text.take("format").unwrap_or_else(plain);
    generate.json_schema = format::openai(format.clone(), "text.format", false)?;
    text.refuse_the_rest(&[("verbosity", |value| value == "medium", "another length of answers")])?;
    Ok(format)
}

/// A text, or messages.
fn input(fields: &mut Fields) -> Result<Vec<v1::Message>, ApiError> {
    let max = limits::CHAT_MESSAGES_MAX;
    match fields.take("input") {
        Some(Value::String(content)) => {
            Ok(vec![v1::Message { role: "user".to_owned(), content, ..v1::Message::default() }])
        }
        Some(Value::Array(items)) if (1..max).contains(&items.len()) => {
            items.into_iter().enumerate().map(|(index, item)| one(index, item)).collect()
        }
        _ => Err(fields.wrong("input", &format!("a text, or an array of 1 to {} messages", max - 1))),
    }
}

fn one(index: usize, item: Value) -> Result<v1::Message, ApiError> {
    let mut item = Fields::of(item, &format!("input[{index}]"))?;
    if item.text("type")?.is_some_and(|kind| kind != "message") {
        return Err(item.cannot("type", "must be message: only text is understood here"));
    }
    let role = match item.text("role")?.as_deref() {
        Some("system" | "developer") => "system",
        Some("user") => "user",
        Some("assistant") => "assistant",
        _ => return Err(item.wrong("role", "user, assistant, system or developer")),
    };
    let content = item.take("content");
    let content = message::parts(&item.param("content"), content, &["input_text", "output_text", "text"])?;
    // Of answers that are sent back as history.
    item.labels(&["id", "status"])?;
    item.refuse_the_rest(&[])?;
    Ok(v1::Message { role: role.to_owned(), content, ..v1::Message::default() })
}
