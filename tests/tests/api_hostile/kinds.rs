//! What is sent: every kind of request that a broken, careless or hostile client makes, and what must come of it.

use fednode_tests::Random;
use serde_json::{Value, json};

use crate::exchange::{Request, Way};
use crate::good;
use crate::odd;
use crate::schema::{Operation, fits};

/// What must come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The answer.
    Good,
    /// The answer, or a refusal of what is meant.
    Either,
    /// An error as clients read it, of one of these statuses.
    Refused(Vec<u16>),
    /// The same, or a status alone.
    Bare(Vec<u16>),
    /// The client is not there to see it.
    Nothing,
}

/// One request.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    pub kind: &'static str,
    pub operation: Operation,
    /// The method and the path are in the document.
    pub known: bool,
    /// The path that was asked for.
    pub target: String,
    pub request: Request,
    pub way: Way,
    pub expect: Expect,
}

impl Case {
    /// Of `operation` as it should be asked for, with other headers and another body.
    pub fn new(kind: &'static str, operation: &Operation, headers: &str, body: Vec<u8>, expect: Expect) -> Case {
        let target = good::path(operation);
        let head = head(&operation.method, &target, &format!("{headers}{}", length(&body)));
        let request = Request { method: operation.method.clone(), head, body };
        Case { kind, operation: operation.clone(), known: true, target, request, way: Way::Whole, expect }
    }

    /// With a body of JSON.
    pub fn json(kind: &'static str, operation: &Operation, body: Vec<u8>, expect: Expect) -> Case {
        Case::new(kind, operation, JSON, body, expect)
    }

    pub fn by(self, way: Way) -> Case {
        Case { way, ..self }
    }

    /// For people who look for a fault.
    pub fn summary(&self) -> String {
        let start = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(500).collect::<String>();
        format!("{}, {:?}: {:?} {:?}", self.kind, self.way, start(&self.request.head), start(&self.request.body))
    }
}

pub const JSON: &str = "content-type: application/json\r\n";

fn length(body: &[u8]) -> String {
    if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) }
}

/// The head of a request to this machine.
pub fn head(method: &str, target: &str, headers: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

/// A good body of this operation, as text; empty if it takes none.
pub fn good_body(operation: &Operation, tokens: usize, random: &mut Random) -> Vec<u8> {
    match operation.body {
        Some(_) => good::body(operation, tokens, random).to_string().into_bytes(),
        None => Vec::new(),
    }
}

type Make = fn(&Operation, &mut Random) -> Case;

/// How often of some, whether a body is needed, and what.
const KINDS: [(u64, bool, Make); 19] = [
    (16, false, asked),
    (3, true, in_chunks),
    (3, true, slowly),
    (5, false, odd::asked),
    (16, true, left),
    (8, false, halted),
    (4, true, half_closed),
    (7, true, cut_json),
    (6, true, odd::no_json),
    (18, true, wrong_value),
    (3, true, unknown_field),
    (4, true, odd::deep),
    (2, true, odd::long),
    (1, true, odd::huge),
    (3, false, odd::large_head),
    (5, false, odd::wrong_method),
    (4, false, odd::wrong_path),
    (5, false, odd::wrong_head),
    (4, true, odd::other_model),
];

/// One request to one of the operations.
pub fn case(operations: &[Operation], random: &mut Random) -> Case {
    let mut drawn = random.below(KINDS.iter().map(|(weight, ..)| weight).sum());
    let drawn = KINDS.iter().find(|(weight, ..)| {
        let here = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        here
    });
    let (_, with_body, make) = drawn.expect("less than all weights");
    let fit: Vec<&Operation> = operations.iter().filter(|operation| !with_body || operation.body.is_some()).collect();
    let operation = *random.pick(&fit);
    make(operation, random)
}

fn asked(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, random.between(1, 12), random);
    let way = if random.chance(40) { Way::Again } else { Way::Whole };
    Case::json("good", operation, body, Expect::Good).by(way)
}

/// The body in the chunks of HTTP.
pub fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in body.chunks(size) {
        all.extend(format!("{:x}\r\n", piece.len()).bytes());
        all.extend_from_slice(piece);
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\n\r\n");
    all
}

