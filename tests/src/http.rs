//! A blocking client of one node's HTTP API. A status of any kind is a reply; only a broken connection is an error.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use serde_json::Value;

use crate::Error;

/// Long enough for a load on a busy machine, short enough that a hang is seen.
const LIMIT: Duration = Duration::from_secs(30);

/// A node's API.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    key: Option<String>,
}

/// What the node answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// For an API at `base`, such as `http://127.0.0.1:7717`.
    pub fn new(base: impl Into<String>) -> Client {
        Client::with_limit(base, LIMIT)
    }

    /// With another limit on a whole exchange.
    pub fn with_limit(base: impl Into<String>, limit: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(limit))
            .build();
        Client { agent: config.new_agent(), base: base.into(), key: None }
    }

    /// The same with an API key, shown as OpenAI's clients do.
    pub fn with_key(&self, key: &str) -> Client {
        Client { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET `path`.
    pub fn get(&self, path: &str) -> Result<Reply, Error> {
        self.send("GET", path, &[], b"")
    }

    /// POST `body` as JSON to `path`.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply, Error> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Any request, however odd.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, Error> {
        let (status, headers, mut reader) = self.open(method, path, headers, body)?;
        let mut body = Vec::new();
        reader.read_to_end(&mut body).map_err(|error| self.broken(method, path, &error))?;
        Ok(Reply { status, headers, body })
    }

    /// The status, the headers, and the body as it comes.
    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, BTreeMap<String, String>, impl Read + use<>), Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let wrong = |error: &dyn std::error::Error| self.broken(method, path, error);
        let response = match body.is_empty() {
            true => self.agent.run(request.body(()).map_err(|error| wrong(&error))?),
            false => self.agent.run(request.body(body).map_err(|error| wrong(&error))?),
        };
        let response = response.map_err(|error| wrong(&error))?;
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = response.headers().iter().map(header).collect();
        Ok((response.status().as_u16(), headers, response.into_body().into_reader()))
    }

    fn broken(&self, method: &str, path: &str, error: &dyn std::error::Error) -> Error {
        Error::Http { request: format!("{method} {}{path}", self.base), why: error.to_string() }
    }
}
