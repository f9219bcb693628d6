//! What the HTTP edge refuses before the backend hears of it: fields, bodies, names, paths, methods, hosts; and the values
//! that look alike but pass.

use super::*;

#[tokio::test]
async fn fields_that_cannot_be_honoured_are_refused_by_name() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let refused = [
        ("tools[0].function", json!([{"type": "function"}])),
        ("tools[0].type", json!([{"type": "web_search"}])),
        ("tools[0].function.name", json!([{"type": "function", "function": {"name": "a b"}}])),
        ("tools[0].function.strict", json!([{"type": "function", "function": {"name": "f", "strict": true}}])),
        ("tools[1].function.name", json!([tool, tool])),
        ("tools", json!("f")),
        ("tools", json!([{"type": "function", "function": {"name": "f", "description": "x".repeat(300_000)}}])),
        ("functions", json!([{"name": "f"}])),
        ("tool_choice", json!("auto")),
        ("response_format.type", json!({"type": "xml"})),
        ("response_format.json_schema.schema", json!({"type": "json_schema", "json_schema": {"name": "x"}})),
        ("response_format", json!("json")),
        ("logprobs", json!(3)),
        ("top_logprobs", json!(3)),
        ("top_logprobs", json!(21)),
        ("n", json!(17)),
        ("n", json!(0)),
        ("logit_bias", json!({"5": 1})),
        ("presence_penalty", json!(2.5)),
        ("frequency_penalty", json!("-1")),
        ("min_p", json!(1.1)),
        ("top_k", json!(-1)),
        ("reasoning_effort", json!("high")),
        ("store", json!(true)),
        ("Temperature", json!(0)),
        ("temperature", json!(2.1)),
        ("temperature", json!("0")),
        ("top_p", json!(-0.1)),
        ("seed", json!(1.5)),
        ("max_tokens", json!(0)),
        ("max_completion_tokens", json!(1u64 << 40)),
        ("stop", json!("")),
        ("stop", json!(["a", 1])),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stream", json!("yes")),
        ("stream_options", json!({"include_usage": true})),
        ("user", json!(5)),
        ("messages", json!([])),
        ("messages", json!("hi")),
        ("messages[0]", json!(["hi"])),
        ("messages[0].role", json!([{"role": "function", "content": "x"}])),
        ("messages[0].tool_call_id", json!([{"role": "tool", "content": "x"}])),
        ("messages[0].tool_calls[0].id", json!([{"role": "assistant", "tool_calls": [{"type": "function"}]}])),
        ("messages[0].role", json!([{"content": "x"}])),
        ("messages[0].content", json!([{"role": "user", "content": null}])),
        ("messages[0].content[0]", json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])),
        ("messages[0].name", json!([{"role": "user", "content": "x", "name": "me"}])),
        ("model", json!(5)),
    ];
    for (param, value) in refused {
        let field = param.split(['[', '.']).next().unwrap_or(param);
        let response = send(Canned::default(), chat(json!({field: value}))).await;
        assert_eq!(response.status(), 400, "{param}: {value}");
        let error = json_of(response).await["error"].clone();
        assert_eq!((&error["param"], &error["type"]), (&json!(param), &json!("invalid_request_error")), "{error}");
    }
}

#[tokio::test]
async fn values_that_ask_for_nothing_are_taken() {
    let extra = json!({
        "n": 1, "logprobs": false, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0,
        "response_format": {"type": "text"}, "tools": null, "anything": null, "max_tokens": 5,
        "max_completion_tokens": 5, "stop": ["a", "b"], "temperature": 0, "seed": 18446744073709551615u64,
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "assistant", "content": "x", "refusal": null, "tool_calls": [], "annotations": []},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ],
    });
    let backend = Canned::says(&["ok"]);
    assert_eq!(send(backend.clone(), chat(extra)).await.status(), 200);
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert_eq!((seen.max_tokens, seen.temperature, seen.seed), (5, 0.0, u64::MAX));
    let messages: Vec<(&str, &str)> =
        seen.messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
    assert_eq!(messages, [("system", "be brief"), ("assistant", "x"), ("user", "a\nb")]);
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_in_openais_shape() {
    for body in ["", "{", "[]", "null", "{\"model\":", "\u{feff}{}"] {
        let response = send(Canned::default(), post(body)).await;
        assert_eq!(response.status(), 400, "{body:?}");
        assert_eq!(json_of(response).await["error"]["param"], Value::Null, "{body:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(send(Canned::default(), post(deep)).await.status(), 400);
    let large = send(Canned::default(), post(vec![b' '; limits::HTTP_BODY_BYTES_MAX + 1])).await;
    assert_eq!(large.status(), 413);
    assert_eq!(json_of(large).await["error"]["code"], "body_too_large");
}

#[tokio::test]
async fn names_that_cannot_be_managers_are_unknown_models() {
    for model in ["", "a/b", "ULM:", ":x", "ULM:a:b", "../etc", &"x".repeat(500)] {
        let response = send(Canned::default(), chat(json!({"model": model}))).await;
        assert_eq!(response.status(), 404, "{model}");
        assert_eq!(json_of(response).await["error"]["param"], "model");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_error_shape_too() {
    let missing = send(Canned::default(), get("/v1/audio")).await;
    assert_eq!((missing.status().as_u16(), json_of(missing).await["error"]["code"].clone()), (404, json!("not_found")));
    let wrong = send(Canned::default(), get("/v1/chat/completions")).await;
    assert_eq!((wrong.status().as_u16(), &wrong.headers()[header::ALLOW]), (405, &"POST".parse().unwrap()));
    assert_eq!(json_of(wrong).await["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn every_path_refuses_other_hosts_and_origins() {
    for path in ["/state", "/v1/models", "/health", "/nothing", "/v1/chat/completions"] {
        for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
            let mut request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).unwrap();
            request.headers_mut().insert("host", "localhost".parse().unwrap());
            request.headers_mut().insert(name, value.parse().unwrap());
            let response = send(Canned::default(), request).await;
            assert_eq!(response.status(), 403, "{path} {name}");
            assert_eq!(json_of(response).await["error"]["type"], "permission_error");
        }
    }
}
