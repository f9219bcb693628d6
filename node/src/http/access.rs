//! Who may ask what: the gate in front of every route. It looks at Host and Origin first, then, where a key is needed, at the
//! key, before a byte of the body is read. A key that is removed or expires while an answer runs ends that answer.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;

use super::body;
use super::connections::Trust;
use super::error::ApiError;
use super::guard::Hosts;
use super::tries::{FailedTries, Verdict};
use super::{dashboard, ollama, span};
use crate::core::api_keys::{ApiKey, ApiKeys, Found};
use crate::core::limits;
use crate::core::route::ClientId;
use crate::core::types::SlotName;
use crate::wire::api_key::SecretKey;

/// Reads the keys as they are now; an error is a sentence, and lets nobody pass.
pub type KeySource = Arc<dyn Fn() -> Result<Arc<ApiKeys>, String> + Send + Sync>;

/// Routes whose answers take as long as they take, for a manager makes them.
const MANAGERS_PATHS: [&str; 8] = [
    "/api/chat",
    "/api/generate",
    "/detokenize",
    "/tokenize",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
];
/// Where some clients put the key.
const KEY_HEADER: &str = "x-api-key";

/// What a listener demands of those who come.
#[derive(Clone)]
pub struct Gate(Arc<Demands>);

struct Demands {
    hosts: Hosts,
    /// `None`: no key is needed, and none is looked at, because many clients send one that means nothing.
    keys: Option<KeySource>,
    tries: Mutex<FailedTries>,
    /// Between two looks at the key of a running answer.
    recheck: Duration,
}

/// The connection a request came by.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Where it came in.
    pub local: IpAddr,
    /// Whence.
    pub remote: IpAddr,
    pub trusted: Trust,
}

impl Default for Line {
    /// A private socket: nobody but this machine's owner.
    fn default() -> Line {
        let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Line { local: home, remote: home, trusted: Trust::default() }
    }
}

/// Who asks, for the handlers: the key, or `None` where none is needed, and whose turn its requests take.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<ApiKey>, ClientId);

impl Caller {
    /// Requests of one client wait for each other, not for those of another.
    pub(super) fn client(&self) -> ClientId {
        self.1
    }

    /// Refuses a slot that the key was not made for, whether there is such a slot or not.
    pub(super) fn check_slot(&self, slot: &str) -> Result<(), ApiError> {
        match &self.0 {
            Some(key) if !key.may_use(slot) => {
                let refused = ApiError::new(StatusCode::FORBIDDEN, "model_not_allowed", scope(key));
                Err(ApiError { param: Some("model".to_owned()), ..refused })
            }
            _ => Ok(()),
        }
    }

    /// The slots it may use; `None`: all.
    pub(super) fn slots(&self) -> Option<BTreeSet<SlotName>> {
        self.0.as_ref().filter(|key| key.is_scoped()).map(|key| key.slots.clone())
    }

    /// May it know of this slot?
    pub(super) fn sees(&self, slot: &str) -> bool {
        self.0.as_ref().is_none_or(|key| key.may_use(slot))
    }

    /// What tells about the whole node or federation is not for a key of some slots.
    fn check_path(&self, path: &str) -> Result<(), ApiError> {
        match &self.0 {
            Some(key) if key.is_scoped() && !is_about_managers(path) => {
                Err(ApiError::new(StatusCode::FORBIDDEN, "key_scoped", scope(key)))
            }
            _ => Ok(()),
        }
    }
}

/// What is answered slot by slot.
fn is_about_managers(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/api/") || MANAGERS_PATHS.contains(&path)
}

fn scope(key: &ApiKey) -> String {
    let slots: Vec<&str> = key.slots.iter().map(|slot| slot.as_str()).collect();
    format!(
        "the key {} is for {} only; make one for more with `fednode keys add` on the node",
        key.name,
        slots.join(", ")
    )
}

impl Gate {
    /// Demands one of `hosts`, and a key if `keys` are given.
    pub fn new(hosts: Hosts, keys: Option<KeySource>) -> Gate {
        Gate::with_recheck(hosts, keys, span(limits::API_KEY_RECHECK))
    }

