//! How tokens are to be chosen: the fields that OpenAI's endpoints have in common, and those that local servers have added.

use fednode_proto::v1;
use serde_json::Value;

use super::ApiError;
use super::fields::{Fields, Model};
use crate::core::limits;

/// A request to the backend with the fields of sampling taken out of `fields`; the prompt is still missing.
pub(super) fn take(fields: &mut Fields, model: &Model) -> Result<v1::GenerateRequest, ApiError> {
    Ok(v1::GenerateRequest {
        temperature: fields.number("temperature", 1.0, (0.0, 2.0))?,
        top_p: top_p(fields, 1.0)?,
        top_k: fields.integer("top_k", (0, u32::MAX))?.unwrap_or(0),
        min_p: fields.number("min_p", 0.0, (0.0, 1.0))?,
        presence_penalty: fields.number("presence_penalty", 0.0, (-2.0, 2.0))?,
        frequency_penalty: fields.number("frequency_penalty", 0.0, (-2.0, 2.0))?,
        seed: seed(fields)?,
        stop: stop(fields)?,
        ..bare(model)
    })
}

/// A greedy request without a prompt.
pub(super) fn bare(model: &Model) -> v1::GenerateRequest {
    v1::GenerateRequest {
        slot: model.slot.clone(),
        domain: model.domain.clone(),
        max_tokens: limits::MAX_TOKENS_DEFAULT,
        top_p: 1.0,
        deadline_ms: limits::REQUEST_WAIT.as_millis(),
        unverified: true,
        ..v1::GenerateRequest::default()
    }
}

/// Nothing at all leaves the likeliest token; to the engine a zero says that nobody asked.
pub(super) fn top_p(fields: &mut Fields, default: f32) -> Result<f32, ApiError> {
    Ok(fields.number("top_p", default, (0.0, 1.0))?.max(f32::MIN_POSITIVE))
}

/// OpenAI's seeds are signed; the engine takes the same 64 bits. Without one, each request draws its own.
pub(super) fn seed(fields: &mut Fields) -> Result<u64, ApiError> {
    let Some(value) = fields.take("seed") else { return Ok(rand::random()) };
    let bits = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    bits.ok_or_else(|| fields.wrong("seed", "an integer of 64 bits"))
}

pub(super) fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let max = limits::STOPS_MAX;
    let texts = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => Some(vec![text]),
        Some(Value::Array(items)) if items.len() <= max => {
            items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        Some(_) => None,
    };
    let good = texts.filter(|texts| texts.iter().all(|text| !text.is_empty()));
    good.ok_or_else(|| fields.wrong("stop", &format!("a text or an array of up to {max} texts, none empty")))
}

/// `n` requests that differ only in their seed, so that a seed gives the same choices again.
pub(super) fn choices(request: &v1::GenerateRequest, n: usize) -> impl Iterator<Item = v1::GenerateRequest> {
    (0..n as u64).map(|choice| v1::GenerateRequest { seed: request.seed.wrapping_add(choice), ..request.clone() })
}

/// The field `n`, when there are `prompts` prompts.
pub(super) fn n(fields: &mut Fields, prompts: usize) -> Result<usize, ApiError> {
    let max = (limits::CHOICES_MAX / prompts.max(1)).max(1) as u32;
    Ok(fields.integer("n", (1, max))?.unwrap_or(1) as usize)
}

/// The fields `stream` and `stream_options`: whether to stream, and whether to tell usage at the end of it.
pub(super) fn stream(fields: &mut Fields) -> Result<(bool, bool), ApiError> {
    let stream = fields.boolean("stream", false)?;
    let Some(options) = fields.take("stream_options") else { return Ok((stream, false)) };
    if !stream {
        let why = "stream_options is only allowed with stream: true";
        return Err(ApiError::invalid("stream_options", why));
    }
    let mut options = Fields::of(options, "stream_options")?;
    let include_usage = options.boolean("include_usage", false)?;
    options.refuse_the_rest(&[("include_obfuscation", super::fields::is_false, "padding of events")])?;
    Ok((stream, include_usage))
}
