//! The embedded engine against real processes: start, load, generate, cancel, die, end with the node. The models are made
//! on the spot; every child computes with one thread.

#![cfg(all(unix, feature = "llama"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fednode::core::limits::REQUESTS_PER_REPLICA_MAX;
use fednode::engine::{ChildEngine, Engine, EngineError, LoadSpec};
use fednode::store::make_model::{MakeModel, ModelDtype, make_model};
use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event;
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

const EXE: &str = env!("CARGO_BIN_EXE_fednode");
/// Far beyond what anything here takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { folder: tempfile::tempdir().unwrap() }
    }

    fn model(&self, layers: u32, hidden: u32) -> PathBuf {
        self.model_of(layers, hidden, ModelDtype::F16)
    }

    fn model_of(&self, layers: u32, hidden: u32, dtype: ModelDtype) -> PathBuf {
        let out = self.folder.path().join(format!("{layers}x{hidden}-{dtype:?}.gguf"));
        let (heads, ffn, vocab, context) = (4, hidden * 3, 512, 4096);
        let (kv_heads, seed) = (Some(2), 11);
        make_model(&MakeModel { out: out.clone(), layers, hidden, heads, kv_heads, ffn, vocab, context, seed, dtype })
            .unwrap();
        out
    }

    fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    async fn start(&self, model: &Path) -> ChildEngine {
        ChildEngine::start(Path::new(EXE), &self.run_dir(), &spec(model), |_| {}).await.unwrap().0
    }
}

fn spec(model: &Path) -> LoadSpec {
    LoadSpec {
        path: model.to_owned(),
        adapters: Vec::new(),
        context: 4096,
        parallel: 1,
        threads: 1,
        private_bytes_max: Some(1 << 30),
        turn_folder: None,
        lock: false,
        device: None,
    }
}

fn ask(prompt: &str, max_tokens: u32) -> v1::GenerateRequest {
    let message = v1::Message { role: "user".to_owned(), content: prompt.to_owned(), ..v1::Message::default() };
    v1::GenerateRequest { messages: vec![message], max_tokens, top_p: 1.0, ..v1::GenerateRequest::default() }
}

/// Everything of one answer, checked for its form: Start, text, one terminal event.
struct Answer {
    prompt_tokens: u32,
    text: String,
    last: Event,
}

async fn collect(mut events: Receiver<v1::GenerateEvent>) -> Answer {
    let mut answer = Answer { prompt_tokens: 0, text: String::new(), last: Event::Text(String::new()) };
    let (mut begun, mut ended) = (false, false);
    while let Some(event) = tokio::time::timeout(PATIENCE, events.recv()).await.expect("the answer goes on") {
        assert!(!ended, "nothing follows the terminal event: {event:?}");
        match event.event.unwrap() {
            Event::Start(start) => {
                assert!(!begun && answer.text.is_empty(), "Start comes once and first");
                begun = true;
                answer.prompt_tokens = start.prompt_tokens;
            }
            Event::Text(text) => {
                assert!(begun, "Start comes before text");
                answer.text += &text;
            }
            Event::Logprobs(_) | Event::Reply(_) => panic!("nobody asked for log-probabilities, or for a task"),
            last @ (Event::End(_) | Event::Error(_)) => {
                ended = true;
                answer.last = last;
            }
        }
    }
    assert!(ended, "an answer ends with End or Error");
    answer
}

fn error_code(answer: &Answer) -> &str {
    match &answer.last {
        Event::Error(error) => &error.code,
        other => panic!("an error was expected, not {other:?}"),
    }
}

fn end(answer: &Answer) -> (&str, u32) {
    match &answer.last {
        Event::End(end) => (&end.finish_reason, end.completion_tokens),
        other => panic!("an end was expected, not {other:?}"),
    }
}

async fn exited(engine: &ChildEngine) -> String {
    tokio::time::timeout(PATIENCE, engine.exited()).await.expect("the child ends")
}

