//! The document at `/openapi.json`, and as much of JSON schema as it uses: does a value fit?

use std::collections::BTreeSet;

use serde_json::Value;

/// One operation of the document.
#[derive(Clone, PartialEq, Debug)]
pub struct Operation {
    /// In capitals.
    pub method: String,
    pub path: String,
    /// Those that an answer may have.
    pub statuses: BTreeSet<u16>,
    /// Of the body; `None`: there is none.
    pub body: Option<Value>,
}

/// All operations of a document that anybody may ask and whose answers end: not those of the owner, who needs a session, and
/// not `/events`, which is read until somebody has enough.
pub fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().expect("a document has paths");
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("a path has methods").clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, is)| Operation {
            method: method.to_uppercase(),
            path: path.clone(),
            statuses: is["responses"].as_object().expect("responses").keys().filter_map(|s| s.parse().ok()).collect(),
            body: is["requestBody"]["content"].get("application/json").map(|content| content["schema"].clone()),
        })
    };
    assert!(paths.contains_key("/events") && paths.contains_key("/owner/invite"), "they are described");
    let left_out = |path: &str| path == "/events" || path.starts_with("/owner/");
    paths.iter().filter(|(path, _)| !left_out(path)).flat_map(of_path).collect()
}

/// Does the value fit? A word that is not known here refuses nothing.
pub fn fits(schema: &Value, value: &Value) -> bool {
    let Some(words) = schema.as_object() else { return true };
    words.iter().all(|(word, want)| word_fits(schema, word, want, value))
}

fn word_fits(schema: &Value, word: &str, want: &Value, value: &Value) -> bool {
    let number = || want.as_f64().unwrap_or_default();
    let (at_least, at_most) = (|is: usize| is as f64 >= number(), |is: usize| is as f64 <= number());
    let (letters, items) = (value.as_str().map(|text| text.chars().count()), value.as_array().map(Vec::len));
    match word {
        "type" => match want {
            Value::Array(names) => names.iter().any(|name| is_of(name, value)),
            name => is_of(name, value),
        },
        "const" => equal(want, value),
        "enum" => want.as_array().is_some_and(|values| values.iter().any(|one| equal(one, value))),
        "anyOf" => want.as_array().is_some_and(|schemas| schemas.iter().any(|one| fits(one, value))),
        "allOf" => want.as_array().is_some_and(|schemas| schemas.iter().all(|one| fits(one, value))),
        "minimum" => value.as_f64().is_none_or(|is| is >= number()),
        "maximum" => value.as_f64().is_none_or(|is| is <= number()),
        "minLength" => letters.is_none_or(at_least),
        "maxLength" => letters.is_none_or(at_most),
        "minItems" => items.is_none_or(at_least),
        "maxItems" => items.is_none_or(at_most),
        "maxProperties" => value.as_object().map(|fields| fields.len()).is_none_or(at_most),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(want, item))),
        "required" => {
            let has = |name: &Value| name.as_str().is_some_and(|name| value.get(name).is_some());
            !value.is_object() || want.as_array().is_some_and(|names| names.iter().all(has))
        }
        "properties" => value.as_object().is_none_or(|fields| {
            fields.iter().all(|(name, value)| want.get(name).is_none_or(|schema| fits(schema, value)))
        }),
        "additionalProperties" => {
            let (known, more) = (&schema["properties"], |value: &Value| want != false && fits(want, value));
            let fields = value.as_object().into_iter().flatten();
            fields.filter(|(name, _)| known.get(name).is_none()).all(|(_, value)| more(value))
        }
        _ => true,
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("the document knows a type of values called {other}"),
    }
}

/// Numbers are equal by their value.
fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[test]
fn values_fit_as_json_schema_has_it() {
    use serde_json::json;
    let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
        "a": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 3}, {"type": "null"}]},
        "b": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"enum": ["x", 1.0]}},
        "c": {"const": {}}, "f": {"type": "object", "additionalProperties": {"type": "null"}},
        "d": {"type": ["string", "null"], "minLength": 2, "maxLength": 3},
    }});
    for good in [
        json!({"a": 1}),
        json!({"a": 3.0}),
        json!({"a": null, "b": ["x"]}),
        json!({"a": 1, "b": ["x", 1]}),
        json!({"a": 1, "c": {}}),
        json!({"a": 1, "d": "éé"}),
        json!({"a": 1, "d": null}),
    ] {
        assert!(fits(&schema, &good), "{good}");
    }
    for bad in [
        json!([]),
        json!({}),
        json!({"a": 0}),
        json!({"a": 4}),
        json!({"a": 1.5}),
        json!({"a": "1"}),
        json!({"a": 1, "e": 1}),
        json!({"a": 1, "b": []}),
        json!({"a": 1, "b": ["x", 1, 1]}),
        json!({"a": 1, "b": ["y"]}),
        json!({"a": 1, "c": []}),
        json!({"a": 1, "d": "é"}),
        json!({"a": 1, "d": "four"}),
    ] {
        assert!(!fits(&schema, &bad), "{bad}");
    }
}
