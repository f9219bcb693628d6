//! Calls of tools in an answer's text, as it streams. Known are the forms that most models write: a JSON object with `name` and
//! `arguments` (or an array of such), which must be the whole answer, and the same between `<tool_call>` and `</tool_call>`
//! anywhere. Whatever else there is, or names no tool that was offered, is text.

use serde_json::Value;

use super::tools::{Tools, Wanted};
use crate::core::limits;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// What a piece of text turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Text(String),
    /// A call begins; calls are numbered from zero.
    Call {
        index: usize,
        name: String,
    },
    /// More of the arguments' JSON.
    Arguments {
        index: usize,
        json: String,
    },
}

/// Reads one answer.
pub(super) struct ToolText {
    names: Vec<String>,
    calls_max: usize,
    calls: usize,
    state: State,
}

enum State {
    /// Only white space so far.
    Begin(String),
    /// Text; what is held back may be the beginning of a tag.
    Text(String),
    /// After an opening tag.
    Tagged(String),
    /// The answer began like JSON.
    Json(String),
    /// All text is the arguments of one call, which has begun or not.
    Arguments { name: String, begun: bool },
}

impl ToolText {
    pub(super) fn new(tools: &Tools) -> ToolText {
        let state = match &tools.wanted {
            Wanted::Named(name, _) => State::Arguments { name: name.clone(), begun: false },
            Wanted::Auto | Wanted::Any(_) => State::Begin(String::new()),
        };
        ToolText { names: tools.names.clone(), calls_max: tools.calls_max, calls: 0, state }
    }

    /// Has anything been called?
    pub(super) fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// More text.
    pub(super) fn push(&mut self, text: &str) -> Vec<Told> {
        let mut told = Vec::new();
        match &mut self.state {
            State::Arguments { name, begun } => {
                if !std::mem::replace(begun, true) {
                    told.push(Told::Call { index: 0, name: name.clone() });
                    self.calls = 1;
                }
                if !text.is_empty() {
                    told.push(Told::Arguments { index: 0, json: text.to_owned() });
                }
                return told;
            }
            State::Begin(held) | State::Text(held) | State::Tagged(held) | State::Json(held) => held.push_str(text),
        }
        while self.step(&mut told) {}
        told
    }

    /// The answer is complete: what was held back is told now.
    pub(super) fn finish(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        match std::mem::replace(&mut self.state, State::Text(String::new())) {
            State::Begin(held) | State::Text(held) => text(held, &mut told),
            State::Tagged(held) => {
                if !self.take_calls(&held, &mut told) {
                    text(format!("{OPEN}{held}"), &mut told);
                }
            }
            State::Json(held) => {
                if !self.take_calls(&held, &mut told) {
                    text(held, &mut told);
                }
            }
            State::Arguments { name, begun: false } => {
                self.calls = 1;
                told.push(Told::Call { index: 0, name });
            }
            State::Arguments { begun: true, .. } => {}
        }
        told
    }

    /// Tells what is certain; true if more may be.
    fn step(&mut self, told: &mut Vec<Told>) -> bool {
        let (next, more) = match std::mem::replace(&mut self.state, State::Text(String::new())) {
            State::Begin(held) => match held.trim_start().chars().next() {
                None => (State::Begin(held), false),
                Some('{' | '[') => (State::Json(held), true),
                Some(_) => (State::Text(held), true),
            },
            State::Text(held) => after_text(held, told),
            State::Tagged(held) => match held.split_once(CLOSE) {
                Some((inside, rest)) => {
                    if !self.take_calls(inside, told) {
                        text(format!("{OPEN}{inside}{CLOSE}"), told);
                    }
                    // Line breaks between two calls are not meant for people.
                    let rest = if self.has_called() { rest.trim_start() } else { rest };
                    (State::Text(rest.to_owned()), !rest.is_empty())
                }
                None if held.len() > limits::TOOL_CALL_BYTES_MAX => {
                    text(format!("{OPEN}{held}"), told);
                    (State::Text(String::new()), false)
                }
                None => (State::Tagged(held), false),
            },
            State::Json(held) if held.len() > limits::TOOL_CALL_BYTES_MAX => (State::Text(held), true),
            other => (other, false),
        };
        self.state = next;
        more
    }

    /// Tells the calls that `json` is; false if it is anything else.
    fn take_calls(&mut self, json: &str, told: &mut Vec<Told>) -> bool {
        let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
        let items = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        let calls: Option<Vec<(String, String)>> = items.iter().map(|item| self.call(item)).collect();
        let calls = calls.filter(|calls| !calls.is_empty() && self.calls + calls.len() <= self.calls_max);
        let Some(calls) = calls else { return false };
        for (name, json) in calls {
            let index = self.calls;
            self.calls += 1;
            told.extend([Told::Call { index, name }, Told::Arguments { index, json }]);
        }
        true
    }

    /// Name and arguments of one call of an offered tool. Some models write `parameters`, some a whole call of OpenAI's API.
    fn call(&self, value: &Value) -> Option<(String, String)> {
        let value = value.get("function").filter(|inner| inner.is_object()).unwrap_or(value);
        let name = value.get("name")?.as_str()?;
        self.names.iter().find(|known| *known == name)?;
        let arguments = match value.get("arguments").or_else(|| value.get("parameters"))? {
            Value::String(json) => serde_json::from_str::<Value>(json).ok()?,
            other => other.clone(),
        };
        arguments.is_object().then(|| (name.to_owned(), arguments.to_string()))
    }
}

