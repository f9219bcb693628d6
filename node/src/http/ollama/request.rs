//! The requests of `/api/chat` and `/api/generate`. Options that the engine does not have are refused by name.

use fednode_proto::v1;
use serde_json::{Value, json};

use crate::core::limits;
use crate::core::view::State;
use crate::http::fields::{Fields, Model, Neutral, is_empty, is_false};
use crate::http::tools::Tools;
use crate::http::{ApiError, format, sampling, tools};

/// A request that passed.
pub(super) struct OllamaRequest {
    pub model: Model,
    pub stream: bool,
    /// Tokens of context that the client counts on; 0: it does not say.
    pub context: u32,
    pub generate: v1::GenerateRequest,
    pub tools: Option<Tools>,
    /// Else of `/api/generate`.
    pub of_chat: bool,
}

/// Ollama's own defaults.
const TEMPERATURE: f32 = 0.8;
const TOP_K: u32 = 40;
const TOP_P: f32 = 0.9;

/// Of both endpoints.
const NEUTRAL: [Neutral; 6] = [
    ("keep_alive", |_| false, "keeping a manager in memory, which the roster decides"),
    ("think", is_false, "thinking"),
    ("images", is_empty, "images"),
    ("suffix", |value| value == "", "filling in before a suffix"),
    ("context", is_empty, "continuing an answer by its tokens: use /api/chat"),
    ("template", |value| value == "", "another chat template"),
];

/// Options whose value asks for nothing.
const OPTIONS_NEUTRAL: [Neutral; 6] = [
    ("repeat_penalty", is_one, "a penalty on repetition: use presence_penalty or frequency_penalty"),
    ("repeat_last_n", |value| value.as_i64() == Some(0), "a penalty on repetition"),
    ("mirostat", |value| value.as_u64() == Some(0), "mirostat"),
    ("tfs_z", is_one, "tail-free sampling"),
    ("typical_p", is_one, "typical sampling"),
    ("num_keep", |value| value.as_i64() == Some(0), "keeping the beginning of what does not fit"),
];

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

/// `/api/chat`.
pub(super) fn chat(body: &[u8]) -> Result<OllamaRequest, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let model = model(&mut fields)?;
    let (mut generate, context) = options(&mut fields, &model)?;
    generate.messages = messages(fields.take("messages"))?;
    let tools = tools::take(&mut fields)?;
    if let Some(tools) = &tools {
        if !generate.json_schema.is_empty() {
            return Err(fields.cannot("format", "cannot be followed while a tool may be called: leave one of them out"));
        }
        generate.tools_json.clone_from(&tools.json);
        tools.schema().clone_into(&mut generate.json_schema);
    }
    let stream = fields.boolean("stream", true)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    Ok(OllamaRequest { model, stream, context, generate, tools, of_chat: true })
}

/// `/api/generate`.
pub(super) fn generate(body: &[u8]) -> Result<OllamaRequest, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let model = model(&mut fields)?;
    let (mut generate, context) = options(&mut fields, &model)?;
    let prompt = fields.needed("prompt")?;
    if prompt.is_empty() {
        return Err(fields.cannot("prompt", "must not be empty: the roster decides what is loaded"));
    }
    let system = fields.text("system")?;
    match fields.boolean("raw", false)? {
        true if system.is_some() => {
            return Err(fields.cannot("system", "is not seen where raw is true: leave one of them out"));
        }
        true => generate.prompt = prompt,
        false => {
            let one =
                |role: &str, content: String| v1::Message { role: role.to_owned(), content, ..v1::Message::default() };
            let system = system.filter(|system| !system.is_empty()).map(|system| one("system", system));
            generate.messages = system.into_iter().chain([one("user", prompt)]).collect();
        }
    }
    let stream = fields.boolean("stream", true)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    Ok(OllamaRequest { model, stream, context, generate, tools: None, of_chat: false })
}

/// Ollama's names have a tag; what has none of its own is `latest`.
pub(super) fn model(fields: &mut Fields) -> Result<Model, ApiError> {
    let name = fields.needed("model")?;
    let named = Model::named(name.strip_suffix(":latest").unwrap_or(&name).to_owned())?;
    Ok(Model { name, ..named })
}

