//! The form an answer must have: `response_format` of chats, `text.format` of responses, `format` of Ollama's API, as the text of
//! a JSON schema. Empty: any text.

use serde_json::{Value, json};

use super::ApiError;
use super::fields::Fields;

/// What JSON mode promises.
fn any_object() -> String {
    json!({"type": "object"}).to_string()
}

/// `{"type": "text" | "json_object" | "json_schema"}`. Where the schema stands differs: in chats it is in an object named
/// `json_schema`, in responses beside the type.
pub(super) fn openai(value: Value, name: &str, nested: bool) -> Result<String, ApiError> {
    let mut fields = Fields::of(value, name)?;
    let schema = match fields.needed("type")?.as_str() {
        "text" => String::new(),
        "json_object" => any_object(),
        "json_schema" if nested => {
            let inner = fields.take("json_schema").unwrap_or_default();
            named_schema(Fields::of(inner, &fields.param("json_schema"))?)?
        }
        "json_schema" => return named_schema(fields),
        _ => return Err(fields.wrong("type", "text, json_object or json_schema")),
    };
    fields.refuse_the_rest(&[])?;
    Ok(schema)
}

/// Name and description are for people; the schema is always followed, strictly.
fn named_schema(mut fields: Fields) -> Result<String, ApiError> {
    fields.needed("name")?;
    fields.text("description")?;
    fields.boolean("strict", true)?;
    let schema = fields.take("schema").filter(Value::is_object);
    let schema = schema.ok_or_else(|| fields.wrong("schema", "a JSON schema, and there"))?;
    fields.refuse_the_rest(&[])?;
    Ok(schema.to_string())
}

/// `"json"`, or a schema.
pub(super) fn ollama(value: &Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) if text.is_empty() => Ok(String::new()),
        Value::String(text) if text == "json" => Ok(any_object()),
        Value::Object(_) => Ok(value.to_string()),
        _ => Err(ApiError::invalid("format", "format must be \"json\" or a JSON schema")),
    }
}
