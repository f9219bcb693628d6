//! The JSON of chats' answers: whole completions, chunks of streamed ones, usage.

use fednode_proto::v1;
use serde_json::{Value, json};

use super::choices::{Count, Gathered, Piece, Tokens};
use super::stream::{Line, Teller};
use super::tool_text::{Told, ToolText};
use super::tools::Tools;
use super::{ApiError, StartInfo, logprobs, provenance};

/// What is the same in every piece of one answer.
pub(super) struct Envelope {
    id: String,
    created_unix_s: u64,
    model: String,
    fingerprint: String,
}

impl Envelope {
    /// An answer begun now.
    pub(super) fn new(prefix: &str, model: &str) -> Envelope {
        Envelope {
            id: provenance::new_id(prefix),
            created_unix_s: provenance::now_unix_s(),
            model: model.to_owned(),
            fingerprint: String::new(),
        }
    }

    /// Who answers; the first one stays.
    pub(super) fn started(&mut self, start: &StartInfo) {
        if self.fingerprint.is_empty() {
            self.fingerprint = provenance::fingerprint(start);
        }
    }

    pub(super) fn json(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created_unix_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }
}

/// OpenAI's `usage` of chats and completions.
pub(super) fn usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": u64::from(tokens.prompt) + u64::from(tokens.completion),
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    })
}

/// Calls take the place of an end that is not for want of room.
fn finish_reason(end: &v1::GenerateEnd, called: bool) -> &str {
    if called && end.finish_reason == "stop" { "tool_calls" } else { &end.finish_reason }
}

/// The whole answer of a chat that does not stream.
pub(super) fn whole(model: &str, choices: &[Gathered], tools: Option<&Tools>, with_logprobs: bool) -> Value {
    let mut envelope = Envelope::new("chatcmpl-", model);
    choices.iter().for_each(|choice| envelope.started(&choice.start));
    let one = |(index, choice): (usize, &Gathered)| {
        let (message, called) = message(&choice.text, tools);
        json!({
            "index": index,
            "message": message,
            "logprobs": with_logprobs.then(|| logprobs::of_chat(&choice.logprobs)),
            "finish_reason": finish_reason(&choice.end, called),
        })
    };
    let all = choices.iter().enumerate().map(one).collect();
    let mut whole = envelope.json("chat.completion", all);
    whole["usage"] = usage(Count::of_all(choices, choices.len()));
    whole
}

/// What the assistant said, and whether it called a tool.
fn message(text: &str, tools: Option<&Tools>) -> (Value, bool) {
    let Some(tools) = tools else {
        return (json!({"role": "assistant", "content": text, "refusal": null}), false);
    };
    let (text, calls) = read(text, tools);
    if calls.is_empty() {
        return (json!({"role": "assistant", "content": text, "refusal": null}), false);
    }
    let call = |(name, arguments): &(String, String)| {
        let id = provenance::new_id("call_");
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    };
    let calls: Vec<Value> = calls.iter().map(call).collect();
    let content = if text.is_empty() { Value::Null } else { json!(text) };
    (json!({"role": "assistant", "content": content, "refusal": null, "tool_calls": calls}), true)
}

/// The text of a whole answer, and the calls in it: name and arguments.
pub(super) fn read(answer: &str, tools: &Tools) -> (String, Vec<(String, String)>) {
    let mut reader = ToolText::new(tools);
    let told = reader.push(answer).into_iter().chain(reader.finish());
    let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
    for one in told {
        match one {
            Told::Text(more) => text.push_str(&more),
            Told::Call { name, .. } => calls.push((name, String::new())),
            Told::Arguments { index, json } => {
                if let Some((_, arguments)) = calls.get_mut(index) {
                    arguments.push_str(&json);
                }
            }
        }
    }
    (text, calls)
}

/// A chat's answer as it streams.
pub(super) struct ChatTeller {
    envelope: Envelope,
    count: Count,
    /// Streamed answers whose client asked for usage carry `"usage": null` in every chunk but the last.
    usage_asked: bool,
    with_logprobs: bool,
    /// Of each choice, where tools may be called.
    readers: Vec<ToolText>,
}

impl ChatTeller {
    pub(super) fn new(
        model: &str,
        n: usize,
        usage_asked: bool,
        with_logprobs: bool,
        tools: Option<&Tools>,
    ) -> ChatTeller {
        let readers = tools.map(|tools| (0..n).map(|_| ToolText::new(tools)).collect()).unwrap_or_default();
        let envelope = Envelope::new("chatcmpl-", model);
        ChatTeller { envelope, count: Count::new(n), usage_asked, with_logprobs, readers }
    }

    fn chunk(&self, choice: usize, delta: Value, logprobs: Value, finish_reason: Value) -> Line {
        let choice = json!({"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason});
        let mut chunk = self.envelope.json("chat.completion.chunk", json!([choice]));
        if self.usage_asked {
            chunk["usage"] = Value::Null;
        }
        Line::Json(chunk)
    }

    fn delta(&self, choice: usize, told: Told) -> Line {
        let delta = match told {
            Told::Text(text) => json!({"content": text}),
            Told::Call { index, name } => {
                let id = provenance::new_id("call_");
                let function = json!({"name": name, "arguments": ""});
                json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
            }
            Told::Arguments { index, json } => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": json}}]})
            }
        };
        self.chunk(choice, delta, Value::Null, Value::Null)
    }
}

impl Teller for ChatTeller {
    fn started(&mut self, choice: usize, start: &StartInfo) -> Vec<Line> {
        self.envelope.started(start);
        self.count.started(choice, start);
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        vec![self.chunk(choice, delta, Value::Null, Value::Null)]
    }

    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Line> {
        if let Some(reader) = self.readers.get_mut(choice) {
            let told = reader.push(&piece.text);
            return told.into_iter().map(|told| self.delta(choice, told)).collect();
        }
        let logprobs = if self.with_logprobs { logprobs::of_chat(&piece.logprobs) } else { Value::Null };
        vec![self.chunk(choice, json!({"content": piece.text}), logprobs, Value::Null)]
    }

    fn ended(&mut self, choice: usize, end: &v1::GenerateEnd) -> Vec<Line> {
        self.count.ended(choice, end);
        let told = self.readers.get_mut(choice).map(ToolText::finish).unwrap_or_default();
        let called = self.readers.get(choice).is_some_and(ToolText::has_called);
        let last = self.chunk(choice, json!({}), Value::Null, json!(finish_reason(end, called)));
        told.into_iter().map(|told| self.delta(choice, told)).chain([last]).collect()
    }

    fn done(&mut self) -> Vec<Line> {
        let usage = self.usage_asked.then(|| {
            let mut chunk = self.envelope.json("chat.completion.chunk", json!([]));
            chunk["usage"] = usage(self.count.total());
            Line::Json(chunk)
        });
        usage.into_iter().chain([Line::Done]).collect()
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Line> {
        vec![Line::Json(error.body())]
    }
}