fn text(text: String, told: &mut Vec<Told>) {
    if !text.is_empty() {
        told.push(Told::Text(text));
    }
}

/// Tells text up to an opening tag, or to what may become one.
fn after_text(held: String, told: &mut Vec<Told>) -> (State, bool) {
    if let Some((before, inside)) = held.split_once(OPEN) {
        // Line breaks before a call are not meant for people.
        text(before.trim_end().to_owned(), told);
        return (State::Tagged(inside.to_owned()), true);
    }
    let may_begin = (1..OPEN.len()).rev().find(|&length| held.ends_with(&OPEN[..length])).unwrap_or(0);
    let (now, later) = held.split_at(held.len() - may_begin);
    text(now.to_owned(), told);
    (State::Text(later.to_owned()), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(wanted: Wanted, calls_max: usize) -> ToolText {
        let names = ["add", "now"].map(str::to_owned).to_vec();
        ToolText::new(&Tools { json: String::new(), names, wanted, calls_max })
    }

    /// Name and arguments of each.
    type Calls = Vec<(String, String)>;

    /// What an answer comes to, the same in pieces of any size: its text, and its calls.
    fn read(wanted: &Wanted, calls_max: usize, answer: &str) -> (String, Calls) {
        let in_pieces = |size: usize| {
            let mut reader = reader(wanted.clone(), calls_max);
            let chars: Vec<char> = answer.chars().collect();
            let mut told: Vec<Told> =
                chars.chunks(size).flat_map(|piece| reader.push(&piece.iter().collect::<String>())).collect();
            told.extend(reader.finish());
            let (mut text, mut calls) = (String::new(), Calls::new());
            for one in told {
                match one {
                    Told::Text(more) => text.push_str(&more),
                    Told::Call { index, name } => {
                        assert_eq!(index, calls.len());
                        calls.push((name, String::new()));
                    }
                    Told::Arguments { index, json } => calls[index].1.push_str(&json),
                }
            }
            assert_eq!(reader.has_called(), !calls.is_empty());
            (text, calls)
        };
        let whole = in_pieces(answer.len().max(1));
        // White space before a tag has left when the tag comes in pieces.
        for size in [1, 2, 5] {
            let pieces = in_pieces(size);
            assert_eq!((pieces.0.trim_end(), &pieces.1), (whole.0.trim_end(), &whole.1), "{answer}");
        }
        whole
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn the_forms_of_calls_are_told_from_text() {
        let add = r#"{"name": "add", "arguments": {"a": 1}}"#;
        let cases: [(String, &str, Calls); 11] = [
            (add.to_owned(), "", vec![call("add", r#"{"a":1}"#)]),
            (format!("\n {add}\n"), "", vec![call("add", r#"{"a":1}"#)]),
            (
                format!("[{add}, {}]", r#"{"name":"now","parameters":{}}"#),
                "",
                vec![call("add", r#"{"a":1}"#), call("now", "{}")],
            ),
            (format!("Let me see.\n<tool_call>\n{add}\n</tool_call>"), "Let me see.", vec![call("add", r#"{"a":1}"#)]),
            (
                format!("<tool_call>{add}</tool_call>\n<tool_call>{add}</tool_call>"),
                "",
                vec![call("add", r#"{"a":1}"#), call("add", r#"{"a":1}"#)],
            ),
            (format!("<tool_call>{add}"), "", vec![call("add", r#"{"a":1}"#)]),
            (
                r#"{"type":"function","function":{"name":"now","arguments":"{}"}}"#.to_owned(),
                "",
                vec![call("now", "{}")],
            ),
            ("a < b <tool".to_owned(), "a < b <tool", vec![]),
            (r#"{"name": "rm", "arguments": {}}"#.to_owned(), r#"{"name": "rm", "arguments": {}}"#, vec![]),
            ("<tool_call>no</tool_call> ok".to_owned(), "<tool_call>no</tool_call> ok", vec![]),
            ("[1, 2".to_owned(), "[1, 2", vec![]),
        ];
        for (answer, text, calls) in cases {
            assert_eq!(read(&Wanted::Auto, 8, &answer), (text.to_owned(), calls), "{answer}");
        }
    }

    #[test]
    fn a_named_tools_arguments_stream_as_they_come() {
        let wanted = Wanted::Named("add".to_owned(), String::new());
        assert_eq!(read(&wanted, 1, r#"{"a": 1}"#), (String::new(), vec![call("add", r#"{"a": 1}"#)]));
        assert_eq!(read(&wanted, 1, ""), (String::new(), vec![call("add", "")]));
        let told = reader(wanted, 1).push("{");
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[test]
    fn bounds_hold() {
        let two = r#"<tool_call>{"name":"now","arguments":{}}</tool_call>"#.repeat(2);
        let (text, calls) = read(&Wanted::Auto, 1, &two);
        assert_eq!((calls.len(), text.contains("now")), (1, true));
        let endless = format!("{{\"name\": \"{}", "x".repeat(limits::TOOL_CALL_BYTES_MAX));
        let mut reader = reader(Wanted::Auto, 1);
        assert_eq!(reader.push(&endless), [Told::Text(endless.clone())], "no longer held back");
    }
}
