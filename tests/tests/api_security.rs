//! The HTTP API against those who should not have it: without a key, with a wrong one, with one of another slot, in another
//! host's name; and against clients that are slow or greedy. Real processes; what a stranger sends is sent byte by byte.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fednode_tests::{Client, Federation, NodeProcess, NodeSpec, Reply, managers, until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const CARRIED_OUT: Duration = Duration::from_secs(20);
const REFUSED: i32 = 3;

/// A node that listens for others, with a key called `all`, and UCM and ULM published on it.
fn open_to_others() -> (Federation, String) {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    let north = federation.add(NodeSpec::full("north").memory("64GB").api_ip("0.0.0.0")).expect("a node");
    let key = add_key(north, &["all"]);
    north.up().expect("north starts");
    for slot in ["UCM", "ULM"] {
        federation.node("north").publish(slot).expect("published");
    }
    let keyed = federation.node("north").client().with_key(&key);
    until("loading UCM and ULM", CARRIED_OUT, || {
        let state = keyed.get("/state").map_err(|error| error.to_string())?.json();
        let slots = state["slots"].as_array().cloned().unwrap_or_default();
        let resident = slots.iter().filter(|slot| slot["state"] == "resident").count();
        if resident == 2 { Ok(()) } else { Err(format!("{resident} are resident")) }
    })
    .expect("both are loaded");
    (federation, key)
}

fn add_key(node: &NodeProcess, args: &[&str]) -> String {
    let args = [&["keys", "add"], args].concat();
    let added = node.command(&args).expect("a key is added");
    let key = added.stdout.trim().to_owned();
    assert!(key.starts_with("fednode-") && key.len() == 64, "{key}");
    key
}

fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 4})
}

fn chat_status(client: &Client, model: &str) -> (u16, Value) {
    let reply = client.post(CHAT, &question(model)).expect("a reply");
    (reply.status, reply.json()["error"]["code"].clone())
}

/// A raw request and whatever comes back until the node closes.
fn raw(client: &Client, request: &str) -> String {
    let mut stream = TcpStream::connect(client.base().trim_start_matches("http://")).expect("the API listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
    // The node may have answered and closed before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// An address of this machine that is not loopback; asking the routing table sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

/// Every file below `folder` that contains `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn only_a_right_key_passes_and_a_removed_one_no_more() {
    let (federation, key) = open_to_others();
    let north = federation.node("north");
    let (stranger, keyed) = (north.client(), north.client().with_key(&key));
    assert_eq!(stranger.get("/health").expect("a reply").json(), json!({"status": "ok"}));
    for path in ["/state", "/v1/models", "/readyz", "/v1/models/UCM"] {
        let reply = stranger.get(path).expect("a reply");
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status, &error["code"]), (401, &json!("missing_api_key")), "{path}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("fednode keys add")), "{error}");
    }
    assert_eq!(chat_status(stranger, "UCM"), (401, json!("missing_api_key")));
    let mut long = question("UCM");
    long["messages"][0]["content"] = json!("a".repeat(3 << 20));
    assert_eq!(stranger.post(CHAT, &long).expect("a refusal, not a broken pipe").status, 401);
    let mistyped = format!("{}{}", &key[..63], if key.ends_with('a') { 'b' } else { 'a' });
    for wrong in [mistyped.as_str(), "sk-none", &key[..40]] {
        assert_eq!(chat_status(&stranger.with_key(wrong), "UCM"), (401, json!("invalid_api_key")), "{wrong}");
    }
    let known = managers::first_answer("UCM").expect("UCM has known answers");
    let answer = keyed.chat("UCM", &known.prompt).expect("a reply");
    assert_eq!((answer.is_complete(), &answer.text), (true, &known.answer), "{}", answer.summary());
    let other_header = stranger.send("GET", "/v1/models", &[("x-api-key", &key)], b"").expect("a reply");
    assert_eq!(other_header.status, 200);
    // The owner's own command line needs no key.
    let said = north.command(&["chat", "UCM", &known.prompt, "--json"]).expect("chat").json();
    assert_eq!(said["text"], known.answer.as_str());

    let listed = north.command(&["keys", "--json"]).expect("keys");
    assert!(!listed.stdout.contains(&key[8..]) && listed.json()["keys"][0]["name"] == "all", "{}", listed.stdout);
    assert_eq!(files_with(north.data_dir(), &key[8..]), Vec::<String>::new());
    let log = std::fs::read_to_string(north.log_path()).expect("a log");
    assert!(!log.contains(&key[8..]) && log.contains("without TLS; add --api-tls"), "{log}");

    let second = add_key(north, &["second"]);
    assert_eq!(chat_status(&stranger.with_key(&second), "UCM").0, 200, "a new key works at once");
    north.command(&["keys", "remove", "all"]).expect("removed");
    assert_eq!(chat_status(&keyed, "UCM"), (401, json!("invalid_api_key")), "a removed key is refused at once");
    assert_eq!(chat_status(&stranger.with_key(&second), "UCM").0, 200);
    assert_eq!(north.cli(&["keys", "remove", "all"]).expect("it ran").code, REFUSED);
}

