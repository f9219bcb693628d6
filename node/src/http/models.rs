//! `GET /v1/models` and `/v1/models/{id}`: the managers that have been published, as OpenAI's clients list models.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use serde_json::{Value, json};

use super::access::Caller;
use super::{ApiError, Backend, Edge};
use crate::core::external::UNVERIFIED;
use crate::core::route::local::LOCAL;
use crate::core::view::{self, LocalView, SlotView};

/// The state of a slot for which only an external engine answers.
pub(super) const EXTERNAL: &str = "external";

/// Every published slot that the caller may use, each followed by its published domains.
pub(super) async fn list<B: Backend>(State(edge): State<Edge<B>>, Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(json!({"object": "list", "data": models(&edge.backend.state().await, &caller)}))
}

/// One of them.
pub(super) async fn one<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    // A name that is not text names no model.
    let Path(id) = path.map_err(|_| ApiError::model_not_found(""))?;
    let found = models(&edge.backend.state().await, &caller).into_iter().find(|model| model["id"] == id.as_str());
    found.map(Json).ok_or_else(|| ApiError::model_not_found(&id))
}

fn models(state: &view::State, caller: &Caller) -> Vec<Value> {
    let local = state.local.iter().filter(|_| caller.sees(LOCAL)).map(of_local);
    visible(state, caller).flat_map(of_slot).chain(local).collect()
}

/// The small model of this machine.
fn of_local(local: &LocalView) -> Value {
    json!({
        "id": LOCAL,
        "object": "model",
        "created": 0,
        "owned_by": "this machine",
        "status": {"value": if local.state == "ready" { "resident" } else { &local.state }},
        "context_length": local.context,
        "precision": local.precision,
        "artifact": "",
    })
}

/// The slots that the caller may use.
pub(super) fn visible<'a>(state: &'a view::State, caller: &Caller) -> impl Iterator<Item = &'a SlotView> {
    state.slots.iter().filter(|slot| caller.sees(&slot.name))
}

/// The slot's name and those of its published domains, each with its artifact. A manager that stands on another's model may have
/// adapters and nothing of its own.
pub(super) fn names(slot: &SlotView) -> impl Iterator<Item = (String, &String)> {
    let adapters = slot.domains.iter().filter(|domain| !domain.artifact.is_empty());
    let names = adapters.map(|domain| (format!("{}:{}", slot.name, domain.name), &domain.artifact));
    let itself = !slot.artifact.is_empty() || slot.state == EXTERNAL;
    itself.then(|| (slot.name.clone(), &slot.artifact)).into_iter().chain(names)
}

fn of_slot(slot: &SlotView) -> Vec<Value> {
    names(slot)
        .map(|(id, artifact)| {
            json!({
                "id": id,
                "object": "model",
                // OpenAI's clients require the field; a publication carries no time.
                "created": 0,
                "owned_by": "fednode",
                "status": {"value": slot.state},
                "context_length": slot.context,
                // What answers now, not what is published.
                "precision": if slot.state == EXTERNAL { UNVERIFIED } else { &slot.precision },
                "artifact": artifact,
            })
        })
        .collect()
}
