//! Tools, formats, log-probabilities and several choices of a chat: what the engine is asked, and what the client reads.

use super::*;

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    json!([
        {"type": "function", "function": {"name": "add", "description": "adds", "parameters": parameters}},
        {"type": "function", "function": {"name": "now"}},
    ])
}

fn schema_of(request: &v1::GenerateRequest) -> Value {
    serde_json::from_str(&request.json_schema).unwrap_or_default()
}

fn seen(backend: &Canned) -> v1::GenerateRequest {
    backend.seen.lock().unwrap().clone().expect("a request")
}

fn chunks(stream: &str) -> Vec<Value> {
    let lines = data_lines(stream).into_iter().filter(|line| *line != "[DONE]");
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_call_in_the_text_is_told_as_a_call_whole_and_streamed() {
    let texts = ["<tool_", "call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>"];
    let backend = Canned::says(&texts);
    let body = json_of(send(backend.clone(), chat(json!({"tools": tools()}))).await).await;
    let choice = &body["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"], json!({"name": "add", "arguments": "{\"a\":1}"}));
    assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")) && call["type"] == "function");
    let request = seen(&backend);
    assert_eq!(serde_json::from_str::<Value>(&request.tools_json).expect("JSON"), tools());
    assert_eq!(request.json_schema, "");

    let stream = text(send(Canned::says(&texts), chat(json!({"tools": tools(), "stream": true}))).await).await;
    let chunks = chunks(&stream);
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas.len(), 4, "{stream}");
    assert_eq!(deltas[1]["tool_calls"][0]["function"], json!({"name": "add", "arguments": ""}));
    assert_eq!(deltas[2]["tool_calls"][0], json!({"index": 0, "function": {"arguments": "{\"a\":1}"}}));
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_call_that_must_be_made_is_held_to_its_schema() {
    let named = json!({"type": "function", "function": {"name": "add"}});
    let backend = Canned::says(&["{\"a\":", " 2}"]);
    let body = json_of(send(backend.clone(), chat(json!({"tools": tools(), "tool_choice": named}))).await).await;
    assert_eq!(body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\": 2}");
    assert_eq!(schema_of(&seen(&backend)), tools()[0]["function"]["parameters"]);

    let backend = Canned::says(&["{\"name\": \"now\", \"arguments\": {}}"]);
    let body = json_of(send(backend.clone(), chat(json!({"tools": tools(), "tool_choice": "required"}))).await).await;
    assert_eq!(body["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "now");
    let schema = schema_of(&seen(&backend));
    assert_eq!(schema["anyOf"][0]["properties"]["name"], json!({"const": "add"}));
    assert_eq!(schema["anyOf"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn without_a_wish_for_tools_the_model_hears_of_none() {
    let backend = Canned::says(&["{\"name\": \"now\", \"arguments\": {}}"]);
    let body = json_of(send(backend.clone(), chat(json!({"tools": tools(), "tool_choice": "none"}))).await).await;
    assert_eq!(body["choices"][0]["message"]["tool_calls"], Value::Null);
    assert_eq!(seen(&backend).tools_json, "");
}

#[tokio::test]
async fn the_history_of_a_tool_reaches_the_engine() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}});
    let messages = json!([
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": null, "tool_calls": [call], "refusal": null},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]);
    let backend = Canned::says(&["4"]);
    assert_eq!(send(backend.clone(), chat(json!({"messages": messages, "tools": tools()}))).await.status(), 200);
    let messages = seen(&backend).messages;
    assert_eq!(serde_json::from_str::<Value>(&messages[1].tool_calls_json).expect("JSON"), json!([call]));
    assert_eq!((messages[2].role.as_str(), messages[2].tool_call_id.as_str()), ("tool", "c1"));
}

#[tokio::test]
async fn what_cannot_go_together_is_refused_by_name() {
    let schema = json!({"type": "json_object"});
    let strict = json!([{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/x"}}}, tools()[0]]);
    for (param, extra) in [
        ("response_format", json!({"tools": tools(), "response_format": schema})),
        ("logprobs", json!({"tools": tools(), "logprobs": true})),
        (
            "tool_choice.function.name",
            json!({
                "tools": tools(), "tool_choice": {"type": "function", "function": {"name": "rm"}},
            }),
        ),
        ("tools[0].function.parameters", json!({"tools": strict, "tool_choice": "required"})),
    ] {
        let response = send(Canned::default(), chat(extra)).await;
        assert_eq!(response.status(), 400, "{param}");
        assert_eq!(json_of(response).await["error"]["param"], param);
    }
}

#[tokio::test]
async fn formats_become_schemas_and_refusals_name_the_field() {
    let schema = json!({"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "null"}}});
    let named = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    for (format, expect) in [(json!({"type": "json_object"}), json!({"type": "object"})), (named, schema)] {
        let backend = Canned::says(&["{}"]);
        assert_eq!(send(backend.clone(), chat(json!({"response_format": format}))).await.status(), 200);
        assert_eq!(schema_of(&seen(&backend)), expect);
    }
    for (code, tools, param) in [
        ("bad_schema", json!([]), "response_format"),
        ("bad_schema", tools(), "tools"),
        ("no_tools", tools(), "tools"),
        ("context_length", json!([]), "messages"),
    ] {
        let refusal = Script::Refuse(ApiError::from_code(code, "why"));
        let response = send(Canned::new(refusal), chat(json!({"tools": tools}))).await;
        assert_eq!((response.status().as_u16(), &json_of(response).await["error"]["param"]), (400, &json!(param)));
    }
}

fn likely(piece: &str, top: &[(&str, f32)]) -> v1::TokenLogprob {
    let one = |(piece, logprob): &(&str, f32)| v1::TokenLogprob {
        piece: piece.as_bytes().to_vec(),
        logprob: *logprob,
        top: Vec::new(),
    };
    v1::TokenLogprob { top: top.iter().map(one).collect(), ..one(&(piece, -0.5)) }
}

fn with_logprobs() -> Script {
    let tokens = vec![likely("He", &[("He", -0.5), ("Ho", f32::NEG_INFINITY)]), likely("y", &[])];
    Script::Events(vec![
        Generated::Logprobs(v1::TokenLogprobs { tokens }),
        Generated::Text("Hey".to_owned()),
        Generated::Logprobs(v1::TokenLogprobs { tokens: vec![likely("!", &[])] }),
        end(),
    ])
}

#[tokio::test]
async fn log_probabilities_have_openais_shape() {
    let ask = json!({"logprobs": true, "top_logprobs": 2});
    let backend = Canned::new(with_logprobs());
    let body = json_of(send(backend.clone(), chat(ask.clone())).await).await;
    let content = body["choices"][0]["logprobs"]["content"].as_array().expect("tokens").clone();
    assert_eq!(content.len(), 3);
    assert_eq!((&content[0]["token"], &content[0]["bytes"]), (&json!("He"), &json!([72, 101])));
    assert_eq!(content[0]["top_logprobs"][1]["logprob"], -9999.0);
    assert_eq!((seen(&backend).logprobs, seen(&backend).top_logprobs), (true, 2));

    let mut streamed = ask;
    streamed["stream"] = json!(true);
    let chunks = chunks(&text(send(Canned::new(with_logprobs()), chat(streamed)).await).await);
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["content"].as_array().map(Vec::len), Some(2));
    assert_eq!(chunks[2]["choices"][0]["logprobs"]["content"][0]["token"], "!");
}

#[tokio::test]
async fn several_choices_are_several_requests_with_seeds_of_their_own() {
    let backend = Canned::in_turn([script(&["a"]), script(&["b"]), script(&["c"])]);
    let body = json_of(send(backend.clone(), chat(json!({"n": 3, "seed": 7}))).await).await;
    let mut texts: Vec<String> = body["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .map(|choice| choice["message"]["content"].as_str().expect("text").to_owned())
        .collect();
    texts.sort();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!((&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]), (&json!(11), &json!(9)));
    let mut seeds: Vec<u64> = backend.all_seen.lock().unwrap().iter().map(|request| request.seed).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [7, 8, 9]);

    let backend = Canned::in_turn([script(&["a"]), script(&["b"])]);
    let ask = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let stream = text(send(backend, chat(ask)).await).await;
    let chunks = chunks(&stream);
    let of = |index: u64| chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index).count();
    assert_eq!((of(0), of(1), chunks.len()), (3, 3, 7), "{stream}");
    assert_eq!(chunks[6]["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn one_choice_that_fails_fails_the_answer() {
    let refusal = || Script::Refuse(ApiError::from_code("busy", "full"));
    let response = send(Canned::in_turn([script(&["a"]), refusal()]), chat(json!({"n": 2}))).await;
    assert_eq!(response.status(), 429);
    let response = send(Canned::in_turn([script(&["a"]), refusal()]), chat(json!({"n": 2, "stream": true}))).await;
    let stream = text(response).await;
    assert!(stream.contains("\"code\":\"busy\"") && !stream.contains("[DONE]"), "{stream}");
}
