//! Requests that are odd in their head, their size or their depth, and those for somebody who is not there.

use fednode_tests::Random;
use serde_json::{Value, json};

use crate::exchange::Way;
use crate::good;
use crate::kinds::{Case, Expect, JSON, chunks, good_body, head};
use crate::schema::Operation;

/// What a body may have at most.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Odd, and nobody's fault.
pub fn asked(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, 6, random);
    let headers = match random.below(7) {
        0 => "content-type: text/plain\r\n",
        1 => "content-type: application/x-www-form-urlencoded\r\n",
        2 => "content-type: application/json; charset=utf-8\r\n",
        3 => "CONTENT-TYPE:application/json\r\naccept: text/html;q=0.1, */*\r\nx-\u{e9}: \u{e9}\r\n",
        4 => "content-type: application/json\r\nexpect: 100-continue\r\n",
        5 => "content-type: application/json\r\nauthorization: Bearer nothing\r\nx-fednode-wait: 20\r\n",
        _ => "",
    };
    // Names of headers are ASCII.
    let headers = headers.replace("x-\u{e9}", "x-e");
    let mut case = Case::new("oddly asked", operation, &headers, body, Expect::Good);
    let text = String::from_utf8(case.request.head.clone()).expect("heads of this test are text");
    let changed = match random.below(5) {
        0 => text.replacen(" HTTP/1.1", "?a=1&b=%20 HTTP/1.1", 1),
        1 => text.replacen(" /", " http://localhost/", 1),
        2 => text.replacen("HTTP/1.1", "HTTP/1.0", 1),
        3 if operation.body.is_none() => {
            case.operation.method = "HEAD".to_owned();
            case.request.method = "HEAD".to_owned();
            text.replacen("GET ", "HEAD ", 1)
        }
        _ => text,
    };
    case.request.head = changed.into_bytes();
    case
}

/// Bytes that are no JSON object.
pub fn no_json(operation: &Operation, random: &mut Random) -> Case {
    let good = good_body(operation, 4, random);
    let text = String::from_utf8(good.clone()).expect("JSON is text");
    let body: Vec<u8> = match random.below(15) {
        0 => Vec::new(),
        1 => b"hello".to_vec(),
        2 => [good.as_slice(), b" {}"].concat(),
        3 => text.replacen('{', "{,", 1).into_bytes(),
        4 => text.replace('"', "'").into_bytes(),
        5 => text.replacen("\"model\":\"UCM\"", "\"model\":NaN", 1).into_bytes(),
        6 => text.replacen("UCM", "UCM\u{0}", 1).into_bytes(),
        7 => [b"\xff\xfe".as_slice(), &good].concat(),
        8 => [b"\xef\xbb\xbf".as_slice(), &good].concat(),
        9 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        10 => text.replacen("UCM", "\\ud800", 1).into_bytes(),
        11 => [b"{\"model\":\"\xc3\x28\xf0\x90\",".as_slice(), &good[1..]].concat(),
        12 => vec![0; random.between(1, 3000)],
        13 => [b"model=UCM&a=1&".as_slice(), &good].concat(),
        _ => (0..random.between(1, 3000)).map(|_| random.below(256) as u8).collect(),
    };
    let kinds = ["application/json", "text/xml", "multipart/form-data; boundary=a", "application/json; charset=utf-16"];
    let headers = format!("content-type: {}\r\n", random.pick(&kinds));
    let coding = if random.chance(20) { "content-encoding: gzip\r\n" } else { "" };
    Case::new("no JSON", operation, &format!("{headers}{coding}"), body, Expect::Refused(vec![400])).by(Way::Again)
}

