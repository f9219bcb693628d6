//! What can be asked of a manager besides text: embeddings in OpenAI's shape, tokens as llama.cpp's server has them. They take
//! the same way as any request: to a replica here or on another member, which another one replaces if it fails.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fednode_proto::v1;
use fednode_proto::v1::task::Task;
use fednode_proto::v1::task_reply::Reply;
use serde_json::{Value, json};

use super::access::Caller;
use super::chat_request::LABELS;
use super::choices::{Choices, Names};
use super::fields::{Fields, Model, Neutral, is_false};
use super::{ApiError, Asked, Backend, Edge, StartInfo, provenance, sampling, whom};
use crate::core::limits;

/// Has a manager do one thing.
async fn perform<B: Backend>(
    edge: &Edge<B>,
    asked: &Asked,
    model: &Model,
    task: Task,
    prompt: &'static str,
) -> Result<(StartInfo, Reply), ApiError> {
    let task = Some(v1::Task { task: Some(task) });
    let request = asked.stamped(v1::GenerateRequest { task, max_tokens: 0, ..sampling::bare(model) });
    let gathered = Choices::ask(&edge.backend, vec![request], Names { prompt, schema: prompt }).gather().await?;
    let done = gathered.into_iter().next().and_then(|choice| Some((choice.start, choice.reply?)));
    done.ok_or_else(other_answer)
}

/// A member of another version, say.
fn other_answer() -> ApiError {
    ApiError::from_code(
        "engine_failed",
        "the replica did not answer what it was asked; its node may be of an older version",
    )
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&edge, request).await?;
    let (model, texts, base64) = embeddings_of(&asked.body)?;
    let model = whom::resolve(&edge.backend, &caller, model, &v1::GenerateRequest::default()).await?;
    let (mut starts, mut data, mut tokens) = (Vec::new(), Vec::new(), 0u64);
    for texts in texts.chunks(limits::EMBED_TEXTS_PER_REQUEST) {
        let task = Task::Embed(v1::EmbedRequest { texts: texts.to_vec(), domain: String::new() });
        let (start, reply) = perform(&edge, &asked, &model, task, "input").await?;
        let Reply::Embed(reply) = reply else { return Err(other_answer()) };
        if reply.embeddings.len() != texts.len() {
            return Err(other_answer());
        }
        tokens += u64::from(reply.tokens);
        starts.push(start);
        for embedding in reply.embeddings {
            let values = if base64 { in_base64(&embedding.values) } else { json!(embedding.values) };
            data.push(json!({"object": "embedding", "index": data.len(), "embedding": values}));
        }
    }
    let body = json!({
        "object": "list",
        "data": data,
        "model": model.name,
        "system_fingerprint": starts.first().map(provenance::fingerprint),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Ok((provenance::headers(starts.iter()), Json(body)).into_response())
}

/// The numbers as little-endian 32-bit floats, as OpenAI's clients ask for them.
fn in_base64(values: &[f32]) -> Value {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    json!(BASE64_STANDARD.encode(bytes))
}

/// Who is asked, the texts, and whether in base64.
fn embeddings_of(body: &[u8]) -> Result<(Model, Vec<String>, bool), ApiError> {
    const NEUTRAL: [Neutral; 1] = [("dimensions", |_| false, "shorter vectors")];
    let mut fields = Fields::of_body(body)?;
    let model = fields.model()?;
    let max = limits::EMBED_TEXTS_MAX;
    let texts = match fields.take("input") {
        Some(Value::String(text)) => Some(vec![text]),
        Some(Value::Array(items)) if items.iter().any(|item| item.is_number() || item.is_array()) => {
            return Err(fields.cannot("input", "must be text: tokens are not taken"));
        }
        Some(Value::Array(items)) => items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let texts = texts.filter(|texts| (1..=max).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty()));
    let texts =
        texts.ok_or_else(|| fields.wrong("input", &format!("a text, or an array of up to {max} texts, none empty")))?;
    let base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(fields.wrong("encoding_format", "float or base64")),
    };
    fields.labels(&LABELS)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    Ok((model, texts, base64))
}

/// `POST /tokenize`.
pub(super) async fn tokenize<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    const NEUTRAL: [Neutral; 2] = [
        ("add_special", is_false, "special tokens around the text"),
        ("parse_special", |value| value == &Value::Bool(true), "special tokens as plain text"),
    ];
    let asked = Asked::read(&edge, request).await?;
    let mut fields = Fields::of_body(&asked.body)?;
    let model = fields.model()?;
    let text = fields.needed("content")?;
    if text.len() > limits::TOKENIZED_BYTES_MAX {
        return Err(fields.wrong("content", &format!("a text of at most {} bytes", limits::TOKENIZED_BYTES_MAX)));
    }
    let with_pieces = fields.boolean("with_pieces", false)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    let model = whom::resolve(&edge.backend, &caller, model, &v1::GenerateRequest::default()).await?;
    let task = Task::Tokenize(v1::TokenizeRequest { text });
    let (start, reply) = perform(&edge, &asked, &model, task, "content").await?;
    let Reply::Tokenize(reply) = reply else { return Err(other_answer()) };
    let piece = |(id, piece): (&u32, &Vec<u8>)| match std::str::from_utf8(piece) {
        Ok(text) => json!({"id": id, "piece": text}),
        Err(_) => json!({"id": id, "piece": piece}),
    };
    let tokens = match with_pieces {
        true => reply.tokens.iter().zip(&reply.pieces).map(piece).collect(),
        false => json!(reply.tokens),
    };
    told(&start, json!({"tokens": tokens}))
}

/// `POST /detokenize`.
pub(super) async fn detokenize<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&edge, request).await?;
    let mut fields = Fields::of_body(&asked.body)?;
    let model = fields.model()?;
    let max = limits::DETOKENIZED_MAX;
    let token = |item: &Value| item.as_u64().and_then(|token| u32::try_from(token).ok());
    let tokens = match fields.take("tokens") {
        Some(Value::Array(items)) if items.len() <= max => items.iter().map(token).collect::<Option<Vec<u32>>>(),
        _ => None,
    };
    let tokens = tokens.ok_or_else(|| fields.wrong("tokens", &format!("an array of up to {max} tokens")))?;
    fields.refuse_the_rest(&[])?;
    let model = whom::resolve(&edge.backend, &caller, model, &v1::GenerateRequest::default()).await?;
    let task = Task::Detokenize(v1::DetokenizeRequest { tokens });
    let (start, reply) = perform(&edge, &asked, &model, task, "tokens").await?;
    let Reply::Detokenize(reply) = reply else { return Err(other_answer()) };
    told(&start, json!({"content": String::from_utf8_lossy(&reply.text)}))
}

fn told(start: &StartInfo, mut body: Value) -> Result<Response, ApiError> {
    body["system_fingerprint"] = json!(provenance::fingerprint(start));
    Ok((provenance::headers(std::iter::once(start)), Json(body)).into_response())
}