    /// The same for tests, which wait less.
    pub(super) fn with_recheck(hosts: Hosts, keys: Option<KeySource>, recheck: Duration) -> Gate {
        Gate(Arc::new(Demands { hosts, keys, tries: Mutex::default(), recheck }))
    }

    /// The digest and the owner of the key in `headers`; both `None` where no key is needed.
    fn caller(&self, line: &Line, headers: &HeaderMap) -> Result<(Option<blake3::Hash>, Caller), ApiError> {
        if self.0.keys.is_none() {
            return Ok((None, Caller(None, client_at(line.remote))));
        }
        let found = given(headers).and_then(|digest| Ok((digest, self.key(&digest)?)));
        match found {
            Ok((digest, key)) => Ok((Some(digest), Caller(Some(key), client_of(digest.as_bytes())))),
            Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => Err(self.failed(line, refusal)),
            Err(refusal) => Err(refusal),
        }
    }

    /// The key of this digest, if it is valid now.
    fn key(&self, digest: &blake3::Hash) -> Result<ApiKey, ApiError> {
        let source = self.0.keys.as_ref().ok_or_else(|| unauthorized("invalid_api_key", "no key is known here"))?;
        let keys = source().map_err(|why| {
            tracing::error!(why, "the API's keys cannot be read; nobody is let in");
            let message = "this node cannot read its keys; its log says why";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "keys_unreadable", message)
        })?;
        match keys.find(digest, now_unix_s()) {
            Found::Valid(key) => Ok(key.clone()),
            Found::Expired(key) => {
                let message = format!("the key {} has expired; make a new one with `fednode keys add`", key.name);
                Err(unauthorized("expired_api_key", message))
            }
            Found::Unknown => {
                let message =
                    "this key is not known here, or was removed; `fednode keys list` on the node shows those there are";
                Err(unauthorized("invalid_api_key", message))
            }
        }
    }

    fn failed(&self, line: &Line, refusal: ApiError) -> ApiError {
        let mut tries = self.0.tries.lock().unwrap_or_else(PoisonError::into_inner);
        match tries.failed(line.remote, Instant::now()) {
            Verdict::Explain => refusal,
            Verdict::Last => {
                tracing::warn!(from = %line.remote, "many requests to the API without a right key");
                refusal
            }
            Verdict::TooMany => {
                let message =
                    "too many requests without a right key from this address; wait a minute, or use a right key";
                let slower = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", message);
                let seconds = limits::API_KEY_TRIES_SPAN.as_millis() / 1000;
                ApiError { retry_after_s: u32::try_from(seconds).ok(), ..slower }
            }
        }
    }

    /// Resolves when the key of this digest is valid no more; never where no key is needed.
    async fn ended(&self, digest: Option<blake3::Hash>) -> ApiError {
        let Some(digest) = digest else { return std::future::pending().await };
        loop {
            tokio::time::sleep(self.0.recheck).await;
            if let Err(refusal) = self.key(&digest) {
                return refusal;
            }
        }
    }
}

fn client_of(bytes: &[u8]) -> ClientId {
    bytes.iter().take(8).fold(0, |client, byte| client << 8 | ClientId::from(*byte))
}

/// An address is one client; a network of 64 bits is one address of IPv6.
fn client_at(address: IpAddr) -> ClientId {
    match address.to_canonical() {
        IpAddr::V4(address) => client_of(&address.octets()),
        IpAddr::V6(address) => client_of(&address.octets()),
    }
}

/// The digest of the key that a request shows.
fn given(headers: &HeaderMap) -> Result<blake3::Hash, ApiError> {
    let missing = || {
        unauthorized(
            "missing_api_key",
            "this API needs a key: send Authorization: Bearer KEY; `fednode keys add` on the node makes one",
        )
    };
    let mut shown = headers.get_all(header::AUTHORIZATION).iter().chain(headers.get_all(KEY_HEADER));
    let value = shown.next().ok_or_else(missing)?;
    // Of two, whichever counts would be a guess; some clients send the same one twice.
    let text = bearer(value).ok_or_else(missing)?;
    if shown.any(|other| bearer(other) != Some(text)) {
        return Err(unauthorized("invalid_api_key", "the request shows two different keys; send one"));
    }
    let key = SecretKey::from_text(text);
    let key = key.map_err(|error| unauthorized("invalid_api_key", format!("the key cannot be right: {error}")))?;
    Ok(key.digest())
}

