//! Streamed answers: the steps of all choices become lines, by SSE as OpenAI's clients read them, or one JSON object a line as
//! Ollama's do. While a manager is being loaded an SSE stream says so in comments, which clients skip. Dropping an answer cancels
//! the request.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fednode_proto::v1;
use futures::stream::{Stream, StreamExt};
use serde_json::Value;
use tokio::time::timeout;

use super::choices::{Choices, Piece, Step};
use super::{ApiError, Backend, Edge, StartInfo, provenance};
use crate::core::{route, view};

/// A long prompt keeps a stream silent for a minute on a slow machine; comments keep proxies and clients from giving up.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One thing that a client reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    Json(Value),
    /// With SSE's name of the event.
    Named(&'static str, Value),
    /// OpenAI's mark of the end.
    Done,
}

/// Tells an answer in one protocol's words.
pub(super) trait Teller: Send + 'static {
    /// A choice begins.
    fn started(&mut self, choice: usize, start: &StartInfo) -> Vec<Line>;
    /// More of it.
    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Line>;
    /// It is complete.
    fn ended(&mut self, choice: usize, end: &v1::GenerateEnd) -> Vec<Line>;
    /// All are.
    fn done(&mut self) -> Vec<Line>;
    /// It broke off.
    fn failed(&mut self, error: &ApiError) -> Vec<Line>;
}

/// By SSE. `slot` is waited for.
pub(super) async fn sse<B: Backend>(
    edge: Edge<B>,
    slot: String,
    mut choices: Choices,
    teller: impl Teller,
) -> Result<Response, ApiError> {
    match timeout(edge.patience.before_stream, choices.started()).await {
        Ok(start) => {
            let start = start?;
            let headers = provenance::headers(std::iter::once(&start));
            Ok(as_events(headers, events(choices, teller, Some(start.node_peer_id))))
        }
        Err(_) => Ok(as_events(HeaderMap::new(), waiting(edge, slot, choices, teller))),
    }
}

/// One JSON object a line. Nothing can be said while the answer has not begun.
pub(super) async fn lines(mut choices: Choices, mut teller: impl Teller) -> Result<Response, ApiError> {
    let start = choices.started().await?;
    let headers = provenance::headers(std::iter::once(&start));
    let lines = async_stream::stream! {
        while let Some((choice, step)) = choices.next().await {
            let failed = step.is_err();
            for line in told(&mut teller, choice, step) {
                if let Line::Json(json) | Line::Named(_, json) = line {
                    yield Ok::<Bytes, Infallible>(Bytes::from(format!("{json}\n")));
                }
            }
            if failed {
                break;
            }
        }
    };
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().extend(headers);
    unbuffered(response.headers_mut());
    Ok(response)
}

fn told(teller: &mut impl Teller, choice: usize, step: Result<Step, ApiError>) -> Vec<Line> {
    match step {
        Ok(Step::Started(start)) => teller.started(choice, &start),
        Ok(Step::Piece(piece)) => teller.piece(choice, piece),
        Ok(Step::Ended(end)) => teller.ended(choice, &end),
        // No task is asked for where text streams.
        Ok(Step::Reply(_)) => Vec::new(),
        Err(error) => teller.failed(&error),
    }
}

/// The answer from its first event to the last. `said`: the headers name this node.
fn events(
    mut choices: Choices,
    mut teller: impl Teller,
    said: Option<String>,
) -> impl Stream<Item = Event> + Send + 'static {
    async_stream::stream! {
        let mut said = said;
        while let Some((choice, step)) = choices.next().await {
            if let Ok(Step::Started(start)) = &step
                && said.as_ref() != Some(&start.node_peer_id)
            {
                yield Event::default().comment(provenance::comment(start));
                said = Some(start.node_peer_id.clone());
            }
            let failed = step.is_err();
            for line in told(&mut teller, choice, step) {
                yield event(&line);
            }
            if failed {
                return;
            }
        }
        for line in teller.done() {
            yield event(&line);
        }
    }
}

/// Comments while the manager is made ready, then the answer.
fn waiting<B: Backend>(
    edge: Edge<B>,
    slot: String,
    mut choices: Choices,
    teller: impl Teller,
) -> impl Stream<Item = Event> + Send + 'static {
    async_stream::stream! {
        loop {
            let state = edge.glance.at(&edge.backend, edge.patience.between_comments / 2).await;
            yield Event::default().comment(progress(&state, &slot));
            // Whatever came of it is told below.
            if timeout(edge.patience.between_comments, choices.started()).await.is_ok() {
                break;
            }
        }
        let mut rest = std::pin::pin!(events(choices, teller, None));
        while let Some(event) = rest.next().await {
            yield event;
        }
    }
}

fn event(line: &Line) -> Event {
    // JSON text has no line breaks, so that one event is one `data:` line.
    match line {
        Line::Json(json) => Event::default().data(json.to_string()),
        Line::Named(name, json) => Event::default().event(*name).data(json.to_string()),
        Line::Done => Event::default().data("[DONE]"),
    }
}

fn as_events(headers: HeaderMap, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let stream = Sse::new(events.map(Ok::<Event, Infallible>));
    let mut response = stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("working")).into_response();
    response.headers_mut().extend(headers);
    unbuffered(response.headers_mut());
    response
}

/// Some proxies gather a response before passing it on unless told not to.
pub(super) fn unbuffered(headers: &mut HeaderMap) {
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// One line for a person who waits.
fn progress(state: &view::State, slot: &str) -> String {
    route::progress::of(state, slot).map_or_else(|| format!("waiting for {slot}"), |progress| progress.to_string())
}
