//! Who answered and with what: in headers, in the JSON, and in a comment of streams whose headers had left before it was known.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::StartInfo;

/// As headers. Choices may be answered by several replicas: each value stands there once. A name that cannot stand in a header
/// is left out; the PeerId always can.
pub(super) fn headers<'a>(starts: impl Iterator<Item = &'a StartInfo> + Clone) -> HeaderMap {
    let all = |value: fn(&StartInfo) -> String| {
        let mut values: Vec<String> = Vec::new();
        for value in starts.clone().map(value).filter(|value| !value.is_empty()) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.join(", ")
    };
    let pairs = [
        ("x-fednode-node", all(|start| start.node_name.clone())),
        ("x-fednode-peer", all(|start| start.node_peer_id.clone())),
        ("x-fednode-artifact", all(|start| start.artifact_hex.clone())),
        ("x-fednode-precision", all(|start| start.precision.clone())),
        ("x-fednode-epoch", all(|start| start.epoch.to_string())),
        ("x-fednode-route", all(|start| start.route.clone())),
    ];
    let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let valid = said.filter_map(|(name, value)| {
        HeaderValue::from_bytes(value.as_bytes()).ok().map(|value| (HeaderName::from_static(name), value))
    });
    valid.collect()
}

/// As one line.
pub(super) fn comment(start: &StartInfo) -> String {
    let facts = json!({
        "node": start.node_name, "peer": start.node_peer_id, "artifact": start.artifact_hex,
        "precision": start.precision, "epoch": start.epoch, "route": start.route,
    });
    format!("fednode {facts}")
}

/// OpenAI's `system_fingerprint`: what computed, as far as that is known.
pub(super) fn fingerprint(start: &StartInfo) -> String {
    let artifact: String = start.artifact_hex.chars().take(12).collect();
    // An external engine computes with nobody knows what, a local model with a file of no name.
    let artifact = if artifact.is_empty() { start.precision.clone() } else { artifact };
    format!("fp_{artifact}")
}

/// A new name for an answer or a part of it.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}

/// Now, in seconds since the Unix epoch.
pub(super) fn now_unix_s() -> u64 {
    // A clock set before 1970 is no reason to refuse an answer.
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0)
}
