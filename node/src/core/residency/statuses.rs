//! What readers may know of this node's residency: the router, the advertisement, and whoever looks after the disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::membership::advert::{RefusalCode, ReplicaState, ReplicaStatus};
use crate::core::placement::plan::PlannedReplica;
use crate::core::residency::{Refusal, Residency, State, artifacts};
use crate::core::types::{Digest, SlotName};

impl Residency {
    /// The replica of `slot` here that answers, if one does.
    pub fn ready(&self, slot: &SlotName) -> Option<&PlannedReplica> {
        self.actual.get(slot).filter(|held| held.state == State::Ready).map(|held| &held.order)
    }

    /// Artifacts that must be on disk for what the plan wants resident here.
    pub fn artifacts_wanted(&self) -> BTreeSet<Digest> {
        self.desired.iter().flat_map(artifacts).collect()
    }

    /// Artifacts that what is in memory, or on its way in or out, is made of.
    pub fn artifacts_held(&self) -> BTreeSet<Digest> {
        self.actual.values().flat_map(|held| artifacts(&held.order)).collect()
    }

    /// Is weights' way from disk to memory in use?
    pub fn is_loading(&self) -> bool {
        self.actual.values().any(|held| held.state == State::Loading)
    }

    /// What to say of our replicas: those in memory, and those the plan wants that are on their way.
    pub fn statuses(
        &self,
        in_flight: &BTreeMap<SlotName, u32>,
        precision: impl Fn(&Digest) -> String,
    ) -> Vec<ReplicaStatus> {
        let held = self.actual.values().map(|held| {
            let state = match held.state {
                State::Loading => ReplicaState::Loading,
                State::Ready => ReplicaState::Ready,
                State::Draining | State::Unloading => ReplicaState::Draining,
            };
            (&held.order, state, held.bytes(), self.staying.get(&held.order.slot).map(Said::of).unwrap_or_default())
        });
        let coming = self.absent().map(|order| match (self.failures.get(&order.slot), self.waiting.get(&order.slot)) {
            (Some(failure), _) => (order, ReplicaState::Failed, order.bytes, Said::why(&failure.why)),
            (None, Some(refusal)) => (order, ReplicaState::Loading, order.bytes, Said::of(refusal)),
            (None, None) => (order, ReplicaState::Fetching, order.bytes, Said::default()),
        });
        let status = |(order, state, bytes, said): (&PlannedReplica, _, _, Said)| ReplicaStatus {
            slot: order.slot,
            artifact: order.artifact,
            domains: order.adapters.iter().map(|adapter| adapter.domain).collect(),
            memory_domain: order.memory_domain.clone(),
            state,
            bytes,
            in_flight: in_flight.get(&order.slot).copied().unwrap_or(0),
            precision: precision(&order.artifact),
            reason: said.reason,
            refusal: said.refusal,
            moving: None,
        };
        held.chain(coming).map(status).collect()
    }
}

/// What is said of a replica that is not where the plan wants it.
#[derive(Default)]
struct Said {
    reason: String,
    refusal: Option<RefusalCode>,
}

impl Said {
    fn of(refusal: &Refusal) -> Said {
        Said { reason: refusal.to_string(), refusal: Some(refusal.code()) }
    }

    fn why(reason: &str) -> Said {
        Said { reason: reason.to_owned(), refusal: None }
    }
}
