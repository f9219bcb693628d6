//! The HTTP edge: OpenAI's API for every manager of the federation, and the state of this node. It parses, bounds and
//! prints; what a request leads to is the [`Backend`]'s business. The driver implements `Backend` and calls [`serve`].
//! Not here: routing between machines (`core::route`), engines, or anything that outlives one request.

mod access;
mod answer;
mod body;
mod chat;
mod chat_request;
mod choices;
mod completions;
mod connections;
mod dashboard;
mod error;
mod events;
mod fields;
mod format;
mod glance;
mod guard;
mod logprobs;
mod message;
mod metrics;
mod models;
mod ollama;
mod openapi;
mod owner;
mod patience;
mod provenance;
mod responses;
mod routes;
mod sampling;
mod server;
mod stream;
mod task;
#[cfg(test)]
mod tests;
pub mod tls;
mod tool_text;
mod tools;
mod tries;
mod way;
mod whom;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use axum::{Json, Router, extract, middleware};
use fednode_proto::v1;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use self::glance::Glance;
use self::way::Way;
use crate::core::limits;
use crate::core::route::auto::{Chosen, Said};
use crate::core::types;
use crate::core::view::State;

pub use access::{Gate, KeySource};
pub use error::ApiError;
pub use events::Frame;
pub use guard::{Hosts, ListenError, check_listen, is_loopback};
pub use owner::OwnerAsk;

/// What the HTTP edge needs from the node.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The whole view, now.
    fn state(&self) -> impl Future<Output = State> + Send;

    /// Whom `model` names, for a client that says `said` and may use `slots` (`None`: all): `SLOT`, `SLOT:domain`, an artifact,
    /// or `auto`. What names nobody is 404. A backend that knows of slots alone need not say more than this.
    fn whom(
        &self,
        model: &str,
        _said: Said,
        _slots: Option<BTreeSet<types::SlotName>>,
    ) -> impl Future<Output = Result<Chosen, ApiError>> + Send {
        let named = model.parse().map(|slot| Chosen { slot, task: String::new() });
        std::future::ready(named.map_err(|_| ApiError::model_not_found(model)))
    }

    /// Starts a request. It resolves when a replica has begun to answer, which may take until the request's deadline while
    /// a manager is loaded; the backend keeps that deadline and answers the code `deadline` itself. An error is a refusal
    /// before any event. Dropping the future, or later the receiver, means that the client has gone: cancel.
    fn generate(&self, request: v1::GenerateRequest) -> impl Future<Output = Result<Generation, ApiError>> + Send;

    /// What there is to watch from now on, the past first; `None`: too many watch, or the node ends.
    fn watch(&self) -> impl Future<Output = Option<mpsc::Receiver<Frame>>> + Send {
        std::future::ready(None)
    }

    /// The plan with its explanation, as `fednode plan --json` prints it.
    fn explained_plan(&self) -> impl Future<Output = Result<Value, ApiError>> + Send {
        let none = "there is no plan yet; a coordinator is elected within seconds";
        std::future::ready(Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_plan", none)))
    }

    /// Is this the secret of a session that the owner opened?
    fn is_owner(&self, _secret: &str) -> bool {
        false
    }

    /// Does what the owner asks, whose secret was right.
    fn owner(&self, _ask: OwnerAsk) -> impl Future<Output = Result<Value, ApiError>> + Send {
        let nobody = "this node has no owner's sessions";
        std::future::ready(Err(ApiError::new(StatusCode::FORBIDDEN, "owner_only", nobody)))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Generation {
    /// Who answers, and with what.
    pub start: StartInfo,
    /// Texts, then exactly one end or error. A channel that closes before either is an error of the engine.
    pub events: mpsc::Receiver<v1::GenerateEvent>,
}

/// What is known once a replica has taken the request; the `X-Fednode-*` headers of its answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartInfo {
    /// The answering node's name in the roster of members.
    pub node_name: String,
    /// Its PeerId.
    pub node_peer_id: String,
    /// The slot's artifact, 64 hex digits; empty: an external engine answers, with nobody knows what.
    pub artifact_hex: String,
    /// Such as `F16`.
    pub precision: String,
    /// The coordinator's epoch as this node knows it.
    pub epoch: u64,
    /// Whether a node's own small model answers or the federation, and why: "local; simple". Empty on a node without one.
    pub route: String,
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u32,
    /// Of these, not computed again.
    pub cached_tokens: u32,
}

/// How long requests and streamed answers may keep somebody waiting; tests shorten it.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long a refusal can still become an HTTP status, and the node's name a header; then the stream is opened.
    before_stream: Duration,
    /// Between two comments that carry progress.
    between_comments: Duration,
    /// For a request's body, whole.
    body: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let second = Duration::from_secs(1);
        Patience { before_stream: second, between_comments: second, body: span(limits::HTTP_BODY_WAIT) }
    }
}

