//! Ollama's endpoints.

use super::*;

fn ask(path: &str, body: Value) -> Request<Body> {
    post_to(path, body.to_string())
}

fn lines(stream: &str) -> Vec<Value> {
    stream.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn messages() -> Value {
    json!([{"role": "user", "content": "hi"}])
}

#[tokio::test]
async fn a_chat_streams_one_object_a_line_and_ends_with_counts() {
    let backend = Canned::says(&["Hel", "lo"]);
    let body = json!({"model": "UCM:latest", "messages": messages()});
    let response = send(backend.clone(), ask("/api/chat", body)).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    assert_eq!(response.headers()["x-fednode-artifact"], ARTIFACT);
    let lines = lines(&text(response).await);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["message"], json!({"role": "assistant", "content": "Hel"}));
    let last = &lines[2];
    assert_eq!(
        (&last["done"], &last["done_reason"], &last["model"]),
        (&json!(true), &json!("stop"), &json!("UCM:latest"))
    );
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(11), &json!(3)));
    assert_eq!(last["system_fingerprint"], "fp_001122334455");
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert_eq!((seen.slot.as_str(), seen.domain.as_str()), ("UCM", ""));
    assert_eq!((seen.temperature, seen.top_k, seen.top_p), (0.8, 40, 0.9));
}

#[tokio::test]
async fn options_reach_the_engine() {
    let backend = Canned::says(&["x"]);
    let options = json!({
        "num_predict": 7, "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 9, "stop": ["a"],
        "presence_penalty": 1, "frequency_penalty": -1, "repeat_penalty": 1.0, "num_ctx": 4096,
    });
    let body = json!({"model": "ULM:personal", "prompt": "p", "system": "s", "stream": false, "options": options});
    let body = json_of(send(backend.clone(), ask("/api/generate", body)).await).await;
    assert_eq!((&body["response"], &body["done"]), (&json!("x"), &json!(true)));
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert_eq!((seen.max_tokens, seen.temperature, seen.top_p, seen.top_k), (7, 0.0, 0.5, 3));
    assert_eq!((seen.min_p, seen.seed, seen.stop), (0.1, 9, vec!["a".to_owned()]));
    assert_eq!((seen.presence_penalty, seen.frequency_penalty), (1.0, -1.0));
    let roles: Vec<&str> = seen.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!((seen.domain.as_str(), roles), ("personal", vec!["system", "user"]));
}

#[tokio::test]
async fn raw_prompts_and_formats_reach_the_engine() {
    for (format, expect) in [(json!("json"), "{\"type\":\"object\"}"), (json!({"type": "null"}), "{\"type\":\"null\"}")]
    {
        let backend = Canned::says(&["x"]);
        let body =
            json!({"model": "UCM", "prompt": "p", "raw": true, "format": format, "options": {"num_predict": -1}});
        assert_eq!(send(backend.clone(), ask("/api/generate", body)).await.status(), 200);
        let seen = backend.seen.lock().unwrap().clone().expect("a request");
        assert_eq!((seen.prompt.as_str(), seen.messages.len()), ("p", 0));
        assert_eq!((seen.json_schema.as_str(), seen.max_tokens), (expect, limits::MAX_TOKENS_MAX));
    }
}

