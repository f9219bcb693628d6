//! Inventory files for `fednode plan --inventory FILE`: a federation described in JSON, planned without being there. The
//! same file gives the same bytes on every machine. The schema is DESIGN 13's.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::core::limits;
use crate::core::membership::advert::DomainKind;
use crate::core::placement::document::{Names, PlanDocument, ReplicaDocument};
use crate::core::placement::plan::{PlannedAdapter, PlannedReplica, Strategy};
use crate::core::placement::problem::{ArtifactInput, DomainInput, NodeInput, Problem, RoleWanted, SlotInput};
use crate::core::placement::{check, score, solve};
use crate::core::roster::SlotPolicy;
use crate::core::sizing::Footprint;
use crate::core::types::{Digest, NodeId, SlotName};
use crate::wire::{WireError, field};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inventory {
    #[serde(default = "mixed")]
    strategy: String,
    nodes: Vec<Node>,
    roster: Roster,
    #[serde(default)]
    previous: Option<Previous>,
}

#[derive(Deserialize)]
struct Previous {
    replicas: Vec<ReplicaDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: String,
    #[serde(default = "auto")]
    role: String,
    #[serde(default)]
    disk_free_bytes: u64,
    /// Speeds are part of the schema; this version's placement does not weigh them.
    #[serde(default, rename = "load_bytes_per_s")]
    _load_bytes_per_s: u64,
    #[serde(default, rename = "link_bytes_per_s")]
    _link_bytes_per_s: u64,
    domains: Vec<Domain>,
    #[serde(default)]
    holds: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Domain {
    name: String,
    kind: DomainKind,
    total_bytes: u64,
    #[serde(default)]
    free_bytes: Option<u64>,
    #[serde(default)]
    reserve_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Roster {
    slots: Vec<Slot>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    name: SlotName,
    artifact: String,
    #[serde(default)]
    base: Option<String>,
    weights_bytes: u64,
    #[serde(default)]
    adapter_bytes: u64,
    #[serde(default)]
    kv_bytes_per_token: u64,
    context: u32,
    #[serde(default = "one")]
    parallel: u32,
    #[serde(default)]
    overhead_bytes: u64,
    #[serde(default = "one")]
    replicas: u32,
    #[serde(default = "swappable")]
    policy: SlotPolicy,
    #[serde(default = "one")]
    demand_per_hour: u32,
}

fn mixed() -> String {
    "mixed".to_owned()
}
fn auto() -> String {
    "auto".to_owned()
}
fn one() -> u32 {
    1
}
fn swappable() -> SlotPolicy {
    SlotPolicy::Swappable
}

/// Names in the file, behind the ids that the solver works on.
struct FileNames {
    nodes: BTreeMap<NodeId, String>,
    artifacts: BTreeMap<Digest, String>,
}

impl Names for FileNames {
    fn node(&self, node: NodeId) -> String {
        self.nodes.get(&node).cloned().unwrap_or_default()
    }
    fn artifact(&self, artifact: Digest) -> String {
        self.artifacts.get(&artifact).cloned().unwrap_or_default()
    }
}

/// Plans the federation that `text` describes.
pub fn plan_text(text: &str) -> Result<PlanDocument, WireError> {
    if text.len() > limits::MANIFEST_BYTES_MAX {
        return Err(WireError::TooLong { what: "inventory", bytes: text.len(), max: limits::MANIFEST_BYTES_MAX });
    }
    let inventory: Inventory = serde_json::from_str(text).map_err(|error| field("inventory", error.to_string()))?;
    let (problem, names) = problem_of(&inventory)?;
    let plan = solve(&problem);
    check(&problem, &plan).map_err(|violation| field("plan", violation.to_string()))?;
    Ok(PlanDocument::new(&plan, score(&problem, &plan), &problem.previous, &names))
}

fn problem_of(inventory: &Inventory) -> Result<(Problem, FileNames), WireError> {
    let strategy = Strategy::parse(&inventory.strategy)
        .ok_or_else(|| field("inventory", "strategy must be specialised, swapping or mixed"))?;
    if inventory.nodes.len() > limits::MEMBERS_MAX || inventory.roster.slots.len() > limits::SLOTS_MAX {
        return Err(field("inventory", "too many nodes or slots"));
    }
    let mut names = FileNames { nodes: BTreeMap::new(), artifacts: BTreeMap::new() };
    let mut artifact = |name: &str| {
        let digest = Digest::of(name.as_bytes());
        names.artifacts.insert(digest, name.to_owned());
        digest
    };
    let mut slots = Vec::new();
    for slot in &inventory.roster.slots {
        if slots.iter().any(|known: &SlotInput| known.name == slot.name) {
            return Err(field("inventory", format!("slot {} stands twice", slot.name)));
        }
        slots.push(slot_input(slot, &mut artifact)?);
    }
    let mut nodes = Vec::new();
    for node in &inventory.nodes {
        let id = node_id(&node.name);
        if names.nodes.insert(id, node.name.clone()).is_some() {
            return Err(field("inventory", format!("node {} stands twice", node.name)));
        }
        nodes.push(node_input(node, id)?);
    }
    let previous = inventory.previous.iter().flat_map(|previous| &previous.replicas);
    let previous = previous.filter_map(|replica| previous_replica(replica, &slots)).collect();
    Ok((Problem { strategy, nodes, slots, previous }.sorted(), names))
}

/// Inventories name machines; the solver wants ids that sort the same way whatever the order of the file.
fn node_id(name: &str) -> NodeId {
    NodeId(Digest::of(name.as_bytes()).0)
}

fn node_input(node: &Node, id: NodeId) -> Result<NodeInput, WireError> {
    let role = match node.role.as_str() {
        "auto" => RoleWanted::Auto,
        "specialised" => RoleWanted::Specialised,
        "swapping" => RoleWanted::Swapping,
        "delegate" => RoleWanted::Delegate,
        _ => return Err(field("inventory", format!("node {}: unknown role", node.name))),
    };
    let mut domains: Vec<DomainInput> = Vec::new();
    for domain in &node.domains {
        if domains.iter().any(|known| known.name == domain.name) {
            return Err(field("inventory", format!("node {}: two domains {}", node.name, domain.name)));
        }
        let cap = domain.total_bytes.saturating_sub(domain.reserve_bytes);
        let budget_bytes = domain.free_bytes.unwrap_or(u64::MAX).min(cap);
        domains.push(DomainInput { name: domain.name.clone(), kind: domain.kind, budget_bytes });
    }
    let holds = node.holds.iter().map(|name| Digest::of(name.as_bytes())).collect();
    Ok(NodeInput {
        id,
        name: node.name.clone(),
        role,
        disk_free_bytes: node.disk_free_bytes,
        domains,
        holds,
        claimed: Vec::new(),
    })
}

fn slot_input(slot: &Slot, artifact: &mut impl FnMut(&str) -> Digest) -> Result<SlotInput, WireError> {
    let sizes = [slot.weights_bytes, slot.adapter_bytes, slot.overhead_bytes];
    if sizes.iter().any(|&bytes| bytes > 1 << 50) || slot.kv_bytes_per_token > 1 << 30 || slot.parallel > 256 {
        return Err(field("inventory", format!("slot {}: a size beyond any machine", slot.name)));
    }
    let own = artifact(&slot.artifact);
    let base = slot.base.as_deref().map(artifact);
    let adapters = match base {
        Some(_) => vec![(PlannedAdapter { domain: slot.name.clone(), artifact: own }, slot.adapter_bytes)],
        None => Vec::new(),
    };
    let tokens = u64::from(slot.context) * u64::from(slot.parallel);
    Ok(SlotInput {
        name: slot.name.clone(),
        base: ArtifactInput { artifact: base.unwrap_or(own), bytes: slot.weights_bytes },
        adapters,
        footprint: Footprint {
            weights_bytes: slot.weights_bytes,
            adapter_bytes: slot.adapter_bytes,
            kv_bytes: slot.kv_bytes_per_token.saturating_mul(tokens),
            compute_bytes: 0,
            overhead_bytes: slot.overhead_bytes,
        },
        context: slot.context,
        parallel: slot.parallel,
        replicas: slot.replicas,
        policy: slot.policy,
        demand_per_hour: slot.demand_per_hour,
        pinned_on: Vec::new(),
        wanted_rank: None,
        last_wanted: 0,
    })
}

fn previous_replica(replica: &ReplicaDocument, slots: &[SlotInput]) -> Option<PlannedReplica> {
    let slot = slots.iter().find(|slot| slot.name.as_str() == replica.slot)?;
    Some(slot.planned_on(node_id(&replica.node), &replica.domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn inventory(nodes: &[(&str, u64)], reversed: bool) -> String {
        let mut nodes: Vec<serde_json::Value> = nodes
            .iter()
            .map(|(name, gib)| {
                serde_json::json!({"name": name, "role": "auto", "disk_free_bytes": 500 * GIB, "load_bytes_per_s": 0,
                    "link_bytes_per_s": 0, "holds": [],
                    "domains": [{"name": "ram", "kind": "ram", "total_bytes": gib * GIB, "free_bytes": gib * GIB,
                                 "reserve_bytes": 4 * GIB}]})
            })
            .collect();
        let mut slots: Vec<serde_json::Value> = ["UFM", "UCM", "URM", "ULM", "UIM", "UAM", "UDM"]
            .iter()
            .map(|name| {
                serde_json::json!({"name": name, "artifact": format!("{name}-model"), "base": null,
                    "weights_bytes": 13_481_025_536u64, "adapter_bytes": 0, "kv_bytes_per_token": 524_288,
                    "context": 4096, "parallel": 1, "overhead_bytes": 800_000_000, "replicas": 1,
                    "policy": "pinned", "demand_per_hour": 10})
            })
            .collect();
        if reversed {
            nodes.reverse();
            slots.reverse();
        }
        serde_json::json!({"strategy": "mixed", "nodes": nodes, "roster": {"slots": slots}, "previous": null})
            .to_string()
    }

    #[test]
    fn a_griffith_holds_all_seven_and_order_changes_no_byte() {
        let nodes = [("griffith", 128), ("laptop", 16)];
        let plan = plan_text(&inventory(&nodes, false)).expect("plans");
        assert_eq!(plan.replicas.len(), 7);
        assert!(plan.replicas.iter().all(|replica| replica.node == "griffith"));
        let again = plan_text(&inventory(&nodes, true)).expect("plans");
        assert_eq!(serde_json::to_string(&plan).ok(), serde_json::to_string(&again).ok());
    }

    #[test]
    fn four_machines_of_32_hold_four_managers_and_say_what_is_short() {
        let nodes = [("a", 32), ("b", 32), ("c", 32), ("d", 32)];
        let plan = plan_text(&inventory(&nodes, false)).expect("plans");
        assert_eq!((plan.replicas.len(), plan.shortfalls.len()), (4, 3));
        assert!(plan.shortfalls[0].why.contains("short"), "{}", plan.shortfalls[0].why);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for bad in ["", "{}", "[]", r#"{"nodes":[],"roster":{"slots":[]},"extra":1}"#] {
            assert!(plan_text(bad).is_err(), "{bad}");
        }
    }
}
