//! Chat templates: turns messages into the prompt exactly as Hugging Face's `apply_chat_template` does, with the Jinja
//! template from the model's own metadata. Pure. llama.cpp's template code is not used: it drops DeepSeek's system
//! prompt (DESIGN 16). The template writes the beginning-of-sequence token itself, so tokenise without adding it.

mod python;

#[cfg(test)]
mod oracle;

use fednode_proto::v1;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, Value, context};

/// The template of one model, and the two tokens it may write.
#[derive(Clone, Debug, Default)]
pub struct ChatTemplate {
    /// Jinja source; `None` when the model's file has none.
    pub source: Option<String>,
    /// The text of the beginning-of-sequence token; empty when the model has none.
    pub bos_token: String,
    /// The text of the end-of-sequence token; empty when the model has none.
    pub eos_token: String,
}

/// One message of a conversation.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChatMessage<'a> {
    /// `system`, `user`, `assistant` or `tool`; the template decides which it takes.
    pub role: &'a str,
    pub content: &'a str,
    /// OpenAI's array of calls that an assistant made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// The call that a tool answers.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tool_call_id: &'a str,
    /// Of whoever speaks.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
}

impl<'a> ChatMessage<'a> {
    /// Of a conversation without tools.
    pub fn new(role: &'a str, content: &'a str) -> ChatMessage<'a> {
        ChatMessage { role, content, tool_calls: None, tool_call_id: "", name: "" }
    }
}

impl<'a> From<&'a v1::Message> for ChatMessage<'a> {
    fn from(message: &'a v1::Message) -> ChatMessage<'a> {
        ChatMessage {
            role: &message.role,
            content: &message.content,
            tool_calls: json(&message.tool_calls_json).map(with_arguments_as_objects),
            tool_call_id: &message.tool_call_id,
            name: &message.name,
        }
    }
}

/// JSON that the HTTP edge has parsed before. Read into minijinja's own values, which keep keys in their order: templates
/// write tools down as they were given.
fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// OpenAI's API has the arguments of a call as JSON in a string; templates are written for the object in it.
fn with_arguments_as_objects(calls: Value) -> Value {
    let changed = |of: &Value, key: &str, change: &dyn Fn(Value) -> Value| -> Value {
        let keys =
            of.try_iter().into_iter().flatten().map(|name| (name.clone(), of.get_item(&name).unwrap_or_default()));
        let entry = |(name, value): (Value, Value)| {
            if name.as_str() == Some(key) { (name, change(value)) } else { (name, value) }
        };
        if of.kind() == ValueKind::Map { keys.map(entry).collect() } else { of.clone() }
    };
    let object = |arguments: Value| arguments.as_str().and_then(json).unwrap_or(arguments);
    let call = |call: Value| changed(&call, "function", &|function| changed(&function, "arguments", &object));
    match calls.try_iter() {
        Ok(all) => all.map(call).collect(),
        Err(_) => calls,
    }
}

/// Why no prompt could be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the model's file has no chat template (tokenizer.chat_template), so it cannot take chat messages")]
    Missing,
    #[error("the model's chat template has no place for tools or their answers")]
    NoTools,
    #[error("the request has no messages")]
    NoMessages,
    /// The template called `raise_exception`: it does not take these messages.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    #[error("the model's chat template fails: {0}")]
    Broken(String),
}

