//! How full each memory domain is under a plan: what the bars of `fednode plan --explain` are drawn from.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::placement::document::{MemoryDocument, Names};
use crate::core::placement::plan::PlannedReplica;
use crate::core::placement::problem::{NodeInput, Problem, RoleWanted};
use crate::core::types::{Digest, NodeId};

/// Each domain of `problem` with the replicas that are planned there, sorted by machine and domain. `total_bytes` is all
/// the memory of a domain, where somebody knows it.
pub fn memory(
    problem: &Problem,
    replicas: &[PlannedReplica],
    names: &impl Names,
    total_bytes: impl Fn(NodeId, &str) -> Option<u64>,
) -> Vec<MemoryDocument> {
    let mut placed: BTreeMap<(NodeId, &str), Vec<&PlannedReplica>> = BTreeMap::new();
    for replica in replicas {
        placed.entry((replica.node, &replica.memory_domain)).or_default().push(replica);
    }
    let domains = problem.nodes.iter().flat_map(|node| node.domains.iter().map(move |domain| (node, domain)));
    let documents = domains.map(|(NodeInput { id, role, .. }, domain)| {
        let node = *id;
        let here = placed.get(&(node, domain.name.as_str())).map(Vec::as_slice).unwrap_or_default();
        MemoryDocument {
            node: names.node(node),
            domain: domain.name.clone(),
            kind: domain.kind.as_str().to_owned(),
            total_bytes: total_bytes(node, &domain.name).unwrap_or(domain.budget_bytes),
            budget_bytes: if *role == RoleWanted::Delegate { 0 } else { domain.budget_bytes },
            used_bytes: used_bytes(here),
            slots: here.iter().map(|replica| replica.slot.to_string()).collect(),
        }
    });
    let mut documents: Vec<MemoryDocument> = documents.collect();
    documents.sort();
    documents
}

/// Replicas of one base share its weights.
fn used_bytes(replicas: &[&PlannedReplica]) -> u64 {
    let mut bases: BTreeSet<Digest> = BTreeSet::new();
    let bytes = replicas.iter().map(|replica| match bases.insert(replica.artifact) {
        true => replica.bytes,
        false => replica.bytes.saturating_sub(replica.weights_bytes),
    });
    bytes.fold(0, u64::saturating_add)
}
