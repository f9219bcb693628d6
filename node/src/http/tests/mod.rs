//! The HTTP edge against a backend of canned events: order of a stream, shapes of errors, and what happens when a
//! client leaves. Requests that are refused at the edge are in `refusals`.

mod access;
mod kinds;
mod ollama;
mod openapi;
mod refusals;
mod slow;
mod tools;
mod watched;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use fednode_proto::v1::generate_event::Event as Generated;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;
use crate::core::view::{CoordinatorView, ReplicaView, SlotDomainView, SlotView};

const ARTIFACT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What the canned backend does with the next request.
enum Script {
    Events(Vec<Generated>),
    Refuse(ApiError),
    /// Answers from a channel that the test holds.
    Channel(mpsc::Receiver<v1::GenerateEvent>),
    /// Becomes ready when told to, then ends well.
    After(oneshot::Receiver<()>),
}

#[derive(Clone, Default)]
struct Canned {
    state: Arc<State>,
    /// One for each request.
    scripts: Arc<Mutex<VecDeque<Script>>>,
    /// The last request.
    seen: Arc<Mutex<Option<v1::GenerateRequest>>>,
    all_seen: Arc<Mutex<Vec<v1::GenerateRequest>>>,
}

impl Canned {
    fn new(script: Script) -> Canned {
        Canned::in_turn([script])
    }

    /// Answers several requests, one after the other.
    fn in_turn(scripts: impl IntoIterator<Item = Script>) -> Canned {
        let scripts = Arc::new(Mutex::new(scripts.into_iter().collect()));
        Canned { scripts, state: Arc::new(federation()), ..Canned::default() }
    }

    /// Ends well after `texts`.
    fn says(texts: &[&str]) -> Canned {
        Canned::new(script(texts))
    }
}

fn end() -> Generated {
    Generated::End(v1::GenerateEnd { finish_reason: "stop".to_owned(), completion_tokens: 3, ..Default::default() })
}

fn start() -> StartInfo {
    StartInfo {
        node_name: "büro".to_owned(),
        node_peer_id: "12D3KooW".to_owned(),
        artifact_hex: ARTIFACT.to_owned(),
        precision: "F16".to_owned(),
        epoch: 7,
        prompt_tokens: 11,
        cached_tokens: 2,
        route: String::new(),
    }
}

fn event(event: Generated) -> v1::GenerateEvent {
    v1::GenerateEvent { event: Some(event) }
}

impl Backend for Canned {
    async fn state(&self) -> State {
        (*self.state).clone()
    }

    async fn generate(&self, request: v1::GenerateRequest) -> Result<Generation, ApiError> {
        self.all_seen.lock().unwrap().push(request.clone());
        *self.seen.lock().unwrap() = Some(request);
        let script = self.scripts.lock().unwrap().pop_front().expect("a script for each request");
        let list = match script {
            Script::Refuse(error) => return Err(error),
            Script::Channel(events) => return Ok(Generation { start: start(), events }),
            Script::Events(list) => list,
            Script::After(ready) => {
                ready.await.expect("the test says when");
                vec![end()]
            }
        };
        let (sender, events) = mpsc::channel(list.len().max(1));
        for item in list {
            sender.send(event(item)).await.expect("the channel holds all");
        }
        Ok(Generation { start: start(), events })
    }
}

fn federation() -> State {
    let ulm = SlotView {
        name: "ULM".to_owned(),
        artifact: ARTIFACT.to_owned(),
        state: "loading".to_owned(),
        precision: "F16".to_owned(),
        context: 4096,
        replicas: vec![ReplicaView {
            node: "griffith".to_owned(),
            state: "loading".to_owned(),
            ..ReplicaView::default()
        }],
        domains: vec![
            SlotDomainView { name: "personal".to_owned(), artifact: "ab".repeat(32), fingerprint: false },
            SlotDomainView { name: "core".to_owned(), artifact: String::new(), fingerprint: false },
        ],
        ..SlotView::default()
    };
    let empty = SlotView { name: "UFM".to_owned(), state: "missing".to_owned(), ..SlotView::default() };
    State { slots: vec![empty, ulm], ..State::default() }
}

/// Waits `before_stream` before a stream is opened, and hardly between comments.
fn patience(before_stream: Duration) -> Patience {
    Patience { before_stream, between_comments: Duration::from_millis(1), ..Patience::default() }
}

async fn send(backend: Canned, request: Request<Body>) -> Response<Body> {
    router(backend, patience(Duration::from_secs(60)), open()).oneshot(request).await.expect("a router answers")
}

/// Loopback's: its own names only, and no key.
fn open() -> Gate {
    Gate::new(Hosts::default(), None)
}

fn plain(listener: TcpListener) -> Listening {
    Listening { listener, tls: None, gate: open() }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost:7717").body(Body::empty()).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    post_to("/v1/chat/completions", body)
}
fn post_to(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("host", "127.0.0.1:7717").body(body.into()).unwrap()
}

/// What the backend says in one answer, as it streams.
fn script(texts: &[&str]) -> Script {
    let texts = texts.iter().map(|text| Generated::Text((*text).to_owned()));
    Script::Events(texts.chain([end()]).collect())
}