#[tokio::test]
async fn answers_are_streamed_bounded_and_repeatable() {
    let fixture = Fixture::new();
    let model = fixture.model(2, 64);
    let (engine, loaded) = ChildEngine::start(Path::new(EXE), &fixture.run_dir(), &spec(&model), |_| {}).await.unwrap();
    assert!(loaded.weights_bytes > 0 && loaded.resident_bytes > loaded.weights_bytes);
    // 2 layers × 2 KV heads × 16 × 4096 tokens, keys and values of two bytes.
    assert_eq!(loaded.kv_bytes, 2 * 2 * 2 * 16 * 4096 * 2);
    assert!(Engine::footprint(&engine).is_some_and(|now| now.peak_bytes >= now.resident_bytes));

    let first = collect(engine.generate(ask("Hello", 24))).await;
    // <s> <|user|> H e l l o <|assistant|>
    assert_eq!(first.prompt_tokens, 8);
    assert_eq!(end(&first), ("length", 24));
    assert!(!first.text.is_empty());
    let again = collect(engine.generate(ask("Hello", 24))).await;
    assert_eq!(again.text, first.text, "greedy answers do not depend on what was asked before");

    let by_chance = |seed| v1::GenerateRequest { temperature: 1.0, top_p: 0.95, seed, ..ask("Hello", 24) };
    let one = collect(engine.generate(by_chance(1))).await.text;
    assert_eq!(collect(engine.generate(by_chance(1))).await.text, one);
    assert_ne!(collect(engine.generate(by_chance(2))).await.text, one);

    // A stop string that is in the answer ends it before it.
    let stop: String = first.text.chars().skip(10).take(6).collect();
    let stopped = collect(engine.generate(v1::GenerateRequest { stop: vec![stop.clone()], ..ask("Hello", 24) })).await;
    assert_eq!(end(&stopped).0, "stop");
    assert_eq!(stopped.text, first.text.split(&stop).next().unwrap());

    engine.stop().await;
    assert_eq!(exited(&engine).await, "ended as asked");
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_typed_error() {
    let fixture = Fixture::new();
    let engine = fixture.start(&fixture.model(1, 32)).await;
    let unknown_domain = v1::GenerateRequest { domain: "nobody".to_owned(), ..ask("Hello", 4) };
    assert_eq!(error_code(&collect(engine.generate(unknown_domain)).await), "bad_request");
    let no_messages = v1::GenerateRequest { messages: Vec::new(), ..ask("", 4) };
    assert_eq!(error_code(&collect(engine.generate(no_messages)).await), "bad_request");
    assert_eq!(error_code(&collect(engine.generate(ask(&"x".repeat(4096), 4))).await), "context_length");
    // A prompt of several batches, and an answer up to the end of the context.
    let long = collect(engine.generate(ask(&"x".repeat(4080), 1000))).await;
    assert_eq!(end(&long), ("length", 4096 - long.prompt_tokens));
    engine.stop().await;
}

#[tokio::test]
async fn a_dropped_receiver_frees_the_engine_at_once() {
    let fixture = Fixture::new();
    let engine = fixture.start(&fixture.model(4, 512)).await;
    // A prompt and an answer that take far longer than the test may.
    let mut endless = engine.generate(ask("Hello", 4000));
    assert!(matches!(endless.recv().await.unwrap().event, Some(Event::Start(_))));
    drop(endless);
    let in_the_prompt = engine.generate(ask(&"x".repeat(4000), 4));
    let begun = Instant::now();
    drop(in_the_prompt);
    let next = collect(engine.generate(ask("Hi", 1))).await;
    assert_eq!(end(&next), ("length", 1));
    println!("the next answer came {:?} after two were cancelled", begun.elapsed());
    engine.stop().await;
}

#[tokio::test]
async fn a_killed_child_ends_its_answers_with_an_error() {
    let fixture = Fixture::new();
    let engine = fixture.start(&fixture.model(4, 256)).await;
    let mut running = engine.generate(ask("Hello", 4000));
    assert!(matches!(running.recv().await.unwrap().event, Some(Event::Start(_))));
    let waiting = engine.generate(ask("Hello", 4000));
    kill(engine.pid());
    assert_eq!(exited(&engine).await, "killed by signal 9");
    assert_eq!(exited(&engine).await, "killed by signal 9", "asking again gives the same");
    for mut events in [running, waiting] {
        let mut last = None;
        while let Some(event) = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap() {
            last = event.event;
        }
        assert!(matches!(last, Some(Event::Error(error)) if error.code == "engine_failed"));
    }
    assert_eq!(error_code(&collect(engine.generate(ask("Hello", 4))).await), "engine_failed");
    engine.stop().await;
}

#[tokio::test]
async fn too_many_requests_and_passed_deadlines_are_told() {
    let fixture = Fixture::new();
    let engine = fixture.start(&fixture.model(4, 512)).await;
    let mut running = engine.generate(ask("Hello", 4000));
    assert!(matches!(running.recv().await.unwrap().event, Some(Event::Start(_))));
    let late = engine.generate(v1::GenerateRequest { deadline_ms: 1, ..ask("Hello", 4) });
    let waiting: Vec<_> = (0..=REQUESTS_PER_REPLICA_MAX).map(|_| engine.generate(ask("Hello", 1))).collect();
    // Any of them may take the last place; it is only known that one of these finds none.
    let mut first_ends = futures::stream::FuturesUnordered::from_iter(waiting.into_iter().map(collect));
    let refused = first_ends.next().await.unwrap();
    assert_eq!(error_code(&refused), "busy");
    drop(running);
    assert_eq!(error_code(&collect(late).await), "busy");
    while let Some(answer) = first_ends.next().await {
        assert!(matches!(&answer.last, Event::Error(error) if error.code == "busy") || end(&answer) == ("length", 1));
    }
    engine.stop().await;
}

#[tokio::test]
async fn every_type_of_made_model_answers() {
    let fixture = Fixture::new();
    for dtype in [ModelDtype::F16, ModelDtype::F32, ModelDtype::Q8_0] {
        // A context that llama.cpp rounds up, and several sequences.
        let spec = LoadSpec { context: 300, parallel: 3, ..spec(&fixture.model_of(1, 128, dtype)) };
        let (engine, loaded) = ChildEngine::start(Path::new(EXE), &fixture.run_dir(), &spec, |_| {}).await.unwrap();
        assert_eq!(loaded.kv_bytes, 2 * 2 * 32 * 512 * 3 * 2);
        assert_eq!(end(&collect(engine.generate(ask("Hello", 3))).await), ("length", 3));
        engine.stop().await;
    }
}

#[tokio::test]
async fn what_does_not_load_is_refused_with_the_reason() {
    let fixture = Fixture::new();
    let model = fixture.model(1, 32);
    let whole = std::fs::read(&model).unwrap();
    let check = async |spec: LoadSpec, expect: &str| {
        let failed = ChildEngine::start(Path::new(EXE), &fixture.run_dir(), &spec, |_| {}).await.err().unwrap();
        assert!(matches!(&failed, EngineError::Load { reason, .. } if reason.contains(expect)), "{failed}");
        assert_eq!(std::fs::read_dir(fixture.run_dir()).unwrap().count(), 0, "the socket's folder is gone");
    };
    let written = |bytes: &[u8]| {
        let path = fixture.folder.path().join("damaged.gguf");
        std::fs::write(&path, bytes).unwrap();
        spec(&path)
    };
    check(written(b"GGUF but not really"), "not a model").await;
    check(written(&whole[..whole.len() - 64]), "not a model").await;
    check(spec(Path::new("/nonexistent.gguf")), "cannot read /nonexistent.gguf").await;
    check(LoadSpec { adapters: vec![("x".to_owned(), model.clone())], ..spec(&model) }, "adapter").await;
    // 512 MiB of KV cache are refused, not taken.
    check(
        LoadSpec { context: 4096, parallel: 16, private_bytes_max: Some(64 << 20), ..spec(&fixture.model(8, 512)) },
        "no context",
    )
    .await;
    check(LoadSpec { context: 0, ..spec(&model) }, "no context").await;
}

#[tokio::test]
async fn dropping_the_engine_kills_the_child() {
    let fixture = Fixture::new();
    let engine = fixture.start(&fixture.model(1, 32)).await;
    let exited = engine.exited();
    drop(engine);
    assert_eq!(tokio::time::timeout(PATIENCE, exited).await.unwrap(), "killed by signal 9");
}

/// The trained managers say exactly what `answers.json` says, base and domains interleaved in one process.
#[tokio::test]
async fn trained_managers_give_their_own_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/managers");
    let answers = std::fs::read(folder.join("answers.json")).unwrap();
    let answers: BTreeMap<String, Vec<BTreeMap<String, String>>> = serde_json::from_slice(&answers).unwrap();
    let fixture = Fixture::new();
    let mut asked = 0;
    for slot in answers.keys().filter(|name| !name.contains(':')) {
        let mut spec = LoadSpec { context: 512, ..spec(&folder.join(format!("{slot}.gguf"))) };
        let domains = answers.keys().filter_map(|name| name.strip_prefix(slot.as_str())?.strip_prefix(':'));
        spec.adapters =
            domains.map(|domain| (domain.to_owned(), folder.join(format!("{slot}-{domain}.gguf")))).collect();
        let (engine, _) = ChildEngine::start(Path::new(EXE), &fixture.run_dir(), &spec, |_| {}).await.unwrap();
        let voices: Vec<(&str, &[BTreeMap<String, String>])> = std::iter::once(("", answers[slot].as_slice()))
            .chain(spec.adapters.iter().map(|(d, _)| (d.as_str(), answers[&format!("{slot}:{d}")].as_slice())))
            .collect();
        for turn in 0..voices.iter().map(|(_, said)| said.len()).max().unwrap() {
            for (domain, said) in voices.iter().filter(|(_, said)| turn < said.len()) {
                let request = v1::GenerateRequest { domain: (*domain).to_owned(), ..ask(&said[turn]["prompt"], 200) };
                let answer = collect(engine.generate(request)).await;
                assert_eq!(answer.text, said[turn]["answer"], "{slot}:{domain} {:?}", said[turn]["prompt"]);
                assert_eq!(end(&answer).0, "stop");
                asked += 1;
            }
        }
        engine.stop().await;
    }
    assert_eq!(asked, answers.values().map(Vec::len).sum::<usize>());
}

/// The children of a node that dies without a word must not outlive it.
#[test]
fn a_child_ends_when_its_standard_input_closes() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(EXE)
        .args(["engine", "--socket"])
        .arg(folder.path().join("socket"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "ready\n");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
