//! `POST /v1/chat/completions`, the request: JSON from anyone becomes a bounded `GenerateRequest` or a 400 that names the
//! field. A field that cannot be honoured yet is refused unless its value asks for nothing; none is silently ignored
//! except `user`, which OpenAI defines as a label.

use fednode_proto::v1;
use serde_json::{Map, Value};

use super::error::echo;
use super::{ApiError, message};
use crate::core::limits;
use crate::core::types::SlotName;

/// A request that passed.
#[derive(Debug)]
pub(super) struct ChatRequest {
    /// As the client wrote it; answers repeat it.
    pub model: String,
    /// Answer by SSE?
    pub stream: bool,
    /// Close the stream with a chunk of usage?
    pub include_usage: bool,
    /// For the backend.
    pub generate: v1::GenerateRequest,
}

/// A field's name, whether a value of it asks for nothing, and what it would ask for else.
type Neutral = (&'static str, fn(&Value) -> bool, &'static str);

/// Fields that may be sent only with a value that asks for nothing.
const NEUTRAL: [Neutral; 16] = [
    ("n", |value| value.as_u64() == Some(1), "more than one choice"),
    ("logprobs", |value| value == &Value::Bool(false), "log probabilities"),
    ("top_logprobs", |value| value.as_u64() == Some(0), "log probabilities"),
    ("logit_bias", is_empty, "a bias on tokens"),
    ("presence_penalty", is_zero, "a penalty on tokens"),
    ("frequency_penalty", is_zero, "a penalty on tokens"),
    ("response_format", is_text_format, "any format but text"),
    ("tools", is_empty, "calling tools"),
    ("functions", is_empty, "calling functions"),
    ("tool_choice", |value| value == "none", "calling tools"),
    ("function_call", |value| value == "none", "calling functions"),
    ("parallel_tool_calls", Value::is_boolean, "calling tools"),
    ("modalities", |value| value == &serde_json::json!(["text"]), "anything but text"),
    ("metadata", is_empty, "storing metadata"),
    ("store", |value| value == &Value::Bool(false), "storing answers"),
    ("service_tier", |value| value == "auto" || value == "default", "service tiers"),
];

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_text_format(value: &Value) -> bool {
    value.as_object().is_some_and(|format| format.len() == 1 && format.get("type").is_some_and(|kind| kind == "text"))
}

/// Parses and bounds one request body.
pub(super) fn parse(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = object(body)?;
    let model = match fields.take("model") {
        Some(Value::String(model)) => model,
        _ => return Err(ApiError::invalid("model", "model must name a manager, such as \"UCM\" or \"ULM:personal\"")),
    };
    let (slot, domain) = slot_and_domain(&model)?;
    let messages = match fields.take("messages") {
        Some(messages) => message::parse(messages)?,
        None => return Err(ApiError::invalid("messages", "messages is missing; send at least one message")),
    };
    let generate = v1::GenerateRequest {
        slot,
        domain,
        messages,
        max_tokens: max_tokens(&mut fields)?,
        temperature: fields.number("temperature", 1.0, 2.0)?,
        top_p: fields.number("top_p", 1.0, 1.0)?,
        seed: seed(fields.take("seed"))?,
        stop: stop(fields.take("stop"))?,
        deadline_ms: limits::REQUEST_WAIT.as_millis(),
        unverified: true,
        ..v1::GenerateRequest::default()
    };
    let stream = fields.boolean("stream")?;
    let include_usage = include_usage(fields.take("stream_options"), stream)?;
    if fields.take("user").is_some_and(|user| !user.is_string()) {
        return Err(ApiError::invalid("user", "user must be text"));
    }
    refuse_the_rest(fields)?;
    Ok(ChatRequest { model, stream, include_usage, generate })
}

/// The fields not yet looked at. An explicit null is what some clients send for "not set".
struct Fields(Map<String, Value>);

fn object(body: &[u8]) -> Result<Fields, ApiError> {
    let bad = |why: String| ApiError {
        param: None,
        ..ApiError::invalid("", format!("the body must be one JSON object: {why}"))
    };
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(Fields(map)),
        Ok(_) => Err(bad("it is JSON of another kind".to_owned())),
        Err(error) => Err(bad(error.to_string())),
    }
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A number from 0 to `max`.
    fn number(&mut self, name: &str, default: f32, max: f64) -> Result<f32, ApiError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        match value.as_f64() {
            Some(number) if (0.0..=max).contains(&number) => Ok(number as f32),
            _ => Err(ApiError::invalid(name, format!("{name} must be a number from 0 to {max}"))),
        }
    }

    fn boolean(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(ApiError::invalid(name, format!("{name} must be true or false"))),
        }
    }
}

