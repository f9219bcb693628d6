//! Errors of the HTTP edge in the shape that OpenAI's clients expect: `{"error":{"message","type","param","code"}}`. Every
//! answer that is not a success is one of these, those of routing (404, 405) included.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fednode_proto::v1;
use serde_json::{Value, json};

use crate::core::route::progress::Progress;

/// A client that found the queue full should not return at once.
const RETRY_BUSY_S: u32 = 1;
/// Loading a 13 GB manager takes some seconds from a fast disk.
const RETRY_NOT_RESIDENT_S: u32 = 5;
/// How much of a name or value that a client sent is repeated to it.
const ECHO_CHARS_MAX: usize = 80;

/// Why a request was not answered. `message` is for people; programs look at `status` and `code`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status, as long as no byte of the answer has been sent.
    pub status: StatusCode,
    /// A word for programs, such as `model_not_found`.
    pub code: &'static str,
    /// The field of the request that is wrong, if it is a field.
    pub param: Option<String>,
    /// One sentence: what, why, what to do.
    pub message: String,
    /// Seconds after which trying again makes sense.
    pub retry_after_s: Option<u32>,
    /// How far the manager is that is not there yet.
    pub loading: Option<Box<Progress>>,
}

impl ApiError {
    /// An error of `status` without a field and without a time to try again.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, code, param: None, message: message.into(), retry_after_s: None, loading: None }
    }

    /// The field `param` of the request is wrong: 400.
    pub fn invalid(param: &str, message: impl Into<String>) -> ApiError {
        let bad = ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        ApiError { param: Some(echo(param)), ..bad }
    }

    /// No slot (or domain) of this name: 404.
    pub fn model_not_found(model: &str) -> ApiError {
        let message = format!(
            "no manager is called {:?} here; `fednode managers` and GET /v1/models list those there are",
            echo(model)
        );
        let missing = ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message);
        ApiError { param: Some("model".to_owned()), ..missing }
    }

    /// From the code of a `GenerateError`, whoever made it: this node, a peer, or the engine. An unknown code is a fault.
    pub fn from_code(code: &str, message: impl Into<String>) -> ApiError {
        let (status, code, param, retry_after_s) = match code {
            "not_resident" => (StatusCode::SERVICE_UNAVAILABLE, "not_resident", None, Some(RETRY_NOT_RESIDENT_S)),
            "no_room" => (StatusCode::SERVICE_UNAVAILABLE, "no_room", None, Some(RETRY_NOT_RESIDENT_S)),
            "busy" => (StatusCode::TOO_MANY_REQUESTS, "busy", None, Some(RETRY_BUSY_S)),
            "deadline" => (StatusCode::GATEWAY_TIMEOUT, "deadline", None, None),
            "context_length" => (StatusCode::BAD_REQUEST, "context_length_exceeded", Some("messages"), None),
            "bad_request" => (StatusCode::BAD_REQUEST, "invalid_value", None, None),
            "bad_schema" => (StatusCode::BAD_REQUEST, "invalid_schema", Some("response_format"), None),
            "no_tools" => (StatusCode::BAD_REQUEST, "unsupported_parameter", Some("tools"), None),
            "model_not_found" => (StatusCode::NOT_FOUND, "model_not_found", Some("model"), None),
            "engine_failed" => (StatusCode::BAD_GATEWAY, "engine_failed", None, None),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal", None, None),
        };
        let param = param.map(str::to_owned);
        ApiError { status, code, param, message: message.into(), retry_after_s, loading: None }
    }

    /// Is it said because the manager is nowhere ready?
    pub fn is_not_there(&self) -> bool {
        matches!(self.code, "not_resident" | "no_room")
    }

    /// With how far its manager is, and when to come back for it.
    pub fn while_loading(self, progress: Progress) -> ApiError {
        ApiError { retry_after_s: Some(progress.retry_after_s()), loading: Some(Box::new(progress)), ..self }
    }

    /// OpenAI's `type`, which follows from the status.
    pub fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The JSON body; also what an SSE stream says after its first byte.
    pub fn body(&self) -> Value {
        let mut body = json!({"error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        }});
        if let Some(progress) = &self.loading {
            body["loading"] = json!(progress);
        }
        body
    }
}

impl From<v1::GenerateError> for ApiError {
    fn from(error: v1::GenerateError) -> ApiError {
        ApiError::from_code(&error.code, error.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"fednode\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// What a client sent, short enough to be said back.
pub(super) fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_protocol_become_statuses() {
        let cases = [
            ("not_resident", 503, "server_error", true),
            ("no_room", 503, "server_error", true),
            ("busy", 429, "rate_limit_error", true),
            ("deadline", 504, "server_error", false),
            ("context_length", 400, "invalid_request_error", false),
            ("bad_request", 400, "invalid_request_error", false),
            ("bad_schema", 400, "invalid_request_error", false),
            ("no_tools", 400, "invalid_request_error", false),
            ("model_not_found", 404, "invalid_request_error", false),
            ("engine_failed", 502, "server_error", false),
            ("a code of a later version", 500, "server_error", false),
        ];
        for (code, status, kind, retry) in cases {
            let error = ApiError::from_code(code, "why");
            assert_eq!(error.status.as_u16(), status, "{code}");
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(error.clone().into_response().headers().contains_key("retry-after"), retry, "{code}");
            assert_eq!(error.body()["error"]["message"], "why");
        }
    }

    #[test]
    fn a_refusal_while_a_manager_loads_says_how_far_it_is_and_when_to_come_back() {
        let progress = Progress {
            slot: "UCM".into(),
            state: "loading".into(),
            node: "desk".into(),
            bytes_done: 30,
            bytes_total: 100,
            bytes_per_s: 10,
            eta_s: Some(7),
        };
        let refused = ApiError::from_code("not_resident", "not yet").while_loading(progress);
        let loading = &refused.body()["loading"];
        let fields = ["bytes_done", "bytes_total", "bytes_per_s", "eta_s"].map(|field| loading[field].as_u64());
        assert_eq!(fields, [30, 100, 10, 7].map(Some));
        assert_eq!(refused.into_response().headers()["retry-after"], "7");
        assert!(ApiError::from_code("not_resident", "not yet").body().get("loading").is_none());
    }

    #[test]
    fn names_from_clients_are_repeated_only_in_part() {
        let error = ApiError::model_not_found(&"é".repeat(5000));
        assert!(error.message.len() < 400, "{}", error.message.len());
    }
}