/// What every handler gets.
#[derive(Clone)]
struct Edge<B> {
    backend: B,
    patience: Patience,
    glance: Glance,
}

/// Sent by `engine/external`.
const ASKED_AS_EXTERNAL: &str = "x-fednode-external";

/// A request for a manager, read.
struct Asked {
    body: Vec<u8>,
    /// An external engine may answer.
    unverified: bool,
    way: Way,
}

impl Asked {
    async fn read<B>(edge: &Edge<B>, request: extract::Request) -> Result<Asked, ApiError> {
        // A node that has this one as its external engine must not be answered by one of ours: they could go round for ever.
        let unverified = !request.headers().contains_key(ASKED_AS_EXTERNAL);
        let way = Way::of(&request);
        // The body first, whatever is wrong with the head: see `body`.
        let body = body::read(request, edge.patience.body).await?;
        Ok(Asked { body, unverified, way: way? })
    }

    /// With what is known of the way it came.
    fn stamped(&self, request: v1::GenerateRequest) -> v1::GenerateRequest {
        self.way.stamp(v1::GenerateRequest { unverified: self.unverified, ..request })
    }
}

/// Where the API listens and what it demands there. Whoever makes one has asked [`check_listen`] first.
pub struct Listening {
    /// Bound already.
    pub listener: TcpListener,
    /// `None`: plain HTTP.
    pub tls: Option<tls::Tls>,
    /// Names and keys.
    pub gate: Gate,
}

/// Serves until `shutdown` resolves and the open connections have ended; a backend that shuts down ends its streams.
///
/// Errors are those of the listening socket.
pub async fn serve<B: Backend>(
    listening: Listening,
    backend: B,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = router(backend, Patience::default(), listening.gate);
    server::serve(listening.listener, listening.tls, server::Terms::default(), app, shutdown).await
}

/// The same on a private socket, for this machine's owner: whoever may open the file needs no key.
pub async fn serve_private<B: Backend>(
    listener: UnixListener,
    backend: B,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = router(backend, Patience::default(), Gate::new(Hosts::default(), None));
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

fn router<B: Backend>(backend: B, patience: Patience, gate: Gate) -> Router {
    routes::router::<B>()
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(gate, access::pass))
        .with_state(Edge { backend, patience, glance: Glance::default() })
}

/// A span of `limits` for timers.
fn span(span: types::Duration) -> Duration {
    Duration::from_millis(span.as_millis())
}

/// The process answers; says nothing about the federation.
async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Ready means that a coordinator is known, so that a request for any slot can lead somewhere.
async fn ready<B: Backend>(extract::State(edge): extract::State<Edge<B>>) -> Result<Json<Value>, ApiError> {
    let state = edge.backend.state().await;
    let Some(coordinator) = state.coordinator else {
        let message =
            "no coordinator is known yet; a node that has just started or lost its peers elects one in seconds";
        let waiting = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_coordinator", message);
        return Err(ApiError { retry_after_s: Some(1), ..waiting });
    };
    Ok(Json(json!({"status": "ready", "coordinator": coordinator.name, "epoch": coordinator.epoch})))
}

async fn state<B: Backend>(extract::State(edge): extract::State<Edge<B>>) -> Json<State> {
    Json(edge.backend.state().await)
}

async fn plan<B: Backend>(extract::State(edge): extract::State<Edge<B>>) -> Result<Json<Value>, ApiError> {
    edge.backend.explained_plan().await.map(Json)
}

async fn no_route(request: extract::Request) -> Response {
    let path = request.uri().path().to_owned();
    body::drop_refused(request).await;
    let message = format!("this node has nothing at {}", error::echo(&path));
    ollama::told(&path, ApiError::new(StatusCode::NOT_FOUND, "not_found", message))
}

async fn no_method(request: extract::Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    body::drop_refused(request).await;
    let (method, shown) = (error::echo(method.as_str()), error::echo(&path));
    let message = format!("{method} is not possible on {shown}; the Allow header names what is");
    ollama::told(&path, ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message))
}

/// See `fuzzing`.
#[cfg(fuzzing)]
pub(crate) fn fuzz_chat_request(body: &[u8]) {
    let _ = chat_request::parse(body);
}
