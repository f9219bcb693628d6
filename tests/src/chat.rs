//! Chat with a manager over the HTTP API, streamed or whole, and what came of it: text, who answered, times, errors.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Client, Error};

const PATH: &str = "/v1/chat/completions";

/// One request. Greedy and streamed unless said otherwise.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// The body that is sent; fields may be added.
    pub body: Value,
}

impl Question {
    /// Asks `model` to answer `prompt`.
    pub fn new(model: &str, prompt: &str) -> Question {
        let body = json!({
            "model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "stream": true,
            "stream_options": {"include_usage": true},
        });
        Question { body }
    }

    /// The answer in one piece.
    pub fn whole(mut self) -> Question {
        if let Some(fields) = self.body.as_object_mut() {
            fields.remove("stream");
            fields.remove("stream_options");
        }
        self
    }

    /// With one more field, or another value of it.
    pub fn with(mut self, field: &str, value: Value) -> Question {
        self.body[field] = value;
        self
    }

    fn streamed(&self) -> bool {
        self.body["stream"] == true
    }
}

/// What came of a question. An error that the node reported is in `error`, a connection that broke in `broken`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// All text.
    pub text: String,
    /// The answering node's name.
    pub node: Option<String>,
    /// The artifact that answered, hex.
    pub artifact: Option<String>,
    /// Such as `F16`.
    pub precision: Option<String>,
    /// From sending the request to the first text, for streamed answers.
    pub first_text_after: Option<Duration>,
    /// From sending the request to the end.
    pub took: Duration,
    /// stop | length.
    pub finish_reason: Option<String>,
    /// OpenAI's usage; null if there was none.
    pub usage: Value,
    /// SSE comments: progress while a manager is made ready.
    pub comments: Vec<String>,
    /// `data:` lines.
    pub events: u32,
    /// The `error` object of the body or of an event.
    pub error: Option<Value>,
    /// The stream closed with `[DONE]`, or the whole answer was well-formed.
    pub ended: bool,
    /// The connection broke, or the deadline of the exchange passed, or what came cannot be read.
    pub broken: Option<String>,
}

impl Answer {
    /// Whole, without an error.
    pub fn is_complete(&self) -> bool {
        self.status == 200 && self.ended && self.error.is_none() && self.broken.is_none()
    }

    /// The code of the error that the node reported.
    pub fn error_code(&self) -> Option<&str> {
        self.error.as_ref().and_then(|error| error["code"].as_str())
    }

    /// True for an error as OpenAI's clients expect it: `message` and `type` are text, `param` and `code` are there.
    pub fn has_typed_error(&self) -> bool {
        let Some(error) = &self.error else { return false };
        let text = |field: &str| error[field].as_str().is_some_and(|text| !text.is_empty());
        text("message") && text("type") && error.get("param").is_some() && error.get("code").is_some()
    }

    /// One line for people: the text, or why there is none.
    pub fn summary(&self) -> String {
        match (&self.error, &self.broken) {
            (Some(error), _) => format!(
                "HTTP {}, {}: {}",
                self.status,
                error["code"].as_str().unwrap_or("no code"),
                error["message"].as_str().unwrap_or("no message")
            ),
            (None, Some(broken)) => format!("broke off after {:?}: {broken}", self.took),
            (None, None) if self.ended => self.text.clone(),
            (None, None) => format!("HTTP {}, ended without [DONE] after {:?}", self.status, self.text),
        }
    }

    fn take_headers(&mut self, headers: BTreeMap<String, String>) {
        let header = |name: &str| headers.get(name).cloned();
        self.node = header("x-fednode-node");
        self.artifact = header("x-fednode-artifact");
        self.precision = header("x-fednode-precision");
        self.headers = headers;
    }

    /// Who answers, when the headers had left before that was known; else progress for people.
    fn take_comment(&mut self, comment: &str) {
        let facts = comment.strip_prefix("fednode ").and_then(|json| serde_json::from_str::<Value>(json).ok());
        match facts {
            Some(facts) => {
                let text = |name: &str| facts[name].as_str().map(str::to_owned);
                (self.node, self.artifact, self.precision) = (text("node"), text("artifact"), text("precision"));
            }
            None => self.comments.push(comment.to_owned()),
        }
    }

