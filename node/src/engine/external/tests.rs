//! External engines against servers that are honest, odd, or hostile.

use std::sync::Mutex;

use fednode_proto::v1::GenerateEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server does once it has read a request.
#[derive(Clone)]
enum Then {
    /// Says this and closes.
    Say(Vec<u8>),
    /// Says this, and nothing more until the other side closes.
    Hold(Vec<u8>),
    /// Says the first once and the second for ever.
    Flood(Vec<u8>, Vec<u8>),
}

/// A server that does the same on each connection, by path, and remembers what it was asked.
struct Stage {
    url: EngineUrl,
    heard: Arc<Mutex<Vec<String>>>,
    /// One for each connection that the other side closed.
    closed: mpsc::Receiver<()>,
}

async fn stage(answers: impl Fn(&str) -> Then + Send + Sync + 'static) -> Stage {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("an address");
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (closing, closed) = mpsc::channel(64);
    let (asked, answers) = (Arc::clone(&heard), Arc::new(answers));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (asked, answers, closing) = (Arc::clone(&asked), Arc::clone(&answers), closing.clone());
            tokio::spawn(async move {
                let (stream, request) = read_request(stream).await;
                let then = answers(request.lines().next().unwrap_or_default());
                asked.lock().expect("no test panicked").push(request);
                play(stream, then).await;
                let _ = closing.send(()).await;
            });
        }
    });
    Stage { url, heard, closed }
}

/// Head and body; the bodies of these tests come in one piece with their length.
async fn read_request(mut stream: TcpStream) -> (TcpStream, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                return (stream, text);
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return (stream, text);
        }
    }
}

