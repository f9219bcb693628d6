//! Where a slot answers, for the view: its replicas, and the servers that stand in for it.

use std::collections::BTreeMap;

use super::Facts;
use crate::core::external::UNVERIFIED;
use crate::core::membership::advert::{Advert, ReplicaState, ReplicaStatus};
use crate::core::placement::plan::Plan;
use crate::core::roster::Seat;
use crate::core::types::{NodeId, SlotName};
use crate::core::view::{ExternalView, ReplicaView};
use crate::wire::ids::peer_id_text;

/// Loaded and loading copies of what serves at `seat`; `plan` says which of them nobody asks.
pub(super) fn replicas(
    plan: Option<&Plan>,
    adverts: &BTreeMap<NodeId, &Advert>,
    facts: &Facts,
    seat: &Seat,
) -> Vec<ReplicaView> {
    let slot = &seat.slot;
    // One that was loaded before its adapter was published is loaded again.
    let serves = |replica: &ReplicaStatus| {
        let attached = seat.domain.as_ref().is_none_or(|domain| replica.domains.contains(domain));
        &replica.slot == slot && (attached || replica.state != ReplicaState::Ready)
    };
    let all = adverts.iter().flat_map(|(node, advert)| advert.replicas.iter().map(move |replica| (node, replica)));
    let views = all.filter(|(_, replica)| serves(replica)).map(|(node, replica)| {
        let ready = replica.state == ReplicaState::Ready;
        let distrust = plan.and_then(|plan| plan.distrust(node, slot)).filter(|_| ready);
        let state = distrust.map_or(replica.state.as_str(), |_| "distrusted");
        ReplicaView {
            node: facts.name(node),
            peer_id: peer_id_text(node),
            memory_domain: replica.memory_domain.clone(),
            state: state.to_owned(),
            reason: distrust.map_or_else(|| replica.reason.clone(), |distrust| distrust.why.clone()),
            refusal: replica.refusal.map(|code| code.as_str().to_owned()).unwrap_or_default(),
            bytes: replica.bytes,
            in_flight: replica.in_flight,
            load: facts.loading.of(node, slot),
        }
    });
    views.collect()
}

/// Servers that stand in for `slot`.
pub(super) fn externals(adverts: &BTreeMap<NodeId, &Advert>, facts: &Facts, slot: &SlotName) -> Vec<ExternalView> {
    let all = adverts.iter().flat_map(|(node, advert)| advert.externals.iter().map(move |there| (node, there)));
    let views = all.filter(|(_, there)| &there.slot == slot).map(|(node, there)| ExternalView {
        node: facts.name(node),
        peer_id: peer_id_text(node),
        state: if there.ready { "ready" } else { "away" }.to_owned(),
        precision: UNVERIFIED.to_owned(),
        in_flight: there.in_flight,
    });
    views.collect()
}
