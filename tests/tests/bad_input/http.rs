//! Requests that the HTTP API must not take, with errors as OpenAI's clients expect them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fednode_tests::{Client, Federation, NodeSpec, Reply, managers};
use serde_json::{Value, json};

use crate::refusal::{Faults, advises};
use crate::snapshot::Snapshot;

const CHAT: &str = "/v1/chat/completions";
const CARRIED_OUT: Duration = Duration::from_secs(20);

/// What an error must be: its status, its code and its param (null: any, or none), and words of its message.
struct Expected {
    status: u16,
    code: Value,
    param: Value,
    says: &'static [&'static str],
}

impl Expected {
    fn param(param: &str, says: &'static [&'static str]) -> Expected {
        Expected { status: 400, code: Value::Null, param: json!(param), says }
    }
}

/// `{"error":{"message","type","param","code"}}` as OpenAI's clients read it, with what is expected in it.
fn check(faults: &mut Faults, case: &str, reply: &Reply, expected: &Expected) {
    let text = reply.text();
    let status = reply.status;
    faults.expect(case, status == expected.status, format!("HTTP {status} instead of {}: {text}", expected.status));
    let body = reply.json();
    let error = &body["error"];
    let filled = |field: &str| error[field].as_str().is_some_and(|text| !text.is_empty());
    let nullable = |field: &str| error.get(field).is_some_and(|value| value.is_string() || value.is_null());
    let shaped = filled("message") && filled("type") && nullable("param") && nullable("code");
    faults.expect(case, shaped, format!("not OpenAI's error shape: {text:?}"));
    for (field, wanted) in [("code", &expected.code), ("param", &expected.param)] {
        faults.expect(case, wanted.is_null() || &error[field] == wanted, format!("{field} is not {wanted}: {text}"));
    }
    let message = error["message"].as_str().unwrap_or_default().to_lowercase();
    for word in expected.says {
        let said = word.split('|').any(|word| message.contains(word));
        faults.expect(case, said, format!("the message does not say {word:?}: {text}"));
    }
}

