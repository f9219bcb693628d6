//! One replica for many at once, with the trained managers: answers and adapters interleaved in one batch, conversations that go
//! on where they ended, log-probabilities, schemas, scores, embeddings, and children that take turns.

#![cfg(all(unix, feature = "llama"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use fednode::core::limits::ENGINE_OUTPUTS_MAX;
use fednode::engine::{ChildEngine, Engine, EngineError, LoadSpec};
use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event;
use tempfile::TempDir;

const EXE: &str = env!("CARGO_BIN_EXE_fednode");
/// Far beyond what anything here takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn managers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/managers")
}

type Said = Vec<BTreeMap<String, String>>;

fn answers() -> BTreeMap<String, Said> {
    serde_json::from_slice(&std::fs::read(managers().join("answers.json")).unwrap()).unwrap()
}

fn spec(slot: &str, domains: &[&str], parallel: u32) -> LoadSpec {
    let gguf = |name: String| managers().join(format!("{name}.gguf"));
    LoadSpec {
        path: gguf(slot.to_owned()),
        adapters: domains.iter().map(|domain| ((*domain).to_owned(), gguf(format!("{slot}-{domain}")))).collect(),
        context: 512,
        parallel,
        threads: 1,
        private_bytes_max: Some(1 << 30),
        turn_folder: None,
        lock: false,
        device: None,
    }
}

struct Running {
    engine: ChildEngine,
    _folder: TempDir,
}

async fn start(spec: &LoadSpec) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = ChildEngine::start(Path::new(EXE), &folder.path().join("run"), spec, |_| {}).await.unwrap();
    Running { engine, _folder: folder }
}

fn user(content: &str) -> v1::Message {
    v1::Message { role: "user".to_owned(), content: content.to_owned(), ..v1::Message::default() }
}

fn ask(prompt: &str) -> v1::GenerateRequest {
    v1::GenerateRequest { messages: vec![user(prompt)], max_tokens: 200, ..v1::GenerateRequest::default() }
}

#[derive(Default)]
struct Answer {
    start: v1::GenerateStart,
    text: String,
    tokens: Vec<v1::TokenLogprob>,
    end: Option<v1::GenerateEnd>,
    error: Option<v1::GenerateError>,
    /// Of a task.
    reply: Option<v1::task_reply::Reply>,
}

async fn answer(engine: &ChildEngine, request: v1::GenerateRequest) -> Answer {
    let (mut answer, mut events) = (Answer::default(), engine.generate(request));
    while let Some(event) = tokio::time::timeout(PATIENCE, events.recv()).await.expect("the answer goes on") {
        match event.event.unwrap() {
            Event::Start(start) => answer.start = start,
            Event::Text(text) => answer.text += &text,
            Event::Logprobs(logprobs) => answer.tokens.extend(logprobs.tokens),
            Event::Reply(reply) => answer.reply = reply.reply,
            Event::End(end) => answer.end = Some(end),
            Event::Error(error) => answer.error = Some(error),
        }
    }
    answer
}