impl ChatTemplate {
    /// Renders the conversation, with the start of the answer appended (`add_generation_prompt`). `tools_json`: OpenAI's array of
    /// tools; empty: none.
    pub fn render(&self, messages: &[ChatMessage<'_>], tools_json: &str) -> Result<String, TemplateError> {
        if self.source.is_some() && messages.is_empty() {
            return Err(TemplateError::NoMessages);
        }
        // Left out they would be answered as if they had not been sent.
        let mentions = |word: &str| self.source.as_ref().is_none_or(|source| source.contains(word));
        let answers = messages.iter().any(|message| message.role == "tool" || message.tool_calls.is_some());
        if (!tools_json.is_empty() && !mentions("tools")) || (answers && !mentions("tool")) {
            return Err(TemplateError::NoTools);
        }
        self.render_values(Value::from_serialize(messages), json(tools_json), true)
    }

    /// The same of values as templates see them, with the start of the answer or without.
    fn render_values(&self, messages: Value, tools: Option<Value>, answer: bool) -> Result<String, TemplateError> {
        let source = self.source.as_deref().ok_or(TemplateError::Missing)?;
        // Both are nothing where there are none, which is not the same as undefined.
        let values = context! {
            messages => messages,
            tools => tools,
            documents => (),
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            add_generation_prompt => answer,
        };
        environment().render_str(source, values).map_err(|error| match error.kind() {
            ErrorKind::InvalidOperation if error.detail().is_some_and(|d| d.starts_with(RAISED)) => {
                TemplateError::Refused(error.detail().unwrap_or_default()[RAISED.len()..].to_owned())
            }
            _ => TemplateError::Broken(error.to_string()),
        })
    }
}

/// Marks an error as raised by the template's author, to be told apart from the engine's own.
const RAISED: &str = "raise_exception: ";

/// The settings of Hugging Face's environment: both trims on, Python's string methods and JSON available, no HTML escaping.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(python::print);
    environment.add_filter("tojson", python::tojson);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DeepSeek-Coder-Instruct's own template.
    const DEEPSEEK: &str = r#"{% if not add_generation_prompt is defined %}
{% set add_generation_prompt = false %}
{% endif %}
{%- set ns = namespace(found=false) -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set ns.found = true -%}
    {%- endif -%}
{%- endfor -%}
{{bos_token}}{%- if not ns.found -%}
{{'You are an AI programming assistant.\n'}}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
{{ message['content'] }}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Instruction:\n' + message['content'] + '\n'}}
        {%- else %}
{{'### Response:\n' + message['content'] + '\n<|EOT|>\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{'### Response:'}}
{% endif %}"#;

    fn check(source: &str, messages: &[(&str, &str)], expect: Result<&str, TemplateError>) {
        let template = ChatTemplate {
            source: Some(source.to_owned()),
            bos_token: "<|begin▁of▁sentence|>".to_owned(),
            eos_token: "<|EOT|>".to_owned(),
        };
        let messages: Vec<_> = messages.iter().map(|&(role, content)| ChatMessage::new(role, content)).collect();
        assert_eq!(template.render(&messages, ""), expect.map(str::to_owned));
    }

    /// The expected texts were made with jinja2 3.1.6 and Hugging Face's settings.
    #[test]
    fn deepseek_without_system_prompt_uses_its_own() {
        let expect =
            "<|begin▁of▁sentence|>You are an AI programming assistant.\n### Instruction:\nSort a list\n### Response:\n";
        check(DEEPSEEK, &[("user", "Sort a list")], Ok(expect));
    }

    #[test]
    fn deepseek_keeps_the_system_prompt_and_the_turns_before() {
        let messages = [("system", "Be brief."), ("user", "a < b & c?"), ("assistant", "Yes."), ("user", "Why?")];
        let expect = concat!(
            "<|begin▁of▁sentence|>Be brief.### Instruction:\na < b & c?\n### Response:\nYes.\n<|EOT|>\n",
            "### Instruction:\nWhy?\n### Response:\n"
        );
        check(DEEPSEEK, &messages, Ok(expect));
    }

    #[test]
    fn python_string_methods_work() {
        let source = "{% for m in messages %}{{ m.content.strip().upper() }}{% if m.role.startswith('u') %}!{% endif %}{% endfor %}";
        check(source, &[("user", "  hi ")], Ok("HI!"));
    }

    #[test]
    fn what_hugging_face_adds_to_jinja_works() {
        let source = "{% for m in messages %}{{ m.content | tojson }}{% break %}{% endfor %}";
        check(source, &[("user", "a\"b"), ("user", "c")], Ok(r#""a\"b""#));
    }

    #[test]
    fn a_template_may_refuse() {
        let source = "{{ raise_exception('roles must alternate') }}";
        check(source, &[("user", "x")], Err(TemplateError::Refused("roles must alternate".to_owned())));
    }

    #[test]
    fn no_template_and_no_messages_are_told_apart() {
        let messages = [ChatMessage::new("user", "x")];
        assert_eq!(ChatTemplate::default().render(&messages, ""), Err(TemplateError::Missing));
        check("x", &[], Err(TemplateError::NoMessages));
    }

    #[test]
    fn tools_are_refused_by_a_template_without_a_place_for_them() {
        let template = |source: &str| ChatTemplate { source: Some(source.to_owned()), ..ChatTemplate::default() };
        let (asked, answered) = ([ChatMessage::new("user", "x")], [ChatMessage::new("tool", "4")]);
        assert_eq!(template(DEEPSEEK).render(&asked, "[]"), Err(TemplateError::NoTools));
        assert_eq!(template(DEEPSEEK).render(&answered, ""), Err(TemplateError::NoTools));
        let knowing = "{{ tools | length }} {{ messages[0].role }} {{ 'tool' }}";
        assert_eq!(template(knowing).render(&answered, "[1, 2]"), Ok("2 tool tool".to_owned()));
    }

    #[test]
    fn a_broken_template_is_an_error_and_no_panic() {
        let template = ChatTemplate { source: Some("{% for %}".to_owned()), ..ChatTemplate::default() };
        let broken = template.render(&[ChatMessage::new("user", "x")], "");
        assert!(matches!(broken, Err(TemplateError::Broken(_))), "{broken:?}");
    }
}
