//! What must hold of every plan before it is published. Runs in production: a plan that fails is a bug of ours and is not
//! published.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::placement::plan::Plan;
use crate::core::placement::problem::{NodeInput, Problem, SlotInput};
use crate::core::placement::space::{artifacts_of, disk_together, footprint_together, on_disk};
use crate::core::roster::SlotPolicy;
use crate::core::types::{Digest, NodeId, SlotName};

/// What a plan got wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// More bytes than a domain may hold.
    #[error("{node} {memory_domain}: {bytes} bytes planned, {budget_bytes} allowed")]
    OverBudget {
        /// The machine.
        node: NodeId,
        /// The domain.
        memory_domain: String,
        /// Planned.
        bytes: u64,
        /// Allowed.
        budget_bytes: u64,
    },
    /// More bytes to fetch than a disk has room for.
    #[error("{node}: {bytes} bytes of disk needed, {free_bytes} free")]
    OverDisk {
        /// The machine.
        node: NodeId,
        /// Needed, with the margin.
        bytes: u64,
        /// Free.
        free_bytes: u64,
    },
    /// A machine, domain or slot the problem does not have.
    #[error("{slot} planned on a place that does not exist")]
    NoSuchPlace {
        /// The slot.
        slot: SlotName,
    },
    /// Two replicas of one slot on one machine.
    #[error("{slot} planned twice on {node}")]
    Twice {
        /// The slot.
        slot: SlotName,
        /// The machine.
        node: NodeId,
    },
    /// A pinned slot that is neither placed where it must be nor reported.
    #[error("{slot} is pinned, not planned where it must be, and not reported as a shortfall")]
    SilentDrop {
        /// The slot.
        slot: SlotName,
    },
    /// A replica whose artifact is not planned on its machine's disk.
    #[error("{slot} planned on {node} without its artifact")]
    NotStored {
        /// The slot.
        slot: SlotName,
        /// The machine.
        node: NodeId,
    },
}

/// Checks `plan` against the problem it answers.
pub fn check(problem: &Problem, plan: &Plan) -> Result<(), Violation> {
    let slots: BTreeMap<&SlotName, &SlotInput> = problem.slots.iter().map(|slot| (&slot.name, slot)).collect();
    let stored: BTreeSet<(NodeId, Digest)> = plan.stored.iter().map(|stored| (stored.node, stored.artifact)).collect();
    let mut domains: BTreeMap<(NodeId, &str), Vec<&SlotInput>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for replica in &plan.replicas {
        let Some(slot) = slots.get(&replica.slot) else {
            return Err(Violation::NoSuchPlace { slot: replica.slot });
        };
        domains.entry((replica.node, &replica.memory_domain)).or_default().push(slot);
        if !seen.insert((&replica.slot, replica.node)) {
            return Err(Violation::Twice { slot: replica.slot, node: replica.node });
        }
        if artifacts_of(slot).any(|artifact| !stored.contains(&(replica.node, artifact.artifact))) {
            return Err(Violation::NotStored { slot: replica.slot, node: replica.node });
        }
    }
    fits(problem, &domains)?;
    let placed: BTreeSet<&SlotName> = plan.replicas.iter().map(|replica| &replica.slot).collect();
    let reported: BTreeSet<&SlotName> = plan.shortfalls.iter().map(|shortfall| &shortfall.slot).collect();
    let dropped = |slot: &&SlotInput| {
        let elsewhere = slot.pinned_on.iter().any(|node| !seen.contains(&(&slot.name, *node)));
        let nowhere = slot.policy == SlotPolicy::Pinned && !placed.contains(&slot.name);
        (nowhere || elsewhere) && !reported.contains(&slot.name)
    };
    match problem.slots.iter().find(dropped) {
        Some(slot) => Err(Violation::SilentDrop { slot: slot.name }),
        None => Ok(()),
    }
}

/// No memory domain and no disk is asked for more than it has.
fn fits(problem: &Problem, domains: &BTreeMap<(NodeId, &str), Vec<&SlotInput>>) -> Result<(), Violation> {
    let nodes: BTreeMap<NodeId, &NodeInput> = problem.nodes.iter().map(|node| (node.id, node)).collect();
    let mut disks: BTreeMap<NodeId, BTreeMap<Digest, u64>> = BTreeMap::new();
    for (&(node, name), slots) in domains {
        let place = nodes.get(&node).and_then(|input| Some((input, input.domains.iter().find(|d| d.name == name)?)));
        let Some((input, domain)) = place else {
            return Err(Violation::NoSuchPlace { slot: slots[0].name });
        };
        let (bytes, budget_bytes) = (footprint_together(slots.iter().copied()), domain.budget_bytes);
        if bytes > budget_bytes {
            return Err(Violation::OverBudget { node, memory_domain: name.to_owned(), bytes, budget_bytes });
        }
        let missing = slots.iter().flat_map(|slot| artifacts_of(slot)).filter(|a| !on_disk(input, &a.artifact));
        disks.entry(node).or_default().extend(missing.map(|artifact| (artifact.artifact, artifact.bytes)));
    }
    for (node, missing) in disks.into_iter().filter(|(_, missing)| !missing.is_empty()) {
        let (bytes, free_bytes) = (disk_together(missing.into_values()), nodes[&node].disk_free_bytes);
        if bytes > free_bytes {
            return Err(Violation::OverDisk { node, bytes, free_bytes });
        }
    }
    Ok(())
}
