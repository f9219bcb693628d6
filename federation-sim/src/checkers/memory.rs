//! Memory: no budget is exceeded, and what must stay stays.

use std::collections::BTreeMap;

use fednode::core::placement::plan::PlannedReplica;
use fednode::core::residency;
use fednode::core::types::{Digest, SlotName, Time, human_bytes};

use super::Checkers;
use crate::world::{Engine, SimNode};

/// Σ distinct bases + what each replica needs of its own (DESIGN 8).
pub(super) fn together<'a>(replicas: impl Iterator<Item = &'a PlannedReplica>) -> u64 {
    let (mut bases, mut own) = (BTreeMap::<Digest, u64>::new(), 0u64);
    for replica in replicas {
        let base = bases.entry(replica.artifact).or_default();
        *base = replica.weights_bytes.max(*base);
        own = own.saturating_add(replica.bytes.saturating_sub(replica.weights_bytes));
    }
    bases.into_values().fold(own, u64::saturating_add)
}

impl Checkers {
    /// *Memory*: no load begins that leaves engines more of a domain than it has beside its reserve, or beside what other
    /// programs held when they were last looked at. Engines count from their loads to their ends. Does not check an engine
    /// that takes more than it was promised, nor other programs that grow after a load. And *verified*: what is loaded was
    /// verified here.
    pub(super) fn load(&mut self, now: Time, index: usize, node: &SimNode, order: &PlannedReplica) {
        if residency::artifacts(order).any(|artifact| !node.disk.complete.contains(&artifact)) {
            self.unverified(now, index, "a replica is loaded whose weights were never verified here");
        }
        let Some(process) = node.process.as_ref() else { return };
        let name = order.memory_domain.as_str();
        let Some(domain) = node.domains().into_iter().find(|domain| domain.name == name) else {
            return self.violation(now, "memory", index, format!("{} is loaded into {name}, which is not", order.slot));
        };
        let others = if name == "ram" { process.taken_seen } else { 0 };
        let allowed = domain.total_bytes.saturating_sub(domain.reserve_bytes.max(others));
        let used = together(node.engines(name).map(|engine| &engine.order).chain([order]));
        if used > allowed {
            let what = format!("{name}: engines would occupy {}, allowed {}", human_bytes(used), human_bytes(allowed));
            self.violation(now, "memory", index, what);
        }
    }

    /// *Pinned*: a replica of a pinned slot is not evicted while the plan that its node follows wants it as it is, unless
    /// its weights are whole no longer. Does not check replicas of other slots: those go for many good reasons.
    pub(super) fn unload(&mut self, now: Time, index: usize, node: &SimNode, slot: &SlotName) {
        let Some(process) = node.process.as_ref().filter(|_| self.pinned.contains(slot)) else { return };
        let Some(engine) = process.engines.get(slot) else { return };
        let whole = residency::artifacts(&engine.order).all(|artifact| node.disk.complete.contains(&artifact));
        let wanted = process.machine.plan().is_some_and(|plan| plan.replicas.iter().any(|r| same(r, engine)));
        if whole && wanted {
            self.violation(now, "pinned", index, format!("{slot} is evicted although it is pinned and planned here"));
        }
    }
}

/// Is this planned replica what the engine runs?
fn same(planned: &PlannedReplica, engine: &Engine) -> bool {
    let content = |r: &PlannedReplica| (r.node, r.memory_domain.clone(), r.artifact, r.adapters.clone());
    let size = |r: &PlannedReplica| (r.context, r.parallel);
    planned.slot == engine.order.slot
        && content(planned) == content(&engine.order)
        && size(planned) == size(&engine.order)
}
