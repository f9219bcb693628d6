//! The tools a client offers and what it wants of them: `tools` and `tool_choice`. They go to the model's own chat template; an
//! answer that must be a call is held to the JSON schema of that call.

use serde_json::{Value, json};

use super::ApiError;
use super::fields::Fields;
use crate::core::limits;

/// What is offered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tools {
    /// For the chat template: the array as it was sent.
    pub json: String,
    /// What may be called.
    pub names: Vec<String>,
    pub wanted: Wanted,
    /// Calls that one answer may have.
    pub calls_max: usize,
}

/// What the answer is to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// A call or not, as the model likes.
    Auto,
    /// A call of any tool: `{"name": …, "arguments": …}`, by this schema.
    Any(String),
    /// The arguments of this tool and nothing else, by this schema.
    Named(String, String),
}

impl Tools {
    /// The schema that the answer is held to; empty: none.
    pub(super) fn schema(&self) -> &str {
        match &self.wanted {
            Wanted::Auto => "",
            Wanted::Any(schema) | Wanted::Named(_, schema) => schema,
        }
    }
}

struct Function {
    name: String,
    parameters: Value,
    strict: bool,
}

/// Takes `tools`, `tool_choice` and `parallel_tool_calls`; `None`: no tool is to be called, and the model hears of none.
pub(super) fn take(fields: &mut Fields) -> Result<Option<Tools>, ApiError> {
    let tools = fields.take("tools").unwrap_or_else(|| json!([]));
    let functions = functions(&tools)?;
    let choice = fields.take("tool_choice");
    let parallel = fields.boolean("parallel_tool_calls", true)?;
    let none = choice.as_ref().is_some_and(|choice| choice == "none");
    if functions.is_empty() {
        return match choice {
            Some(_) if !none => Err(ApiError::invalid("tool_choice", "tool_choice is only allowed with tools")),
            _ => Ok(None),
        };
    }
    if none {
        return Ok(None);
    }
    let json = tools.to_string();
    if json.len() > limits::TOOLS_BYTES_MAX {
        return Err(fields.wrong("tools", &format!("at most {} bytes of JSON", limits::TOOLS_BYTES_MAX)));
    }
    let wanted = wanted(choice, &functions)?;
    if wanted == Wanted::Auto
        && let Some(index) = functions.iter().position(|function| function.strict)
    {
        let param = format!("tools[{index}].function.strict");
        let why =
            "is only kept where the call is certain: set tool_choice to required or to a function, or strict to false";
        let refused = ApiError::invalid(&param, format!("{param} {why}"));
        return Err(ApiError { code: "unsupported_parameter", ..refused });
    }
    let calls_max = if parallel { limits::TOOL_CALLS_MAX } else { 1 };
    let names = functions.into_iter().map(|function| function.name).collect();
    Ok(Some(Tools { json, names, wanted, calls_max }))
}

fn functions(tools: &Value) -> Result<Vec<Function>, ApiError> {
    let max = limits::TOOLS_MAX;
    let wrong = || ApiError::invalid("tools", format!("tools must be an array of up to {max} functions"));
    let tools = tools.as_array().filter(|tools| tools.len() <= max).ok_or_else(wrong)?;
    let functions = tools.iter().enumerate().map(|(index, tool)| function(index, tool.clone()));
    let functions = functions.collect::<Result<Vec<_>, _>>()?;
    for (index, function) in functions.iter().enumerate() {
        if functions[..index].iter().any(|other| other.name == function.name) {
            let param = format!("tools[{index}].function.name");
            return Err(ApiError::invalid(&param, format!("{param} stands there twice")));
        }
    }
    Ok(functions)
}

fn function(index: usize, tool: Value) -> Result<Function, ApiError> {
    let mut tool = Fields::of(tool, &format!("tools[{index}]"))?;
    if tool.needed("type")? != "function" {
        return Err(tool.wrong("type", "function: no other tool is known here"));
    }
    let inner = tool.take("function").unwrap_or_default();
    let mut inner = Fields::of(inner, &tool.param("function"))?;
    tool.refuse_the_rest(&[])?;
    let name = inner.needed("name")?;
    if !is_name(&name) {
        return Err(inner.wrong("name", "letters, digits, underscores and dashes, at most 64"));
    }
    inner.text("description")?;
    let nothing = || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let parameters = inner.take("parameters").unwrap_or_else(nothing);
    if !parameters.is_object() {
        return Err(inner.wrong("parameters", "a JSON schema"));
    }
    let strict = inner.boolean("strict", false)?;
    inner.refuse_the_rest(&[])?;
    Ok(Function { name, parameters, strict })
}

fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.len() <= limits::TOOL_NAME_BYTES_MAX && name.chars().all(known)
}

fn wanted(choice: Option<Value>, functions: &[Function]) -> Result<Wanted, ApiError> {
    let param = "tool_choice";
    match choice {
        None => Ok(Wanted::Auto),
        Some(Value::String(word)) if word == "auto" => Ok(Wanted::Auto),
        Some(Value::String(word)) if word == "required" => any(functions),
        Some(choice @ Value::Object(_)) => {
            let mut choice = Fields::of(choice, param)?;
            if choice.needed("type")? != "function" {
                return Err(choice.wrong("type", "function"));
            }
            let inner = choice.take("function").unwrap_or_default();
            let mut inner = Fields::of(inner, "tool_choice.function")?;
            choice.refuse_the_rest(&[])?;
            let name = inner.needed("name")?;
            let found = functions.iter().find(|function| function.name == name);
            let found = found.ok_or_else(|| inner.wrong("name", "the name of one of the tools"))?;
            inner.refuse_the_rest(&[])?;
            Ok(named(found))
        }
        Some(_) => {
            let must = "tool_choice must be none, auto, required, or an object that names a function";
            Err(ApiError::invalid(param, must))
        }
    }
}

fn named(function: &Function) -> Wanted {
    Wanted::Named(function.name.clone(), function.parameters.to_string())
}

/// One of several calls. A reference in a schema counts from its root, which is another one here.
fn any(functions: &[Function]) -> Result<Wanted, ApiError> {
    if let [only] = functions {
        return Ok(named(only));
    }
    if let Some(index) = functions.iter().position(|function| refers(&function.parameters)) {
        let param = format!("tools[{index}].function.parameters");
        let why = "has a $ref, which cannot be followed where any of several tools must be called: name the tool, or \
                   write the schema out";
        let refused = ApiError::invalid(&param, format!("{param} {why}"));
        return Err(ApiError { code: "unsupported_parameter", ..refused });
    }
    let one = |function: &Function| {
        json!({
            "type": "object",
            "properties": {"name": {"const": function.name}, "arguments": function.parameters},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let schema = json!({"anyOf": functions.iter().map(one).collect::<Vec<_>>()});
    Ok(Wanted::Any(schema.to_string()))
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key("$ref") || map.values().any(refers),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}
