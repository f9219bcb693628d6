//! The endpoints beside chats: completions, responses, embeddings, tokens.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

fn ask(path: &str, body: Value) -> Request<Body> {
    post_to(path, body.to_string())
}

fn replying(reply: v1::task_reply::Reply) -> Script {
    Script::Events(vec![Generated::Reply(v1::TaskReply { reply: Some(reply) }), end()])
}

async fn refused(path: &str, param: &str, body: Value) {
    let response = send(Canned::default(), ask(path, body.clone())).await;
    assert_eq!(response.status(), 400, "{path} {param}: {body}");
    assert_eq!(json_of(response).await["error"]["param"], param, "{path}: {body}");
}

#[tokio::test]
async fn prompts_are_continued_each_with_its_choices() {
    let backend = Canned::in_turn([script(&["1"]), script(&["2"]), script(&["3"]), script(&["4"])]);
    let body = json!({"model": "UCM", "prompt": ["a", "b"], "n": 2, "seed": 5});
    let response = send(backend.clone(), ask("/v1/completions", body)).await;
    assert_eq!(response.headers()["x-fednode-epoch"], "7");
    let body = json_of(response).await;
    assert_eq!((&body["object"], &body["system_fingerprint"]), (&json!("text_completion"), &json!("fp_001122334455")));
    assert_eq!(body["choices"].as_array().map(Vec::len), Some(4));
    assert_eq!((&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]), (&json!(22), &json!(12)));
    let mut asked: Vec<(String, u64)> =
        backend.all_seen.lock().unwrap().iter().map(|request| (request.prompt.clone(), request.seed)).collect();
    asked.sort();
    assert_eq!(asked, [("a", 5), ("a", 6), ("b", 5), ("b", 6)].map(|(prompt, seed)| (prompt.to_owned(), seed)));
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert_eq!((seen.max_tokens, seen.messages.len()), (16, 0));
}

#[tokio::test]
async fn a_completion_streams_and_tells_log_probabilities_in_the_older_shape() {
    let token = |piece: &str| v1::TokenLogprob { piece: piece.as_bytes().to_vec(), logprob: -0.25, top: Vec::new() };
    let piece = |text: &str| {
        let tokens = v1::TokenLogprobs { tokens: vec![token(text)] };
        [Generated::Logprobs(tokens), Generated::Text(text.to_owned())]
    };
    let script = || Script::Events([piece("hé"), piece("y")].concat().into_iter().chain([end()]).collect());
    let body = json!({"model": "UCM", "prompt": "a", "logprobs": 0, "stream": true});
    let stream = text(send(Canned::new(script()), ask("/v1/completions", body.clone())).await).await;
    let chunks: Vec<Value> = data_lines(&stream).iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["text_offset"], json!([2]));
    assert_eq!(
        (&chunks[0]["choices"][0]["text"], &chunks[2]["choices"][0]["finish_reason"]),
        (&json!("hé"), &json!("stop"))
    );
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let whole = json!({"model": "UCM", "prompt": "a", "logprobs": 0});
    let body = json_of(send(Canned::new(script()), ask("/v1/completions", whole)).await).await;
    assert_eq!(body["choices"][0]["logprobs"]["tokens"], json!(["hé", "y"]));
}

#[tokio::test]
async fn completions_refuse_by_name() {
    for (param, value) in [
        ("prompt", json!([1, 2])),
        ("prompt", json!([[1, 2]])),
        ("prompt", json!("")),
        ("prompt", json!([])),
        ("echo", json!(true)),
        ("suffix", json!("x")),
        ("best_of", json!(3)),
        ("logprobs", json!(6)),
        ("n", json!(20)),
        ("messages", json!([])),
    ] {
        let mut body = json!({"model": "UCM", "prompt": "a"});
        body[param] = value;
        refused("/v1/completions", param, body).await;
    }
    refused("/v1/completions", "prompt", json!({"model": "UCM"})).await;
}

fn embedded(count: usize) -> Script {
    let embeddings = vec![v1::Embedding { values: vec![0.6, -0.8] }; count];
    replying(v1::task_reply::Reply::Embed(v1::EmbedReply { embeddings, tokens: 5 }))
}

