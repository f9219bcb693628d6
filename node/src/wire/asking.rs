//! What the router needs to know of a request beside what it names: which conversation it goes on with, and how much it may
//! take. Pure. The edge asks; `core::route` uses the numbers.

use fednode_proto::v1;

use crate::core::limits;
use crate::core::route::local::Features;

/// So much of a raw prompt is its conversation: a follow-up begins with the same, and others seldom do.
const PROMPT_PREFIX_BYTES: usize = 512;
/// Bytes of text that make a token, as tokenisers of code and English have it.
const BYTES_PER_TOKEN: usize = 4;

/// A number that all requests of one conversation have in common: a hash of slot, domain and everything up to the first message
/// of the user. `None`: nobody has said anything.
pub fn conversation(request: &v1::GenerateRequest) -> Option<u64> {
    let mut hasher = blake3::Hasher::new();
    let mut take = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    take(&request.slot);
    take(&request.domain);
    if request.messages.is_empty() {
        if request.prompt.is_empty() {
            return None;
        }
        let end = request.prompt.floor_char_boundary(PROMPT_PREFIX_BYTES);
        take(&request.prompt[..end]);
    }
    for message in &request.messages {
        take(&message.role);
        take(&message.content);
        if message.role == "user" {
            break;
        }
    }
    hasher.finalize().as_bytes().first_chunk::<8>().map(|first| u64::from_le_bytes(*first))
}

/// Tokens that a request may take, prompt and answer: an estimate, for nobody has tokenised it yet.
pub fn tokens(request: &v1::GenerateRequest) -> u32 {
    let texts = request.messages.iter().map(|message| message.content.len() + message.tool_calls_json.len());
    let bytes = texts.sum::<usize>() + request.prompt.len() + request.tools_json.len();
    let prompt = u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
    prompt.saturating_add(request.max_tokens.min(limits::MAX_TOKENS_MAX))
}

/// What is measured of a request to decide whether a small local model answers it.
pub fn features(request: &v1::GenerateRequest) -> Features {
    let texts = || request.messages.iter().map(|message| message.content.as_str()).chain([request.prompt.as_str()]);
    let messages = u32::try_from(request.messages.len()).unwrap_or(u32::MAX);
    Features {
        prompt_bytes: texts().map(|text| text.len() as u64).sum(),
        messages: messages.max(1),
        // The edge fills in the default where a client said nothing.
        max_tokens: (request.max_tokens != limits::MAX_TOKENS_DEFAULT).then_some(request.max_tokens),
        tools: !request.tools_json.is_empty(),
        schema: !request.json_schema.is_empty(),
        code_fence: texts().any(|text| text.contains("```")),
        domain: !request.domain.is_empty(),
        task: request.task.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(domain: &str, messages: &[(&str, &str)]) -> v1::GenerateRequest {
        let message = |(role, content): &(&str, &str)| v1::Message {
            role: (*role).to_owned(),
            content: (*content).to_owned(),
            ..v1::Message::default()
        };
        let messages = messages.iter().map(message).collect();
        v1::GenerateRequest { slot: "UCM".into(), domain: domain.into(), messages, ..v1::GenerateRequest::default() }
    }

    #[test]
    fn a_follow_up_has_its_conversations_number_and_nothing_else_has() {
        let first = conversation(&chat("", &[("system", "be brief"), ("user", "hello")]));
        assert!(first.is_some());
        let more = [("system", "be brief"), ("user", "hello"), ("assistant", "yes?"), ("user", "what is a monad")];
        assert_eq!(conversation(&chat("", &more)), first);
        let others = [
            chat("core", &[("system", "be brief"), ("user", "hello")]),
            chat("", &[("system", "be long"), ("user", "hello")]),
            chat("", &[("user", "hello")]),
            chat("", &[("system", "be briefhe"), ("user", "llo")]),
        ];
        for other in others {
            assert_ne!(conversation(&other), first, "{other:?}");
        }
    }

    #[test]
    fn a_raw_prompt_goes_on_from_its_beginning() {
        let raw = |prompt: String| {
            conversation(&v1::GenerateRequest { slot: "UCM".into(), prompt, ..v1::GenerateRequest::default() })
        };
        let start = "é".repeat(300);
        assert_eq!(raw(format!("{start} and more")), raw(start.clone()));
        assert_ne!(raw(format!("x{start}")), raw(start));
        assert_eq!(raw(String::new()), None);
    }

    #[test]
    fn what_a_request_may_take_is_its_text_and_its_answer() {
        let request = v1::GenerateRequest { max_tokens: 100, ..chat("", &[("user", "12345678")]) };
        assert_eq!(tokens(&request), 102);
        assert_eq!(tokens(&v1::GenerateRequest { max_tokens: u32::MAX, ..request }), limits::MAX_TOKENS_MAX + 2);
    }
}
