//! The JSON of answers: whole completions, chunks of streamed ones, usage, and the headers that say who answered.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::StartInfo;

/// What is the same in every piece of one answer.
pub(super) struct Answer {
    id: String,
    created_unix_s: u64,
    model: String,
    fingerprint: String,
    prompt_tokens: u32,
    /// Streamed answers whose client asked for usage carry `"usage": null` in every chunk but the last.
    usage_asked: bool,
}

impl Answer {
    /// An answer begun now by `start`.
    pub(super) fn new(model: &str, start: &StartInfo, usage_asked: bool) -> Answer {
        // A clock set before 1970 is no reason to refuse an answer.
        let created_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
        let artifact: String = start.artifact_hex.chars().take(12).collect();
        // An external engine computes with nobody knows what.
        let artifact = if artifact.is_empty() { start.precision.clone() } else { artifact };
        Answer {
            id: format!("chatcmpl-{:032x}", rand::random::<u128>()),
            created_unix_s,
            model: model.to_owned(),
            fingerprint: format!("fp_{artifact}"),
            prompt_tokens: start.prompt_tokens,
            usage_asked,
        }
    }

    /// Some engines say only at the end how long the prompt was.
    pub(super) fn learn_prompt(&mut self, tokens: u32) {
        self.prompt_tokens = self.prompt_tokens.max(tokens);
    }

    /// The whole answer of a request that does not stream.
    pub(super) fn whole(&self, text: &str, finish_reason: &str, completion_tokens: u32) -> Value {
        let choice = json!({
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": finish_reason,
        });
        let mut whole = self.envelope("chat.completion", json!([choice]));
        whole["usage"] = self.usage(completion_tokens);
        whole
    }

    /// The first chunk: who speaks.
    pub(super) fn first_chunk(&self) -> Value {
        self.chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null)
    }

    /// A chunk of text.
    pub(super) fn text_chunk(&self, text: &str) -> Value {
        self.chunk(json!({"content": text}), Value::Null)
    }

    /// The last chunk with a choice: why it ended.
    pub(super) fn last_chunk(&self, finish_reason: &str) -> Value {
        self.chunk(json!({}), json!(finish_reason))
    }

    /// The chunk after the last, without a choice, if the client asked for it.
    pub(super) fn usage_chunk(&self, completion_tokens: u32) -> Option<Value> {
        self.usage_asked.then(|| {
            let mut chunk = self.envelope("chat.completion.chunk", json!([]));
            chunk["usage"] = self.usage(completion_tokens);
            chunk
        })
    }

    fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        let mut chunk = self.envelope("chat.completion.chunk", json!([choice]));
        if self.usage_asked {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created_unix_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    fn usage(&self, completion_tokens: u32) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": u64::from(self.prompt_tokens) + u64::from(completion_tokens),
        })
    }
}

/// Who answers and with what, as headers. A name that cannot stand in a header is left out; the PeerId always can.
pub(super) fn headers(start: &StartInfo) -> HeaderMap {
    let epoch = start.epoch.to_string();
    let pairs = [
        ("x-fednode-node", start.node_name.as_str()),
        ("x-fednode-peer", &start.node_peer_id),
        ("x-fednode-artifact", &start.artifact_hex),
        ("x-fednode-precision", &start.precision),
        ("x-fednode-epoch", &epoch),
    ];
    let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let valid = said.filter_map(|(name, value)| {
        HeaderValue::from_bytes(value.as_bytes()).ok().map(|value| (HeaderName::from_static(name), value))
    });
    valid.collect()
}

/// The same as one line, for a stream whose headers had left before the replica was known.
pub(super) fn comment(start: &StartInfo) -> String {
    let facts = json!({
        "node": start.node_name, "peer": start.node_peer_id, "artifact": start.artifact_hex,
        "precision": start.precision, "epoch": start.epoch,
    });
    format!("fednode {facts}")
}
