//! The document at `/openapi.json` against the router and the handlers.

use std::collections::BTreeSet;

use super::*;
use crate::http::fields::asked;
use crate::http::routes;

#[tokio::test]
async fn every_route_stands_in_the_document_and_the_other_way_round() {
    let document = json_of(send(Canned::default(), get("/openapi.json")).await).await;
    let paths = document["paths"].as_object().expect("paths").clone();
    let told: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, is)| {
            is.as_object().expect("methods").keys().map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    let there: BTreeSet<(String, String)> = routes::all::<Canned>()
        .iter()
        .map(|route| (route.path.to_owned(), route.method.as_str().to_ascii_lowercase()))
        .collect();
    assert_eq!(told, there);
    assert!(told.len() >= 18, "{told:?}");
    for (path, method) in told {
        // Another method than those described is refused by the router, and not for want of a path.
        let other = if method == "get" { "POST" } else { "GET" };
        let request = Request::builder().method(other).uri(path.replace("{id}", "x")).header("host", "localhost");
        let response = send(Canned::default(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 405, "{other} {path}");
    }
}

/// A body of each kind that passes, so that its handler asks for all it knows.
fn body(path: &str) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    match path {
        "/v1/completions" => json!({"model": "UCM", "prompt": "a"}),
        "/v1/responses" | "/v1/embeddings" => json!({"model": "UCM", "input": "a"}),
        "/tokenize" => json!({"model": "UCM", "content": "a"}),
        "/detokenize" => json!({"model": "UCM", "tokens": [1]}),
        "/api/generate" => json!({"model": "UCM", "prompt": "a"}),
        "/api/show" => json!({"model": "UCM"}),
        "/owner/invite" => json!({}),
        "/owner/revoke" => json!({"peer_id": "12D3KooW"}),
        _ => json!({"model": "UCM", "messages": messages}),
    }
}

#[tokio::test]
async fn the_fields_of_each_body_are_those_that_its_handler_takes() {
    let mut compared = 0;
    for route in routes::all::<Canned>() {
        let Some(described) = route.operation.fields() else { continue };
        asked::taken();
        let refusal = Script::Refuse(ApiError::from_code("busy", "it was asked"));
        let status = send(Canned::new(refusal), post_to(route.path, body(route.path).to_string())).await.status();
        // The owner's are refused to others, once they were read.
        assert!([429, 404, 403].contains(&status.as_u16()), "{}: {status}", route.path);
        let taken: BTreeSet<String> = asked::taken().into_iter().filter(|name| !name.contains('.')).collect();
        assert_eq!(taken, described.into_iter().collect(), "{}", route.path);
        compared += 1;
    }
    assert_eq!(compared, 11);
}

#[tokio::test]
async fn statuses_that_an_answer_may_have_are_told() {
    let document = json_of(send(Canned::default(), get("/openapi.json")).await).await;
    for (code, path) in [
        ("not_resident", "/v1/chat/completions"),
        ("busy", "/v1/responses"),
        ("engine_failed", "/api/chat"),
        ("deadline", "/v1/embeddings"),
        ("a code of a later version", "/detokenize"),
        ("model_not_found", "/api/generate"),
    ] {
        let refusal = Script::Refuse(ApiError::from_code(code, "why"));
        let status = send(Canned::new(refusal), post_to(path, body(path).to_string())).await.status();
        let told = &document["paths"][path]["post"]["responses"];
        assert!(told.get(status.as_str()).is_some(), "{path} may answer {status}");
    }
}
