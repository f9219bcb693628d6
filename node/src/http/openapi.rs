//! `GET /openapi.json`: what the API is, in OpenAPI 3.1, made from the table of routes.

mod messages;
pub(super) mod schemas;

use axum::Json;
use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{Backend, routes};
use crate::core::limits;

/// What the document says of one route.
pub(super) struct Operation {
    summary: &'static str,
    body: Option<Value>,
    /// What an answer is, if it is not JSON.
    kind: Option<&'static str>,
    /// How an answer may come beside JSON.
    stream: Option<&'static str>,
    fails: Vec<u16>,
    key: bool,
    path_id: bool,
}

impl Operation {
    /// A manager answers, which may take until the request's deadline.
    pub(super) fn manager(summary: &'static str, body: Value) -> Operation {
        // A manager is not there, is loaded, is busy, breaks, or is late.
        Operation::about(summary).body(body).may_fail(&[404, 429, 500, 502, 503, 504])
    }

    /// The node answers from what it knows.
    pub(super) fn about(summary: &'static str) -> Operation {
        // No key, not for this key, too many wrong keys, too busy.
        let fails = vec![401, 403, 429, 504];
        Operation { summary, body: None, kind: None, stream: None, fails, key: true, path_id: false }
    }

    /// The same for everybody.
    pub(super) fn open(summary: &'static str) -> Operation {
        Operation { fails: vec![403], key: false, ..Operation::about(summary) }
    }

    /// With a body of this schema.
    pub(super) fn body(self, schema: Value) -> Operation {
        Operation { body: Some(schema), ..self }.may_fail(&[400, 404, 408, 413])
    }

    /// The answer is of this kind, and not JSON.
    pub(super) fn of_kind(self, kind: &'static str) -> Operation {
        Operation { kind: Some(kind), ..self }
    }

    /// It may stream by SSE.
    pub(super) fn events(self) -> Operation {
        Operation { stream: Some("text/event-stream"), ..self }
    }

    /// It may stream one JSON object a line.
    pub(super) fn lines(self) -> Operation {
        Operation { stream: Some("application/x-ndjson"), ..self }
    }

    pub(super) fn path_id(self) -> Operation {
        Operation { path_id: true, ..self }
    }

    pub(super) fn may_fail(mut self, statuses: &[u16]) -> Operation {
        self.fails.extend(statuses);
        self.fails.sort_unstable();
        self.fails.dedup();
        self
    }

    /// The fields that the body may have; `None`: there is no body.
    #[cfg(test)]
    pub(super) fn fields(&self) -> Option<Vec<String>> {
        let fields = self.body.as_ref()?["properties"].as_object()?;
        Some(fields.keys().cloned().collect())
    }

    fn json(&self, ollama: bool) -> Value {
        let mut content = Map::new();
        match self.kind {
            None => content.insert("application/json".to_owned(), json!({"schema": {"type": "object"}})),
            Some(kind) => content.insert(kind.to_owned(), json!({"schema": {"type": "string"}})),
        };
        let mut done = "done".to_owned();
        if let Some(kind) = self.stream {
            // OpenAPI 3.1 has no words for the items of a stream.
            content.insert(kind.to_owned(), json!({}));
            done = format!("done; as {kind} if it streams, each event or line with one JSON object");
        }
        let mut responses = Map::new();
        let mut good = json!({"description": done, "content": content});
        if self.fails.contains(&502) {
            good["headers"] = provenance();
        }
        responses.insert("200".to_owned(), good);
        for status in &self.fails {
            responses.insert(status.to_string(), failure(*status, ollama));
        }
        let mut operation = json!({"summary": self.summary, "responses": responses});
        if let Some(schema) = &self.body {
            let content = json!({"application/json": {"schema": schema}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        if self.path_id {
            let schema = json!({"type": "string"});
            operation["parameters"] = json!([{"name": "id", "in": "path", "required": true, "schema": schema}]);
        }
        if !self.key {
            operation["security"] = json!([]);
        }
        operation
    }
}

/// Who answered, and with what.
fn provenance() -> Value {
    let header = |what: &str| json!({"description": what, "schema": {"type": "string"}});
    json!({
        "X-Fednode-Node": header("the answering node's name; several if several choices came from several nodes"),
        "X-Fednode-Peer": header("its PeerId"),
        "X-Fednode-Artifact": header("what answered, a BLAKE3 hash in hex; missing: an external engine answered"),
        "X-Fednode-Precision": header("such as F16; unverified: an external engine answered"),
        "X-Fednode-Epoch": header("the coordinator's epoch"),
    })
}

fn failure(status: u16, ollama: bool) -> Value {
    let what = match status {
        400 => "a field is wrong, or asks for what cannot be done; param names it",
        401 => "a key is needed",
        403 => "the name of the host, the origin or the key does not allow it",
        404 => "no manager of this name",
        408 => "the body took too long",
        413 => "the body is too large",
        429 => "too many requests wait",
        500 => "a fault of fednode",
        502 => "the engine failed, or its machine went away",
        503 => "not ready yet; Retry-After says when to try again",
        _ => "it took too long",
    };
    let name = if ollama { "OllamaError" } else { "Error" };
    let schema = json!({"$ref": format!("#/components/schemas/{name}")});
    json!({"description": what, "content": {"application/json": {"schema": schema}}})
}

/// The document.
pub(super) fn document<B: Backend>() -> Value {
    let mut paths = Map::new();
    for route in routes::all::<B>() {
        let method = if route.method == Method::GET { "get" } else { "post" };
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        path[method] = route.operation.json(route.path.starts_with("/api/"));
    }
    let text = json!({"type": ["string", "null"]});
    let error = json!({"type": "object", "required": ["message", "type", "param", "code"], "properties": {
        "message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": text,
    }});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fednode",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Every manager of the federation, wherever it is loaded. A body has at most {} bytes. What cannot be done is \
                 refused by the name of its field. A head of more than {} bytes or {} headers is refused with 431 and no body.",
                limits::HTTP_BODY_BYTES_MAX,
                limits::HTTP_HEAD_BYTES_MAX,
                limits::HTTP_HEADERS_MAX
            ),
        },
        "paths": paths,
        "security": [{}, {"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {"type": "object", "required": ["error"], "properties": {"error": error}},
                "OllamaError": {"type": "object", "required": ["error", "param", "code"], "properties": {
                    "error": {"type": "string"}, "param": text, "code": text,
                }},
            },
        },
    })
}

/// The handler.
pub(super) async fn serve<B: Backend>() -> Json<Value> {
    Json(document::<B>())
}