/// The fields `options` and `format`; also how much context is counted on.
fn options(fields: &mut Fields, model: &Model) -> Result<(v1::GenerateRequest, u32), ApiError> {
    let schema = fields.take("format").map(|value| format::ollama(&value)).transpose()?.unwrap_or_default();
    let options = fields.take("options").unwrap_or_else(|| json!({}));
    let mut options = Fields::of(options, "options")?;
    let request = v1::GenerateRequest {
        temperature: options.number("temperature", TEMPERATURE, (0.0, 2.0))?,
        top_k: options.integer("top_k", (0, u32::MAX))?.unwrap_or(TOP_K),
        top_p: sampling::top_p(&mut options, TOP_P)?,
        min_p: options.number("min_p", 0.0, (0.0, 1.0))?,
        presence_penalty: options.number("presence_penalty", 0.0, (-2.0, 2.0))?,
        frequency_penalty: options.number("frequency_penalty", 0.0, (-2.0, 2.0))?,
        seed: sampling::seed(&mut options)?,
        stop: sampling::stop(&mut options)?,
        max_tokens: num_predict(&mut options)?,
        json_schema: schema,
        ..sampling::bare(model)
    };
    let context = options.integer("num_ctx", (1, u32::MAX))?.unwrap_or(0);
    options.refuse_the_rest(&OPTIONS_NEUTRAL)?;
    Ok((request, context))
}

/// -1 and -2 ask for as much as fits.
fn num_predict(options: &mut Fields) -> Result<u32, ApiError> {
    let max = limits::MAX_TOKENS_MAX;
    match options.take("num_predict").map(|value| value.as_i64()) {
        None => Ok(limits::MAX_TOKENS_DEFAULT),
        Some(Some(-2 | -1)) => Ok(max),
        Some(count) => {
            let count = count.and_then(|count| u32::try_from(count).ok()).filter(|count| (1..=max).contains(count));
            count.ok_or_else(|| options.wrong("num_predict", &format!("an integer from 1 to {max}, or -1 or -2")))
        }
    }
}

/// The roster decides how much context a manager has.
pub(super) fn check_context(state: &State, model: &Model, wanted: u32) -> Result<(), ApiError> {
    match state.slots.iter().find(|slot| slot.name == model.slot) {
        Some(slot) if wanted > slot.context && slot.context > 0 => {
            let why = format!("{} has {} tokens of context; leave num_ctx out", slot.name, slot.context);
            let refused =
                ApiError::invalid("options.num_ctx", format!("options.num_ctx asks for more than there is: {why}"));
            Err(ApiError { code: "unsupported_parameter", ..refused })
        }
        _ => Ok(()),
    }
}

fn messages(value: Option<Value>) -> Result<Vec<v1::Message>, ApiError> {
    let max = limits::CHAT_MESSAGES_MAX;
    match value {
        Some(Value::Array(items)) if (1..=max).contains(&items.len()) => {
            items.into_iter().enumerate().map(|(index, item)| one(index, item)).collect()
        }
        _ => Err(ApiError::invalid("messages", format!("messages must be an array of 1 to {max} objects"))),
    }
}

fn one(index: usize, item: Value) -> Result<v1::Message, ApiError> {
    let mut item = Fields::of(item, &format!("messages[{index}]"))?;
    let role = item.needed("role")?;
    if !matches!(role.as_str(), "system" | "user" | "assistant" | "tool") {
        return Err(item.wrong("role", "system, user, assistant or tool"));
    }
    let mut message =
        v1::Message { role, content: item.text("content")?.unwrap_or_default(), ..v1::Message::default() };
    if message.role == "tool" {
        let name = item.text("tool_name")?.or(item.text("name")?);
        message.name = name.unwrap_or_default();
        message.tool_call_id = item.text("tool_call_id")?.unwrap_or_default();
    }
    if let Some(calls) = item.take("tool_calls").filter(|calls| !is_empty(calls)) {
        message.tool_calls_json = tool_calls(&item, calls)?;
    }
    item.refuse_the_rest(&[("images", is_empty, "images"), ("thinking", |value| value == "", "thinking")])?;
    Ok(message)
}

/// Ollama's calls have their arguments as an object, and no name of their own.
fn tool_calls(message: &Fields, value: Value) -> Result<String, ApiError> {
    let Value::Array(items) = value else { return Err(message.wrong("tool_calls", "an array of calls")) };
    if items.len() > limits::TOOL_CALLS_MAX {
        return Err(message.wrong("tool_calls", "an array of fewer calls"));
    }
    let call = |(index, item): (usize, Value)| {
        let mut call = Fields::of(item, &format!("{}[{index}]", message.param("tool_calls")))?;
        let mut function = Fields::of(call.take("function").unwrap_or_default(), &call.param("function"))?;
        let name = function.needed("name")?;
        let arguments = function.take("arguments").filter(Value::is_object);
        let arguments = arguments.ok_or_else(|| function.wrong("arguments", "an object"))?;
        function
            .refuse_the_rest(&[("index", Value::is_u64, "something unknown"), ("description", Value::is_string, "")])?;
        call.labels(&["id", "type"])?;
        call.refuse_the_rest(&[])?;
        let id = format!("call_{index}");
        Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}))
    };
    let calls = items.into_iter().enumerate().map(call).collect::<Result<Vec<Value>, ApiError>>()?;
    Ok(Value::Array(calls).to_string())
}