fn nested(depth: usize, random: &mut Random) -> String {
    let (open, inner, close) =
        *random.pick(&[("[", "1", "]"), ("{\"a\":", "1", "}"), ("{\"items\":", "{}", "}"), ("[[],", "{}", "]")]);
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// Values in values.
pub fn deep(operation: &Operation, random: &mut Random) -> Case {
    let limit = 128;
    let refused = Expect::Refused(vec![400]);
    if random.chance(40) {
        let depth = random.between(limit, 100_000);
        let body = nested(depth, random).into_bytes();
        return Case::json("deep JSON", operation, body, refused);
    }
    let schema = operation.body.as_ref().expect("it has a body");
    let names: Vec<&String> = schema["properties"].as_object().expect("properties").keys().collect();
    let depth = if random.chance(50) { random.between(limit, 5000) } else { random.between(3, limit - 10) };
    let expect = if depth >= limit { refused } else { Expect::Either };
    let mut body = good::body(operation, 4, random);
    let name = random.pick(&names).as_str();
    let deep = nested(depth, random);
    body[name] = json!("DEEP");
    let deep = match name {
        // Where a schema is taken there is room below it.
        "response_format" => {
            format!("{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"a\",\"schema\":{deep}}}}}")
        }
        "tools" => format!("[{{\"type\":\"function\",\"function\":{{\"name\":\"a\",\"parameters\":{deep}}}}}]"),
        _ => deep,
    };
    let text = body.to_string().replacen("\"DEEP\"", &deep, 1);
    Case::json("deep JSON", operation, text.into_bytes(), expect)
}

/// Far too long for the manager; some nearly as long as bodies may be.
pub fn long(operation: &Operation, random: &mut Random) -> Case {
    let times = if random.chance(10) { 300_000 } else { random.between(2_000, 60_000) };
    let mut body = good::body(operation, 4, random);
    let words = "so it goes ".repeat(times);
    for name in ["messages", "prompt", "input", "content", "system"] {
        if body.get(name).is_some() {
            body[name] = if name == "messages" { json!([{"role": "user", "content": words}]) } else { json!(words) };
        }
    }
    if body.get("tokens").is_some() {
        // The most that may be asked for at once, and how long their text is depends on the token.
        body["tokens"] = json!(vec![random.below(512); 1 << 18]);
    }
    Case::json("a long text", operation, body.to_string().into_bytes(), Expect::Either)
}

/// Longer than bodies may be.
pub fn huge(operation: &Operation, random: &mut Random) -> Case {
    let mut body = good_body(operation, 4, random);
    body.resize(random.between(BODY_BYTES_MAX + 1, 6 << 20), b' ');
    let expect = Expect::Refused(vec![413]);
    if random.chance(50) {
        return Case::json("a huge body", operation, body, expect);
    }
    let mut case = Case::json("a huge body", operation, Vec::new(), expect);
    let (headers, body) = match random.chance(50) {
        true => ("transfer-encoding: chunked\r\n".to_owned(), chunks(&body, random.between(1000, 100_000))),
        // Announced, and the client waits to be told that it may.
        false => (format!("content-length: {}\r\nexpect: 100-continue\r\n", u64::from(u32::MAX) * 9), Vec::new()),
    };
    case.request.head = head(&operation.method, &case.target, &format!("{JSON}{headers}"));
    case.request.body = body;
    case
}

/// A head that is too much.
pub fn large_head(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, 4, random);
    let headers = match random.below(3) {
        0 => (0..random.between(80, 200)).map(|number| format!("x-{number}: 1\r\n")).collect(),
        1 => format!("x-large: {}\r\n", "a".repeat(random.between(40, 200) << 10)),
        _ => String::new(),
    };
    let target = good::path(operation);
    let target =
        if headers.is_empty() { format!("{target}?{}", "a".repeat(random.between(70, 200) << 10)) } else { target };
    let mut case = Case::new("a large head", operation, &headers, body, Expect::Bare(vec![431, 414]));
    let announced = format!("{JSON}{headers}content-length: {}\r\n", case.request.body.len());
    case.request.head = head(&operation.method, &target, &announced);
    Case { known: false, ..case }
}

/// Something that the path does not do.
pub fn wrong_method(operation: &Operation, random: &mut Random) -> Case {
    let method = *random.pick(&["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get", "POST", "GET"]);
    let body = vec![b'a'; *random.pick(&[0, 0, 10, 3000, 300_000, 3_000_000])];
    let mut case = Case::json("another method", operation, body, Expect::Refused(vec![405]));
    if method == operation.method {
        return asked(operation, random);
    }
    let text = String::from_utf8(case.request.head).expect("heads of this test are text");
    case.request.head = text.replacen(&operation.method, method, 1).into_bytes();
    case.request.method = method.to_owned();
    Case { known: false, ..case }
}