#[test]
fn a_scoped_key_sees_and_uses_its_slot_only_and_an_expired_one_nothing() {
    let (federation, _) = open_to_others();
    let north = federation.node("north");
    let scoped = north.client().with_key(&add_key(north, &["app", "--slot", "UCM"]));
    let models = scoped.get("/v1/models").expect("a reply").json();
    let ids: Vec<&str> = models["data"].as_array().expect("a list").iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(ids, ["UCM"]);
    assert_eq!(scoped.get("/v1/models/ULM").expect("a reply").status, 404);
    assert_eq!(chat_status(&scoped, "UCM"), (200, Value::Null));
    for model in ["ULM", "UFM", "NOSUCH"] {
        assert_eq!(chat_status(&scoped, model), (403, json!("model_not_allowed")), "{model}");
    }
    assert_eq!(scoped.get("/state").expect("a reply").status, 403);
    let brief = north.client().with_key(&add_key(north, &["brief", "--expires", "1s"]));
    let refused = until("the key's end", Duration::from_secs(10), || match chat_status(&brief, "UCM") {
        (401, code) => Ok(code),
        (status, _) => Err(format!("HTTP {status}")),
    });
    assert_eq!(refused.expect("it ends"), json!("expired_api_key"));
}

#[test]
fn other_names_and_pages_are_refused_and_its_own_are_not() {
    let (federation, key) = open_to_others();
    let client = federation.node("north").client();
    let port = client.base().rsplit(':').next().expect("a port").to_owned();
    let ask = |address: &str, headers: &str| {
        let request =
            format!("GET /state HTTP/1.1\r\n{headers}authorization: Bearer {key}\r\nconnection: close\r\n\r\n");
        raw(&Client::new(format!("http://{address}:{port}")), &request)
    };
    for host in ["evil.example", "127.0.0.1.evil.example", "192.0.2.77"] {
        let answer = ask("127.0.0.1", &format!("host: {host}:{port}\r\n"));
        assert!(status(&answer) == 403 && answer.contains("host_not_allowed"), "{host}: {answer}");
    }
    for origin in ["http://evil.example", "null", "https://192.0.2.77"] {
        let answer = ask("127.0.0.1", &format!("host: localhost\r\norigin: {origin}\r\n"));
        assert!(status(&answer) == 403 && answer.contains("origin_not_allowed"), "{origin}: {answer}");
    }
    let allowed = ask("127.0.0.1", &format!("host: localhost:{port}\r\norigin: http://localhost:{port}\r\n"));
    assert_eq!(status(&allowed), 200, "{allowed}");
    assert!(!allowed.to_lowercase().contains("access-control-"), "{allowed}");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(status(&ask("127.0.0.1", &format!("host: {host}:{port}\r\n"))), 200, "{host}");
    // Without a network there is no other address to try.
    let Some(own) = own_address() else { return };
    assert_eq!(status(&ask(&own.to_string(), &format!("host: {own}:{port}\r\n"))), 200, "{own}");
    assert_eq!(status(&ask("127.0.0.1", &format!("host: {own}:{port}\r\n"))), 403, "it came in elsewhere");
}

