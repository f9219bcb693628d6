//! Which machines with GPUs may be counted on. A manager that runs in host memory somewhere moves to a GPU that has room
//! (`placement::climb`), and not to one that comes and goes: that of a laptop that sleeps, or one whose memory is wanted by a
//! game. This is remembered by whoever sits, as of its last plan, so that between two plans nothing is otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::limits;
use crate::core::machine::Machine;
use crate::core::membership::advert::{Advert, DomainKind, ReplicaState};
use crate::core::membership::table::Presence;
use crate::core::placement::plan::{Plan, PlannedReplica};
use crate::core::placement::problem::{NodeInput, Problem};
use crate::core::types::{NodeId, Time};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Steady {
    /// Members with GPUs that had been there for long enough.
    nodes: BTreeSet<NodeId>,
    /// When something last left a GPU of a machine that is still there, or could not be loaded on it.
    left: BTreeMap<NodeId, Time>,
    /// When this was first looked at.
    since: Option<Time>,
    /// When the next of the others will have been.
    pub(super) due: Option<Time>,
}

impl Steady {
    /// Has a GPU, and nobody counts on it yet.
    pub(super) fn is_recent(&self, node: &NodeInput) -> bool {
        gpus(node).next().is_some() && !self.nodes.contains(&node.id)
    }

    /// Of two plans, the second of which answers `problem`: whose GPUs has something left?
    pub(super) fn note(&mut self, now: Time, problem: &Problem, next: &Plan) {
        let stays = |replica: &PlannedReplica| next.replicas.iter().any(|other| other.place() == replica.place());
        for node in problem.nodes.iter().filter(|node| gpus(node).next().is_some()) {
            let mut here = problem.previous.iter().filter(|replica| replica.node == node.id);
            if here.any(|replica| gpus(node).any(|gpu| *gpu == replica.memory_domain) && !stays(replica)) {
                self.left.insert(node.id, now);
                self.nodes.remove(&node.id);
                let next = now.after(limits::STEADY_AFTER);
                self.due = Some(self.due.map_or(next, |due| due.min(next)));
            }
        }
    }
}

/// Names of a machine's GPUs that may hold something.
fn gpus(node: &NodeInput) -> impl Iterator<Item = &String> {
    let gpus = node.gpus().filter(|gpu| gpu.budget_bytes > 0);
    gpus.map(|gpu| &gpu.name)
}

impl Machine {
    /// Looks who may be counted on now.
    pub(super) fn look_who_is_steady(&mut self, now: Time) {
        let steady = &mut self.steady;
        steady.left.retain(|_, at| now < at.after(limits::STEADY_AFTER));
        (steady.nodes, steady.due) = (BTreeSet::new(), None);
        let began = *steady.since.get_or_insert(now);
        let is_gpu = |advert: &Advert, name: &str| {
            advert.domains.iter().any(|domain| domain.kind == DomainKind::Vram && domain.name == name)
        };
        let fails = |advert: &Advert| {
            let mut failed = advert.replicas.iter().filter(|replica| replica.state == ReplicaState::Failed);
            failed.any(|replica| is_gpu(advert, &replica.memory_domain))
        };
        let failing = self.table.alive().filter(|advert| fails(advert)).map(|advert| (advert.node, now));
        steady.left.extend(failing);
        let has_gpu = |advert: &Advert| advert.domains.iter().any(|domain| domain.kind == DomainKind::Vram);
        let there = self
            .table
            .iter()
            .filter(|(_, entry)| entry.presence == Presence::Alive && entry.advert().is_some_and(has_gpu));
        let there = there.map(|(node, entry)| (*node, entry.since)).chain([(self.config.me, began)]);
        for (node, since) in there {
            let since = steady.left.get(&node).copied().unwrap_or_default().max(since);
            let at = since.after(limits::STEADY_AFTER);
            if at <= now {
                steady.nodes.insert(node);
            } else {
                steady.due = Some(steady.due.map_or(at, |due| due.min(at)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::placement;
    use crate::core::placement::problem::{DomainInput, RoleWanted};
    use crate::core::types::{Digest, SlotName};

    fn machine(node: u8) -> NodeInput {
        let domain = |name: &str, kind| DomainInput { name: name.into(), kind, budget_bytes: 1 };
        NodeInput {
            id: NodeId([node; 32]),
            name: "n".into(),
            role: RoleWanted::Auto,
            disk_free_bytes: 0,
            load_bytes_per_s: 0,
            link_bytes_per_s: 0,
            domains: vec![domain("ram", DomainKind::Ram), domain("gpu0", DomainKind::Vram)],
            holds: Vec::new(),
            claimed: Vec::new(),
            recent: false,
        }
    }

    fn replica(node: u8, domain: &str) -> PlannedReplica {
        PlannedReplica {
            slot: SlotName::new("S").expect("name"),
            node: NodeId([node; 32]),
            memory_domain: domain.into(),
            artifact: Digest([1; 32]),
            adapters: Vec::new(),
            context: 1,
            parallel: 1,
            bytes: 1,
            weights_bytes: 1,
        }
    }

    #[test]
    fn whose_gpu_something_left_is_not_counted_on_for_a_while() {
        let now = Time::default().after(limits::STEADY_AFTER);
        let check = |before: &[PlannedReplica], next: &[PlannedReplica], expect: [bool; 2]| {
            let mut steady =
                Steady { nodes: [1, 2].map(|node| NodeId([node; 32])).into_iter().collect(), ..Steady::default() };
            let nodes = [machine(1), machine(2)];
            let problem = Problem { nodes: nodes.to_vec(), previous: before.to_vec(), ..Problem::default() };
            let plan = Plan { replicas: next.to_vec(), ..placement::solve(&Problem::default()) };
            steady.note(now, &problem, &plan);
            assert_eq!(nodes.map(|node| steady.is_recent(&node)), expect);
            let due = expect.contains(&true).then(|| now.after(limits::STEADY_AFTER));
            assert_eq!(steady.due, due);
        };
        check(&[replica(1, "gpu0")], &[replica(1, "gpu0")], [false, false]);
        check(&[replica(1, "gpu0")], &[replica(2, "gpu0")], [true, false]);
        check(&[replica(2, "gpu0")], &[], [false, true]);
        check(&[replica(2, "gpu0")], &[replica(2, "ram")], [false, true]);
        check(&[replica(2, "ram")], &[replica(1, "gpu0")], [false, false]);
    }
}
