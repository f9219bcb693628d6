//! Clients that are slow, greedy or many, over real sockets with short terms; and TLS. No test asserts how long anything
//! takes, only that it ends and how.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use super::*;
use crate::http::server::Terms;

/// A server with short terms for the head and for stalled writes.
async fn served(backend: Canned, tls: Option<tls::Tls>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let short = Duration::from_millis(200);
    let terms = Terms { handshake: short, head: short, write_stall: short };
    let app = router(backend, Patience::default(), open());
    tokio::spawn(server::serve(listener, tls, terms, app, std::future::pending()));
    address
}

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// All that comes back; a connection that is cut may end in an error.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_and_others_are_served() {
    let address = served(Canned::says(&[]), None).await;
    let mut slow = connect(address).await;
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: loc").await.expect("sent");
    let mut silent = connect(address).await;
    let mut honest = connect(address).await;
    let request = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    honest.write_all(request.as_bytes()).await.expect("sent");
    assert!(rest(&mut honest).await.starts_with("HTTP/1.1 200"));
    // Neither ends by itself: that these reads return is what is shown.
    assert!(!rest(&mut slow).await.contains("200"));
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let address = served(Canned::says(&[]), None).await;
    let mut idle = connect(address).await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn heads_that_are_too_large_or_have_too_many_headers_are_431() {
    let address = served(Canned::says(&[]), None).await;
    let many: String = (0..=limits::HTTP_HEADERS_MAX).map(|number| format!("x-{number}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(limits::HTTP_HEAD_BYTES_MAX));
    for headers in [many, large] {
        let mut client = connect(address).await;
        let head = format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let _ = client.write_all(head.as_bytes()).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_stream_loses_it() {
    let (sender, events) = mpsc::channel(1);
    let address = served(Canned::new(Script::Channel(events)), None).await;
    let mut client = connect(address).await;
    let body = r#"{"model":"UCM","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let length = body.len();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
    client.write_all(head.as_bytes()).await.expect("sent");
    // More than any socket holds; nobody reads it. The sender fails once the answer was dropped.
    let text = "a".repeat(1 << 20);
    while sender.send(event(Generated::Text(text.clone()))).await.is_ok() {}
    drop(client);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let body = Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let impatient = Patience { body: Duration::from_millis(1), ..Patience::default() };
    let response = router(Canned::default(), impatient, open()).oneshot(post(body)).await.expect("an answer");
    assert_eq!(response.status(), 408);
    assert_eq!(json_of(response).await["error"]["code"], "body_too_slow");
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_refused_before_it_comes() {
    let body = Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let mut request = post(body);
    let length = limits::HTTP_BODY_BYTES_MAX + 1;
    request.headers_mut().insert("content-length", length.into());
    // Whoever asks first is told, and sends nothing.
    request.headers_mut().insert("expect", "100-continue".parse().unwrap());
    let response = send(Canned::default(), request).await;
    assert_eq!(response.status(), 413);
    assert_eq!(json_of(response).await["error"]["code"], "body_too_large");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_taken_in_before_the_answer() {
    let body = "a".repeat(3 << 20);
    let asked = [
        ("GET", "/health", "", "200"),
        ("GET", "/v1/models", "", "200"),
        ("PUT", "/v1/models", "", "405"),
        ("POST", "/nothing", "", "404"),
        ("POST", "/v1/chat/completions", "x-fednode-wait: soon\r\n", "400"),
    ];
    for (method, path, header, status) in asked {
        let address = served(Canned::says(&[]), None).await;
        let mut client = connect(address).await;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{header}content-length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        client.write_all(body.as_bytes()).await.expect("nobody closes on who still sends");
        let answer = rest(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn tls_answers_those_who_pinned_the_certificate_and_not_plain_http() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let made = tls::SelfSigned::make(&["localhost".to_owned()], None, now).expect("made");
    let certificate = tls::Pem { called: "c", bytes: made.certificate.as_bytes() };
    let server =
        tls::Tls::from_pem(certificate, tls::Pem { called: "k", bytes: made.key.as_bytes() }, now).expect("usable");
    let address = served(Canned::says(&[]), Some(server)).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.certificate.as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("TLS 1.3").with_root_certificates(roots).with_no_client_auth();
    let connector = futures_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = connector.connect(name.clone(), connect(address).await.compat()).await.expect("the certificate holds");
    let mut stream = stream.compat();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut plain = connect(address).await;
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    assert!(!rest(&mut plain).await.contains("HTTP"));
    let mut silent = connect(address).await;
    assert_eq!(rest(&mut silent).await, "");
    let other = ServerName::try_from("other.example").expect("a name");
    assert!(connector.connect(other, connect(address).await.compat()).await.is_err());
}

#[tokio::test]
async fn a_flood_of_silent_connections_does_not_keep_an_honest_one_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = router(Canned::says(&[]), Patience::default(), open());
    tokio::spawn(server::serve(listener, None, Terms::default(), app, std::future::pending()));
    let mut flood = Vec::new();
    for _ in 0..limits::HTTP_CONNECTIONS_MAX + 16 {
        // Where a process may open few files the flood is smaller, and this test shows less.
        let Ok(stream) = TcpStream::connect(address).await else { break };
        flood.push(stream);
    }
    let mut honest = connect(address).await;
    honest.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("sent");
    assert!(rest(&mut honest).await.starts_with("HTTP/1.1 200"));
}