/// `SLOT` or `SLOT:domain`. What cannot be one may be an artifact: the backend knows.
fn slot_and_domain(model: &str) -> Result<(String, String), ApiError> {
    let (slot, domain) = match model.split_once(':') {
        Some((slot, domain)) => (slot, Some(domain)),
        None => (model, None),
    };
    let named = SlotName::new(slot).is_ok() && domain.is_none_or(|domain| SlotName::new(domain).is_ok());
    match named {
        true => Ok((slot.to_owned(), domain.unwrap_or_default().to_owned())),
        false if model.is_empty() || model.len() > limits::MODEL_NAME_BYTES_MAX => {
            Err(ApiError::model_not_found(model))
        }
        false => Ok((String::new(), String::new())),
    }
}

/// `max_completion_tokens` is OpenAI's newer name of `max_tokens`.
fn max_tokens(fields: &mut Fields) -> Result<u32, ApiError> {
    let mut found = None;
    for name in ["max_tokens", "max_completion_tokens"] {
        let Some(value) = fields.take(name) else { continue };
        let max = limits::MAX_TOKENS_MAX;
        let tokens = value.as_u64().and_then(|tokens| u32::try_from(tokens).ok());
        let tokens = tokens.filter(|tokens| (1..=max).contains(tokens));
        let tokens =
            tokens.ok_or_else(|| ApiError::invalid(name, format!("{name} must be an integer from 1 to {max}")))?;
        if found.is_some_and(|other| other != tokens) {
            return Err(ApiError::invalid(name, "max_tokens and max_completion_tokens differ; send one of them"));
        }
        found = Some(tokens);
    }
    Ok(found.unwrap_or(limits::MAX_TOKENS_DEFAULT))
}

/// OpenAI's seeds are signed; the engine takes the same 64 bits. Without one, each request draws its own.
fn seed(value: Option<Value>) -> Result<u64, ApiError> {
    let Some(value) = value else { return Ok(rand::random()) };
    let bits = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    bits.ok_or_else(|| ApiError::invalid("seed", "seed must be an integer of 64 bits"))
}

fn stop(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let max = limits::STOPS_MAX;
    let bad = || ApiError::invalid("stop", format!("stop must be a text or an array of 1 to {max} texts, none empty"));
    let texts = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) if items.len() <= max => {
            let texts = items.into_iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(bad));
            texts.collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => return Err(bad()),
    };
    if texts.iter().any(String::is_empty) { Err(bad()) } else { Ok(texts) }
}

fn include_usage(value: Option<Value>, stream: bool) -> Result<bool, ApiError> {
    let param = "stream_options";
    let Some(value) = value else { return Ok(false) };
    if !stream {
        return Err(ApiError::invalid(param, "stream_options is only allowed with stream: true"));
    }
    let Value::Object(options) = value else {
        return Err(ApiError::invalid(param, "stream_options must be an object"));
    };
    let mut options = Fields(options);
    let include_usage = options.boolean("include_usage")?;
    match options.0.into_iter().find(|(_, value)| !matches!(value, Value::Null | Value::Bool(false))) {
        None => Ok(include_usage),
        Some((name, _)) => {
            let param = format!("stream_options.{}", echo(&name));
            Err(ApiError::invalid(&param, format!("{param} is not supported; leave it out")))
        }
    }
}

fn refuse_the_rest(mut fields: Fields) -> Result<(), ApiError> {
    for (name, asks_for_nothing, what) in NEUTRAL {
        if fields.take(name).is_some_and(|value| !asks_for_nothing(&value)) {
            let refused =
                ApiError::invalid(name, format!("{name} asks for {what}, which this version cannot do; leave it out"));
            return Err(ApiError { code: "unsupported_parameter", ..refused });
        }
    }
    match fields.0.into_iter().find(|(_, value)| !value.is_null()) {
        None => Ok(()),
        Some((name, _)) => {
            let name = echo(&name);
            let refused = ApiError::invalid(&name, format!("the field {name:?} is not known here; leave it out"));
            Err(ApiError { code: "unknown_parameter", ..refused })
        }
    }
}
