//! How long a request for each slot waits under a plan before its manager can begin to answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::placement::objective::millis;
use crate::core::placement::plan::Plan;
use crate::core::placement::problem::{NodeInput, Problem, RoleWanted, SlotInput};
use crate::core::placement::space::{artifacts_of, stays};
use crate::core::types::{Digest, NodeId, SlotName};

/// Per slot of `problem`, in its order, the expected wait in milliseconds: 0 where it is resident; else the time to load it on
/// the quickest machine that could host it and has it on its disk; else the same with the time over the line of the machine
/// that fetches it. `None`: nothing can host it, no disk has it, or no speed is known.
pub fn expected_waits(problem: &Problem, plan: &Plan) -> Vec<(SlotName, Option<u64>)> {
    let resident: BTreeSet<&SlotName> = plan.replicas.iter().map(|replica| &replica.slot).collect();
    let mut disks: BTreeMap<NodeId, BTreeSet<Digest>> = BTreeMap::new();
    for stored in &plan.stored {
        disks.entry(stored.node).or_default().insert(stored.artifact);
    }
    let somewhere: BTreeSet<Digest> = plan.stored.iter().map(|stored| stored.artifact).collect();
    let wait = |slot: &SlotInput| {
        if resident.contains(&slot.name) {
            return Some(0);
        }
        let hosts = problem.nodes.iter().filter(|node| could_host(problem, node, slot));
        let waits = hosts.filter_map(|node| wait_on(slot, node, disks.get(&node.id), &somewhere));
        waits.min().map(|(_, wait)| wait)
    };
    problem.slots.iter().map(|slot| (slot.name, wait(slot))).collect()
}

fn could_host(problem: &Problem, node: &NodeInput, slot: &SlotInput) -> bool {
    let meant = match node.role {
        RoleWanted::Delegate => false,
        RoleWanted::Specialised => stays(slot, problem.strategy),
        RoleWanted::Swapping => !stays(slot, problem.strategy),
        RoleWanted::Auto => true,
    };
    meant && node.domains.iter().any(|domain| domain.budget_bytes >= slot.footprint.total_bytes())
}

/// Must it fetch, and how long does it take? Machines that need not fetch come first.
fn wait_on(
    slot: &SlotInput,
    node: &NodeInput,
    disk: Option<&BTreeSet<Digest>>,
    somewhere: &BTreeSet<Digest>,
) -> Option<(bool, u64)> {
    let (mut load, mut fetch) = (0u64, 0u64);
    for artifact in artifacts_of(slot) {
        load = load.saturating_add(artifact.bytes);
        if disk.is_none_or(|disk| !disk.contains(&artifact.artifact)) {
            if !somewhere.contains(&artifact.artifact) {
                return None;
            }
            fetch = fetch.saturating_add(artifact.bytes);
        }
    }
    if node.load_bytes_per_s == 0 || (fetch > 0 && node.link_bytes_per_s == 0) {
        return None;
    }
    let wait = millis(load, node.load_bytes_per_s).saturating_add(millis(fetch, node.link_bytes_per_s));
    Some((fetch > 0, wait))
}