/// A minimal request with `extra` fields laid over it.
fn chat(extra: Value) -> Request<Body> {
    let mut body = json!({"model": "UCM", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in extra.as_object().expect("an object") {
        body[name] = value.clone();
    }
    post(body.to_string())
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).expect("JSON")
}

fn data_lines(stream: &str) -> Vec<&str> {
    stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

#[tokio::test]
async fn a_whole_answer_carries_text_usage_and_who_answered() {
    let backend = Canned::says(&["Hello", " world"]);
    let response = send(backend.clone(), chat(json!({"seed": -1, "stop": "END", "user": "me"}))).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| String::from_utf8_lossy(response.headers()[name].as_bytes()).into_owned();
    assert_eq!(header("x-fednode-node"), "büro");
    assert_eq!(header("x-fednode-artifact"), ARTIFACT);
    assert_eq!((header("x-fednode-precision"), header("x-fednode-epoch")), ("F16".to_owned(), "7".to_owned()));
    let body = json_of(response).await;
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "UCM");
    assert_eq!(body["system_fingerprint"], "fp_001122334455");
    assert_eq!(body["choices"][0]["message"]["content"], "Hello world");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let cached = json!({"cached_tokens": 2});
    let usage = json!({
        "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14, "prompt_tokens_details": cached,
    });
    assert_eq!(body["usage"], usage);
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert_eq!((seen.slot.as_str(), seen.domain.as_str(), seen.seed), ("UCM", "", u64::MAX));
    assert_eq!((seen.max_tokens, seen.temperature, seen.top_p), (limits::MAX_TOKENS_DEFAULT, 1.0, 1.0));
    assert_eq!((seen.stop, seen.deadline_ms), (vec!["END".to_owned()], limits::REQUEST_WAIT.as_millis()));
}

#[tokio::test]
async fn a_streamed_answer_is_in_openais_order() {
    let extra = json!({"model": "ULM:personal", "stream": true, "stream_options": {"include_usage": true}});
    let response = send(Canned::says(&["a", "b\nc"]), chat(extra)).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-fednode-precision"], "F16");
    let stream = text(response).await;
    let (done, chunks) = data_lines(&stream).split_last().map(|(last, rest)| (*last, rest.to_vec())).expect("lines");
    assert_eq!(done, "[DONE]");
    let chunks: Vec<Value> = chunks.into_iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(chunks.len(), 5, "{stream}");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"content": "a"}));
    assert_eq!(chunks[2]["choices"][0]["delta"], json!({"content": "b\nc"}));
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[3]["usage"], Value::Null);
    assert_eq!((chunks[4]["choices"].clone(), chunks[4]["usage"]["total_tokens"].clone()), (json!([]), json!(14)));
    for chunk in &chunks {
        assert_eq!((&chunk["id"], &chunk["object"]), (&chunks[0]["id"], &json!("chat.completion.chunk")));
        assert_eq!(chunk["model"], "ULM:personal");
    }
}

#[tokio::test]
async fn without_usage_asked_no_chunk_mentions_it() {
    let stream = text(send(Canned::says(&["a"]), chat(json!({"stream": true}))).await).await;
    assert_eq!((data_lines(&stream).len(), stream.contains("usage")), (4, false), "{stream}");
}

#[tokio::test]
async fn an_error_after_the_first_byte_ends_the_stream_without_done() {
    let broken =
        Generated::Error(v1::GenerateError { code: "engine_failed".to_owned(), message: "it died".to_owned() });
    for (script, said) in [
        (vec![Generated::Text("a".to_owned()), broken.clone()], "it died"),
        (vec![Generated::Text("a".to_owned())], "broke off"),
    ] {
        let response = send(Canned::new(Script::Events(script.clone())), chat(json!({"stream": true}))).await;
        assert_eq!(response.status(), 200);
        let stream = text(response).await;
        let last: Value = serde_json::from_str(data_lines(&stream).last().expect("a line")).expect("JSON");
        assert_eq!(last["error"]["code"], "engine_failed");
        assert!(last["error"]["message"].as_str().is_some_and(|message| message.contains(said)), "{stream}");
        let whole = send(Canned::new(Script::Events(script)), chat(json!({}))).await;
        assert_eq!(whole.status(), 502);
    }
}

#[tokio::test]
async fn a_refusal_before_the_first_byte_is_a_status_streamed_or_not() {
    for stream in [false, true] {
        let refusal = ApiError::from_code("not_resident", "ULM fits nowhere");
        let response = send(Canned::new(Script::Refuse(refusal)), chat(json!({"stream": stream}))).await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let expect =
            json!({"message": "ULM fits nowhere", "type": "server_error", "param": null, "code": "not_resident"});
        assert_eq!(json_of(response).await["error"], expect);
    }
}