/// Base and three domains, four sequences, twelve askers at once: each hears what it would hear alone.
#[tokio::test]
async fn many_at_once_each_hear_their_own_answer() {
    let (known, domains) = (answers(), ["core", "external", "personal"]);
    let running = start(&spec("ULM", &domains, 4)).await;
    let voices: Vec<(&str, &Said)> = std::iter::once(("", &known["ULM"]))
        .chain(domains.iter().map(|domain| (*domain, &known[&format!("ULM:{domain}")])))
        .collect();
    let askers = (0..12).map(|n| {
        let (domain, said) = voices[n % voices.len()];
        let engine = &running.engine;
        async move {
            for said in said.iter().skip(n).step_by(5) {
                let request = v1::GenerateRequest { domain: domain.to_owned(), ..ask(&said["prompt"]) };
                let got = answer(engine, request).await;
                assert_eq!(got.text, said["answer"], "ULM:{domain} {:?} {:?}", said["prompt"], got.error);
                assert_eq!(got.end.unwrap().finish_reason, "stop");
            }
        }
    });
    futures::future::join_all(askers).await;
    running.engine.stop().await;
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_ended() {
    let running = start(&spec("UCM", &[], 2)).await;
    let said = &answers()["UCM"][0];
    let first = answer(&running.engine, ask(&said["prompt"])).await;
    assert_eq!((first.start.cached_tokens, &first.text), (0, &said["answer"]));
    let assistant = v1::Message { role: "assistant".to_owned(), content: first.text, ..v1::Message::default() };
    let messages = vec![user(&said["prompt"]), assistant, user(&said["prompt"])];
    let follow_up = answer(&running.engine, v1::GenerateRequest { messages, ..ask("") }).await;
    let spoken = first.start.prompt_tokens + first.end.unwrap().completion_tokens;
    let cached = follow_up.start.cached_tokens;
    // How the template joins the two may cut the last token in another way.
    assert!(cached + 3 >= spoken && cached < follow_up.start.prompt_tokens, "{cached} of {spoken} tokens were kept");
    running.engine.stop().await;
}

fn asked_to(task: v1::task::Task) -> v1::GenerateRequest {
    v1::GenerateRequest { task: Some(v1::Task { task: Some(task) }), ..v1::GenerateRequest::default() }
}

/// Embeddings and tokens as requests like any other: a start, one result, an end; refusals with their codes.
#[tokio::test]
async fn tasks_are_answered_as_requests_are() {
    use v1::task::Task;
    use v1::task_reply::Reply;

    let running = start(&spec("UCM", &[], 1)).await;
    let text = "Who are you? é<s>".to_owned();
    let got = answer(&running.engine, asked_to(Task::Tokenize(v1::TokenizeRequest { text: text.clone() }))).await;
    let Some(Reply::Tokenize(told)) = got.reply else { panic!("{:?}", got.error) };
    assert_eq!((got.start.prompt_tokens as usize, told.pieces.len()), (told.tokens.len(), told.tokens.len()));
    assert!(got.end.is_some());
    let back = Task::Detokenize(v1::DetokenizeRequest { tokens: told.tokens });
    let got = answer(&running.engine, asked_to(back)).await;
    let Some(Reply::Detokenize(told)) = got.reply else { panic!("{:?}", got.error) };
    assert_eq!(String::from_utf8(told.text).unwrap().trim_start(), text);

    let embed = |texts: &[&str]| {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        asked_to(Task::Embed(v1::EmbedRequest { texts, domain: String::new() }))
    };
    let got = answer(&running.engine, embed(&["Who are you?", "a"])).await;
    let Some(Reply::Embed(told)) = got.reply else { panic!("{:?}", got.error) };
    let length = |one: &v1::Embedding| one.values.iter().map(|value| value * value).sum::<f32>().sqrt();
    assert!(told.embeddings.len() == 2 && told.embeddings.iter().all(|one| (length(one) - 1.0).abs() < 1e-3));

    let unknown = Task::Detokenize(v1::DetokenizeRequest { tokens: vec![1 << 20] });
    let refusals = [
        (asked_to(unknown), "bad_request"),
        (embed(&[&"word ".repeat(5000)]), "context_length"),
        (v1::GenerateRequest { task: Some(v1::Task::default()), ..v1::GenerateRequest::default() }, "bad_request"),
        (v1::GenerateRequest { tools_json: "[]".to_owned(), ..ask("Who are you?") }, "no_tools"),
    ];
    for (request, code) in refusals {
        let got = answer(&running.engine, request).await;
        assert_eq!(got.error.expect("a refusal").code, code);
    }
    running.engine.stop().await;
}

#[tokio::test]
async fn probabilities_are_the_models_own_and_scores_agree_with_them() {
    let running = start(&spec("URM", &[], 1)).await;
    let said = &answers()["URM"][0];
    let request = v1::GenerateRequest { logprobs: true, top_logprobs: 3, ..ask(&said["prompt"]) };
    let got = answer(&running.engine, request).await;
    assert_eq!(got.text, said["answer"]);
    assert_eq!(got.tokens.len() as u32, got.end.unwrap().completion_tokens);
    for token in &got.tokens {
        // Greedy: the token is the likeliest.
        assert_eq!((&token.piece, token.logprob, token.top.len()), (&token.top[0].piece, token.top[0].logprob, 3));
        assert!(token.logprob <= 0.0 && token.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
    }
    let pieces: Vec<u8> = got.tokens.iter().flat_map(|token| token.piece.clone()).collect();
    assert_eq!(String::from_utf8(pieces).unwrap(), got.text);

    // The same tokens, scored instead of generated, are as likely.
    let prompt = format!("<s><|user|>{}<|assistant|>", said["prompt"]);
    let before = running.engine.tokenize(prompt.clone()).await.unwrap();
    let tokens = running.engine.tokenize(prompt + &got.text).await.unwrap();
    assert_eq!((tokens.len() - before.len(), before.len() as u32), (got.tokens.len(), got.start.prompt_tokens));
    let sequence = v1::ScoreSequence { wanted: tokens[1..].to_vec(), wanted_each: 1, tokens: tokens.clone() };
    let request = v1::ScoreRequest { sequences: vec![sequence], ..v1::ScoreRequest::default() };
    let scored = running.engine.score(request).await.unwrap();
    let scored = &scored.sequences[0].logprobs[before.len() - 1..];
    for (scored, token) in scored.iter().zip(&got.tokens) {
        assert!((scored - token.logprob).abs() < 0.01, "{scored} and {}", token.logprob);
    }
    running.engine.stop().await;
}

#[tokio::test]
async fn an_answer_follows_its_schema() {
    let running = start(&spec("UIM", &[], 2)).await;
    let schema = r#"{"type":"object","properties":{"name":{"enum":["UIM","UAM"]},"sure":{"type":"boolean"},"n":{"type":"integer","minimum":3,"maximum":5}},
        "required":["name","sure","n"],"additionalProperties":false}"#;
    for seed in 0..6 {
        let request = v1::GenerateRequest {
            json_schema: schema.to_owned(),
            temperature: if seed == 0 { 0.0 } else { 1.5 },
            seed,
            logprobs: seed == 1,
            ..ask("Who are you?")
        };
        let got = answer(&running.engine, request).await;
        let json: serde_json::Value = serde_json::from_str(&got.text).unwrap_or_else(|e| panic!("{e}: {:?}", got.text));
        assert!(["UIM", "UAM"].contains(&json["name"].as_str().unwrap()), "{json}");
        assert!(json["sure"].is_boolean() && (3..=5).contains(&json["n"].as_i64().unwrap()), "{json}");
        assert_eq!(json.as_object().unwrap().len(), 3);
        assert_eq!(got.end.unwrap().finish_reason, "stop");
    }
    for bad in ["{", "3", r#"{"type":"nonsense"}"#] {
        let got = answer(&running.engine, v1::GenerateRequest { json_schema: bad.to_owned(), ..ask("x") }).await;
        assert_eq!(got.error.unwrap().code, "bad_schema", "{bad}");
    }
    running.engine.stop().await;
}

#[tokio::test]
async fn embeddings_have_length_one_and_tell_texts_apart() {
    let running = start(&spec("UAM", &[], 1)).await;
    // The last has far more tokens than a step of the engine has outputs.
    let long = "Write a poem. ".repeat(40);
    let texts = ["Who are you?", "Who are you?", "Write a poem.", &long].map(str::to_owned).to_vec();
    let got = running.engine.embed(v1::EmbedRequest { texts, domain: String::new() }).await.unwrap();
    let vectors: Vec<&[f32]> = got.embeddings.iter().map(|embedding| embedding.values.as_slice()).collect();
    for vector in &vectors {
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4 && vector.len() == 64);
    }
    assert_eq!(vectors[0], vectors[1]);
    assert!(got.tokens > 2 * ENGINE_OUTPUTS_MAX, "{}", got.tokens);
    let likeness: f32 = vectors[0].iter().zip(vectors[2]).map(|(a, b)| a * b).sum();
    assert!(likeness < 0.999, "{likeness}");
    assert_ne!(vectors[2], vectors[3]);
    // It answers afterwards as before.
    let said = &answers()["UAM"][0];
    assert_eq!(answer(&running.engine, ask(&said["prompt"])).await.text, said["answer"]);
    let unknown = v1::EmbedRequest { texts: vec!["a b c".to_owned()], domain: "nowhere".to_owned() };
    assert!(matches!(running.engine.embed(unknown).await, Err(EngineError::Refused(_))));
    running.engine.stop().await;
}

