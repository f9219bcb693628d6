//! `fednode chat`: talks to a manager through the node's own HTTP API, as any client would, and says on stderr who answered.

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt;
use serde_json::{Value, json};

use super::admin;
use super::exit::Failure;
use super::run::Out;
use crate::wire::sse::{Line, Lines};

/// The node listens on this machine: what does not connect at once is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// In the data directory: the API without keys and certificates, for whoever may open it.
const API_SOCKET: &str = "api.sock";
/// The host is never looked up: the socket is where it leads.
const URL: &str = "http://localhost/v1/chat/completions";

/// A line longer than this is no answer of ours.
const LINE_BYTES_MAX: usize = 8 << 20;

/// `fednode chat`.
#[derive(Args, Debug)]
pub(super) struct ChatArgs {
    /// The manager, such as UCM, or one of its domains, such as ULM:personal
    slot: String,
    /// What to say; without it, every line of standard input is said in turn
    prompt: Option<String>,
    /// A system message that comes first
    #[arg(long)]
    system: Option<String>,
    /// Tokens to answer with at most
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// 0 always takes the likeliest token; higher is freer
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Makes a free answer repeatable
    #[arg(long)]
    seed: Option<u64>,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: ChatArgs) -> Result<(), Failure> {
    // Tells a node that does not run from one that fails.
    drop(admin::connect(data_dir).await?);
    // A proxy of the environment must never see what is said to this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_WAIT)
        .unix_socket(data_dir.join(API_SOCKET))
        .build();
    let client = client.map_err(|error| Failure::failed(format!("cannot make an HTTP client: {error}")))?;
    let mut chat = Conversation { out, client, args, messages: vec![] };
    if let Some(system) = chat.args.system.clone() {
        chat.messages.push(json!({"role": "system", "content": system}));
    }
    if let Some(prompt) = chat.args.prompt.clone() {
        return chat.say(&prompt).await;
    }
    loop {
        let Some(line) = read_line().await? else { return Ok(()) };
        if !line.trim().is_empty() {
            chat.say(&line).await?;
        }
    }
}

/// The next line of standard input, on a thread that may block.
async fn read_line() -> Result<Option<String>, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        if std::io::stdin().is_terminal() {
            eprint!("> ");
        }
        let mut line = String::new();
        let bytes = std::io::stdin().lock().read_line(&mut line)?;
        Ok::<_, std::io::Error>((bytes > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    });
    let line = read.await.map_err(|error| Failure::failed(format!("reading stdin broke off: {error}")))?;
    line.map_err(|error| Failure::failed(format!("cannot read stdin: {error}")))
}

struct Conversation {
    out: Out,
    client: reqwest::Client,
    args: ChatArgs,
    messages: Vec<Value>,
}

/// One answer, as far as it has come.
#[derive(Clone, PartialEq, Debug, Default)]
struct Reply {
    text: String,
    node: String,
    artifact: String,
    precision: String,
    epoch: u64,
    /// Milliseconds from sending the request to the first text.
    ttft_ms: Option<f64>,
    finish_reason: String,
    usage: Value,
    ended: bool,
}

