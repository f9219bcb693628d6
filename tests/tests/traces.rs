//! What nodes tell a monitoring system of their own accord: traces, one over all machines that a request touched, at a collector
//! that this test plays; and logs that programs can read.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fednode_tests::{Federation, NodeSpec, managers, until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// Spans as they came, each with its machine's name in `machine`.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

impl Collector {
    /// Listens; its address.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let collector = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let collector = collector.clone();
                std::thread::spawn(move || collector.serve(&stream));
            }
        });
        address
    }

    /// Requests of one connection until it ends.
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut length, mut line) = (0, String::new());
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            assert!(line.starts_with("POST /v1/traces "), "{line}");
            while line.trim() != "" {
                line.clear();
                reader.read_line(&mut line).ok()?;
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            self.take(&serde_json::from_slice(&body).expect("JSON"));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
                .ok()?;
        }
    }

    fn take(&self, body: &Value) {
        for resource in list(&body["resourceSpans"]) {
            let machine = attribute(&resource["resource"], "host.name");
            for span in list(&resource["scopeSpans"]).flat_map(|scope| list(&scope["spans"])) {
                let mut span = span.clone();
                span["machine"] = json!(machine);
                self.0.lock().expect("no panic").push(span);
            }
        }
    }

    /// The spans of `TRACE`, by machine and name.
    fn spans(&self) -> BTreeMap<(String, String), Value> {
        let spans = self.0.lock().expect("no panic").clone();
        let ours = spans.into_iter().filter(|span| span["traceId"] == TRACE);
        ours.map(|span| ((text(&span["machine"]), text(&span["name"])), span)).collect()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn attribute(of: &Value, key: &str) -> String {
    let found = list(&of["attributes"]).find(|attribute| attribute["key"] == key);
    found.map(|attribute| text(&attribute["value"]["stringValue"])).unwrap_or_default()
}

#[test]
fn one_trace_spans_the_machines_that_a_request_touched() {
    let collector = Collector::default();
    let address = collector.start();
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith").flag("--otlp", &address)).expect("up");
    federation.join(NodeSpec::delegate("laptop").flag("--otlp", &address), "griffith").expect("joined");
    federation.node("griffith").publish("UCM").expect("published");
    federation.wait_answered("laptop", "UCM", LIMIT).expect("answered");
    let known = managers::first_answer("UCM").expect("a known answer");
    let body = json!({"model": "UCM", "temperature": 0, "messages": [{"role": "user", "content": known.prompt}]});
    let parent = format!("00-{TRACE}-{CLIENT}-01");
    let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
    let client = federation.node("laptop").client();
    let reply = client.send("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes()).expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.text());

    let spans = until("the trace", LIMIT, || match collector.spans() {
        spans if spans.len() == 4 => Ok(spans),
        spans => Err(format!("{:?}", spans.keys())),
    });
    let spans = spans.expect("four steps");
    let chain =
        [("laptop", "request"), ("laptop", "attempt"), ("griffith", "answer for a member"), ("griffith", "attempt")];
    let mut parent = CLIENT.to_owned();
    for (machine, name) in chain {
        let span = &spans[&(machine.to_owned(), name.to_owned())];
        assert_eq!(text(&span["parentSpanId"]), parent, "{machine} {name}");
        assert!(list(&span["attributes"]).any(|attribute| attribute["key"] == "gen_ai.usage.output_tokens"), "{span}");
        parent = text(&span["spanId"]);
    }
    let first = &spans[&("laptop".to_owned(), "request".to_owned())];
    assert_eq!(attribute(first, "fednode.slot"), "UCM");
    assert!(list(&first["events"]).any(|event| event["name"] == "first token"), "{first}");
    let all = format!("{:?}", collector.0.lock().expect("no panic"));
    assert!(!all.contains(&known.prompt) && !all.contains(&known.answer), "prompts and answers stay here");
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let mut federation = Federation::new().expect("a federation");
    let mut spec = NodeSpec::full("desk");
    spec.flags.push("--log-json".to_owned());
    let node = federation.add(spec).expect("a node");
    node.up().expect("up");
    node.publish("UCM").expect("published");
    node.stop().expect("stopped");
    let log = std::fs::read_to_string(node.log_path()).expect("a log");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        assert!(["timestamp", "level", "target"].iter().all(|field| line[field].is_string()), "{line}");
    }
    let up = lines.iter().find(|line| line["message"] == "fednode is up").expect("it says so");
    assert!(up["api"].as_str().is_some_and(|api| api.starts_with("http://127.0.0.1:")), "{up}");
}
