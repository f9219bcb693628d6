//! What the dashboard is made of: its files, what it watches, and what only the owner may do in it.

use axum::http::HeaderValue;

use super::access::Keys;
use super::*;
use crate::http::access::Line;

const SECRET: &str = "right";

/// A node that may be watched, and has an owner's session.
#[derive(Clone)]
struct Watched {
    canned: Canned,
    frames: Arc<Mutex<Option<mpsc::Receiver<Frame>>>>,
}

impl Watched {
    fn new() -> (Watched, mpsc::Sender<Frame>) {
        let (sender, frames) = mpsc::channel(4);
        let canned = Canned { state: Arc::new(federation()), ..Canned::default() };
        (Watched { canned, frames: Arc::new(Mutex::new(Some(frames))) }, sender)
    }
}

impl Backend for Watched {
    async fn state(&self) -> State {
        self.canned.state().await
    }

    async fn generate(&self, request: v1::GenerateRequest) -> Result<Generation, ApiError> {
        self.canned.generate(request).await
    }

    async fn watch(&self) -> Option<mpsc::Receiver<Frame>> {
        self.frames.lock().unwrap().take()
    }

    fn is_owner(&self, secret: &str) -> bool {
        secret == SECRET
    }

    async fn owner(&self, ask: OwnerAsk) -> Result<Value, ApiError> {
        Ok(json!(format!("{ask:?}")))
    }
}

async fn answered(gate: Gate, request: Request<Body>) -> Response<Body> {
    let app = router(Watched::new().0, patience(Duration::from_secs(60)), gate);
    app.oneshot(request).await.expect("a router answers")
}

fn frame(name: &'static str) -> Frame {
    Frame { name, json: format!("{{\"of\":\"{name}\"}}").into() }
}

#[tokio::test]
async fn the_dashboards_files_are_open_and_what_they_show_is_not() {
    let gate = Keys::new().gate();
    let page = answered(gate.clone(), get("/")).await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text").to_owned();
    for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = text(page).await;
    // Every file that the page names is there, and it names no other host.
    let mut named = 0;
    for path in page.split('"').filter(|text| text.starts_with("/dashboard/")) {
        let file = answered(gate.clone(), get(path)).await;
        assert_eq!(file.status(), 200, "{path}");
        assert_eq!(file.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        named += 1;
    }
    assert!(named >= 8 && !page.contains("//"), "{named} files");
    for path in ["/state", "/metrics", "/events", "/plan", "/dashboard/none.js"] {
        assert_eq!(answered(gate.clone(), get(path)).await.status(), 401, "{path}");
    }
}

#[tokio::test]
async fn what_there_is_to_watch_is_told_as_it_comes() {
    let (node, frames) = Watched::new();
    let app = router(node, patience(Duration::from_secs(60)), open());
    let response = app.clone().oneshot(get("/events")).await.expect("an answer");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    for name in ["past", "state", "log"] {
        frames.send(frame(name)).await.expect("it is watched");
        let event = body.next().await.expect("open").expect("bytes");
        assert_eq!(event, format!("event: {name}\ndata: {{\"of\":\"{name}\"}}\n\n"));
    }
    let refused = app.oneshot(get("/events")).await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.headers()[header::RETRY_AFTER].as_bytes()), (429, &b"5"[..]));
    drop(frames);
    assert!(body.next().await.is_none(), "the node ended");
}

#[tokio::test]
async fn a_watcher_whose_key_is_removed_watches_no_more() {
    let keys = Keys::new();
    let bearer = format!("Bearer {}", keys.add("laptop", 1, &[], None));
    let (node, frames) = Watched::new();
    let mut request = get("/events");
    request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().expect("a header"));
    let app = router(node, patience(Duration::from_secs(60)), keys.gate());
    let mut body = app.oneshot(request).await.expect("an answer").into_body().into_data_stream();
    frames.send(frame("state")).await.expect("it is watched");
    assert!(body.next().await.expect("open").is_ok());
    keys.remove("laptop");
    let last = body.next().await.expect("a last word").expect("bytes");
    assert!(last.starts_with(b"data: {\"error\":"), "{last:?}");
    assert!(body.next().await.is_none());
}

/// The status of a request to revoke somebody, with these headers, from `remote`.
async fn revoking(headers: &[(&'static str, &str)], remote: &str) -> u16 {
    let mut request = post_to("/owner/revoke", json!({"peer_id": "12D3KooW"}).to_string());
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a header"));
    }
    let remote = remote.parse().expect("an address");
    request.extensions_mut().insert(Line { remote, ..Line::default() });
    answered(open(), request).await.status().as_u16()
}

#[tokio::test]
async fn only_the_owners_page_on_this_machine_may_invite_or_revoke() {
    let (home, secret) = ("127.0.0.1", ("x-fednode-owner", SECRET));
    let own = ("origin", "http://127.0.0.1:7717");
    assert_eq!(revoking(&[secret], home).await, 200);
    assert_eq!(revoking(&[secret, own, ("sec-fetch-site", "same-origin")], home).await, 200);
    for (headers, remote) in [
        (vec![], home),
        (vec![own], home),
        (vec![("x-fednode-owner", "wrong")], home),
        (vec![secret], "192.168.1.2"),
        // Another program of this machine has a page too.
        (vec![secret, ("origin", "http://127.0.0.1:3000")], home),
        (vec![secret, ("origin", "http://localhost:7717")], home),
        (vec![secret, ("sec-fetch-site", "same-site")], home),
        (vec![secret, own, ("sec-fetch-site", "cross-site")], home),
    ] {
        assert_eq!(revoking(&headers, remote).await, 403, "{headers:?} from {remote}");
    }
}

#[tokio::test]
async fn what_an_owner_asks_is_parsed_and_bounded() {
    let ask = async |body: &str| {
        let mut request = post_to("/owner/invite", body.to_owned());
        request.headers_mut().insert("x-fednode-owner", HeaderValue::from_static(SECRET));
        let response = answered(open(), request).await;
        (response.status().as_u16(), text(response).await)
    };
    assert_eq!(ask("{}").await, (200, "\"Invite { role: \\\"full\\\", ttl_s: 900 }\"".to_owned()));
    assert_eq!(ask(r#"{"role":"delegate","ttl_s":60}"#).await.0, 200);
    for bad in ["", "[]", r#"{"role":"owner"}"#, r#"{"ttl_s":0}"#, r#"{"ttl_s":604801}"#, r#"{"else":1}"#] {
        assert_eq!(ask(bad).await.0, 400, "{bad}");
    }
}
