//! The answer: one message of one text, whole or as the events that OpenAI's clients put together again.

use fednode_proto::v1;
use serde_json::{Map, Value, json};

use crate::http::choices::{Count, Gathered, Piece};
use crate::http::stream::{Line, Teller};
use crate::http::{ApiError, StartInfo, provenance};

/// Tells one response.
pub(super) struct ResponseTeller {
    id: String,
    item: String,
    created_unix_s: u64,
    model: String,
    fingerprint: Value,
    echo: Value,
    count: Count,
    text: String,
    /// Events are numbered.
    next: u64,
}

impl ResponseTeller {
    pub(super) fn new(model: &str, echo: Value) -> ResponseTeller {
        ResponseTeller {
            id: provenance::new_id("resp_"),
            item: provenance::new_id("msg_"),
            created_unix_s: provenance::now_unix_s(),
            model: model.to_owned(),
            fingerprint: Value::Null,
            echo,
            count: Count::new(1),
            text: String::new(),
            next: 0,
        }
    }

    /// The response of a request that does not stream.
    pub(super) fn whole(&mut self, choice: &Gathered) -> Value {
        self.fingerprint = json!(provenance::fingerprint(&choice.start));
        self.count.started(0, &choice.start);
        self.count.ended(0, &choice.end);
        self.text.clone_from(&choice.text);
        self.ended_response(&choice.end)
    }

    /// The response as it stands.
    fn response(&self, status: &str, output: Value) -> Value {
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_unix_s,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "store": false,
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            "usage": null,
            "metadata": {},
        });
        if let (Some(response), Some(echo)) = (response.as_object_mut(), self.echo.as_object()) {
            response.extend(echo.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        response
    }

    fn ended_response(&self, end: &v1::GenerateEnd) -> Value {
        let complete = end.finish_reason != "length";
        let status = if complete { "completed" } else { "incomplete" };
        let mut response = self.response(status, json!([self.message(status, json!([self.part()]))]));
        if !complete {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let tokens = self.count.total();
        response["usage"] = json!({
            "input_tokens": tokens.prompt,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": u64::from(tokens.prompt) + u64::from(tokens.completion),
        });
        response
    }

    fn message(&self, status: &str, content: Value) -> Value {
        json!({"id": self.item, "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn part(&self) -> Value {
        json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": []})
    }

    /// An event; `fields` beside its type and number.
    fn event(&mut self, name: &'static str, fields: Value) -> Line {
        let mut event = Map::new();
        event.insert("type".to_owned(), json!(name));
        event.insert("sequence_number".to_owned(), json!(self.next));
        self.next += 1;
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        Line::Named(name, Value::Object(event))
    }

    /// An event about the one part of the one message.
    fn about_part(&mut self, name: &'static str, field: &str, value: Value) -> Line {
        let mut fields = json!({"item_id": self.item, "output_index": 0, "content_index": 0});
        fields[field] = value;
        if field == "delta" || field == "text" {
            fields["logprobs"] = json!([]);
        }
        self.event(name, fields)
    }
}

impl Teller for ResponseTeller {
    fn started(&mut self, choice: usize, start: &StartInfo) -> Vec<Line> {
        self.fingerprint = json!(provenance::fingerprint(start));
        self.count.started(choice, start);
        let begun = json!({"response": self.response("in_progress", json!([]))});
        let item = json!({"output_index": 0, "item": self.message("in_progress", json!([]))});
        let part = self.part();
        vec![
            self.event("response.created", begun.clone()),
            self.event("response.in_progress", begun),
            self.event("response.output_item.added", item),
            self.about_part("response.content_part.added", "part", part),
        ]
    }

    fn piece(&mut self, _: usize, piece: Piece) -> Vec<Line> {
        self.text.push_str(&piece.text);
        vec![self.about_part("response.output_text.delta", "delta", json!(piece.text))]
    }

    fn ended(&mut self, choice: usize, end: &v1::GenerateEnd) -> Vec<Line> {
        self.count.ended(choice, end);
        let (text, part, response) = (json!(self.text), self.part(), self.ended_response(end));
        let item = json!({"output_index": 0, "item": response["output"][0]});
        let last = if response["status"] == "completed" { "response.completed" } else { "response.incomplete" };
        vec![
            self.about_part("response.output_text.done", "text", text),
            self.about_part("response.content_part.done", "part", part),
            self.event("response.output_item.done", item),
            self.event(last, json!({"response": response})),
        ]
    }

    fn done(&mut self) -> Vec<Line> {
        Vec::new()
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Line> {
        let said = json!({"code": error.code, "message": error.message, "param": error.param});
        if self.fingerprint.is_null() {
            return vec![self.event("error", said)];
        }
        let mut response = self.response("failed", json!([]));
        response["error"] = json!({"code": error.code, "message": error.message});
        vec![self.event("response.failed", json!({"response": response})), self.event("error", said)]
    }
}