#[test]
fn without_a_key_nobody_listens_for_others() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    let north = federation.add(NodeSpec::full("north").memory("64GB")).expect("a node");
    let refused = |north: &NodeProcess, args: &[&str]| {
        let output = north.cli(&[&["up", "--listen", "127.0.0.1:0"], args].concat()).expect("it ran");
        assert!(output.code == REFUSED && output.stderr.contains("fednode keys add"), "{args:?}: {}", output.stderr);
    };
    refused(north, &["--api", "0.0.0.0:0"]);
    refused(north, &["--api", "[::]:0"]);
    refused(north, &["--api", "127.0.0.1:0", "--api-key-always"]);
    assert!(!north.data_dir().exists(), "a refused start made a folder");
    add_key(north, &["brief", "--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(1100));
    refused(north, &["--api", "0.0.0.0:0"]);
    north.up().expect("on loopback it starts all the same");
    assert_eq!(north.client().get("/state").expect("a reply").status, 200);
}

/// A byte every 200 ms: each of them is progress, and none may keep the connection.
fn slow_head(address: &str) -> Duration {
    let mut stream = TcpStream::connect(address).expect("the API listens");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket takes a timeout");
    let begin = Instant::now();
    let head = "GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: ".bytes().chain(std::iter::repeat(b'a'));
    for byte in head {
        let mut one = [0];
        let cut = stream.write_all(&[byte]).is_err()
            || match stream.read(&mut one) {
                Ok(read) => read == 0,
                Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            };
        if cut || begin.elapsed() > Duration::from_secs(60) {
            break;
        }
    }
    begin.elapsed()
}

#[test]
fn slow_greedy_and_many_clients_cost_others_nothing() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    let client = federation.node("north").client();
    let address = client.base().trim_start_matches("http://").to_owned();

    let many: String = (0..100).map(|number| format!("x-{number}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(64 << 10));
    for headers in [many, large] {
        let answer = raw(client, &format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"));
        assert_eq!(status(&answer), 431, "{answer}");
    }
    let body = json!({"model": "UCM", "messages": [{"role": "user", "content": "a".repeat(5 << 20)}]});
    let reply = client.post(CHAT, &body).expect("a reply");
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &json!("body_too_large")));

    let slow: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || slow_head(&address))
        })
        .collect();
    while slow.iter().any(|thread| !thread.is_finished()) {
        assert_eq!(client.get("/health").expect("others are served").status, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    for thread in slow {
        let took = thread.join().expect("no panic");
        // Not at once either: that would be a refusal, and slow lines are no crime.
        let limits = Duration::from_secs(3)..Duration::from_secs(30);
        assert!(limits.contains(&took), "a head of a byte at a time was heard for {took:?}");
    }
    // Far more than the node keeps, and silent; where a process may open few files there are fewer.
    let flood: Vec<TcpStream> = (0..800).map_while(|_| TcpStream::connect(&address).ok()).collect();
    for _ in 0..20 {
        // A connection of its own each time: the pool's was let in before the flood.
        let honest = Client::new(client.base());
        assert_eq!(honest.get("/health").expect("others are served").status, 200, "beside {}", flood.len());
    }
}

/// What a client sees that pinned `certificate`; an error if it is not who answers.
fn over_tls(address: &str, certificate: &Path, request: &str) -> Result<String, String> {
    let pem = std::fs::read(certificate).map_err(|error| error.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    let pinned = CertificateDer::from_pem_slice(&pem).map_err(|error| error.to_string())?;
    roots.add(pinned).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let session = rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(20))).map_err(|error| error.to_string())?;
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn wait_for_tls(node: &NodeProcess, certificate: &Path) {
    let address = node.client().base().trim_start_matches("http://").to_owned();
    let request = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    until("an answer over TLS", CARRIED_OUT, || match over_tls(&address, certificate, request) {
        Ok(answer) if status(&answer) == 200 => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(error),
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

#[test]
fn a_pinned_certificate_answers_over_tls_and_is_kept() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    let spec = NodeSpec::full("north").memory("64GB").api_ip("0.0.0.0").flag("--api-tls", "self-signed");
    let north = federation.add(spec).expect("a node");
    let key = add_key(north, &["all"]);
    let certificate = north.data_dir().join("api-tls.crt");
    north.spawn(&["up"]).expect("north starts");
    wait_for_tls(north, &certificate);
    let address = north.client().base().trim_start_matches("http://").to_owned();
    let models = format!(
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    let answer = over_tls(&address, &certificate, &models).expect("an answer");
    assert_eq!(status(&answer), 200, "{answer}");
    let stranger = models.replace(&key, "nothing");
    assert_eq!(status(&over_tls(&address, &certificate, &stranger).expect("an answer")), 401);
    assert!(!raw(north.client(), &models).contains("HTTP/1.1 200"), "plain HTTP on a port of TLS");
    assert!(std::fs::read_to_string(north.log_path()).expect("a log").contains("fingerprint"));

    let first = std::fs::read(&certificate).expect("a certificate");
    north.stop().expect("it stops");
    north.spawn(&["up"]).expect("north starts again");
    wait_for_tls(north, &certificate);
    assert_eq!(std::fs::read(&certificate).expect("a certificate"), first, "what clients pinned is kept");
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_the_remedy() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    let mut made = Vec::new();
    for name in ["north", "south"] {
        let node = federation.add(NodeSpec::delegate(name).flag("--api-tls", "self-signed")).expect("a node");
        let path = |file: &str| node.data_dir().join(file);
        let (certificate, key) = (path("api-tls.crt"), path("api-tls.key"));
        node.spawn(&["up"]).expect("it starts");
        wait_for_tls(node, &certificate);
        node.stop().expect("it stops");
        made.push((certificate.display().to_string(), key.display().to_string()));
    }
    let [(certificate, key), (_, other_key)] = [made[0].clone(), made[1].clone()];
    let text = federation.folder().join("text.pem").display().to_string();
    std::fs::write(&text, "no certificate").expect("written");
    let cases = [
        (&certificate, &other_key, REFUSED, "does not belong"),
        (&text, &key, REFUSED, "no certificate in PEM"),
        (&certificate, &text, REFUSED, "no private key in PEM"),
        (&certificate, &"nowhere.pem".to_owned(), 1, "nowhere.pem"),
    ];
    let fresh = federation.add(NodeSpec::delegate("fresh")).expect("a node");
    for (certificate, key, code, says) in cases {
        let args = [
            "up",
            "--listen",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
            "--api-tls-cert",
            certificate,
            "--api-tls-key",
            key,
        ];
        let output = fresh.cli(&args).expect("it ran");
        assert!(output.code == code && output.stderr.contains(says), "{says}: {}", output.stderr);
    }
    assert!(!fresh.data_dir().exists(), "a refused start made a folder");
}

#[test]
fn a_key_can_be_demanded_on_loopback_too() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    let mut spec = NodeSpec::delegate("north");
    spec.flags.push("--api-key-always".to_owned());
    let north = federation.add(spec).expect("a node");
    let key = add_key(north, &["all"]);
    north.up().expect("north starts");
    let statuses =
        [north.client(), &north.client().with_key(&key)].map(|client| client.get("/state").map(|r: Reply| r.status));
    assert_eq!(statuses.map(|status| status.expect("a reply")), [401, 200]);
}
