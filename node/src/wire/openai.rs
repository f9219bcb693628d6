//! OpenAI's chat protocol from the client's side, as external engines speak it: our request as JSON, and what comes back as
//! events. Pure. A server is not trusted: every line, text and number is bounded, what is not understood ends the answer, and
//! an answer ends exactly once. `engine/external` moves the bytes.

use fednode_proto::v1;
use serde_json::{Value, json};

use crate::core::external::is_model_name;
use crate::core::limits;
use crate::wire::sse::{Line, Lines};

/// One event of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// More text.
    Text(String),
    /// It is complete.
    End(Ended),
    /// It broke off, or was refused.
    Failed(Failed),
}

/// How a complete answer ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ended {
    /// It stopped at the length asked for; else by itself.
    pub by_length: bool,
    /// As the server counts them, 0: it did not say.
    pub prompt_tokens: u32,
    /// As the server counts them, or else the pieces of text that came.
    pub completion_tokens: u32,
}

/// Why there is no answer, or no more of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// A code of `GenerateError`.
    pub code: &'static str,
    /// One sentence, free of control characters.
    pub message: String,
}

fn failed(code: &'static str, message: impl Into<String>) -> Failed {
    Failed { code, message: message.into() }
}

/// What a request asks for that no stranger can be trusted with, or not every server understands. `None`: nothing.
pub fn beyond(request: &v1::GenerateRequest) -> Option<&'static str> {
    let about_tools = |message: &v1::Message| !message.tool_calls_json.is_empty() || !message.tool_call_id.is_empty();
    let asked = [
        (!request.prompt.is_empty(), "text to be continued without a chat template"),
        (request.logprobs, "log probabilities"),
        (!request.tools_json.is_empty() || request.messages.iter().any(about_tools), "calling tools"),
        (!request.json_schema.is_empty(), "JSON of a schema"),
        (!request.domain.is_empty(), "a domain"),
        (request.task.is_some(), "embeddings or tokens"),
    ];
    asked.into_iter().find(|(asked, _)| *asked).map(|(_, what)| what)
}

/// The body of a chat request. Always streamed: a server notices only at its next write that nobody reads, and one that does
/// not stream writes once (llama-server was seen to compute such an answer to its end).
pub fn chat_request(request: &v1::GenerateRequest, model: &str) -> Vec<u8> {
    let messages: Vec<Value> =
        request.messages.iter().map(|message| json!({"role": message.role, "content": message.content})).collect();
    let mut body = json!({
        "model": model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": request.max_tokens,
        "temperature": number(request.temperature),
        "top_p": number(request.top_p),
        // Servers take 31 bits at least; more is cut off, or refused.
        "seed": (request.seed ^ (request.seed >> 32)) & 0x7fff_ffff,
    });
    if !request.stop.is_empty() {
        body["stop"] = json!(request.stop);
    }
    let penalties = [("presence_penalty", request.presence_penalty), ("frequency_penalty", request.frequency_penalty)];
    // Not all servers know these, and all must understand what asks for nothing.
    for (name, value) in penalties.into_iter().chain([("min_p", request.min_p)]).filter(|(_, value)| *value != 0.0) {
        body[name] = number(value);
    }
    if request.top_k != 0 {
        body["top_k"] = json!(request.top_k);
    }
    body.to_string().into_bytes()
}

/// 0.7 as a person wrote it, and not 0.699999988079071.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number)
}

/// A streamed answer on its way: bytes in, events out.
#[derive(Clone, Debug)]
pub struct AnswerReader {
    lines: Lines,
    /// What may still come, framing and all.
    bytes_left: u64,
    pieces: u32,
    finish: Option<bool>,
    usage: Option<(u32, u32)>,
    ended: bool,
}

impl AnswerReader {
    /// Nothing came yet of an answer that may have `max_tokens` tokens.
    pub fn new(max_tokens: u32) -> AnswerReader {
        let bytes_left =
            limits::EXTERNAL_BYTES_BESIDE_MAX + u64::from(max_tokens) * limits::EXTERNAL_BYTES_PER_TOKEN_MAX;
        let lines = Lines::new(limits::EXTERNAL_LINE_BYTES_MAX);
        AnswerReader { lines, bytes_left, pieces: 0, finish: None, usage: None, ended: false }
    }

