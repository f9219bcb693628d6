//! `GET /events`: what there is to watch, by SSE. First an event `past` (log, samples), then `state` (as `GET /state`), and from
//! then on `state`, `log` and `sample` as they come. The backend bounds who watches and what waits for them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::stream::{KEEP_ALIVE, unbuffered};
use super::{ApiError, Backend, Edge};

/// One event, as it is told to all who watch.
#[derive(Clone, Debug)]
pub struct Frame {
    /// past | state | log | sample.
    pub name: &'static str,
    /// A document on one line.
    pub json: Arc<str>,
}

pub(super) async fn serve<B: Backend>(State(edge): State<Edge<B>>) -> Result<Response, ApiError> {
    let Some(frames) = edge.backend.watch().await else {
        let message = "too many watch this node already, or it is ending; close another dashboard, or ask later";
        let full = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_watchers", message);
        return Err(ApiError { retry_after_s: Some(5), ..full });
    };
    let events = ReceiverStream::new(frames);
    let events = events.map(|frame| Ok::<Event, Infallible>(Event::default().event(frame.name).data(&*frame.json)));
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("nothing new"));
    let mut response = stream.into_response();
    unbuffered(response.headers_mut());
    Ok(response)
}
