//! The answers of `/api/chat` and `/api/generate`: one JSON object a line, the last with `done` and what it took.

use std::time::Instant;

use fednode_proto::v1;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::http::answer;
use crate::http::choices::{Count, Gathered, Piece};
use crate::http::stream::{Line, Teller};
use crate::http::tool_text::{Told, ToolText};
use crate::http::tools::Tools;
use crate::http::{ApiError, StartInfo, provenance};

/// Tells one answer.
pub(super) struct OllamaTeller {
    model: String,
    of_chat: bool,
    count: Count,
    fingerprint: Value,
    asked: Instant,
    /// The prompt was computed by then.
    begun: Option<Instant>,
    reader: Option<ToolText>,
    /// A call that is not whole yet: Ollama tells calls whole.
    call: Option<(String, String)>,
}

impl OllamaTeller {
    pub(super) fn new(model: &str, of_chat: bool, tools: Option<&Tools>) -> OllamaTeller {
        OllamaTeller {
            model: model.to_owned(),
            of_chat,
            count: Count::new(1),
            fingerprint: Value::Null,
            asked: Instant::now(),
            begun: None,
            reader: tools.map(ToolText::new),
            call: None,
        }
    }

    /// The answer of a request that does not stream.
    pub(super) fn whole(&mut self, choice: &Gathered, tools: Option<&Tools>) -> Value {
        self.note_start(&choice.start);
        self.count.ended(0, &choice.end);
        let (text, calls) = match tools {
            Some(tools) => answer::read(&choice.text, tools),
            None => (choice.text.clone(), Vec::new()),
        };
        let mut whole = self.object(&text, &calls);
        self.end(&mut whole, &choice.end);
        whole
    }

    fn note_start(&mut self, start: &StartInfo) {
        self.begun.get_or_insert_with(Instant::now);
        self.count.started(0, start);
        self.fingerprint = json!(provenance::fingerprint(start));
    }

    fn object(&self, text: &str, calls: &[(String, String)]) -> Value {
        // Only years beyond 9999 cannot be written.
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut object = json!({"model": self.model, "created_at": now, "done": false});
        if self.of_chat {
            object["message"] = json!({"role": "assistant", "content": text});
            if !calls.is_empty() {
                object["message"]["tool_calls"] = calls.iter().map(call).collect();
            }
        } else {
            object["response"] = json!(text);
        }
        object
    }

    fn end(&self, object: &mut Value, end: &v1::GenerateEnd) {
        let now = Instant::now();
        let nanos = |from: Instant, to: Instant| to.saturating_duration_since(from).as_nanos() as u64;
        let (begun, tokens) = (self.begun.unwrap_or(now), self.count.total());
        object["done"] = json!(true);
        object["done_reason"] = json!(end.finish_reason);
        object["total_duration"] = json!(nanos(self.asked, now));
        object["load_duration"] = json!(0);
        object["prompt_eval_count"] = json!(tokens.prompt);
        object["prompt_eval_duration"] = json!(nanos(self.asked, begun));
        object["eval_count"] = json!(tokens.completion);
        object["eval_duration"] = json!(nanos(begun, now));
        object["system_fingerprint"] = self.fingerprint.clone();
    }

    /// Text as it comes, calls when they are whole.
    fn tell(&mut self, told: Vec<Told>) -> Vec<Line> {
        let mut lines = Vec::new();
        for one in told {
            match one {
                Told::Text(text) => lines.push(Line::Json(self.object(&text, &[]))),
                Told::Call { name, .. } => {
                    lines.extend(self.whole_call());
                    self.call = Some((name, String::new()));
                }
                Told::Arguments { json, .. } => {
                    if let Some((_, arguments)) = &mut self.call {
                        arguments.push_str(&json);
                    }
                }
            }
        }
        lines
    }

    fn whole_call(&mut self) -> Option<Line> {
        let call = self.call.take()?;
        Some(Line::Json(self.object("", &[call])))
    }
}

/// Arguments that were cut off stay text.
fn call((name, arguments): &(String, String)) -> Value {
    let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| json!({"cut_off": arguments}));
    json!({"function": {"name": name, "arguments": arguments}})
}

impl Teller for OllamaTeller {
    fn started(&mut self, _: usize, start: &StartInfo) -> Vec<Line> {
        self.note_start(start);
        Vec::new()
    }

    fn piece(&mut self, _: usize, piece: Piece) -> Vec<Line> {
        match &mut self.reader {
            None => vec![Line::Json(self.object(&piece.text, &[]))],
            Some(reader) => {
                let told = reader.push(&piece.text);
                self.tell(told)
            }
        }
    }

    fn ended(&mut self, choice: usize, end: &v1::GenerateEnd) -> Vec<Line> {
        self.count.ended(choice, end);
        let told = self.reader.as_mut().map(ToolText::finish).unwrap_or_default();
        let mut lines = self.tell(told);
        lines.extend(self.whole_call());
        let mut last = self.object("", &[]);
        self.end(&mut last, end);
        lines.push(Line::Json(last));
        lines
    }

    fn done(&mut self) -> Vec<Line> {
        Vec::new()
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Line> {
        vec![Line::Json(json!({"error": error.message, "code": error.code}))]
    }
}
