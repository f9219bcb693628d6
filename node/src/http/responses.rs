//! `POST /v1/responses`: OpenAI's newer protocol, as far as it is about text. Nothing is stored, so that no answer can be fetched
//! again or continued by its name; a client sends the conversation itself.

mod request;
mod teller;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};

use super::access::Caller;
use super::choices::{Choices, Names};
use super::{ApiError, Asked, Backend, Edge, provenance, stream, whom};
use teller::ResponseTeller;

/// The handler.
pub(super) async fn create<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&edge, request).await?;
    let request::ResponseRequest { model, stream, generate, echo } = request::parse(&asked.body)?;
    let model = whom::resolve(&edge.backend, &caller, model, &generate).await?;
    let names = Names { prompt: "input", schema: "text.format" };
    let choices = Choices::ask(&edge.backend, vec![asked.stamped(model.of(generate))], names);
    let mut teller = ResponseTeller::new(&model.name, echo);
    if stream {
        return stream::sse(edge, model.slot, choices, teller).await;
    }
    let choices = choices.gather().await?;
    let headers = provenance::headers(choices.iter().map(|choice| &choice.start));
    let whole = choices.first().map(|choice| teller.whole(choice)).unwrap_or_default();
    Ok((headers, Json(whole)).into_response())
}
