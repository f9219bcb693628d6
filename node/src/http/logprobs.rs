//! Log-probabilities in OpenAI's two shapes: that of chats, and that of the older completions.

use fednode_proto::v1;
use serde_json::{Map, Value, json};

/// JSON has no infinity; OpenAI writes this for what never comes.
const NEVER: f32 = -9999.0;

fn text(token: &v1::TokenLogprob) -> String {
    // A character may span several tokens; `bytes` has what was lost here.
    String::from_utf8_lossy(&token.piece).into_owned()
}

fn number(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { NEVER }
}

fn one(token: &v1::TokenLogprob) -> Value {
    json!({"token": text(token), "logprob": number(token.logprob), "bytes": token.piece})
}

/// The tokens of a chat's text.
pub(super) fn content(tokens: &[v1::TokenLogprob]) -> Vec<Value> {
    let with_top = |token: &v1::TokenLogprob| {
        let mut value = one(token);
        value["top_logprobs"] = token.top.iter().map(one).collect();
        value
    };
    tokens.iter().map(with_top).collect()
}

/// Of a chat's choice.
pub(super) fn of_chat(tokens: &[v1::TokenLogprob]) -> Value {
    json!({"content": content(tokens), "refusal": null})
}

/// Of a completion's choice. `offset`: the characters that came before these tokens; it is moved on.
pub(super) fn of_completion(tokens: &[v1::TokenLogprob], offset: &mut usize) -> Value {
    let mut offsets = Vec::new();
    for token in tokens {
        offsets.push(*offset);
        *offset += text(token).chars().count();
    }
    let top = |token: &v1::TokenLogprob| -> Map<String, Value> {
        token.top.iter().map(|other| (text(other), json!(number(other.logprob)))).collect()
    };
    json!({
        "tokens": tokens.iter().map(text).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| number(token.logprob)).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
