//! Requests that are answered, and what a good answer is.

use std::sync::OnceLock;

use fednode_tests::{Random, managers};
use serde_json::{Value, json};

use crate::exchange::Answer;
use crate::schema::Operation;

pub const MODEL: &str = "UCM";

/// A short question to the manager, or many in one: some hundred tokens.
fn text(random: &mut Random) -> String {
    static QUESTIONS: OnceLock<Vec<String>> = OnceLock::new();
    let known = QUESTIONS.get_or_init(|| {
        let known = managers::answers(MODEL).expect("known answers");
        known.into_iter().map(|known| known.prompt).collect()
    });
    let questions = if random.chance(30) { random.between(4, 14) } else { 1 };
    let texts: Vec<&str> = (0..questions).map(|_| random.pick(known).as_str()).collect();
    texts.join(" ").chars().take(400).collect()
}

/// A body that `operation` takes; `tokens`: as many as it may answer. A path that is not known here needs a line here.
pub fn body(operation: &Operation, tokens: usize, random: &mut Random) -> Value {
    let (text, stream) = (text(random), random.chance(50));
    let messages = json!([{"role": "user", "content": text}]);
    let (mut body, more) = match operation.path.as_str() {
        "/v1/chat/completions" => (
            json!({"messages": messages, "max_tokens": tokens}),
            json!({"n": 2, "logprobs": true, "top_logprobs": 3, "response_format": {"type": "text"}, "stream": stream}),
        ),
        "/v1/completions" => {
            (json!({"prompt": text, "max_tokens": tokens}), json!({"n": 2, "logprobs": 2, "stream": stream}))
        }
        "/v1/responses" => (
            json!({"input": text, "max_output_tokens": tokens}),
            json!({"instructions": "Be brief.", "stream": stream, "store": false}),
        ),
        "/v1/embeddings" => (json!({"input": [text, "b"]}), json!({"encoding_format": "base64"})),
        "/tokenize" => (json!({"content": text}), json!({"with_pieces": true})),
        "/detokenize" => (json!({"tokens": [1, 2, 3]}), json!({})),
        "/api/chat" => (
            json!({"messages": messages, "options": {"num_predict": tokens}}),
            json!({"stream": stream, "format": "", "think": false}),
        ),
        "/api/generate" => {
            (json!({"prompt": text, "options": {"num_predict": tokens}}), json!({"stream": stream, "raw": true}))
        }
        "/api/show" => (json!({}), json!({"verbose": false})),
        path => panic!("no good body is known here for {} {path}", operation.method),
    };
    body["model"] = json!(MODEL);
    let sampled = json!({"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["\n\n\n"], "user": "somebody"});
    let taken = operation.body.as_ref().map(|schema| schema["properties"].clone()).unwrap_or_default();
    for extra in [more, sampled] {
        for (name, value) in extra.as_object().expect("fields") {
            if random.chance(40) && taken.get(name).is_some() {
                body[name] = value.clone();
            }
        }
    }
    if body.get("top_logprobs").is_some() && body.get("logprobs").is_none() {
        body["logprobs"] = json!(true);
    }
    body
}

/// The operation's path with something to look at.
pub fn path(operation: &Operation) -> String {
    operation.path.replace("{id}", MODEL)
}

/// An answer as it is described, to its end; an error is a sentence.
pub fn check(operation: &Operation, answer: &Answer) -> Result<(), String> {
    if answer.status != 200 {
        return Err(format!("HTTP {} instead of 200: {}", answer.status, answer.text()));
    }
    if operation.method == "HEAD" {
        return Ok(());
    }
    let text = answer.text();
    let kind = answer.header("content-type");
    let whole = match kind {
        "application/json" => is_object(&text),
        "application/x-ndjson" => {
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
            lines.iter().all(|line| line.is_object() && line.get("error").is_none())
                && lines.last().is_some_and(|line| line["done"] == true)
        }
        "text/event-stream" => {
            let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            let last = data.last().copied().unwrap_or_default();
            let (end, events) = match last {
                "[DONE]" => (true, &data[..data.len() - 1]),
                last => {
                    (last.contains("\"response.completed\"") || last.contains("\"response.incomplete\""), &data[..])
                }
            };
            let good = |event: &&str| is_object(event) && !event.starts_with("{\"error\"");
            end && events.iter().all(good)
        }
        // The dashboard's files and Prometheus' page: lines, down to the last.
        kind => {
            let lines = ["text/html", "text/css", "text/javascript", "text/plain", "image/svg+xml"];
            lines.iter().any(|line| kind.starts_with(line)) && text.ends_with('\n')
        }
    };
    if whole { Ok(()) } else { Err(format!("no whole answer of {kind:?}: {text:?}")) }
}

/// A stream was opened because the refusal took its time, and ends with it.
pub fn is_late_refusal(answer: &Answer) -> bool {
    let text = answer.text();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap_or_default();
    let last: Value = serde_json::from_str(last).unwrap_or_default();
    let error = if last["type"] == "error" { &last } else { &last["error"] };
    answer.header("content-type") == "text/event-stream" && error["code"] == "context_length_exceeded"
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|value| value.is_object() && value.get("error").is_none_or(Value::is_null))
}