/// The key in `Bearer KEY`, or in `KEY` alone as the other header has it.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    match text.split_once(' ') {
        Some((scheme, key)) => scheme.eq_ignore_ascii_case("bearer").then_some(key.trim_start()),
        None => Some(text),
    }
}

fn unauthorized(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
}

fn now_unix_s() -> u64 {
    // A clock set before 1970 makes no key younger than it is.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

/// Middleware: refuses what may not pass before anything else looks at the request.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let refusal = match admit(&gate, &request) {
        Ok((digest, caller)) => {
            let answered = answer(&gate, digest, caller, request, next).await;
            return answered.unwrap_or_else(|refusal| ollama::told(&path, refusal));
        }
        Err(refusal) => refusal,
    };
    let noisy = refusal.code == "too_many_tries";
    let mut response = ollama::told(&path, refusal);
    if noisy {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else {
        body::drop_refused(request).await;
    }
    response
}

/// Decides by the head alone.
fn admit(gate: &Gate, request: &Request) -> Result<(Option<blake3::Hash>, Caller), ApiError> {
    let line = request.extensions().get::<Line>().cloned().unwrap_or_default();
    gate.0.hosts.check(line.local, request.uri(), request.headers())?;
    // These say only that the process answers, to whoever watches over it, or are the dashboard's own files.
    if matches!(request.uri().path(), "/health" | "/healthz") || dashboard::is_file(request.uri().path()) {
        return Ok((None, Caller(None, 0)));
    }
    let (digest, caller) = gate.caller(&line, request.headers())?;
    caller.check_path(request.uri().path())?;
    line.trusted.give();
    Ok((digest, caller))
}

async fn answer(
    gate: &Gate,
    digest: Option<blake3::Hash>,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let by_manager = MANAGERS_PATHS.contains(&request.uri().path());
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        // Nobody reads such a body, and a connection that is closed on it would take the answer with it.
        request = body::without_body(request).await;
    }
    request.extensions_mut().insert(caller);
    let answering = next.run(request);
    if !by_manager {
        let late = "the node is too busy to answer; try again";
        let answer = tokio::time::timeout(span(limits::HTTP_ANSWER_WAIT), answering).await;
        let answer = answer.map_err(|_| ApiError::from_code("deadline", late))?;
        return Ok(until_ended(gate, digest, answer));
    }
    tokio::select! {
        response = answering => Ok(until_ended(gate, digest, response)),
        refusal = gate.ended(digest) => Err(refusal),
    }
}

/// A streamed answer ends with an error when its key ends. Whole ones have been made already.
fn until_ended(gate: &Gate, digest: Option<blake3::Hash>, response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let lines = kind == Some(b"application/x-ndjson");
    if digest.is_none() || !(lines || kind == Some(b"text/event-stream")) {
        return response;
    }
    let gate = gate.clone();
    let (head, body) = response.into_parts();
    let mut pieces = body.into_data_stream();
    let stream = async_stream::stream! {
        let mut ended = std::pin::pin!(gate.ended(digest));
        loop {
            let refusal = tokio::select! {
                piece = pieces.next() => match piece {
                    Some(Ok(piece)) => {
                        yield Ok::<Bytes, Infallible>(piece);
                        continue;
                    }
                    _ => break,
                },
                refusal = &mut ended => refusal,
            };
            let last = match lines {
                true => format!("{}\n", serde_json::json!({"error": refusal.message})),
                false => format!("data: {}\n\n", refusal.body()),
            };
            yield Ok(Bytes::from(last));
            break;
        }
    };
    Response::from_parts(head, Body::from_stream(stream))
}
