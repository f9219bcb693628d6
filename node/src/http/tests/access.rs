//! The gate: who passes with which key, what a scoped key sees, and what happens when a key ends while it is used.

use std::collections::BTreeSet;

use axum::http::HeaderValue;

use super::*;
use crate::core::api_keys::{ApiKey, ApiKeys, KeyName};
use crate::core::types::SlotName;
use crate::wire::api_key::SecretKey;

/// Keys that the test may change, as the command line would.
#[derive(Clone)]
pub(super) struct Keys(Arc<Mutex<Result<ApiKeys, String>>>);

impl Keys {
    pub(super) fn new() -> Keys {
        Keys(Arc::new(Mutex::new(Ok(ApiKeys::default()))))
    }

    pub(super) fn gate(&self) -> Gate {
        let keys = self.clone();
        let source: KeySource = Arc::new(move || keys.0.lock().unwrap().clone().map(Arc::new));
        Gate::with_recheck(Hosts::default(), Some(source), Duration::from_millis(5))
    }

    pub(super) fn add(&self, name: &str, seed: u8, slots: &[&str], expires_unix_s: Option<u64>) -> String {
        let secret = SecretKey::new([seed; 32]);
        let slots: BTreeSet<SlotName> = slots.iter().map(|slot| SlotName::new(slot).unwrap()).collect();
        let name = KeyName::new(name).unwrap();
        let key = ApiKey { name, digest: secret.digest(), slots, created_unix_s: 0, expires_unix_s };
        self.0.lock().unwrap().as_mut().unwrap().add(key).unwrap();
        secret.to_text()
    }

    pub(super) fn remove(&self, name: &str) {
        assert!(self.0.lock().unwrap().as_mut().unwrap().remove(&KeyName::new(name).unwrap()));
    }
}

