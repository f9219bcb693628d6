//! Slots that are served by another slot's replicas (`core/roster/seats`), on the way in: what people and clients name is
//! translated here, once, and everything behind knows only whose replica it is.

use fednode_proto::v1;
use tonic::Status;

use crate::core::machine::Machine;
use crate::core::route::Refusal;
use crate::core::types::SlotName;
use crate::driver::node::{Node, ended};

/// The request as it is routed. One that names what cannot be a name goes on as it is, and is refused where names are read.
pub(super) fn seated(machine: &Machine, request: v1::GenerateRequest) -> Result<v1::GenerateRequest, Refusal> {
    let Some(roster) = machine.config().catalog.roster() else { return Ok(request) };
    let domain = (!request.domain.is_empty()).then(|| SlotName::new(&request.domain));
    let (Ok(slot), Ok(domain)) = (SlotName::new(&request.slot), domain.transpose()) else { return Ok(request) };
    let seat = match (roster.seat(&slot, domain.as_ref()), domain) {
        (Some(seat), _) => seat,
        (None, Some(domain)) if roster.slot(&slot).is_some() => {
            let message = format!("{slot} has no published domain {domain}; `fednode managers` lists them");
            return Err(Refusal { code: "model_not_found", message });
        }
        // Routing says so.
        (None, _) => return Ok(request),
    };
    let domain = seat.domain.map(|domain| domain.to_string()).unwrap_or_default();
    Ok(v1::GenerateRequest { slot: seat.slot.to_string(), domain, ..request })
}

/// The slot whose replicas serve the one that is called so.
pub(super) async fn host(node: &Node, slot: &str) -> Result<SlotName, Status> {
    let slot = SlotName::new(slot).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let read = move |machine: &Machine| host_of(machine, &slot);
    node.read(read).await.ok_or_else(ended)
}

/// The same, where the machine is at hand.
pub(super) fn host_of(machine: &Machine, slot: &SlotName) -> SlotName {
    *machine.config().catalog.roster().map_or(slot, |roster| roster.host_of(slot))
}