/// Something that is not there.
pub fn wrong_path(operation: &Operation, random: &mut Random) -> Case {
    let body = vec![b'a'; *random.pick(&[0, 0, 10, 3000, 300_000, 3_000_000])];
    let path = good::path(operation);
    let targets = [
        format!("{path}/"),
        format!("{path}%00"),
        format!("/{path}"),
        path.to_uppercase(),
        "/../../etc/passwd".to_owned(),
        "/v1/models/%ff%fe".to_owned(),
        "/v1/models/%00".to_owned(),
        "/v1/models/a%2Fb".to_owned(),
        "/%e2%80%ae".to_owned(),
        "/v1/files".to_owned(),
        "/api/pull".to_owned(),
        format!("/{}", "a/".repeat(2000)),
        "/v1/models/{id}".to_owned(),
    ];
    let target = random.pick(&targets).clone();
    let model = target.starts_with("/v1/models/");
    let method = if model { "GET" } else { operation.method.as_str() };
    let body = if model { Vec::new() } else { body };
    let mut case = Case::json("another path", operation, body, Expect::Refused(vec![404]));
    let length = format!("{JSON}content-length: {}\r\n", case.request.body.len());
    case.request.head = head(method, &target, &length);
    case.request.method = method.to_owned();
    Case { known: false, target, ..case }
}

/// Headers that are refused, and lines that are no head.
pub fn wrong_head(operation: &Operation, random: &mut Random) -> Case {
    let body = good_body(operation, 4, random);
    let mut case = Case::json("another head", operation, body, Expect::Refused(vec![403]));
    let text = String::from_utf8(case.request.head.clone()).expect("heads of this test are text");
    let host = "host: localhost\r\n";
    let (text, statuses) = match random.below(12) {
        0 => (text.replacen(host, "host: evil.example\r\n", 1), [403]),
        1 => (text.replacen(host, "", 1), [403]),
        2 => (text.replacen(host, "host: localhost\r\nhost: 127.0.0.1\r\n", 1), [403]),
        3 => (text.replacen(host, "host: localhost\r\norigin: https://evil.example\r\n", 1), [403]),
        4 if operation.body.is_some() => {
            case.request.body.resize(3_000_000, b' ');
            let announced = format!("{JSON}content-length: 3000000\r\nx-fednode-wait: soon\r\n");
            (String::from_utf8(head("POST", &case.target, &announced)).expect("text"), [400])
        }
        5 if operation.body.is_some() => {
            (text.replacen(host, "host: localhost\r\nx-fednode-route: moon\r\n", 1), [400])
        }
        6 => (text.replacen("HTTP/1.1", "HTTP/9.1", 1), [400]),
        7 => (text.replacen(" HTTP/1.1", "", 1), [400]),
        8 => (text.replacen("localhost", "local\u{0}host", 1), [400]),
        9 => (text.replacen("host: ", "host : ", 1), [400]),
        10 => (text.replacen(" /", " /\u{0}", 1), [400]),
        _ => (format!("\u{16}\u{3}\u{1}{}", "\u{0}".repeat(60)), [400]),
    };
    case.request.head = text.into_bytes();
    case.known = statuses == [403];
    case.expect = if statuses == [403] { Expect::Refused(vec![403]) } else { Expect::Bare(vec![400]) };
    case
}

/// Somebody who is not there.
pub fn other_model(operation: &Operation, random: &mut Random) -> Case {
    let mut body = good::body(operation, 4, random);
    let names: [Value; 9] =
        ["UAM", "ULM:core", "UCM:moon", "gpt-4o", "", ":", "../../etc/passwd", "UCM\u{0}", "local"].map(Value::from);
    body["model"] = random.pick(&names).clone();
    if random.chance(10) {
        body["model"] = json!("x".repeat(random.between(100, 100_000)));
    }
    Case::json("another model", operation, body.to_string().into_bytes(), Expect::Refused(vec![404])).by(Way::Again)
}
