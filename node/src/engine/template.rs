//! Chat templates: turns messages into the prompt exactly as Hugging Face's `apply_chat_template` does, with the Jinja
//! template from the model's own metadata. Pure. llama.cpp's template code is not used: it drops DeepSeek's system
//! prompt (DESIGN 16). The template writes the beginning-of-sequence token itself, so tokenise without adding it.

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
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct ChatMessage<'a> {
    /// `system`, `user` or `assistant`; the template decides which it takes.
    pub role: &'a str,
    pub content: &'a str,
}

/// Why no prompt could be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the model's file has no chat template (tokenizer.chat_template), so it cannot take chat messages")]
    Missing,
    #[error("the request has no messages")]
    NoMessages,
    /// The template called `raise_exception`: it does not take these messages.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    #[error("the model's chat template fails: {0}")]
    Broken(String),
}

impl ChatTemplate {
    /// Renders the conversation, with the start of the answer appended (`add_generation_prompt`).
    pub fn render(&self, messages: &[ChatMessage<'_>]) -> Result<String, TemplateError> {
        let source = self.source.as_deref().ok_or(TemplateError::Missing)?;
        if messages.is_empty() {
            return Err(TemplateError::NoMessages);
        }
        let values = context! {
            messages => messages,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            add_generation_prompt => true,
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

/// The settings of Hugging Face's environment: both trims on, Python's string methods available, no HTML escaping.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
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
        let messages: Vec<_> = messages.iter().map(|&(role, content)| ChatMessage { role, content }).collect();
        assert_eq!(template.render(&messages), expect.map(str::to_owned));
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
        let messages = [ChatMessage { role: "user", content: "x" }];
        assert_eq!(ChatTemplate::default().render(&messages), Err(TemplateError::Missing));
        check("x", &[], Err(TemplateError::NoMessages));
    }

    #[test]
    fn a_broken_template_is_an_error_and_no_panic() {
        let template = ChatTemplate { source: Some("{% for %}".to_owned()), ..ChatTemplate::default() };
        let broken = template.render(&[ChatMessage { role: "user", content: "x" }]);
        assert!(matches!(broken, Err(TemplateError::Broken(_))), "{broken:?}");
    }
}