async fn play(mut stream: TcpStream, then: Then) {
    match then {
        Then::Say(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Then::Hold(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Then::Flood(first, again) => {
            let mut sent = stream.write_all(&first).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
            }
        }
    }
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

fn streamed(events: &[&str]) -> Vec<u8> {
    let lines: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    format!("{STREAM}{lines}").into_bytes()
}

fn json(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

const TEXT: &str = r#"{"choices":[{"delta":{"content":"Hey"},"finish_reason":null}]}"#;
const STOP: &str =
    r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

/// Short where a test waits for it to run out, and long where it must not.
fn patience() -> Patience {
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(60));
    Patience { connect: long, check: long, first: short, silence: short, answer: long }
}

fn engine(stage: &Stage) -> ExternalEngine {
    ExternalEngine::with(stage.url.clone(), EngineKey::new("sk-secret"), "llama".into(), patience())
}

fn request() -> v1::GenerateRequest {
    let message = v1::Message { role: "user".into(), content: "hello".into(), ..v1::Message::default() };
    v1::GenerateRequest { messages: vec![message], max_tokens: 4, top_p: 1.0, ..v1::GenerateRequest::default() }
}

async fn all(mut events: mpsc::Receiver<GenerateEvent>) -> Vec<Event> {
    let mut said = Vec::new();
    while let Some(event) = events.recv().await {
        said.extend(event.event);
    }
    said
}

#[tokio::test]
async fn an_answer_begins_goes_on_and_ends_once() {
    let stage = stage(|_| Then::Say(streamed(&[TEXT, STOP, "[DONE]"]))).await;
    let said = all(Engine::generate(&engine(&stage), request())).await;
    let [Event::Start(start), Event::Text(text), Event::End(end)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((start.precision.as_str(), start.artifact.len(), text.as_str()), ("unverified", 0, "Hey"));
    assert_eq!((end.finish_reason.as_str(), end.prompt_tokens, end.completion_tokens), ("stop", 3, 1));
    let heard = stage.heard.lock().expect("no test panicked").join("\n");
    for part in
        ["POST /v1/chat/completions", "authorization: Bearer sk-secret", "x-fednode-external: 1", "\"stream\":true"]
    {
        assert!(heard.contains(part), "{part} in {heard}");
    }
}

#[tokio::test]
async fn whatever_a_hostile_server_does_the_answer_ends_once_and_says_why() {
    let flood = |first: &str, again: &str| Then::Flood(first.as_bytes().to_vec(), again.as_bytes().to_vec());
    let event = format!("data: {TEXT}\n\n");
    let cut = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{event}"
    );
    let redirect = "HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let cases = [
        ("cut off in the middle", Then::Say(streamed(&[TEXT])), "broke off"),
        ("cut off in a chunk", Then::Say(cut.into_bytes()), "HTTP"),
        ("an endless line", flood(STREAM, &"x".repeat(65_536)), "line"),
        ("a flood of events", flood(STREAM, &event.repeat(1000)), "more than was asked for"),
        ("a flood of comments", flood(STREAM, &":\n".repeat(30_000)), "more than was asked for"),
        ("no JSON", Then::Say(streamed(&["{\"choices\": oops"])), "no JSON"),
        ("an error at once", Then::Say(json("500 No", r#"{"error":{"message":"out of memory"}}"#)), "out of memory"),
        ("an error in the stream", Then::Say(streamed(&[TEXT, r#"{"error":{"message":"gone"}}"#])), "gone"),
        ("a huge error", flood("HTTP/1.1 500 No\r\n\r\n", &"x".repeat(65_536)), "no reason"),
        ("an endless head", flood("HTTP/1.1 200 OK\r\n", "a: b\r\n"), "HTTP"),
        ("nothing", Then::Hold(Vec::new()), "does not begin"),
        ("a head and nothing", Then::Hold(STREAM.as_bytes().to_vec()), "stands still"),
        ("a text and nothing", Then::Hold(streamed(&[TEXT])), "stands still"),
        ("closed at once", Then::Say(Vec::new()), "HTTP"),
        ("another protocol", Then::Say(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()), "HTTP"),
        ("no stream", Then::Say(json("200 OK", r#"{"choices":[]}"#)), "does not stream"),
        ("elsewhere", Then::Say(redirect.as_bytes().to_vec()), "elsewhere"),
    ];
    for (what, then, why) in cases {
        let stage = stage(move |_| then.clone()).await;
        let said = all(Engine::generate(&engine(&stage), request())).await;
        let ends = said.iter().filter(|event| matches!(event, Event::End(_) | Event::Error(_))).count();
        let Some(Event::Error(error)) = said.last() else { panic!("{what}: {said:?}") };
        assert!(ends == 1 && error.message.contains(why) && error.message.len() < 400, "{what}: {error:?}");
        assert_eq!(error.code, CODE_ENGINE_FAILED, "{what}");
        assert!(!error.message.contains("secret"), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn whoever_stops_listening_closes_the_connection() {
    for then in [Then::Hold(streamed(&[TEXT])), Then::Hold(Vec::new())] {
        let mut stage = stage(move |_| then.clone()).await;
        let patient = Patience { first: Duration::from_secs(60), silence: Duration::from_secs(60), ..patience() };
        let engine = ExternalEngine::with(stage.url.clone(), None, "llama".into(), patient);
        let events = Engine::generate(&engine, request());
        while stage.heard.lock().expect("no test panicked").is_empty() {
            tokio::task::yield_now().await;
        }
        drop(events);
        assert_eq!(stage.closed.recv().await, Some(()));
    }
}

#[tokio::test]
async fn an_engine_that_is_taken_out_ends_its_answers() {
    let stage = stage(|_| Then::Hold(streamed(&[TEXT]))).await;
    let patient = Patience { first: Duration::from_secs(60), silence: Duration::from_secs(60), ..patience() };
    let engine = ExternalEngine::with(stage.url.clone(), None, "llama".into(), patient);
    let events = Engine::generate(&engine, request());
    engine.stop().await;
    let said = all(events).await;
    assert!(matches!(said.last(), Some(Event::Error(error)) if error.message.contains("taken out")), "{said:?}");
    assert_eq!(engine.exited().await, "taken out");
}

#[tokio::test]
async fn a_server_is_there_when_it_answers_and_has_the_model() {
    const MODELS: &str = r#"{"object":"list","data":[{"id":"other"},{"id":"llama"}]}"#;
    let ok = || json("200 OK", r#"{"status":"ok"}"#);
    let list = || json("200 OK", MODELS);
    let flood = Then::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 65_536]);
    let cases = [
        ("llama-server", Then::Say(ok()), Then::Say(list()), None),
        ("Ollama", Then::Say(json("404 No", "404 page not found")), Then::Say(list()), None),
        (
            "it loads",
            Then::Say(json("503 No", r#"{"error":{"message":"Loading model"}}"#)),
            Then::Say(list()),
            Some("Loading model"),
        ),
        ("a wrong key", Then::Say(ok()), Then::Say(json("401 No", "")), Some("--key-file")),
        ("another model", Then::Say(ok()), Then::Say(json("200 OK", r#"{"data":[{"id":"x"}]}"#)), Some("it has: x")),
        ("no list", Then::Say(ok()), Then::Say(json("200 OK", "<html>")), Some("OpenAI-compatible")),
        ("a huge list", Then::Say(ok()), flood, Some("more than")),
        ("a hang", Then::Hold(Vec::new()), Then::Say(list()), Some("did not answer within")),
        ("closed at once", Then::Say(Vec::new()), Then::Say(list()), Some("HTTP")),
    ];
    for (what, health, models, why) in cases {
        let hangs = what == "a hang";
        let stage = stage(move |line| if line.contains("/health") { health.clone() } else { models.clone() }).await;
        let check = if hangs { Duration::from_millis(200) } else { Duration::from_secs(60) };
        let engine = ExternalEngine::with(stage.url.clone(), None, "llama".into(), Patience { check, ..patience() });
        match (engine.check().await, why) {
            (Ok(()), None) => {}
            (Err(found), Some(why)) => assert!(found.contains(why), "{what}: {found}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn where_nobody_listens_is_said() {
    let gone = stage(|_| Then::Say(Vec::new())).await.url;
    // A port that was free a moment ago, on an address of this machine that nothing else uses.
    let nobody: EngineUrl = gone.to_string().replace("127.0.0.1", "127.99.99.99").parse().expect("an address");
    let engine = ExternalEngine::with(nobody, None, "llama".into(), patience());
    assert!(engine.check().await.expect_err("nobody").contains("nothing answers at 127.99.99.99"));
    let said = all(Engine::generate(&engine, request())).await;
    assert!(matches!(&said[..], [Event::Error(error)] if error.message.contains("nothing answers")), "{said:?}");
}

#[tokio::test]
async fn a_name_that_leads_to_the_internet_is_not_asked_without_tls() {
    let public: EngineUrl = "http://localhost:1".parse().expect("an address");
    assert_eq!(may_ask(&public).await, Ok(()), "this machine");
    // Not an address that can be written down; a name is judged by what it resolves to, here by the system's own rules for
    // numbers, which are no dotted quads.
    let odd: EngineUrl = "http://134744072:1".parse().expect("a name");
    assert!(may_ask(&odd).await.is_err(), "8.8.8.8 written as one number");
}