#[tokio::test]
async fn embeddings_are_numbers_or_base64_and_large_batches_are_several_requests() {
    let backend = Canned::new(embedded(2));
    let body = json!({"model": "ULM:core", "input": ["a", "b"]});
    let response = send(backend.clone(), ask("/v1/embeddings", body)).await;
    assert_eq!(response.headers()["x-fednode-precision"], "F16");
    let body = json_of(response).await;
    assert_eq!(
        (&body["data"][1]["index"], body["data"][1]["embedding"].as_array().map(Vec::len)),
        (&json!(1), Some(2))
    );
    assert_eq!(body["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    let task = v1::task::Task::Embed(v1::EmbedRequest { texts: vec!["a".into(), "b".into()], domain: String::new() });
    assert_eq!((seen.domain.as_str(), seen.task), ("core", Some(v1::Task { task: Some(task) })));

    let body = json!({"model": "UCM", "input": "a", "encoding_format": "base64"});
    let body = json_of(send(Canned::new(embedded(1)), ask("/v1/embeddings", body)).await).await;
    let bytes = BASE64_STANDARD.decode(body["data"][0]["embedding"].as_str().expect("text")).expect("base64");
    assert_eq!(bytes, [0.6f32.to_le_bytes(), (-0.8f32).to_le_bytes()].concat());

    let each = limits::EMBED_TEXTS_PER_REQUEST;
    let backend = Canned::in_turn([embedded(each), embedded(1)]);
    let body = json!({"model": "UCM", "input": vec!["x"; each + 1]});
    let body = json_of(send(backend, ask("/v1/embeddings", body)).await).await;
    assert_eq!((body["data"].as_array().map(Vec::len), &body["usage"]["total_tokens"]), (Some(each + 1), &json!(10)));
    assert_eq!(body["data"][each]["index"], each);
}

#[tokio::test]
async fn embeddings_refuse_by_name() {
    for (param, value) in [
        ("input", json!([1, 2])),
        ("input", json!([[1]])),
        ("input", json!("")),
        ("input", json!([])),
        ("input", json!(vec!["x"; limits::EMBED_TEXTS_MAX + 1])),
        ("encoding_format", json!("hex")),
        ("dimensions", json!(8)),
    ] {
        let mut body = json!({"model": "UCM", "input": "a"});
        body[param] = value;
        refused("/v1/embeddings", param, body).await;
    }
    // A member of another version answers with text.
    let body = json!({"model": "UCM", "input": "a"});
    assert_eq!(send(Canned::says(&["?"]), ask("/v1/embeddings", body)).await.status(), 502);
}

#[tokio::test]
async fn texts_become_tokens_and_tokens_text() {
    let reply = v1::TokenizeReply { tokens: vec![5, 6], pieces: vec![b"Hi".to_vec(), vec![0xc3]] };
    let script = || replying(v1::task_reply::Reply::Tokenize(reply.clone()));
    let body = json!({"model": "UCM", "content": "Hi é"});
    let plain = json_of(send(Canned::new(script()), ask("/tokenize", body.clone())).await).await;
    assert_eq!(plain["tokens"], json!([5, 6]));
    let mut with_pieces = body;
    with_pieces["with_pieces"] = json!(true);
    let pieces = json_of(send(Canned::new(script()), ask("/tokenize", with_pieces)).await).await;
    assert_eq!(pieces["tokens"], json!([{"id": 5, "piece": "Hi"}, {"id": 6, "piece": [195]}]));

    let reply = v1::task_reply::Reply::Detokenize(v1::DetokenizeReply { text: b"Hi \xff".to_vec() });
    let body = json!({"model": "UCM", "tokens": [5, 6]});
    let body = json_of(send(Canned::new(replying(reply)), ask("/detokenize", body)).await).await;
    assert_eq!(body["content"], "Hi \u{fffd}");
    refused("/tokenize", "add_special", json!({"model": "UCM", "content": "a", "add_special": true})).await;
    refused("/tokenize", "content", json!({"model": "UCM"})).await;
    let long = "a".repeat(limits::TOKENIZED_BYTES_MAX + 1);
    refused("/tokenize", "content", json!({"model": "UCM", "content": long})).await;
    refused("/detokenize", "tokens", json!({"model": "UCM", "tokens": [-1]})).await;
}

#[tokio::test]
async fn a_response_is_one_message_of_text() {
    let backend = Canned::says(&["Hello", " you"]);
    let body = json!({"model": "UCM", "instructions": "be brief", "input": [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "content": [{"type": "output_text", "text": "ho", "annotations": []}]},
        {"role": "user", "content": [{"type": "input_text", "text": "hey"}]},
    ]});
    let body = json_of(send(backend.clone(), ask("/v1/responses", body)).await).await;
    assert_eq!(
        (&body["object"], &body["status"], &body["store"]),
        (&json!("response"), &json!("completed"), &json!(false))
    );
    assert_eq!(body["output"][0]["content"][0]["text"], "Hello you");
    assert_eq!((&body["usage"]["input_tokens"], &body["usage"]["output_tokens"]), (&json!(11), &json!(3)));
    let messages: Vec<(String, String)> = backend
        .seen
        .lock()
        .unwrap()
        .clone()
        .expect("a request")
        .messages
        .into_iter()
        .map(|message| (message.role, message.content))
        .collect();
    let expect = [("system", "be brief"), ("user", "hi"), ("assistant", "ho"), ("user", "hey")];
    assert_eq!(messages, expect.map(|(role, content)| (role.to_owned(), content.to_owned())));
}

#[tokio::test]
async fn a_response_streams_as_named_events() {
    let cut = Generated::End(v1::GenerateEnd { finish_reason: "length".to_owned(), ..Default::default() });
    let script = Script::Events(vec![Generated::Text("a".to_owned()), Generated::Text("b".to_owned()), cut]);
    let body = json!({"model": "UCM", "input": "hi", "stream": true});
    let stream = text(send(Canned::new(script), ask("/v1/responses", body)).await).await;
    let names: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("event: response.")).collect();
    let expect = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ];
    assert_eq!(names, expect, "{stream}");
    let events: Vec<Value> = data_lines(&stream).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().enumerate().all(|(number, event)| event["sequence_number"] == number));
    assert_eq!((&events[5]["delta"], &events[6]["text"]), (&json!("b"), &json!("ab")));
    assert_eq!(events[9]["response"]["incomplete_details"]["reason"], "max_output_tokens");

    let broken = Script::Events(vec![Generated::Text("a".to_owned())]);
    let body = json!({"model": "UCM", "input": "hi", "stream": true});
    let stream = text(send(Canned::new(broken), ask("/v1/responses", body)).await).await;
    assert!(stream.contains("event: response.failed") && stream.contains("event: error"), "{stream}");
}

