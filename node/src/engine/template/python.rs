//! What Python writes where minijinja writes something else: the `tojson` filter as Hugging Face has it (`json.dumps`, nothing
//! escaped for HTML), and truth values, nothing and fractions as `str` gives them. Pure. Called by `template`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, escape_formatter};

/// How a document is laid out: the arguments of `json.dumps`.
struct Layout {
    /// Spaces per level; `None`: all on one line.
    indent: Option<usize>,
    /// Between two items; between a key and its value.
    separators: (String, String),
    ascii: bool,
    sorted: bool,
}

/// More spaces per level than anyone writes: the prompt's length is the template's to decide, its memory is not.
const INDENT_MAX: usize = 64;

/// The filter `tojson`.
pub(super) fn tojson(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = arguments.get("indent")?;
    let indent = indent.filter(|indent| !indent.is_none()).map(usize::try_from).transpose()?;
    if let Some(indent) = indent.filter(|&indent| indent > INDENT_MAX) {
        let why = format!("tojson with an indent of {indent}; {INDENT_MAX} at most");
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    let item = if indent.is_some() { "," } else { ", " };
    let separators: Option<(String, String)> = match arguments.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            let part = |at: usize| pair.get_item_by_index(at).map(|part| part.to_string());
            Some((part(0)?, part(1)?))
        }
        _ => None,
    };
    let layout = Layout {
        indent,
        separators: separators.unwrap_or_else(|| (item.to_owned(), ": ".to_owned())),
        ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    arguments.assert_all_used()?;
    let mut out = String::new();
    layout.write(value, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

impl Layout {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value, ["NaN", "Infinity"])),
            ValueKind::String => self.string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(['[', ']'], items.iter(), depth, out, |item, out| self.write(item, depth + 1, out))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.list(['{', '}'], keys.iter(), depth, out, |key, out| {
                    self.string(&key.to_string(), out);
                    out.push_str(&self.separators.1);
                    self.write(&value.get_item(key)?, depth + 1, out)
                })?;
            }
            other => {
                let why = format!("{other} is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, why));
            }
        }
        Ok(())
    }

    /// What stands between two brackets: on one line, or each item on its own, a level deeper.
    fn list<'a>(
        &self,
        brackets: [char; 2],
        items: impl ExactSizeIterator<Item = &'a Value>,
        depth: usize,
        out: &mut String,
        mut item: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize| self.indent.map(|indent| format!("\n{}", " ".repeat(indent * depth)));
        let empty = items.len() == 0;
        out.push(brackets[0]);
        for (index, value) in items.enumerate() {
            if index > 0 {
                out.push_str(&self.separators.0);
            }
            out.push_str(&line(depth + 1).unwrap_or_default());
            item(value, out)?;
        }
        if !empty {
            out.push_str(&line(depth).unwrap_or_default());
        }
        out.push(brackets[1]);
        Ok(())
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    let units =
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
                    out.push_str(&units);
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// What stands in the prompt for `{{ value }}`.
pub(super) fn print(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => (if value.is_true() { "True" } else { "False" }).to_owned(),
        ValueKind::Number => number(value, ["nan", "inf"]),
        _ => return escape_formatter(out, state, value),
    };
    out.write_str(&text).map_err(Error::from)
}

/// `words`: what is no number, and what is beyond all.
fn number(value: &Value, [none, infinite]: [&str; 2]) -> String {
    let Some(fraction) = (!value.is_integer()).then(|| f64::try_from(value.clone()).ok()).flatten() else {
        return value.to_string();
    };
    if fraction.is_nan() {
        return none.to_owned();
    }
    if fraction.is_infinite() {
        return format!("{}{infinite}", if fraction < 0.0 { "-" } else { "" });
    }
    // The shortest digits that are this number, as Python finds them, too; only where they turn to exponents differs.
    let scientific = format!("{fraction:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let plain = fraction.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}