/// Two children of one node answer at the same time: neither waits for the other's whole answer, and both are right.
#[tokio::test]
async fn children_of_one_node_take_turns() {
    let turns = tempfile::tempdir().unwrap();
    let with_turns = |slot| LoadSpec { turn_folder: Some(turns.path().to_owned()), ..spec(slot, &[], 1) };
    let (one, two) = (start(&with_turns("UCM")).await, start(&with_turns("URM")).await);
    let (known, order) = (answers(), Mutex::new(Vec::new()));
    let ask_all = async |name: &'static str, engine: &ChildEngine| {
        for said in known[name].iter().take(30) {
            assert_eq!(answer(engine, ask(&said["prompt"])).await.text, said["answer"]);
            order.lock().unwrap().push(name);
        }
    };
    futures::future::join(ask_all("UCM", &one.engine), ask_all("URM", &two.engine)).await;
    let order = order.into_inner().unwrap();
    let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 5, "they were answered one after the other: {order:?}");
    // One that dies in its turn stops nobody.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(one.engine.pid() as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let said = &known["URM"][0];
    assert_eq!(answer(&two.engine, ask(&said["prompt"])).await.text, said["answer"]);
    two.engine.stop().await;
}

/// Whoever leaves in the middle of a batch leaves the others undisturbed, and its place is free.
#[tokio::test]
async fn leaving_disturbs_nobody() {
    let running = start(&spec("UFM", &[], 3)).await;
    let known = &answers()["UFM"];
    for said in known.iter().take(20) {
        let long = v1::GenerateRequest { temperature: 2.0, max_tokens: 400, seed: 7, ..ask("Tell me everything.") };
        let mut left = running.engine.generate(long);
        let stays = answer(&running.engine, ask(&said["prompt"]));
        let leaves = async move {
            let _ = tokio::time::timeout(PATIENCE, left.recv()).await;
            drop(left);
        };
        let (stayed, ()) = futures::future::join(stays, leaves).await;
        assert_eq!(stayed.text, said["answer"]);
    }
    running.engine.stop().await;
}