#[tokio::test]
async fn a_stream_that_waits_says_so_in_comments_and_then_who_answers() {
    let (ready, wait) = oneshot::channel();
    let app = router(Canned::new(Script::After(wait)), patience(Duration::ZERO), open());
    let response = app.oneshot(chat(json!({"model": "ULM", "stream": true}))).await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.headers().contains_key("x-fednode-node")), (200, false));
    let mut body = response.into_body().into_data_stream();
    for _ in 0..2 {
        let comment = body.next().await.expect("open").expect("bytes");
        assert_eq!(comment, ": waiting for ULM: loading on griffith\n\n");
    }
    ready.send(()).expect("still waiting");
    let rest: Vec<u8> = body.map(|bytes| bytes.expect("bytes").to_vec()).concat().await;
    let rest = String::from_utf8(rest).expect("UTF-8");
    assert!(rest.contains(": fednode {") && rest.contains(ARTIFACT) && rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn a_refusal_while_the_stream_waits_is_its_last_event() {
    let (ready, wait) = oneshot::channel::<()>();
    let backend = Canned::new(Script::After(wait));
    let refusing = Refusing(backend, Arc::new(Mutex::new(Some(ready))));
    let request = chat(json!({"stream": true}));
    let response = router(refusing, patience(Duration::ZERO), open()).oneshot(request).await.expect("an answer");
    let stream = text(response).await;
    assert!(stream.starts_with(": waiting for UCM"), "{stream}");
    assert!(stream.contains("\"code\":\"deadline\"") && !stream.contains("[DONE]"), "{stream}");
}

/// Refuses once its state has been asked for: the first comment.
#[derive(Clone)]
struct Refusing(Canned, Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Backend for Refusing {
    async fn state(&self) -> State {
        if let Some(ready) = self.1.lock().unwrap().take() {
            ready.send(()).expect("the request waits");
        }
        self.0.state().await
    }

    async fn generate(&self, request: v1::GenerateRequest) -> Result<Generation, ApiError> {
        self.0.generate(request).await?;
        Err(ApiError::from_code("deadline", "120 s have passed"))
    }
}

#[tokio::test]
async fn dropping_an_answer_drops_the_receiver() {
    for stream in [false, true] {
        let (sender, events) = mpsc::channel(1);
        let backend = Canned::new(Script::Channel(events));
        let answering = tokio::spawn(send(backend, chat(json!({"stream": stream}))));
        if stream {
            drop(answering.await.expect("headers"));
        } else {
            sender.send(event(Generated::Text("a".to_owned()))).await.expect("someone listens");
            answering.abort();
        }
        sender.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_and_shutdown_ends_the_server() {
    for stream in [false, true] {
        let (sender, events) = mpsc::channel(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let backend = Canned::new(Script::Channel(events));
        let server = tokio::spawn(serve(plain(listener), backend, async { drop(stopped.await) }));
        let mut client = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let body = format!(r#"{{"model":"UCM","messages":[{{"role":"user","content":"hi"}}],"stream":{stream}}}"#);
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        sender.send(event(Generated::Text("a".to_owned()))).await.expect("someone listens");
        if stream {
            let mut bytes = [0u8; 64];
            client.read_exact(&mut bytes).await.expect("an answer begins");
        }
        drop(client);
        sender.closed().await;
        stop.send(()).expect("running");
        server.await.expect("no panic").expect("no error");
    }
}

#[tokio::test]
async fn models_are_the_published_slots_and_domains() {
    let backend = Canned::says(&[]);
    let list = json_of(send(backend.clone(), get("/v1/models")).await).await;
    let ids: Vec<&str> = list["data"].as_array().expect("a list").iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!((ids, &list["object"]), (vec!["ULM", "ULM:personal"], &json!("list")));
    let one = json_of(send(backend.clone(), get("/v1/models/ULM:personal")).await).await;
    assert_eq!((&one["object"], &one["owned_by"], &one["created"]), (&json!("model"), &json!("fednode"), &json!(0)));
    assert_eq!((&one["status"]["value"], &one["context_length"]), (&json!("loading"), &json!(4096)));
    for path in ["/v1/models/UFM", "/v1/models/%ff", "/v1/models/GPT"] {
        let missing = send(backend.clone(), get(path)).await;
        assert_eq!(missing.status(), 404, "{path}");
        assert_eq!(json_of(missing).await["error"]["code"], "model_not_found");
    }
}

#[tokio::test]
async fn health_readiness_and_state_answer() {
    for path in ["/health", "/healthz"] {
        assert_eq!(send(Canned::default(), get(path)).await.status(), 200);
    }
    let waiting = send(Canned::default(), get("/readyz")).await;
    assert_eq!(
        (waiting.status().as_u16(), json_of(waiting).await["error"]["code"].clone()),
        (503, json!("no_coordinator"))
    );
    let coordinator = CoordinatorView { name: "desk".to_owned(), epoch: 4, ..CoordinatorView::default() };
    let state = State { coordinator: Some(coordinator), federation: "ab".to_owned(), ..State::default() };
    let backend = Canned { state: Arc::new(state), ..Canned::default() };
    assert_eq!(json_of(send(backend.clone(), get("/readyz")).await).await["epoch"], 4);
    let state: State = serde_json::from_value(json_of(send(backend, get("/state")).await).await).expect("the view");
    assert_eq!(state.federation, "ab");
}
