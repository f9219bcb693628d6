//! `POST /v1/completions`: text continued as it is, without a chat template. Several prompts and several choices of each are
//! numbered as OpenAI does: all choices of the first prompt, then those of the next.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use fednode_proto::v1;
use serde_json::{Value, json};

use super::access::Caller;
use super::answer::{Envelope, usage};
use super::chat_request::LABELS;
use super::choices::{Choices, Count, Gathered, Names, Piece};
use super::fields::{Fields, Model, Neutral, is_empty, is_false};
use super::stream::{Line, Teller};
use super::{ApiError, Asked, Backend, Edge, StartInfo, logprobs, provenance, sampling, stream, whom};
use crate::core::limits;

/// As OpenAI defines it for this endpoint.
const MAX_TOKENS_DEFAULT: u32 = 16;
/// The most alternatives that the older shape of log-probabilities has.
const LOGPROBS_MAX: u32 = 5;

const NEUTRAL: [Neutral; 4] = [
    ("echo", is_false, "the prompt in the answer"),
    ("suffix", |value| value == "", "filling in before a suffix"),
    ("best_of", |value| value.as_u64() == Some(1), "choosing among answers"),
    ("logit_bias", is_empty, "a bias on tokens"),
];

struct Completion {
    model: Model,
    stream: bool,
    include_usage: bool,
    n: usize,
    with_logprobs: bool,
    /// One for each choice of each prompt.
    requests: Vec<v1::GenerateRequest>,
}

/// The handler.
pub(super) async fn completions<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&edge, request).await?;
    let Completion { model, stream, include_usage, n, with_logprobs, requests } = parse(&asked.body)?;
    let said = requests.first().cloned().unwrap_or_default();
    let model = whom::resolve(&edge.backend, &caller, model, &said).await?;
    let requests = requests.into_iter().map(|request| asked.stamped(model.of(request))).collect();
    let choices = Choices::ask(&edge.backend, requests, Names { prompt: "prompt", schema: "prompt" });
    if stream {
        let envelope = Envelope::new("cmpl-", &model.name);
        let (count, offsets) = (Count::new(n), Vec::new());
        let teller = CompletionTeller { envelope, count, include_usage, with_logprobs, offsets };
        return stream::sse(edge, model.slot, choices, teller).await;
    }
    let choices = choices.gather().await?;
    let headers = provenance::headers(choices.iter().map(|choice| &choice.start));
    Ok((headers, Json(whole(&model.name, &choices, n, with_logprobs))).into_response())
}

fn parse(body: &[u8]) -> Result<Completion, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let model = fields.model()?;
    let prompts = prompts(&mut fields)?;
    let bounds = (1, limits::MAX_TOKENS_MAX);
    let alternatives = fields.integer("logprobs", (0, LOGPROBS_MAX))?;
    let generate = v1::GenerateRequest {
        max_tokens: fields.integer("max_tokens", bounds)?.unwrap_or(MAX_TOKENS_DEFAULT),
        logprobs: alternatives.is_some(),
        top_logprobs: alternatives.unwrap_or(0),
        ..sampling::take(&mut fields, &model)?
    };
    let n = sampling::n(&mut fields, prompts.len())?;
    let (stream, include_usage) = sampling::stream(&mut fields)?;
    fields.labels(&LABELS)?;
    fields.refuse_the_rest(&NEUTRAL)?;
    let of = |prompt: String| {
        let request = v1::GenerateRequest { prompt, ..generate.clone() };
        sampling::choices(&request, n).collect::<Vec<_>>()
    };
    let requests = prompts.into_iter().flat_map(of).collect();
    Ok(Completion { model, stream, include_usage, n, with_logprobs: alternatives.is_some(), requests })
}

/// A text, or several.
fn prompts(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let texts = match fields.take("prompt") {
        Some(Value::String(text)) => Some(vec![text]),
        Some(Value::Array(items)) if items.iter().any(|item| !item.is_string()) => {
            return Err(fields.cannot("prompt", "must be text: tokens are not taken"));
        }
        Some(Value::Array(items)) => items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let max = limits::CHOICES_MAX;
    let good = texts.filter(|texts| (1..=max).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty()));
    good.ok_or_else(|| fields.wrong("prompt", &format!("a text, or an array of up to {max} texts, none empty")))
}

fn whole(model: &str, choices: &[Gathered], n: usize, with_logprobs: bool) -> Value {
    let mut envelope = Envelope::new("cmpl-", model);
    choices.iter().for_each(|choice| envelope.started(&choice.start));
    let one = |(index, choice): (usize, &Gathered)| {
        json!({
            "index": index,
            "text": choice.text,
            "logprobs": with_logprobs.then(|| logprobs::of_completion(&choice.logprobs, &mut 0)),
            "finish_reason": choice.end.finish_reason,
        })
    };
    let mut whole = envelope.json("text_completion", choices.iter().enumerate().map(one).collect());
    whole["usage"] = usage(Count::of_all(choices, n));
    whole
}

struct CompletionTeller {
    envelope: Envelope,
    count: Count,
    include_usage: bool,
    with_logprobs: bool,
    /// Characters told of each choice.
    offsets: Vec<usize>,
}

impl CompletionTeller {
    fn chunk(&self, choice: usize, text: &str, logprobs: Value, finish_reason: Value) -> Line {
        let choice = json!({"index": choice, "text": text, "logprobs": logprobs, "finish_reason": finish_reason});
        let mut chunk = self.envelope.json("text_completion", json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        Line::Json(chunk)
    }
}

impl Teller for CompletionTeller {
    fn started(&mut self, choice: usize, start: &StartInfo) -> Vec<Line> {
        self.envelope.started(start);
        self.count.started(choice, start);
        Vec::new()
    }

    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Line> {
        if self.offsets.len() <= choice {
            self.offsets.resize(choice + 1, 0);
        }
        let offset = &mut self.offsets[choice];
        let logprobs = if self.with_logprobs { logprobs::of_completion(&piece.logprobs, offset) } else { Value::Null };
        vec![self.chunk(choice, &piece.text, logprobs, Value::Null)]
    }

    fn ended(&mut self, choice: usize, end: &v1::GenerateEnd) -> Vec<Line> {
        self.count.ended(choice, end);
        vec![self.chunk(choice, "", Value::Null, json!(end.finish_reason))]
    }

    fn done(&mut self) -> Vec<Line> {
        let usage = self.include_usage.then(|| {
            let mut chunk = self.envelope.json("text_completion", json!([]));
            chunk["usage"] = usage(self.count.total());
            Line::Json(chunk)
        });
        usage.into_iter().chain([Line::Done]).collect()
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Line> {
        vec![Line::Json(error.body())]
    }
}