/// A request byte by byte, as no well-behaved client sends it. The node may answer and close before it has read all.
fn raw(client: &Client, head: &str, body: &[u8]) -> Reply {
    let address = client.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the API listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a socket takes a timeout");
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {sent:?} {read:?} {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line has a status");
    Reply { status, headers: Default::default(), body: body.as_bytes().to_vec() }
}

fn post_head(headers: &str, length: usize) -> String {
    format!(
        "POST {CHAT} HTTP/1.1\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\
        connection: close\r\n\r\n"
    )
}

/// One node that answers as UCM.
fn federation() -> Federation {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation.node("north").publish("UCM").expect("UCM is published");
    federation.wait_carried_out(CARRIED_OUT, |_| {}).expect("UCM is loaded");
    federation
}

/// A good question of its own is answered, so that nothing is refused for the wrong reason.
fn still_answers(client: &Client) {
    let known = managers::first_answer("UCM").expect("UCM has known answers");
    let answer = client.chat("UCM", &known.prompt).expect("the API answers");
    assert!(answer.is_complete(), "{}", answer.summary());
    assert_eq!(answer.text, known.answer);
}

fn question() -> Value {
    json!({"model": "UCM", "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 4})
}

/// The question with other values of some fields; null takes a field away.
fn with(fields: Value) -> Value {
    let mut body = question();
    for (name, value) in fields.as_object().expect("fields are an object") {
        match value {
            Value::Null => drop(body.as_object_mut().expect("a question is an object").remove(name)),
            value => body[name] = value.clone(),
        }
    }
    body
}

#[test]
fn fields_that_cannot_be_meant_are_refused_by_name() {
    let federation = federation();
    let client = federation.node("north").client();
    let (mut faults, before) = (Faults::default(), Snapshot::federation(&federation));
    let cases = [
        ("unknown field", json!({"colour": "red"}), Expected::param("colour", &["colour"])),
        ("max_tokens 0", json!({"max_tokens": 0}), Expected::param("max_tokens", &["max_tokens"])),
        ("max_tokens -1", json!({"max_tokens": -1}), Expected::param("max_tokens", &["max_tokens"])),
        ("max_tokens 1.5", json!({"max_tokens": 1.5}), Expected::param("max_tokens", &["max_tokens"])),
        ("max_tokens text", json!({"max_tokens": "many"}), Expected::param("max_tokens", &["max_tokens"])),
        ("temperature -1", json!({"temperature": -1}), Expected::param("temperature", &["temperature"])),
        ("top_p 2", json!({"top_p": 2}), Expected::param("top_p", &["top_p"])),
        ("no model", json!({"model": null}), Expected::param("model", &["model"])),
        ("model 7", json!({"model": 7}), Expected::param("model", &["model"])),
        ("no messages", json!({"messages": null}), Expected::param("messages", &["messages"])),
        ("empty messages", json!({"messages": []}), Expected::param("messages", &["messages"])),
        ("messages text", json!({"messages": "hello"}), Expected::param("messages", &["messages"])),
        ("stream text", json!({"stream": "yes"}), Expected::param("stream", &["stream"])),
    ];
    for (name, fields, expected) in &cases {
        let reply = client.post(CHAT, &with(fields.clone())).expect("the API replies");
        check(&mut faults, name, &reply, expected);
        if *name != "stream text" {
            let mut streamed = with(fields.clone());
            streamed["stream"] = json!(true);
            let reply = client.post(CHAT, &streamed).expect("the API replies");
            check(&mut faults, &format!("{name}, streamed"), &reply, expected);
        }
    }
    faults.unchanged("fields", &before);
    faults.none();
    still_answers(client);
}

#[test]
fn bodies_that_are_no_request_are_refused() {
    let federation = federation();
    let client = federation.node("north").client();
    let (mut faults, before) = (Faults::default(), Snapshot::federation(&federation));
    let expected = Expected { status: 400, code: Value::Null, param: Value::Null, says: &["json"] };
    let whole = question().to_string();
    let deep = "[".repeat(100_000);
    let bodies: [(&str, &[u8]); 6] = [
        ("text", b"hello"),
        ("cut JSON", &whole.as_bytes()[..whole.len() / 2]),
        ("two JSON values", b"{} {}"),
        ("not UTF-8", b"{\"model\": \"\xff\xfe\"}"),
        ("a list", b"[1, 2, 3]"),
        ("too deep", deep.as_bytes()),
    ];
    for (name, body) in bodies {
        let reply = client.send("POST", CHAT, &[("content-type", "application/json")], body);
        check(&mut faults, name, &reply.expect("the API replies"), &expected);
    }
    faults.unchanged("bodies", &before);
    faults.none();
    still_answers(client);
}

#[test]
fn models_that_do_not_exist_are_not_found() {
    let federation = federation();
    let client = federation.node("north").client();
    let (mut faults, before) = (Faults::default(), Snapshot::federation(&federation));
    for model in ["gpt-4o", "XYZ", "UCM:moon", "ULM:moon", "", ":", "../../etc/passwd", "UCM\u{0}"] {
        for stream in [false, true] {
            let name = format!("model {model:?}, stream {stream}");
            let reply = client.post(CHAT, &with(json!({"model": model, "stream": stream}))).expect("the API replies");
            let expected = Expected {
                status: 404,
                code: json!("model_not_found"),
                param: json!("model"),
                says: &["model|slot|domain|publish"],
            };
            check(&mut faults, &name, &reply, &expected);
        }
    }
    for (model, stream) in [("UAM", false), ("UAM", true), ("ULM:core", false), ("ULM:core", true)] {
        let name = format!("empty slot {model}, stream {stream}");
        let reply = client.post(CHAT, &with(json!({"model": model, "stream": stream}))).expect("the API replies");
        // Whether the slot is missing (404) or not ready (503) is the node's to say; what to do about it is not.
        let status = if reply.status == 503 { 503 } else { 404 };
        let expected = Expected { status, code: Value::Null, param: Value::Null, says: &["publish"] };
        check(&mut faults, &name, &reply, &expected);
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        faults.expect(&name, advises(&message), format!("does not say what to do: {message:?}"));
    }
    faults.unchanged("models", &before);
    faults.none();
    still_answers(client);
}

#[test]
fn a_body_of_five_mebibytes_is_too_large() {
    let federation = federation();
    let client = federation.node("north").client();
    let (mut faults, before) = (Faults::default(), Snapshot::federation(&federation));
    let body = with(json!({"messages": [{"role": "user", "content": "a".repeat(5 << 20)}]}));
    let expected = Expected { status: 413, code: Value::Null, param: Value::Null, says: &["mib|mb|bytes|large"] };
    match client.post(CHAT, &body) {
        Ok(reply) => check(&mut faults, "5 MiB", &reply, &expected),
        Err(error) => faults.note("5 MiB", format!("a usual client sees no reply: {error}")),
    }
    // Without a length the node has to count for itself.
    let host = client.base().trim_start_matches("http://").to_owned();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let text = body.to_string();
    let chunks = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    check(&mut faults, "5 MiB in chunks", &raw(client, &head, chunks.as_bytes()), &expected);
    faults.unchanged("5 MiB", &before);
    faults.none();
    still_answers(client);
}

#[test]
fn a_request_in_the_name_of_another_host_is_forbidden() {
    let federation = federation();
    let client = federation.node("north").client();
    let (mut faults, before) = (Faults::default(), Snapshot::federation(&federation));
    let body = question().to_string();
    let own = client.base().trim_start_matches("http://").to_owned();
    let port = own.rsplit(':').next().expect("an address has a port").to_owned();
    let expected = Expected { status: 403, code: Value::Null, param: Value::Null, says: &["host|origin"] };
    let wrong = [
        "host: evil.example\r\n".to_owned(),
        format!("host: evil.example:{port}\r\n"),
        format!("host: 127.0.0.1.evil.example:{port}\r\n"),
        format!("host: {own}\r\norigin: http://evil.example\r\n"),
        format!("host: {own}\r\norigin: null\r\n"),
    ];
    for headers in &wrong {
        let reply = raw(client, &post_head(headers, body.len()), body.as_bytes());
        check(&mut faults, headers, &reply, &expected);
        // Reading must not leak the federation's state either.
        let reply = raw(client, &format!("GET /state HTTP/1.1\r\n{headers}connection: close\r\n\r\n"), b"");
        check(&mut faults, &format!("GET /state {headers}"), &reply, &expected);
    }
    for headers in
        [format!("host: {own}\r\n"), format!("host: localhost:{port}\r\norigin: http://localhost:{port}\r\n")]
    {
        let reply = raw(client, &post_head(&headers, body.len()), body.as_bytes());
        faults.expect(&headers, reply.status == 200, format!("HTTP {}: {}", reply.status, reply.text()));
    }
    faults.unchanged("hosts", &before);
    faults.none();
    still_answers(client);
}