fn in_chunks(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, random.between(1, 12), random);
    let mut chunked = chunks(&body, random.between(1, 64));
    let (kind, expect) = match random.chance(60) {
        true => ("good, in chunks", Expect::Good),
        false => {
            let at = chunked.iter().position(|byte| *byte == b'\r').unwrap_or_default();
            // A size that is none, or a chunk longer than it says.
            if random.chance(50) {
                chunked[0] = b'x'
            } else {
                chunked.insert(at + 2, b'{')
            }
            ("broken chunks", Expect::Refused(vec![400]))
        }
    };
    let mut case = Case::json(kind, operation, Vec::new(), expect);
    case.request.head = head(&operation.method, &case.target, &format!("{JSON}transfer-encoding: chunked\r\n"));
    case.request.body = chunked;
    case
}

fn slowly(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, random.between(1, 12), random);
    let way = Way::Slowly(random.between(5, 50), std::time::Duration::from_millis(4));
    Case::json("a slow body", operation, body, Expect::Good).by(way)
}

fn left(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, 300, random);
    let bytes = random.below(3000) as usize;
    let bytes = if random.chance(30) { 0 } else { bytes };
    let way = Way::Left(bytes, random.chance(50));
    Case::json("left before its end", operation, body, Expect::Nothing).by(way)
}

fn halted(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, 300, random);
    let case = Case::json("left before it was sent", operation, body, Expect::Nothing);
    let whole = case.request.head.len() + case.request.body.len();
    let after = random.between(0, whole - 1);
    let way = Way::Halted(after, random.chance(50));
    case.by(way)
}

/// Waits until the node has had enough.
pub fn stalled(operations: &[Operation], random: &mut Random) -> Case {
    let fit: Vec<&Operation> = operations.iter().filter(|operation| operation.body.is_some()).collect();
    let operation = *random.pick(&fit);
    let body = good_body(operation, 12, random);
    let after = random.between(0, body.len() - 1);
    Case::json("a body that stalls", operation, body, Expect::Refused(vec![408])).by(Way::Stalled(after))
}

fn half_closed(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, 12, random);
    let after = random.between(0, body.len() - 1);
    Case::json("a body that ends early", operation, body, Expect::Refused(vec![400])).by(Way::HalfClosed(after))
}

fn cut_json(operation: &Operation, random: &mut Random) -> Case {
    let mut body = good_body(operation, 12, random);
    // A part of a JSON object is never one.
    body.truncate(random.between(0, body.len() - 1));
    Case::json("cut JSON", operation, body, Expect::Refused(vec![400])).by(Way::Again)
}

fn any_value(random: &mut Random) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(7),
        json!(0.5),
        json!(-3.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.0),
        json!(""),
        json!("a"),
        json!("none"),
        json!("\u{0}"),
        json!("é".repeat(500)),
        json!([]),
        json!([null]),
        json!([1, "a"]),
        json!([[]]),
        json!(["a", "b", "c", "d", "e", "f"]),
        json!({}),
        json!({"type": "json_object"}),
        json!({"type": "function", "function": {"name": "f"}}),
        json!({"a": {"b": [1]}}),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}]}]),
        json!([{"role": "king", "content": "a"}]),
        json!([{"role": "assistant", "content": null}]),
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]),
        json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer"}}}),
        json!({"temperature": "hot"}),
        json!({"num_predict": -7}),
        json!({"include_usage": 1}),
    ];
    random.pick(&values).clone()
}

/// One field, or two, that hold something else: by the document either wrong, or not.
fn wrong_value(operation: &Operation, random: &mut Random) -> Case {
    let schema = operation.body.as_ref().expect("it has a body");
    let names: Vec<&String> = schema["properties"].as_object().expect("properties").keys().collect();
    let mut body = good::body(operation, 4, random);
    for _ in 0..random.between(1, 2) {
        let name = random.pick(&names).as_str();
        body[name] = any_value(random);
    }
    if random.chance(5) {
        body = any_value(random);
    }
    let expect = if fits(schema, &body) { Expect::Either } else { Expect::Refused(vec![400, 404]) };
    Case::json("another value", operation, body.to_string().into_bytes(), expect)
}

fn unknown_field(operation: &Operation, random: &mut Random) -> Case {
    let mut body = good::body(operation, 4, random);
    let name =
        (*random.pick(&["colour", "", "__proto__", "Model", "model ", "\u{0}", "stream\u{200b}", "a.b"])).to_owned();
    body[name] = random.pick(&[json!(1), json!("a"), json!([]), json!({})]).clone();
    Case::json("an unknown field", operation, body.to_string().into_bytes(), Expect::Refused(vec![400]))
}
