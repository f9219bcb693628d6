//! `POST /v1/chat/completions`: whole, or streamed by SSE exactly as OpenAI's clients read it.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};

use super::access::Caller;
use super::answer::{self, ChatTeller};
use super::chat_request::{self, ChatRequest};
use super::choices::{Choices, Names};
use super::{ApiError, Asked, Backend, Edge, provenance, sampling, stream, whom};

/// The handler.
pub(super) async fn completions<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&edge, request).await?;
    let ChatRequest { model, stream, include_usage, n, generate, tools } = chat_request::parse(&asked.body)?;
    let model = whom::resolve(&edge.backend, &caller, model, &generate).await?;
    let schema = if tools.is_some() { "tools" } else { "response_format" };
    let with_logprobs = generate.logprobs;
    let requests = sampling::choices(&asked.stamped(model.of(generate)), n).collect();
    let choices = Choices::ask(&edge.backend, requests, Names { prompt: "messages", schema });
    if stream {
        let teller = ChatTeller::new(&model.name, n, include_usage, with_logprobs, tools.as_ref());
        return stream::sse(edge, model.slot, choices, teller).await;
    }
    let choices = choices.gather().await?;
    let headers = provenance::headers(choices.iter().map(|choice| &choice.start));
    let json = Json(answer::whole(&model.name, &choices, tools.as_ref(), with_logprobs));
    Ok((headers, json).into_response())
}
