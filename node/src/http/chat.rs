//! `POST /v1/chat/completions`, the answer: whole, or streamed by SSE exactly as OpenAI's clients read it. While a manager
//! is being loaded a streamed answer says so in SSE comments, which clients skip. Dropping an answer cancels the request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event as Generated;
use futures::stream::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::access::Caller;
use super::answer::{self, Answer};
use super::body;
use super::chat_request::{self, ChatRequest};
use super::way::Way;
use super::{ApiError, Backend, Edge, Generation, whom};
use crate::core::{route, view};

/// A long prompt keeps a stream silent for a minute on a slow machine; comments keep proxies and clients from giving up.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Sent by `engine/external`.
const ASKED_AS_EXTERNAL: &str = "x-fednode-external";

type Pending = Pin<Box<dyn Future<Output = Result<Generation, ApiError>> + Send>>;

/// The handler.
pub(super) async fn completions<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    // A node that has this one as its external engine must not be answered by one of ours: they could go round for ever.
    let unverified = !request.headers().contains_key(ASKED_AS_EXTERNAL);
    let way = Way::of(&request)?;
    let request = chat_request::parse(&body::read(request, edge.patience.body).await?)?;
    let ChatRequest { model, stream, include_usage, generate } = request;
    let generate = way.stamp(v1::GenerateRequest { unverified, ..generate });
    let generate = whom::resolve(&edge.backend, &caller, &model, generate).await?;
    let backend = edge.backend.clone();
    let slot = generate.slot.clone();
    let mut pending: Pending = Box::pin(async move { backend.generate(generate).await });
    if !stream {
        return whole(&model, pending.await?).await;
    }
    match timeout(edge.patience.before_stream, &mut pending).await {
        Ok(generation) => {
            let generation = generation?;
            let headers = answer::headers(&generation.start);
            Ok(sse(headers, answer_events(model, include_usage, generation)))
        }
        Err(_) => Ok(sse(HeaderMap::new(), waiting_events(edge, slot, model, include_usage, pending))),
    }
}

/// How an answer ended.
enum Ended {
    Well(v1::GenerateEnd),
    Badly(ApiError),
}

/// A text, or the end.
enum Step {
    Text(String),
    End(Ended),
}

async fn next(events: &mut mpsc::Receiver<v1::GenerateEvent>) -> Step {
    loop {
        let Some(event) = events.recv().await else {
            let message = "the answer broke off: its replica or the connection to it ended; send the request again";
            return Step::End(Ended::Badly(ApiError::from_code("engine_failed", message)));
        };
        match event.event {
            Some(Generated::Text(text)) => return Step::Text(text),
            Some(Generated::Error(error)) => return Step::End(Ended::Badly(error.into())),
            Some(Generated::End(end)) => {
                return Step::End(Ended::Well(end));
            }
            // The backend has read the start; an event of a later version says nothing to this one.
            Some(Generated::Start(_) | Generated::Logprobs(_)) | None => {}
        }
    }
}

async fn whole(model: &str, mut generation: Generation) -> Result<Response, ApiError> {
    let mut all = String::new();
    loop {
        match next(&mut generation.events).await {
            Step::Text(text) => all.push_str(&text),
            Step::End(Ended::Badly(error)) => return Err(error),
            Step::End(Ended::Well(end)) => {
                let mut answer = Answer::new(model, &generation.start, false);
                answer.learn_prompt(end.prompt_tokens);
                let json = Json(answer.whole(&all, &end.finish_reason, end.completion_tokens));
                return Ok((answer::headers(&generation.start), json).into_response());
            }
        }
    }
}

fn sse(headers: HeaderMap, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let stream = Sse::new(events.map(Ok::<Event, Infallible>));
    let mut response = stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("working")).into_response();
    response.headers_mut().extend(headers);
    // Some proxies gather a response before passing it on unless told not to.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn data(json: &Value) -> Event {
    // JSON text has no line breaks, so that one event is one `data:` line.
    Event::default().data(json.to_string())
}

/// The answer from its first chunk to `[DONE]`, or to an error.
fn answer_events(
    model: String,
    include_usage: bool,
    mut generation: Generation,
) -> impl Stream<Item = Event> + Send + 'static {
    async_stream::stream! {
        let mut answer = Answer::new(&model, &generation.start, include_usage);
        yield data(&answer.first_chunk());
        let ended = loop {
            match next(&mut generation.events).await {
                Step::Text(text) => yield data(&answer.text_chunk(&text)),
                Step::End(ended) => break ended,
            }
        };
        match ended {
            Ended::Badly(error) => yield data(&error.body()),
            Ended::Well(end) => {
                answer.learn_prompt(end.prompt_tokens);
                yield data(&answer.last_chunk(&end.finish_reason));
                if let Some(usage) = answer.usage_chunk(end.completion_tokens) {
                    yield data(&usage);
                }
                yield Event::default().data("[DONE]");
            }
        }
    }
}

/// Comments while the manager is made ready, then the answer.
fn waiting_events<B: Backend>(
    edge: Edge<B>,
    slot: String,
    model: String,
    include_usage: bool,
    mut pending: Pending,
) -> impl Stream<Item = Event> + Send + 'static {
    async_stream::stream! {
        let started = loop {
            yield Event::default().comment(progress(&edge.backend.state().await, &slot));
            if let Ok(started) = timeout(edge.patience.between_comments, &mut pending).await {
                break started;
            }
        };
        match started {
            Err(error) => yield data(&error.body()),
            Ok(generation) => {
                yield Event::default().comment(answer::comment(&generation.start));
                let mut rest = std::pin::pin!(answer_events(model, include_usage, generation));
                while let Some(event) = rest.next().await {
                    yield event;
                }
            }
        }
    }
}

/// One line for a person who waits.
fn progress(state: &view::State, slot: &str) -> String {
    route::progress::of(state, slot).map_or_else(|| format!("waiting for {slot}"), |progress| progress.to_string())
}
