//! Whom a request's `model` means: asked of the backend, which knows what is published, before anything is routed.

use fednode_proto::v1;

use super::access::Caller;
use super::fields::Model;
use super::{ApiError, Backend};
use crate::core::route::auto::Said;

/// The model with the slot and the domain that its name means, if its caller may use them. `request`: what is said to it.
pub(super) async fn resolve<B: Backend>(
    backend: &B,
    caller: &Caller,
    model: Model,
    request: &v1::GenerateRequest,
) -> Result<Model, ApiError> {
    let messages = request.messages.iter().map(|message| (message.role.as_str(), message.content.as_str()));
    let prompt = Some(("user", request.prompt.as_str())).filter(|(_, prompt)| !prompt.is_empty());
    let found = backend.whom(&model.sought(), Said::of(messages.chain(prompt)), caller.slots()).await;
    let chosen = found.or_else(|nobody| {
        // Whose key is for some slots is not told which others there are.
        if model.slot.is_empty() { Err(nobody) } else { caller.check_slot(&model.slot).and(Err(nobody)) }
    })?;
    let slot = chosen.slot.slot.to_string();
    caller.check_slot(&slot)?;
    let domain = chosen.slot.domain.map(|domain| domain.to_string()).unwrap_or_default();
    Ok(Model { slot, domain, ..model })
}
