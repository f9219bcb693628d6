//! `POST /v1/chat/completions`, the request: JSON from anyone becomes a bounded `GenerateRequest` or a 400 that names the
//! field. A field that cannot be honoured is refused unless its value asks for nothing; none is silently ignored except
//! `user` and its successors, which OpenAI defines as labels.

use fednode_proto::v1;
use serde_json::json;

use super::fields::{Fields, Model, Neutral, is_empty, is_false};
use super::tools::Tools;
use super::{ApiError, format, message, sampling, tools};
use crate::core::limits;

/// A request that passed.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub model: Model,
    /// Answer by SSE?
    pub stream: bool,
    /// Close the stream with a chunk of usage?
    pub include_usage: bool,
    /// So many choices.
    pub n: usize,
    /// For the backend, without what differs between choices.
    pub generate: v1::GenerateRequest,
    /// What may be called.
    pub tools: Option<Tools>,
}

/// Fields that may be sent only with a value that asks for nothing.
const NEUTRAL: [Neutral; 10] = [
    ("logit_bias", is_empty, "a bias on tokens"),
    ("functions", is_empty, "calling functions, which are called tools now"),
    ("function_call", |value| value == "none", "calling functions, which are called tools now"),
    ("modalities", |value| value == &json!(["text"]), "anything but text"),
    ("metadata", is_empty, "storing metadata"),
    ("store", is_false, "storing answers"),
    ("service_tier", |value| value == "auto" || value == "default", "service tiers"),
    ("reasoning_effort", |value| value == "none", "reasoning"),
    ("verbosity", |value| value == "medium", "another length of answers"),
    ("prediction", |_| false, "predicted outputs"),
];

/// Labels, as OpenAI defines them.
pub(super) const LABELS: [&str; 3] = ["user", "safety_identifier", "prompt_cache_key"];

/// Parses and bounds one request body.
pub(super) fn parse(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let model = fields.model()?;
    let messages = match fields.take("messages") {
        Some(messages) => message::parse(messages)?,
        None => return Err(ApiError::invalid("messages", "messages is missing; send at least one message")),
    };
    let mut generate =
        v1::GenerateRequest { messages, max_tokens: max_tokens(&mut fields)?, ..sampling::take(&mut fields, &model)? };
    let n = sampling::n(&mut fields, 1)?;
    logprobs(&mut fields, &mut generate)?;
    let (stream, include_usage) = sampling::stream(&mut fields)?;
    let tools = tools::take(&mut fields)?;
    if let Some(format) = fields.take("response_format") {
        generate.json_schema = format::openai(format, "response_format", true)?;
    }
    if let Some(tools) = &tools {
        with_tools(&fields, &mut generate, tools)?;
    }
    fields.labels(&LABELS)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    Ok(ChatRequest { model, stream, include_usage, n, generate, tools })
}

fn with_tools(fields: &Fields, generate: &mut v1::GenerateRequest, tools: &Tools) -> Result<(), ApiError> {
    if !generate.json_schema.is_empty() {
        let why = "cannot be followed while a tool may be called: leave it out, or set tool_choice to none";
        return Err(fields.cannot("response_format", why));
    }
    if generate.logprobs {
        let why = "cannot be told while a tool may be called: leave it out, or set tool_choice to none";
        return Err(fields.cannot("logprobs", why));
    }
    generate.tools_json.clone_from(&tools.json);
    tools.schema().clone_into(&mut generate.json_schema);
    Ok(())
}

fn logprobs(fields: &mut Fields, generate: &mut v1::GenerateRequest) -> Result<(), ApiError> {
    generate.logprobs = fields.boolean("logprobs", false)?;
    let top = fields.integer("top_logprobs", (0, limits::TOP_LOGPROBS_MAX))?;
    if top.is_some_and(|top| top > 0) && !generate.logprobs {
        return Err(ApiError::invalid("top_logprobs", "top_logprobs is only allowed with logprobs: true"));
    }
    generate.top_logprobs = top.unwrap_or(0);
    Ok(())
}

/// `max_completion_tokens` is OpenAI's newer name of `max_tokens`.
fn max_tokens(fields: &mut Fields) -> Result<u32, ApiError> {
    let bounds = (1, limits::MAX_TOKENS_MAX);
    let (old, new) = (fields.integer("max_tokens", bounds)?, fields.integer("max_completion_tokens", bounds)?);
    match (old, new) {
        (Some(old), Some(new)) if old != new => {
            let why = "max_tokens and max_completion_tokens differ; send one of them";
            Err(ApiError::invalid("max_completion_tokens", why))
        }
        (old, new) => Ok(new.or(old).unwrap_or(limits::MAX_TOKENS_DEFAULT)),
    }
}