    /// Has the answer ended? What comes after that is not looked at.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The events that `bytes` complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        if self.ended {
            return Vec::new();
        }
        let Some(left) = self.bytes_left.checked_sub(bytes.len() as u64) else {
            return vec![self.fail("it sends far more than was asked for")];
        };
        self.bytes_left = left;
        let lines = match self.lines.push(bytes) {
            Ok(lines) => lines,
            Err(error) => return vec![self.fail(&error.to_string())],
        };
        let mut said = Vec::new();
        for line in lines {
            if let (false, Line::Data(data)) = (self.ended, line) {
                said.extend(self.data(&data));
            }
        }
        said
    }

    /// The server closed the stream: the end, unless it came already. Some leave out `[DONE]`; none leaves out why it ended.
    pub fn close(&mut self) -> Option<Said> {
        match (self.ended, self.finish) {
            (true, _) => None,
            (false, Some(_)) => Some(self.end()),
            (false, None) => Some(self.fail("it broke off in the middle")),
        }
    }

    fn data(&mut self, data: &str) -> Option<Said> {
        if data.trim_end() == "[DONE]" {
            return Some(if self.finish.is_some() { self.end() } else { self.fail("it ended without saying why") });
        }
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            return Some(self.fail("it sends what is no JSON"));
        };
        if !chunk["error"].is_null() {
            self.ended = true;
            return Some(Said::Failed(stated(&chunk)));
        }
        self.take_usage(&chunk["usage"]);
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(reason == "length");
        }
        let text = choice["delta"]["content"].as_str().filter(|text| !text.is_empty())?;
        self.pieces = self.pieces.saturating_add(1);
        Some(Said::Text(text.to_owned()))
    }

    fn take_usage(&mut self, usage: &Value) {
        let count = |field: &str| usage[field].as_u64().map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        if let (Some(prompt), Some(completion)) = (count("prompt_tokens"), count("completion_tokens")) {
            self.usage = Some((prompt, completion));
        }
    }

    fn end(&mut self) -> Said {
        self.ended = true;
        let (prompt_tokens, completion_tokens) = self.usage.unwrap_or((0, self.pieces));
        Said::End(Ended { by_length: self.finish == Some(true), prompt_tokens, completion_tokens })
    }

    fn fail(&mut self, why: &str) -> Said {
        self.ended = true;
        Said::Failed(failed("engine_failed", format!("the external engine failed: {why}")))
    }
}

/// What an answer with a status other than 200 means.
pub fn refusal(status: u16, body: &[u8]) -> Failed {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = stated(&body);
    match status {
        401 | 403 => failed(
            "engine_failed",
            format!("the external engine refuses this node's key (HTTP {status}); add it again with --key-file"),
        ),
        404 => failed(
            "engine_failed",
            format!("the external engine does not know what it was asked for: {}", said.message),
        ),
        429 => Failed { code: "busy", ..said },
        503 => Failed { code: if said.code == "busy" { "busy" } else { "not_resident" }, ..said },
        400 | 413 | 422 if said.code == "engine_failed" => Failed { code: "bad_request", ..said },
        300..=399 => failed("engine_failed", "the external engine sends this node elsewhere; add that address instead"),
        _ => said,
    }
}

/// The error that a body, or an event, states.
fn stated(body: &Value) -> Failed {
    let error = &body["error"];
    let text = |field: &str| error[field].as_str().unwrap_or_default();
    let message =
        error["message"].as_str().or(error.as_str()).or(body["message"].as_str()).unwrap_or("it gave no reason");
    // llama-server says in `type` what OpenAI says in `code`.
    let code = match (text("code"), text("type")) {
        ("context_length_exceeded", _) | (_, "exceed_context_size_error") => "context_length",
        ("busy", _) => "busy",
        ("not_resident" | "no_room", _) => "not_resident",
        _ => "engine_failed",
    };
    failed(code, format!("the external engine says: {}", plain(message)))
}

