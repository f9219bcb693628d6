//! What must hold of every plan before it is published. Runs in production: a plan that fails is a bug of ours and is not
//! published.

use std::collections::BTreeMap;

use crate::core::placement::plan::Plan;
use crate::core::placement::problem::Problem;
use crate::core::placement::solve::footprint_together;
use crate::core::roster::SlotPolicy;
use crate::core::types::{NodeId, SlotName};

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
    let mut domains: BTreeMap<(NodeId, &str), Vec<&SlotName>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for replica in &plan.replicas {
        domains.entry((replica.node, &replica.memory_domain)).or_default().push(&replica.slot);
        if !seen.insert((&replica.slot, replica.node)) {
            return Err(Violation::Twice { slot: replica.slot.clone(), node: replica.node });
        }
        if !plan.stored_on(replica.node).any(|artifact| artifact == replica.artifact) {
            return Err(Violation::NotStored { slot: replica.slot.clone(), node: replica.node });
        }
    }
    for ((node, name), slots) in domains {
        let domain =
            problem.nodes.iter().find(|n| n.id == node).and_then(|n| n.domains.iter().find(|d| d.name == name));
        let inputs: Option<Vec<_>> =
            slots.iter().map(|slot| problem.slots.iter().find(|input| &&input.name == slot)).collect();
        let (Some(domain), Some(inputs)) = (domain, inputs) else {
            return Err(Violation::NoSuchPlace { slot: slots[0].clone() });
        };
        let (bytes, budget_bytes) = (footprint_together(inputs), domain.budget_bytes);
        if bytes > budget_bytes {
            return Err(Violation::OverBudget { node, memory_domain: name.to_owned(), bytes, budget_bytes });
        }
    }
    for slot in &problem.slots {
        let holds =
            |node: &NodeId| plan.replicas.iter().any(|replica| replica.slot == slot.name && replica.node == *node);
        let due = slot.policy == SlotPolicy::Pinned;
        let placed =
            (!due || plan.replicas.iter().any(|replica| replica.slot == slot.name)) && slot.pinned_on.iter().all(holds);
        if !placed && !plan.shortfalls.iter().any(|shortfall| shortfall.slot == slot.name) {
            return Err(Violation::SilentDrop { slot: slot.name.clone() });
        }
    }
    Ok(())
}

/// Requests per hour that find their manager resident: the sum of the resident slots' demand, each at least 1.
pub fn score(problem: &Problem, plan: &Plan) -> u64 {
    let resident = problem.slots.iter().filter(|slot| plan.replicas.iter().any(|replica| replica.slot == slot.name));
    resident.map(|slot| u64::from(slot.demand_per_hour.max(1))).sum()
}
