//! Every template and conversation of `tests/oracle/templates.json`, against what transformers' `apply_chat_template` made of
//! them. `tests/oracle/templates.py` wrote the file.

use std::collections::BTreeMap;

use fednode_proto::v1;
use minijinja::Value;
use serde::Deserialize;

use super::{ChatMessage, ChatTemplate, TemplateError};

const EXPECTED: &str = include_str!("../../../../tests/oracle/templates.json");

#[derive(Deserialize)]
struct Oracle {
    templates: BTreeMap<String, Template>,
    chats: BTreeMap<String, Chat>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Template {
    source: String,
    bos_token: String,
    eos_token: String,
}

/// As a template sees it. Read into minijinja's values at once: those keep the order of keys.
#[derive(Deserialize)]
struct Chat {
    messages: Vec<Value>,
    #[serde(default)]
    tools: Option<Value>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    chat: String,
    add_generation_prompt: bool,
    rendered: Option<String>,
    refused: Option<String>,
}

#[test]
fn prompts_are_those_of_hugging_face() {
    let oracle: Oracle = serde_json::from_str(EXPECTED).unwrap();
    let mut with_tools = 0;
    for case in &oracle.cases {
        let Template { source, bos_token, eos_token } = &oracle.templates[&case.template];
        let template =
            ChatTemplate { source: Some(source.clone()), bos_token: bos_token.clone(), eos_token: eos_token.clone() };
        let chat = &oracle.chats[&case.chat];
        let expected = match (&case.rendered, &case.refused) {
            (Some(text), _) => Ok(text.clone()),
            (None, refused) => Err(TemplateError::Refused(refused.clone().unwrap())),
        };
        let about = format!("{}: {}", case.template, case.chat);
        let messages = Value::from(chat.messages.clone());
        let found = template.render_values(messages, chat.tools.clone(), case.add_generation_prompt);
        assert_eq!(found, expected, "{about}");
        if case.add_generation_prompt {
            assert_eq!(as_requests_come(&template, chat), expected, "{about}, as requests come");
        }
        with_tools += usize::from(chat.tools.is_some());
    }
    assert!(oracle.cases.len() > 80 && with_tools >= 20, "{} cases, {with_tools} with tools", oracle.cases.len());
}

/// By the way of the API: arguments of calls are JSON in a string, and a message that only calls has no content.
fn as_requests_come(template: &ChatTemplate, chat: &Chat) -> Result<String, TemplateError> {
    let text = |of: &Value, key: &str| of.get_attr(key).unwrap().as_str().unwrap_or_default().to_owned();
    let message = |message: &Value| {
        let calls = message.get_attr("tool_calls").unwrap();
        v1::Message {
            role: text(message, "role"),
            content: text(message, "content"),
            tool_calls_json: if calls.is_true() { calls_json(&calls) } else { String::new() },
            tool_call_id: text(message, "tool_call_id"),
            ..v1::Message::default()
        }
    };
    let messages: Vec<v1::Message> = chat.messages.iter().map(message).collect();
    let messages: Vec<ChatMessage<'_>> = messages.iter().map(ChatMessage::from).collect();
    let tools = chat.tools.as_ref().map(|tools| serde_json::to_string(tools).unwrap()).unwrap_or_default();
    template.render(&messages, &tools)
}

fn calls_json(calls: &Value) -> String {
    let call = |call: Value| {
        let function = call.get_attr("function").unwrap();
        let arguments = serde_json::to_string(&function.get_attr("arguments").unwrap()).unwrap();
        let function = minijinja::context! { name => function.get_attr("name").unwrap(), arguments };
        minijinja::context! { id => call.get_attr("id").unwrap(), function }
    };
    serde_json::to_string(&calls.try_iter().unwrap().map(call).collect::<Vec<Value>>()).unwrap()
}