impl Conversation {
    /// Says `prompt`, prints the answer and keeps both for the next turn.
    async fn say(&mut self, prompt: &str) -> Result<(), Failure> {
        self.messages.push(json!({"role": "user", "content": prompt}));
        let reply = self.ask().await?;
        match self.out.json {
            true => self.out.json(&reply.document(&self.args.slot)),
            false => {
                self.out.text("\n");
                eprintln!("{}", reply.footer());
            }
        }
        self.messages.push(json!({"role": "assistant", "content": reply.text}));
        Ok(())
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "model": self.args.slot, "messages": self.messages, "stream": true, "temperature": self.args.temperature,
            "stream_options": {"include_usage": true},
        });
        if let Some(max_tokens) = self.args.max_tokens {
            body["max_tokens"] = json!(max_tokens);
        }
        if let Some(seed) = self.args.seed {
            body["seed"] = json!(seed);
        }
        body
    }

    async fn ask(&self) -> Result<Reply, Failure> {
        let sent = Instant::now();
        let response = self.client.post(URL).json(&self.body()).send().await;
        let response = response
            .map_err(|error| Failure::failed(format!("the node's API does not answer: {error}; is it running?")))?;
        let status = response.status().as_u16();
        if status != 200 {
            let text = response.text().await.unwrap_or_default();
            return Err(refusal(status, &serde_json::from_str(&text).unwrap_or_default()));
        }
        let mut reply = Reply::default();
        let header = |name: &str| {
            response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        reply.node = header("x-fednode-node").unwrap_or_default();
        reply.artifact = header("x-fednode-artifact").unwrap_or_default();
        reply.precision = header("x-fednode-precision").unwrap_or_default();
        reply.epoch = header("x-fednode-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        let mut lines = Lines::new(LINE_BYTES_MAX);
        let mut bytes = response.bytes_stream();
        while let Some(part) = bytes.next().await {
            let part = part.map_err(|error| Failure::failed(format!("the answer broke off: {error}")))?;
            for line in lines.push(&part).map_err(|error| Failure::failed(error.to_string()))? {
                self.take(&mut reply, line, sent)?;
            }
        }
        match reply.ended {
            true => Ok(reply),
            false => Err(Failure::failed("the answer broke off before its end; ask again")),
        }
    }

    fn take(&self, reply: &mut Reply, line: Line, sent: Instant) -> Result<(), Failure> {
        let text = reply.take(line)?;
        if text.is_empty() {
            return Ok(());
        }
        // Hundredths of a millisecond: what a clock on a busy machine is worth.
        reply.ttft_ms.get_or_insert_with(|| (sent.elapsed().as_secs_f64() * 100_000.0).round() / 100.0);
        if !self.out.json {
            self.out.text(&text);
        }
        Ok(())
    }
}

impl Reply {
    /// Takes one line of the stream in and returns the text it brought.
    fn take(&mut self, line: Line) -> Result<String, Failure> {
        let data = match line {
            Line::Comment(comment) => {
                self.take_comment(&comment);
                return Ok(String::new());
            }
            Line::Data(data) => data,
        };
        if data == "[DONE]" {
            self.ended = true;
            return Ok(String::new());
        }
        let chunk: Value = serde_json::from_str(&data)
            .map_err(|error| Failure::failed(format!("the answer cannot be read ({error}); ask again")))?;
        if !chunk["error"].is_null() {
            return Err(Failure::failed(message_of(&chunk)));
        }
        if !chunk["usage"].is_null() {
            self.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = reason.to_owned();
        }
        let text = choice["delta"]["content"].as_str().unwrap_or_default();
        self.text.push_str(text);
        Ok(text.to_owned())
    }

    /// Who answers, when the headers had already left before that was known; other comments are for people who wait.
    fn take_comment(&mut self, comment: &str) {
        let facts = comment.strip_prefix("fednode ").and_then(|json| serde_json::from_str::<Value>(json).ok());
        let Some(facts) = facts else { return };
        let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
        (self.node, self.artifact, self.precision) = (text("node"), text("artifact"), text("precision"));
        self.epoch = facts["epoch"].as_u64().unwrap_or_default();
    }

    fn document(&self, slot: &str) -> Value {
        json!({
            "slot": slot, "text": self.text, "node": self.node, "artifact": self.artifact, "precision": self.precision,
            "epoch": self.epoch, "ttft_ms": self.ttft_ms, "finish_reason": self.finish_reason, "usage": self.usage,
        })
    }

    fn footer(&self) -> String {
        let first = match self.ttft_ms {
            Some(ms) => format!("first token after {:.2} s", ms / 1000.0),
            None => "no text".to_owned(),
        };
        let cut = if self.finish_reason == "length" { ", cut off at --max-tokens" } else { "" };
        format!("[{}, {}, {first}{cut}]", self.node, self.precision)
    }
}

fn message_of(body: &Value) -> String {
    body["error"]["message"].as_str().unwrap_or("the node gave no reason").to_owned()
}

/// A status other than 200: the request was refused, or could not be answered now.
fn refusal(status: u16, body: &Value) -> Failure {
    match status {
        400..=428 => Failure::refused(message_of(body)),
        _ => Failure::failed(format!("{} (HTTP {status})", message_of(body))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    fn after(lines: &[Line]) -> Result<Reply, Failure> {
        let mut reply = Reply::default();
        for line in lines {
            reply.take(line.clone())?;
        }
        Ok(reply)
    }

    fn data(value: Value) -> Line {
        Line::Data(value.to_string())
    }

    #[test]
    fn an_answer_is_put_together_from_its_chunks() {
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        let reply = after(&[
            Line::Comment("waiting for UCM: loading on desk".to_owned()),
            Line::Comment(r#"fednode {"node":"desk","artifact":"ab","precision":"F16","epoch":4}"#.to_owned()),
            data(json!({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]})),
            data(json!({"choices": [{"delta": {"content": "He"}, "finish_reason": null}], "usage": null})),
            data(json!({"choices": [{"delta": {"content": "y"}, "finish_reason": null}]})),
            data(json!({"choices": [{"delta": {}, "finish_reason": "length"}]})),
            data(json!({"choices": [], "usage": usage})),
            Line::Data("[DONE]".to_owned()),
        ]);
        let reply = Reply { ttft_ms: Some(214.0), ..reply.expect("an answer") };
        assert!(reply.ended);
        let expect = json!({
            "slot": "UCM", "text": "Hey", "node": "desk", "artifact": "ab", "precision": "F16", "epoch": 4,
            "ttft_ms": 214.0, "finish_reason": "length", "usage": usage,
        });
        assert_eq!(reply.document("UCM"), expect);
        golden::check("chat", |_| format!("{}\n{}\n", reply.text, reply.footer()));
        assert_eq!(reply.footer(), "[desk, F16, first token after 0.21 s, cut off at --max-tokens]");
    }

    #[test]
    fn errors_within_and_before_the_stream_are_failures() {
        let broken = after(&[data(json!({"error": {"message": "it died", "code": "engine_failed"}}))]);
        assert_eq!(broken, Err(Failure::failed("it died")));
        assert!(after(&[Line::Data("<html>".to_owned())]).is_err());
        let unknown = json!({"error": {"message": "no manager is called X"}});
        assert_eq!(refusal(404, &unknown), Failure::refused("no manager is called X"));
        assert_eq!(refusal(503, &Value::Null), Failure::failed("the node gave no reason (HTTP 503)"));
    }
}