#[tokio::test]
async fn calls_are_told_with_their_arguments_as_an_object() {
    let tool = json!({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}});
    let history = json!([
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "4", "tool_name": "add"},
    ]);
    let says = ["{\"name\": \"add\", ", "\"arguments\": {\"a\": 2}}"];
    let backend = Canned::says(&says);
    let body = json!({"model": "UCM", "messages": history, "tools": [tool]});
    let lines = lines(&text(send(backend.clone(), ask("/api/chat", body.clone())).await).await);
    let expect = json!([{"function": {"name": "add", "arguments": {"a": 2}}}]);
    assert_eq!((lines.len(), &lines[0]["message"]["tool_calls"]), (2, &expect));
    let seen = backend.seen.lock().unwrap().clone().expect("a request");
    assert!(seen.messages[1].tool_calls_json.contains(r#""arguments":"{\"a\":1}""#), "{:?}", seen.messages[1]);
    assert_eq!(seen.messages[2].name, "add");
    let mut whole = body;
    whole["stream"] = json!(false);
    let body = json_of(send(Canned::says(&says), ask("/api/chat", whole)).await).await;
    assert_eq!(body["message"]["tool_calls"], expect);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name_in_ollamas_shape() {
    for (path, param, extra) in [
        ("/api/chat", "options.mirostat", json!({"options": {"mirostat": 1}})),
        ("/api/chat", "options.repeat_penalty", json!({"options": {"repeat_penalty": 1.1}})),
        ("/api/chat", "options.flavour", json!({"options": {"flavour": 1}})),
        ("/api/chat", "options.num_predict", json!({"options": {"num_predict": 0}})),
        ("/api/chat", "options", json!({"options": 5})),
        ("/api/chat", "keep_alive", json!({"keep_alive": "5m"})),
        ("/api/chat", "think", json!({"think": true})),
        ("/api/chat", "format", json!({"format": "xml"})),
        ("/api/chat", "messages[0].images", json!({"messages": [{"role": "user", "images": ["aGk="]}]})),
        ("/api/chat", "messages[0].role", json!({"messages": [{"role": "bot", "content": "x"}]})),
        ("/api/generate", "prompt", json!({"prompt": ""})),
        ("/api/generate", "suffix", json!({"suffix": "x"})),
        ("/api/generate", "context", json!({"context": [1, 2]})),
        ("/api/generate", "system", json!({"raw": true, "system": "x"})),
    ] {
        let mut body = json!({"model": "UCM"});
        body[if path == "/api/chat" { "messages" } else { "prompt" }] =
            if path == "/api/chat" { messages() } else { json!("p") };
        for (name, value) in extra.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let response = send(Canned::default(), ask(path, body)).await;
        assert_eq!(response.status(), 400, "{param}");
        let error = json_of(response).await;
        assert_eq!((error["error"].is_string(), &error["param"]), (true, &json!(param)), "{error}");
    }
    let body = json!({"model": "ULM", "messages": messages(), "options": {"num_ctx": 8192}});
    let response = send(Canned::says(&[]), ask("/api/chat", body)).await;
    assert_eq!((response.status().as_u16(), &json_of(response).await["param"]), (400, &json!("options.num_ctx")));
    let refusal = Script::Refuse(ApiError::from_code("not_resident", "later"));
    let response = send(Canned::new(refusal), ask("/api/chat", json!({"model": "UCM", "messages": messages()}))).await;
    assert_eq!((response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER)), (503, true));
    assert_eq!(json_of(response).await["error"], "later");
}

#[tokio::test]
async fn what_is_refused_before_a_handler_sees_it_has_ollamas_shape_too() {
    let mut elsewhere = get("/api/tags");
    elsewhere.headers_mut().insert("host", "evil.example".parse().unwrap());
    for (request, status, code) in [
        (get("/api/pull"), 404, "not_found"),
        (get("/api/chat"), 405, "method_not_allowed"),
        (elsewhere, 403, "host_not_allowed"),
    ] {
        let response = send(Canned::default(), request).await;
        assert_eq!(response.status(), status);
        let error = json_of(response).await;
        assert!(error["error"].is_string() && error["code"] == code, "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_an_error() {
    let broken = Script::Events(vec![Generated::Text("a".to_owned())]);
    let stream =
        text(send(Canned::new(broken), ask("/api/chat", json!({"model": "UCM", "messages": messages()}))).await).await;
    let lines = lines(&stream);
    assert!(lines.len() == 2 && lines[1]["error"].as_str().is_some_and(|why| why.contains("broke off")), "{stream}");
}

#[tokio::test]
async fn lists_tell_what_there_is() {
    let tags = json_of(send(Canned::says(&[]), get("/api/tags")).await).await;
    let names: Vec<&str> =
        tags["models"].as_array().expect("a list").iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, ["ULM", "ULM:personal"]);
    assert_eq!(
        (&tags["models"][0]["digest"], &tags["models"][0]["details"]["quantization_level"]),
        (&json!(ARTIFACT), &json!("F16"))
    );
    let shown = json_of(send(Canned::says(&[]), ask("/api/show", json!({"model": "ULM:personal"}))).await).await;
    assert_eq!(shown["model_info"]["fednode.context_length"], 4096);
    assert_eq!(send(Canned::says(&[]), ask("/api/show", json!({"model": "XYZ"}))).await.status(), 404);

    assert_eq!(json_of(send(Canned::says(&[]), get("/api/ps")).await).await["models"], json!([]));
    let mut state = federation();
    let replica = &mut state.slots[1].replicas[0];
    (replica.state, replica.bytes, replica.memory_domain) = ("ready".to_owned(), 77, "ram".to_owned());
    let backend = Canned { state: Arc::new(state), ..Canned::default() };
    let running = json_of(send(backend, get("/api/ps")).await).await;
    assert_eq!((&running["models"][0]["size"], &running["models"][0]["size_vram"]), (&json!(77), &json!(0)));
    let version = json_of(send(Canned::says(&[]), get("/api/version")).await).await;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
