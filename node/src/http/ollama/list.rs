//! What there is: `/api/tags`, `/api/show`, `/api/ps`, `/api/version`.

use axum::Json;
use axum::extract::{Extension, Request, State};
use serde_json::{Value, json};

use super::OllamaError;
use super::request::model;
use crate::core::external::UNVERIFIED;
use crate::core::view::SlotView;
use crate::http::access::Caller;
use crate::http::fields::{Fields, is_false};
use crate::http::models::{EXTERNAL, names, visible};
use crate::http::{ApiError, Asked, Backend, Edge};

/// `GET /api/tags`: every published slot, each followed by its published domains.
pub(crate) async fn tags<B: Backend>(State(edge): State<Edge<B>>, Extension(caller): Extension<Caller>) -> Json<Value> {
    let state = edge.backend.state().await;
    let models: Vec<Value> =
        visible(&state, &caller).flat_map(|slot| names(slot).map(|one| entry(slot, one))).collect();
    Json(json!({"models": models}))
}

/// `GET /api/ps`: those of them that are in some machine's memory.
pub(crate) async fn running<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
) -> Json<Value> {
    let state = edge.backend.state().await;
    let ready = |slot: &&SlotView| slot.replicas.iter().any(|replica| replica.state == "ready");
    let models = visible(&state, &caller).filter(ready).map(|slot| {
        let all = slot.replicas.iter().filter(|replica| replica.state == "ready");
        let gpu = all.clone().filter(|replica| replica.memory_domain != "ram");
        let mut entry = entry(slot, (slot.name.clone(), &slot.artifact));
        entry["size"] = json!(all.map(|replica| replica.bytes).sum::<u64>());
        entry["size_vram"] = json!(gpu.map(|replica| replica.bytes).sum::<u64>());
        entry["context_length"] = json!(slot.context);
        entry
    });
    Json(json!({"models": models.collect::<Vec<_>>()}))
}

/// `POST /api/show`: one of them.
pub(crate) async fn show<B: Backend>(
    State(edge): State<Edge<B>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Value>, OllamaError> {
    let asked = Asked::read(&edge, request).await?;
    let mut fields = Fields::of_body(&asked.body)?;
    let model = model(&mut fields)?;
    fields.refuse_the_rest(&[("verbose", is_false, "every tensor")])?;
    caller.check_slot(&model.slot)?;
    let state = edge.backend.state().await;
    let id = match model.domain.as_str() {
        "" => model.slot.clone(),
        domain => format!("{}:{domain}", model.slot),
    };
    let found =
        visible(&state, &caller).find_map(|slot| names(slot).find(|(name, _)| *name == id).map(|one| (slot, one)));
    let (slot, one) = found.ok_or_else(|| ApiError::model_not_found(&model.name))?;
    let entry = entry(slot, one);
    // Clients look for the context under the name of the architecture.
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "modified_at": entry["modified_at"],
        "details": entry["details"],
        "model_info": {
            "general.architecture": "fednode",
            "general.name": slot.model,
            "fednode.context_length": slot.context,
            "fednode.artifact": entry["digest"],
            "fednode.status": slot.state,
        },
        "capabilities": ["completion"],
    })))
}

/// `GET /api/version`: fednode's.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

fn entry(slot: &SlotView, (name, artifact): (String, &String)) -> Value {
    let precision = if slot.state == EXTERNAL { UNVERIFIED } else { &slot.precision };
    json!({
        "name": name,
        "model": name,
        // A publication carries no time.
        "modified_at": "1970-01-01T00:00:00Z",
        "size": slot.bytes,
        "digest": artifact,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": slot.model,
            "families": [],
            "parameter_size": "",
            "quantization_level": precision,
        },
    })
}