#[tokio::test]
async fn responses_refuse_by_name() {
    for (param, value) in [
        ("input", json!([])),
        ("input[0].type", json!([{"type": "function_call"}])),
        ("input[0].role", json!([{"role": "tool", "content": "x"}])),
        ("input[0].content[0]", json!([{"role": "user", "content": [{"type": "input_image"}]}])),
        ("store", json!(true)),
        ("previous_response_id", json!("resp_1")),
        ("tools", json!([{"type": "web_search"}])),
        ("text.format.schema", json!({"format": {"type": "json_schema", "name": "x"}})),
        ("reasoning", json!({"effort": "low"})),
        ("background", json!(true)),
        ("top_logprobs", json!(3)),
        ("max_output_tokens", json!(0)),
        ("instructions", json!(5)),
    ] {
        let field = param.split(['[', '.']).next().unwrap_or(param);
        let mut body = json!({"model": "UCM", "input": "hi"});
        body[field] = value;
        refused("/v1/responses", param, body).await;
    }
}

#[tokio::test]
async fn a_response_follows_a_schema() {
    let backend = Canned::says(&["{}"]);
    let format = json!({"type": "json_schema", "name": "x", "strict": true, "schema": {"type": "object"}});
    let body = json!({"model": "UCM", "input": "hi", "text": {"format": format}, "max_output_tokens": 9});
    let body = json_of(send(backend.clone(), ask("/v1/responses", body)).await).await;
    assert_eq!((&body["text"]["format"]["name"], &body["max_output_tokens"]), (&json!("x"), &json!(9)));
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert_eq!((seen.json_schema.as_str(), seen.max_tokens), ("{\"type\":\"object\"}", 9));
}