    /// Takes one `data:` line and returns the text it brought.
    fn take_data(&mut self, data: &str) -> String {
        self.events += 1;
        if data == "[DONE]" {
            self.ended = true;
            return String::new();
        }
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            self.broken = Some(format!("an event is no JSON: {data}"));
            return String::new();
        };
        if !chunk["error"].is_null() {
            self.error = Some(chunk["error"].clone());
        }
        if !chunk["usage"].is_null() {
            self.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        let text = choice["delta"]["content"].as_str().unwrap_or_default().to_owned();
        self.text.push_str(&text);
        text
    }

    fn take_whole(&mut self, body: &[u8]) {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        if !value["error"].is_null() {
            self.error = Some(value["error"].clone());
        }
        let choice = &value["choices"][0];
        self.ended = choice["message"]["content"].is_string();
        self.text = choice["message"]["content"].as_str().unwrap_or_default().to_owned();
        self.finish_reason = choice["finish_reason"].as_str().map(str::to_owned);
        self.usage = value["usage"].clone();
    }
}

impl Client {
    /// A greedy streamed answer.
    pub fn chat(&self, model: &str, prompt: &str) -> Result<Answer, Error> {
        self.ask(&Question::new(model, prompt))
    }

    /// Asks and waits for the whole answer.
    pub fn ask(&self, question: &Question) -> Result<Answer, Error> {
        self.ask_with(question, |_| {})
    }

    /// Asks and calls `on_text` with each piece of text as it comes. An `Err` means that no reply came at all.
    pub fn ask_with(&self, question: &Question, mut on_text: impl FnMut(&str)) -> Result<Answer, Error> {
        let sent = Instant::now();
        let body = question.body.to_string();
        let opened = self.open("POST", PATH, &[("content-type", "application/json")], body.as_bytes())?;
        let (status, headers, mut reader) = opened;
        let mut answer = Answer { status, ..Answer::default() };
        answer.take_headers(headers);
        let read = match status == 200 && question.streamed() {
            true => read_events(&mut answer, reader, sent, &mut on_text),
            false => {
                let mut whole = Vec::new();
                let read = reader.read_to_end(&mut whole);
                answer.take_whole(&whole);
                read.map(|_| ())
            }
        };
        if let Err(error) = read {
            answer.broken = Some(error.to_string());
        }
        answer.took = sent.elapsed();
        Ok(answer)
    }
}

fn read_events(
    answer: &mut Answer,
    reader: impl Read,
    sent: Instant,
    on_text: &mut impl FnMut(&str),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let line = String::from_utf8_lossy(&bytes).into_owned();
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(data) = line.strip_prefix("data:") {
            let text = answer.take_data(data.strip_prefix(' ').unwrap_or(data));
            if !text.is_empty() {
                answer.first_text_after.get_or_insert_with(|| sent.elapsed());
                on_text(&text);
            }
        } else if let Some(comment) = line.strip_prefix(':') {
            answer.take_comment(comment.trim_start());
        }
        bytes.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str) -> Answer {
        let mut answer = Answer { status: 200, ..Answer::default() };
        read_events(&mut answer, stream.as_bytes(), Instant::now(), &mut |_| {}).expect("a slice can be read");
        answer
    }

    #[test]
    fn a_whole_stream_is_complete() {
        let answer = read(
            ": waiting for UCM\n\n: fednode {\"node\":\"desk\",\"artifact\":\"ab\",\"precision\":\"F16\"}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"y\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        );
        assert!(answer.is_complete() && answer.first_text_after.is_some());
        assert_eq!((answer.text.as_str(), answer.node.as_deref(), answer.events), ("Hey", Some("desk"), 3));
        assert_eq!(answer.comments, ["waiting for UCM"]);
    }

    #[test]
    fn a_stream_that_only_stops_is_neither_complete_nor_a_typed_error() {
        let answer = read("data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\n");
        assert!(!answer.is_complete() && !answer.has_typed_error());
    }

    #[test]
    fn an_error_counts_as_typed_with_all_four_fields() {
        let whole = r#"{"error":{"message":"gone","type":"server_error","param":null,"code":"engine_failed"}}"#;
        let bare = r#"{"error":{"message":"gone"}}"#;
        for (event, typed) in [(whole, true), (bare, false)] {
            let answer = read(&format!("data: {event}\n\n"));
            assert_eq!((answer.has_typed_error(), answer.is_complete()), (typed, false), "{event}");
        }
    }
}