async fn ask(gate: &Gate, mut request: Request<Body>, headers: &[(&'static str, &str)]) -> Response<Body> {
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    router(Canned::says(&["ok"]), patience(Duration::from_secs(60)), gate.clone())
        .oneshot(request)
        .await
        .expect("a router answers")
}

async fn code(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let code = json_of(response).await["error"]["code"].as_str().unwrap_or_default().to_owned();
    (status, code)
}

#[tokio::test]
async fn without_a_right_key_nothing_but_health_answers() {
    let keys = Keys::new();
    let right = keys.add("laptop", 1, &[], None);
    let (gate, wrong) = (keys.gate(), SecretKey::new([9; 32]).to_text());
    for path in ["/state", "/v1/models", "/v1/models/ULM", "/readyz", "/nothing"] {
        let response = ask(&gate, get(path), &[]).await;
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"fednode\"");
        assert_eq!(code(response).await, (401, "missing_api_key".to_owned()), "{path}");
    }
    for path in ["/health", "/healthz"] {
        assert_eq!(json_of(ask(&gate, get(path), &[]).await).await, json!({"status": "ok"}));
    }
    let bearer = |key: &str| format!("Bearer {key}");
    let cut = &right[..right.len() - 1];
    for shown in [bearer(&wrong), bearer(cut), bearer("sk-none"), bearer(""), right.to_uppercase()] {
        let found = code(ask(&gate, chat(json!({})), &[("authorization", &shown)]).await).await;
        assert_eq!(found, (401, "invalid_api_key".to_owned()), "{shown}");
    }
    assert_eq!(code(ask(&gate, chat(json!({})), &[("authorization", "Basic abc")]).await).await.0, 401);
    for (name, shown) in
        [("authorization", bearer(&right)), ("authorization", format!("bearer  {right}")), ("x-api-key", right.clone())]
    {
        assert_eq!(ask(&gate, chat(json!({})), &[(name, &shown)]).await.status(), 200, "{name}: {shown}");
    }
    let both = [("authorization", bearer(&right)), ("x-api-key", right.clone())];
    let both = both.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(ask(&gate, get("/state"), &both).await.status(), 200);
    let two = [("authorization", &*bearer(&right)), ("x-api-key", &*wrong)];
    assert_eq!(code(ask(&gate, get("/state"), &two).await).await, (401, "invalid_api_key".to_owned()));
}

#[tokio::test]
async fn where_no_key_is_needed_a_meaningless_one_does_no_harm() {
    let response = ask(&open(), get("/state"), &[("authorization", "Bearer sk-none")]).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_scoped_key_uses_and_sees_its_slots_only() {
    let keys = Keys::new();
    let scoped = format!("Bearer {}", keys.add("app", 1, &["ULM"], None));
    let shown = [("authorization", scoped.as_str())];
    let gate = keys.gate();
    assert_eq!(ask(&gate, chat(json!({"model": "ULM"})), &shown).await.status(), 200);
    assert_eq!(ask(&gate, chat(json!({"model": "ULM:personal"})), &shown).await.status(), 200);
    for model in ["UCM", "NOSUCH"] {
        let refused = ask(&gate, chat(json!({"model": model})), &shown).await;
        assert_eq!(refused.status(), 403);
        let error = json_of(refused).await["error"].clone();
        assert_eq!((&error["code"], &error["type"]), (&json!("model_not_allowed"), &json!("permission_error")));
        assert!(error["message"].as_str().is_some_and(|text| text.contains("app is for ULM only")), "{error}");
    }
    for path in ["/state", "/readyz", "/nothing"] {
        assert_eq!(code(ask(&gate, get(path), &shown).await).await, (403, "key_scoped".to_owned()), "{path}");
    }
    let ids = |list: &Value| {
        list["data"].as_array().map(|all| all.iter().map(|model| model["id"].to_string()).collect::<Vec<_>>())
    };
    let list = json_of(ask(&gate, get("/v1/models"), &shown).await).await;
    assert_eq!(ids(&list), Some(vec!["\"ULM\"".to_owned(), "\"ULM:personal\"".to_owned()]));
    let other = format!("Bearer {}", keys.add("other", 2, &["UCM"], None));
    let shown = [("authorization", other.as_str())];
    let list = json_of(ask(&gate, get("/v1/models"), &shown).await).await;
    assert_eq!(ids(&list), Some(Vec::new()));
    assert_eq!(code(ask(&gate, get("/v1/models/ULM"), &shown).await).await.0, 404);
}

#[tokio::test]
async fn a_key_ends_with_its_time_or_its_removal_and_unreadable_keys_let_nobody_in() {
    let keys = Keys::new();
    let expired = format!("Bearer {}", keys.add("old", 1, &[], Some(1)));
    let valid = format!("Bearer {}", keys.add("new", 2, &[], None));
    let gate = keys.gate();
    let of = |key: &str| ask_state(gate.clone(), key.to_owned());
    assert_eq!(of(&expired).await, (401, "expired_api_key".to_owned()));
    assert_eq!(of(&valid).await.0, 200);
    keys.remove("new");
    assert_eq!(of(&valid).await, (401, "invalid_api_key".to_owned()));
    *keys.0.lock().unwrap() = Err("the file is damaged".to_owned());
    assert_eq!(of(&valid).await, (503, "keys_unreadable".to_owned()));
}

async fn ask_state(gate: Gate, key: String) -> (u16, String) {
    code(ask(&gate, get("/state"), &[("authorization", &key)]).await).await
}

#[tokio::test]
async fn removing_a_key_ends_the_answers_that_run_under_it() {
    for stream in [true, false] {
        let keys = Keys::new();
        let key = format!("Bearer {}", keys.add("app", 1, &[], None));
        let (sender, events) = mpsc::channel(4);
        let app = router(Canned::new(Script::Channel(events)), patience(Duration::from_secs(60)), keys.gate());
        let mut request = chat(json!({"stream": stream}));
        request.headers_mut().insert("authorization", HeaderValue::from_str(&key).unwrap());
        sender.send(event(Generated::Text("a".to_owned()))).await.expect("room");
        let answering = tokio::spawn(app.oneshot(request));
        if stream {
            let response = answering.await.expect("no panic").expect("an answer");
            keys.remove("app");
            let stream = text(response).await;
            assert!(stream.contains("\"content\":\"a\"") && stream.contains("invalid_api_key"), "{stream}");
            assert!(!stream.contains("[DONE]"));
        } else {
            tokio::task::yield_now().await;
            keys.remove("app");
            let response = answering.await.expect("no panic").expect("an answer");
            assert_eq!(code(response).await, (401, "invalid_api_key".to_owned()));
        }
        sender.closed().await;
    }
}

#[tokio::test]
async fn many_wrong_keys_are_slowed_down_and_a_right_one_still_passes() {
    let keys = Keys::new();
    let right = format!("Bearer {}", keys.add("laptop", 1, &[], None));
    let gate = keys.gate();
    for _ in 0..limits::API_KEY_TRIES_MAX {
        assert_eq!(ask(&gate, get("/state"), &[("authorization", "Bearer nonsense")]).await.status(), 401);
    }
    let slowed = ask(&gate, get("/state"), &[("authorization", "Bearer nonsense")]).await;
    assert_eq!((slowed.status().as_u16(), &slowed.headers()[header::CONNECTION]), (429, &"close".parse().unwrap()));
    assert!(slowed.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(ask(&gate, get("/state"), &[("authorization", &right)]).await.status(), 200);
}

#[tokio::test]
async fn other_hosts_are_refused_before_a_key_is_looked_at() {
    let keys = Keys::new();
    let right = format!("Bearer {}", keys.add("laptop", 1, &[], None));
    let request = Request::get("/health").header("host", "evil.example").body(Body::empty()).unwrap();
    let response = ask(&keys.gate(), request, &[("authorization", &right)]).await;
    assert_eq!(code(response).await, (403, "host_not_allowed".to_owned()));
}