/// Text of a stranger, short and on one line.
pub fn plain(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(limits::EXTERNAL_REASON_CHARS_MAX).collect()
}

/// The names in a list of models; names that cannot be shown are left out. `None`: it is no such list.
pub fn models(body: &[u8]) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let listed = body["data"].as_array()?.iter().take(limits::EXTERNAL_MODELS_MAX);
    let names = listed.filter_map(|model| model["id"].as_str()).filter(|name| is_model_name(name));
    Some(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a stream that is cut into pieces of each of some sizes: always the same.
    fn read(max_tokens: u32, stream: &str) -> Vec<Said> {
        let in_pieces = |size: usize| {
            let mut reader = AnswerReader::new(max_tokens);
            let mut said: Vec<Said> = stream.as_bytes().chunks(size).flat_map(|piece| reader.push(piece)).collect();
            said.extend(reader.close());
            assert!(reader.has_ended());
            said
        };
        let whole = in_pieces(stream.len().max(1));
        assert!([1, 2, 13].into_iter().all(|size| in_pieces(size) == whole), "{whole:?}");
        whole
    }

    fn text(piece: &str) -> String {
        format!("data: {}\n\n", json!({"choices": [{"delta": {"content": piece}, "finish_reason": null}]}))
    }

    fn finish(reason: &str) -> String {
        format!("data: {}\n\n", json!({"choices": [{"delta": {}, "finish_reason": reason}]}))
    }

    fn why(said: &[Said]) -> (&'static str, String) {
        match said {
            [.., Said::Failed(failed)] => (failed.code, failed.message.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_its_texts_and_one_end() {
        let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\n\n";
        let stream =
            [": waiting\n\n", role, &text("He"), &text("y"), &finish("stop"), usage, "data: [DONE]\n\n", "late"];
        let end = Ended { by_length: false, prompt_tokens: 7, completion_tokens: 9 };
        assert_eq!(read(5, &stream.concat()), [Said::Text("He".into()), Said::Text("y".into()), Said::End(end)]);
    }

    #[test]
    fn servers_that_say_less_are_understood_too() {
        let end = Said::End(Ended { by_length: true, prompt_tokens: 0, completion_tokens: 1 });
        assert_eq!(read(5, &[text("He"), finish("length")].concat()), [Said::Text("He".into()), end]);
    }

    #[test]
    fn whatever_a_hostile_server_sends_ends_once_with_an_error() {
        let endless = format!("data: {}", "x".repeat(limits::EXTERNAL_LINE_BYTES_MAX));
        let flood = text(&"x".repeat(1000)).repeat(2000);
        let cases = [
            (text("He"), "broke off"),
            (String::new(), "broke off"),
            (format!("{}data: [DONE]\n\n", text("He")), "without saying why"),
            ("data: {\"choices\":\n\n".to_owned(), "no JSON"),
            ("data: <html>\n\n".to_owned(), "no JSON"),
            (endless, "a line of more than"),
            (flood, "more than was asked for"),
            ("data: {\"error\":{\"message\":\"out\\nof \\u001b[31m memory\"}}\n\n".to_owned(), "out of  [31m memory"),
            ("data: {\"error\":\"no slot\"}\n\n".to_owned(), "no slot"),
            (format!("data: {}\n\n", "[".repeat(100_000)), "no JSON"),
        ];
        for (stream, expect) in cases {
            let mut reader = AnswerReader::new(1);
            let mut said: Vec<Said> = stream.as_bytes().chunks(4096).flat_map(|piece| reader.push(piece)).collect();
            said.extend(reader.close());
            let (code, message) = why(&said);
            assert!(message.contains(expect) && code == "engine_failed", "{message}");
            let ends = said.iter().filter(|one| !matches!(one, Said::Text(_))).count();
            assert_eq!((ends, reader.push(b"data: [DONE]\n\n"), reader.close()), (1, vec![], None));
        }
    }

    #[test]
    fn numbers_out_of_range_and_fields_of_other_types_are_harmless() {
        let odd = "data: {\"choices\":[{\"delta\":{\"content\":7},\"finish_reason\":1}],\"usage\":{\"prompt_tokens\":-1}}\n\n\
                   data: 5\n\ndata: {\"usage\":{\"prompt_tokens\":1e99,\"completion_tokens\":99999999999}}\n\n\
                   data: {\"usage\":{\"prompt_tokens\":99999999999,\"completion_tokens\":1}}\n\n";
        let end = Said::End(Ended { by_length: false, prompt_tokens: u32::MAX, completion_tokens: 1 });
        assert_eq!(read(1, &[odd, &finish("stop")].concat()), [end]);
    }

    #[test]
    fn refusals_keep_what_a_client_must_know() {
        let context = r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}"#;
        let cases = [
            (400, context, "context_length"),
            (400, r#"{"error":{"message":"bad","code":"context_length_exceeded"}}"#, "context_length"),
            (400, r#"{"error":{"message":"bad"}}"#, "bad_request"),
            (401, "", "engine_failed"),
            (404, "<html>", "engine_failed"),
            (429, r#"{"error":{"message":"queue"}}"#, "busy"),
            (503, r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#, "not_resident"),
            (307, "", "engine_failed"),
            (500, "\u{0}\u{1}", "engine_failed"),
        ];
        for (status, body, code) in cases {
            let failed = refusal(status, body.as_bytes());
            assert_eq!(failed.code, code, "{status} {body}: {}", failed.message);
        }
        let long = json!({"error": {"message": "é".repeat(9000)}}).to_string();
        assert!(refusal(500, long.as_bytes()).message.chars().count() < 300);
    }

    #[test]
    fn only_names_that_can_be_shown_are_listed() {
        let body = json!({"data": [{"id": "llama"}, {"id": "a\u{1b}[2J"}, {"id": ""}, {"id": 7}, {}, "x"]}).to_string();
        assert_eq!(models(body.as_bytes()), Some(vec!["llama".to_owned()]));
        assert_eq!((models(b"[]"), models(b"{\"data\":1}"), models(b"")), (None, None, None));
    }

    #[test]
    fn a_request_says_all_that_was_asked_and_streams() {
        let message = v1::Message { role: "user".into(), content: "hello".into(), ..v1::Message::default() };
        let request = v1::GenerateRequest {
            slot: "UCM".into(),
            messages: vec![message],
            max_tokens: 5,
            temperature: 0.7,
            top_p: 1.0,
            seed: u64::MAX - 1,
            stop: vec!["x".into()],
            ..v1::GenerateRequest::default()
        };
        let body: Value = serde_json::from_slice(&chat_request(&request, "llama")).expect("JSON");
        let expect = json!({
            "model": "llama", "messages": [{"role": "user", "content": "hello"}], "stream": true,
            "stream_options": {"include_usage": true}, "max_tokens": 5, "temperature": 0.7, "top_p": 1.0, "seed": 1,
            "stop": ["x"],
        });
        assert_eq!(body, expect);
        let more = v1::GenerateRequest { top_k: 40, frequency_penalty: 0.5, ..request.clone() };
        let body: Value = serde_json::from_slice(&chat_request(&more, "llama")).expect("JSON");
        assert_eq!(
            (&body["top_k"], &body["frequency_penalty"], &body["min_p"]),
            (&json!(40), &json!(0.5), &Value::Null)
        );
    }

    #[test]
    fn what_a_stranger_cannot_be_asked_for_is_named() {
        let plain = v1::GenerateRequest::default();
        assert_eq!(beyond(&plain), None);
        let asks = [
            v1::GenerateRequest { prompt: "p".into(), ..plain.clone() },
            v1::GenerateRequest { logprobs: true, ..plain.clone() },
            v1::GenerateRequest { tools_json: "[]".into(), ..plain.clone() },
            v1::GenerateRequest { json_schema: "{}".into(), ..plain.clone() },
            v1::GenerateRequest { domain: "core".into(), ..plain.clone() },
            v1::GenerateRequest { task: Some(v1::Task::default()), ..plain },
        ];
        assert!(asks.iter().all(|request| beyond(request).is_some()));
    }
}
