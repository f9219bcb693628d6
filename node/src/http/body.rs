//! Bodies of requests: read whole within a bound and a time, or taken in and dropped. The latter because a connection that is
//! closed while its client still sends is reset, and the client reads "broken pipe" where it should read what was wrong.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use futures::StreamExt;
use tokio::time::timeout;

use super::error::ApiError;
use super::span;
use crate::core::limits;

/// The body of `request`, whole, or why not.
pub(super) async fn read(request: Request, wait: Duration) -> Result<Vec<u8>, ApiError> {
    match timeout(wait, read_all(request)).await {
        Ok(read) => read,
        Err(_) => {
            let message =
                format!("the body was not here after {} s; send it faster, or send less history", wait.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message))
        }
    }
}

async fn read_all(request: Request) -> Result<Vec<u8>, ApiError> {
    let max = limits::HTTP_BODY_BYTES_MAX;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > max {
        drop_refused(request).await;
        return Err(too_large());
    }
    let mut pieces = request.into_body().into_data_stream();
    let mut all = Vec::with_capacity(announced);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| {
            let message = "the body could not be read to its end; send it again";
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", message)
        })?;
        if all.len() + piece.len() > max {
            drop(all);
            drop_rest(pieces).await;
            return Err(too_large());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

fn too_large() -> ApiError {
    let message = format!("the body is larger than {} bytes; send less history", limits::HTTP_BODY_BYTES_MAX);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

/// The request of somebody whose body is not looked at.
pub(super) async fn without_body(request: Request) -> Request {
    let (head, body) = request.into_parts();
    if !body.is_end_stream() && !head.headers.contains_key(header::EXPECT) {
        drop_rest(body.into_data_stream()).await;
    }
    Request::from_parts(head, Body::empty())
}

/// Takes in and drops the body of a refused request. A client that waits to be told to send has nothing to be taken.
pub(super) async fn drop_refused(request: Request) {
    if !request.headers().contains_key(header::EXPECT) {
        let body: Body = request.into_body();
        drop_rest(body.into_data_stream()).await;
    }
}

async fn drop_rest(mut pieces: BodyDataStream) {
    let mut left = limits::HTTP_REFUSED_BYTES_MAX;
    let dropping = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    // Whoever sends more, or slower, is cut off.
    let _ = timeout(span(limits::HTTP_REFUSED_WAIT), dropping).await;
}
