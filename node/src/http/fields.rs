//! The fields of a JSON object that somebody sent: each is taken and bounded, or refused by name. What nobody takes is refused in
//! the end, so that nothing is silently ignored; an explicit null is what some clients send for "not set".

use fednode_proto::v1;
use serde_json::{Map, Value};

use super::ApiError;
use super::error::echo;
use crate::core::limits;
use crate::core::types::SlotName;

/// A field's name, whether a value of it asks for nothing, and what it would ask for else.
pub(super) type Neutral = (&'static str, fn(&Value) -> bool, &'static str);

/// The fields not yet looked at.
pub(super) struct Fields {
    map: Map<String, Value>,
    /// Before each name in errors, such as `options.`.
    at: String,
}

impl Fields {
    /// Of a request's body.
    pub(super) fn of_body(body: &[u8]) -> Result<Fields, ApiError> {
        let bad = |why: String| ApiError {
            param: None,
            ..ApiError::invalid("", format!("the body must be one JSON object: {why}"))
        };
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Fields { map, at: String::new() }),
            Ok(_) => Err(bad("it is JSON of another kind".to_owned())),
            Err(error) => Err(bad(error.to_string())),
        }
    }

    /// Of the object `value`, which the client knows as `name`.
    pub(super) fn of(value: Value, name: &str) -> Result<Fields, ApiError> {
        match value {
            Value::Object(map) => Ok(Fields { map, at: format!("{name}.") }),
            _ => Err(ApiError::invalid(name, format!("{name} must be an object"))),
        }
    }

    /// What the client knows a field as.
    pub(super) fn param(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// The field is wrong: it must be as `must` says.
    pub(super) fn wrong(&self, name: &str, must: &str) -> ApiError {
        let param = self.param(name);
        ApiError::invalid(&param, format!("{param} must be {must}"))
    }

    /// The field asks for what cannot be done.
    pub(super) fn cannot(&self, name: &str, why: &str) -> ApiError {
        let param = self.param(name);
        let refused = ApiError::invalid(&param, format!("{param} {why}"));
        ApiError { code: "unsupported_parameter", ..refused }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        #[cfg(test)]
        asked::note(&self.param(name));
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A number from `min` to `max`.
    pub(super) fn number(&mut self, name: &str, default: f32, (min, max): (f64, f64)) -> Result<f32, ApiError> {
        let Some(value) = self.take(name) else { return Ok(default) };
        match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => Ok(number as f32),
            _ => Err(self.wrong(name, &format!("a number from {min} to {max}"))),
        }
    }

    /// An integer from `min` to `max`.
    pub(super) fn integer(&mut self, name: &str, (min, max): (u32, u32)) -> Result<Option<u32>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &format!("an integer from {min} to {max}"))),
        }
    }

    pub(super) fn boolean(&mut self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "text")),
        }
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)?.ok_or_else(|| self.wrong(name, "text, and there"))
    }

    /// The field `model`: as the client wrote it, and whom it names.
    pub(super) fn model(&mut self) -> Result<Model, ApiError> {
        match self.take("model") {
            Some(Value::String(name)) => Model::named(name),
            _ => Err(self.wrong("model", "the name of a manager, such as \"UCM\" or \"ULM:personal\"")),
        }
    }

    /// Labels that OpenAI defines as saying nothing about the answer.
    pub(super) fn labels(&mut self, names: &[&str]) -> Result<(), ApiError> {
        names.iter().try_for_each(|name| self.text(name).map(drop))
    }

    /// The fields of `neutral` may ask for nothing; whatever else there is is not known.
    pub(super) fn refuse_the_rest(mut self, neutral: &[Neutral]) -> Result<(), ApiError> {
        for &(name, asks_for_nothing, what) in neutral {
            if self.take(name).is_some_and(|value| !asks_for_nothing(&value)) {
                return Err(self.cannot(name, &format!("asks for {what}, which cannot be done; leave it out")));
            }
        }
        let left = std::mem::take(&mut self.map).into_iter().find(|(_, value)| !value.is_null());
        match left {
            None => Ok(()),
            Some((name, _)) => {
                let name = self.param(&echo(&name));
                let refused = ApiError::invalid(&name, format!("the field {name:?} is not known here; leave it out"));
                Err(ApiError { code: "unknown_parameter", ..refused })
            }
        }
    }
}

/// Whom a request is for.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// As the client wrote it; answers repeat it.
    pub name: String,
    pub slot: String,
    /// Empty: the base.
    pub domain: String,
}

impl Model {
    /// `SLOT` or `SLOT:domain`. What cannot be one may be an artifact: the backend knows, and until it has said so nobody is named.
    pub(super) fn named(name: String) -> Result<Model, ApiError> {
        let (slot, domain) = match name.split_once(':') {
            Some((slot, domain)) => (slot, Some(domain)),
            None => (name.as_str(), None),
        };
        let named = SlotName::new(slot).is_ok() && domain.is_none_or(|domain| SlotName::new(domain).is_ok());
        match named {
            true => {
                let (slot, domain) = (slot.to_owned(), domain.unwrap_or_default().to_owned());
                Ok(Model { name, slot, domain })
            }
            false if name.is_empty() || name.len() > limits::MODEL_NAME_BYTES_MAX => {
                Err(ApiError::model_not_found(&name))
            }
            false => Ok(Model { name, slot: String::new(), domain: String::new() }),
        }
    }

    /// Whom to look for: the name without what a protocol adds to names.
    pub(super) fn sought(&self) -> String {
        match (self.slot.as_str(), self.domain.as_str()) {
            ("", _) => self.name.clone(),
            (slot, "") => slot.to_owned(),
            (slot, domain) => format!("{slot}:{domain}"),
        }
    }

    /// The request, for it.
    pub(super) fn of(&self, request: v1::GenerateRequest) -> v1::GenerateRequest {
        v1::GenerateRequest { slot: self.slot.clone(), domain: self.domain.clone(), ..request }
    }
}

/// An array or object without anything in it.
pub(super) fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

pub(super) fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

/// Which fields a test's requests were asked for: what the document describes must be just these.
#[cfg(test)]
pub(super) mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ASKED: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(name: &str) {
        ASKED.with_borrow_mut(|asked| asked.insert(name.to_owned()));
    }

    /// Those since the last call.
    pub(in crate::http) fn taken() -> BTreeSet<String> {
        ASKED.take()
    }
}
