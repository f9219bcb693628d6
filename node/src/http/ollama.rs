//! The endpoints of Ollama's API that most of its clients use, so that they work as they are. Names, and what can be asked for,
//! are those of the federation; errors have Ollama's shape.

mod list;
mod request;
mod teller;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::access::Caller;
use super::choices::{Choices, Names};
use super::{ApiError, Asked, Backend, Edge, provenance, stream, whom};
use teller::OllamaTeller;

pub(super) use list::{running, show, tags, version};

/// An error as Ollama's clients expect it.
pub(super) struct OllamaError(ApiError);

impl From<ApiError> for OllamaError {
    fn from(error: ApiError) -> OllamaError {
        OllamaError(error)
    }
}

impl IntoResponse for OllamaError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.0.message, "param": self.0.param, "code": self.0.code}));
        let mut response = self.0.into_response();
        let headers = std::mem::take(response.headers_mut());
        let mut ours = (response.status(), body).into_response();
        let kept = headers.into_iter().filter_map(|(name, value)| name.map(|name| (name, value)));
        for (name, value) in kept.filter(|(name, _)| !ours_anyway(name)) {
            ours.headers_mut().insert(name, value);
        }
        ours
    }
}

fn ours_anyway(name: &HeaderName) -> bool {
    name == header::CONTENT_LENGTH || name == header::CONTENT_TYPE
}

/// An error as the clients of `path` read errors.
pub(super) fn told(path: &str, error: ApiError) -> Response {
    match path.starts_with("/api/") {
        true => OllamaError(error).into_response(),
        false => error.into_response(),
    }
}

/// `POST /api/chat`.
pub(super) async fn chat<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, OllamaError> {
    let asked = Asked::read(&edge, request).await?;
    answer(edge, caller, &asked, request::chat).await
}

/// `POST /api/generate`.
pub(super) async fn generate<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, OllamaError> {
    let asked = Asked::read(&edge, request).await?;
    answer(edge, caller, &asked, request::generate).await
}

async fn answer<B: Backend>(
    edge: Edge<B>,
    caller: Caller,
    asked: &Asked,
    parse: fn(&[u8]) -> Result<request::OllamaRequest, ApiError>,
) -> Result<Response, OllamaError> {
    let request::OllamaRequest { model, stream, context, generate, tools, of_chat } = parse(&asked.body)?;
    let model = whom::resolve(&edge.backend, &caller, model, &generate).await?;
    if context > 0 {
        request::check_context(&edge.backend.state().await, &model, context)?;
    }
    let names = Names { prompt: if of_chat { "messages" } else { "prompt" }, schema: "format" };
    let choices = Choices::ask(&edge.backend, vec![asked.stamped(model.of(generate))], names);
    let mut teller = OllamaTeller::new(&model.name, of_chat, tools.as_ref());
    if stream {
        return Ok(stream::lines(choices, teller).await?);
    }
    let choices = choices.gather().await?;
    let headers = provenance::headers(choices.iter().map(|choice| &choice.start));
    let whole = choices.first().map(|choice| teller.whole(choice, tools.as_ref())).unwrap_or_default();
    Ok((headers, Json(whole)).into_response())
}
