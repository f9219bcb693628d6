//! Inventory ⇄ problem: names become ids that sort the same way whatever the order of the file, and a node's own problem
//! becomes an inventory, which then asks the very same question.

use std::collections::BTreeMap;

use super::{AdapterEntry, DomainEntry, Inventory, NodeEntry, PlaceEntry, PreviousEntry, RosterEntry, SlotEntry};
use crate::core::limits;
use crate::core::placement::document::Names;
use crate::core::placement::plan::{PlanRole, PlannedAdapter, PlannedReplica};
use crate::core::placement::problem::{ArtifactInput, DomainInput, NodeInput, Problem, SlotInput};
use crate::core::sizing::Footprint;
use crate::core::types::{Digest, NodeId, SlotName};

/// Names of an inventory, behind the ids that the solver works on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InventoryNames {
    nodes: BTreeMap<NodeId, String>,
    artifacts: BTreeMap<Digest, String>,
}

impl Names for InventoryNames {
    fn node(&self, node: NodeId) -> String {
        self.nodes.get(&node).cloned().unwrap_or_else(|| node.to_string())
    }
    fn artifact(&self, artifact: Digest) -> String {
        self.artifacts.get(&artifact).cloned().unwrap_or_else(|| artifact.to_string())
    }
}

impl NodeEntry {
    /// Its key, or an id made from its name.
    pub fn id(&self) -> NodeId {
        self.id.unwrap_or_else(|| node_id(&self.name))
    }
}

fn node_id(name: &str) -> NodeId {
    NodeId(Digest::of(name.as_bytes()).0)
}

/// An artifact's digest, or one made from its name.
pub(in crate::core::placement) fn artifact_id(name: &str) -> Digest {
    name.parse().unwrap_or_else(|_| Digest::of(name.as_bytes()))
}

impl Inventory {
    /// The question that this inventory asks, and the names in it.
    pub fn problem(&self) -> (Problem, InventoryNames) {
        let mut names = InventoryNames::default();
        for node in &self.nodes {
            names.nodes.insert(node.id(), node.name.clone());
        }
        let ids = self.node_ids();
        let slots = self.slot_inputs(u32::MAX);
        for name in self.roster.slots.iter().flat_map(|slot| &slot.pinned_on) {
            let node = ids.get(name.as_str()).copied().unwrap_or_else(|| node_id(name));
            names.nodes.entry(node).or_insert_with(|| name.clone());
        }
        let places = self.previous.iter().flat_map(|previous| &previous.replicas);
        let id = |name: &str| ids.get(name).copied().unwrap_or_else(|| node_id(name));
        let previous = places.map(|place| {
            let node = id(&place.node);
            names.nodes.entry(node).or_insert_with(|| place.node.clone());
            replica(place, node, &slots)
        });
        let previous = previous.collect();
        let known = self.previous.iter().flat_map(|previous| previous.roles.keys()).map(|name| id(name)).collect();
        for entry in &self.roster.slots {
            let adapters = entry.adapters.iter().map(|adapter| &adapter.artifact);
            for artifact in adapters.chain(&entry.base).chain([&entry.artifact]) {
                names.artifacts.insert(artifact_id(artifact), artifact.clone());
            }
        }
        let nodes = self.nodes.iter().map(node_input).collect();
        (Problem { strategy: self.strategy, nodes, slots, previous, known }.sorted(), names)
    }

    fn node_ids(&self) -> BTreeMap<&str, NodeId> {
        self.nodes.iter().map(|node| (node.name.as_str(), node.id())).collect()
    }

    /// The slots as the solver wants them, with at most `context` tokens for each sequence.
    pub(in crate::core::placement) fn slot_inputs(&self, context: u32) -> Vec<SlotInput> {
        let mut largest: BTreeMap<Digest, (u64, u64)> = BTreeMap::new();
        for slot in &self.roster.slots {
            let known = largest.entry(slot.model()).or_default();
            let on_disk = slot.artifact_bytes.unwrap_or(slot.weights_bytes);
            *known = (known.0.max(slot.weights_bytes), known.1.max(on_disk));
        }
        let ids = self.node_ids();
        let id = |name: &String| ids.get(name.as_str()).copied().unwrap_or_else(|| node_id(name));
        let inputs = self.roster.slots.iter().map(|slot| SlotInput {
            pinned_on: slot.pinned_on.iter().map(id).collect(),
            ..slot.input(context, largest.get(&slot.model()).copied().unwrap_or_default())
        });
        inputs.collect()
    }

    /// The inventory of `problem`, as far as it says; `known` adds what only its maker knows.
    pub fn of(problem: &Problem, known: &impl Known) -> Inventory {
        let name = |node: NodeId| known.node(node);
        let nodes = problem.nodes.iter().map(|node| NodeEntry {
            name: name(node.id),
            id: Some(node.id),
            role: node.role,
            disk_free_bytes: Some(node.disk_free_bytes.min(limits::INVENTORY_SIZE_BYTES_MAX)),
            load_bytes_per_s: node.load_bytes_per_s.min(limits::INVENTORY_SIZE_BYTES_MAX),
            link_bytes_per_s: node.link_bytes_per_s.min(limits::INVENTORY_SIZE_BYTES_MAX),
            domains: node.domains.iter().map(|domain| domain_entry(node.id, domain, known)).collect(),
            holds: node.holds.iter().map(Digest::to_string).collect(),
            claimed: node.claimed.iter().map(Digest::to_string).collect(),
            recent: node.recent,
        });
        let slots = problem.slots.iter().map(|slot| slot_entry(slot, known));
        let replicas = problem.previous.iter().map(|replica| PlaceEntry {
            slot: replica.slot,
            node: name(replica.node),
            domain: replica.memory_domain.clone(),
        });
        Inventory {
            strategy: problem.strategy,
            nodes: nodes.collect(),
            roster: RosterEntry { slots: slots.collect() },
            previous: Some(PreviousEntry {
                roles: problem.known.iter().map(|node| (name(*node), known.role(*node).as_str().to_owned())).collect(),
                replicas: replicas.collect(),
            }),
        }
    }
}

/// What the maker of an inventory knows beyond the problem.
pub trait Known {
    /// What people call a machine: a name of its own for each.
    fn node(&self, node: NodeId) -> String;
    /// What the plan before made of a machine.
    fn role(&self, node: NodeId) -> PlanRole;
    /// A domain's memory in all and what is kept of it, bytes.
    fn memory(&self, node: NodeId, domain: &str) -> Option<(u64, u64)>;
    /// Compute buffers of a slot that grow with each token of context, bytes, and the context its model goes to.
    fn compute(&self, slot: &SlotName) -> Option<(u64, u32)>;
}

fn domain_entry(node: NodeId, domain: &DomainInput, known: &impl Known) -> DomainEntry {
    let (total_bytes, reserve_bytes) = known.memory(node, &domain.name).unwrap_or((domain.budget_bytes, 0));
    DomainEntry {
        name: domain.name.clone(),
        kind: domain.kind,
        // What may be used is the budget, whatever else is said.
        total_bytes: total_bytes.max(domain.budget_bytes),
        free_bytes: Some(domain.budget_bytes),
        reserve_bytes: reserve_bytes.min(total_bytes.saturating_sub(domain.budget_bytes)),
    }
}

fn slot_entry(slot: &SlotInput, known: &impl Known) -> SlotEntry {
    let tokens = u64::from(slot.context) * u64::from(slot.parallel);
    let (per_token, context_max) = known.compute(&slot.name).unzip();
    let Footprint { weights_bytes, adapter_bytes, kv_bytes, compute_bytes, overhead_bytes } = slot.footprint;
    let kv_bytes_per_token = kv_bytes / tokens.max(1);
    let compute_bytes_per_token = per_token.unwrap_or(0).min(compute_bytes / tokens.max(1));
    let growing = kv_bytes_per_token.saturating_add(compute_bytes_per_token).saturating_mul(tokens);
    SlotEntry {
        name: slot.name,
        artifact: slot.base.artifact.to_string(),
        base: None,
        weights_bytes,
        artifact_bytes: Some(slot.base.bytes),
        adapter_bytes,
        adapters: slot.adapters.iter().map(adapter_entry).collect(),
        kv_bytes_per_token,
        compute_bytes_per_token,
        context: slot.context,
        context_max,
        parallel: slot.parallel,
        overhead_bytes: [kv_bytes, compute_bytes, overhead_bytes].into_iter().fold(0, u64::saturating_add) - growing,
        replicas: slot.replicas,
        policy: slot.policy,
        demand_per_hour: slot.demand_per_hour,
        pinned_on: slot.pinned_on.iter().map(|node| known.node(*node)).collect(),
        wanted_rank: slot.wanted_rank,
        last_wanted: slot.last_wanted,
    }
}

fn adapter_entry((adapter, bytes): &(PlannedAdapter, u64)) -> AdapterEntry {
    AdapterEntry { domain: adapter.domain, artifact: adapter.artifact.to_string(), bytes: *bytes }
}

fn node_input(node: &NodeEntry) -> NodeInput {
    let domains = node.domains.iter().map(|domain| DomainInput {
        name: domain.name.clone(),
        kind: domain.kind,
        budget_bytes: domain.budget_bytes(),
    });
    NodeInput {
        id: node.id(),
        name: node.name.clone(),
        role: node.role,
        disk_free_bytes: node.disk_free_bytes.unwrap_or(limits::INVENTORY_SIZE_BYTES_MAX),
        load_bytes_per_s: node.load_bytes_per_s,
        link_bytes_per_s: node.link_bytes_per_s,
        domains: domains.collect(),
        holds: node.holds.iter().map(|name| artifact_id(name)).collect(),
        claimed: node.claimed.iter().map(|name| artifact_id(name)).collect(),
        recent: node.recent,
    }
}

impl SlotEntry {
    /// The model whose weights are loaded.
    fn model(&self) -> Digest {
        artifact_id(self.base.as_deref().unwrap_or(&self.artifact))
    }

    /// The slot with at most `context` tokens; slots of one base share `model_bytes` (in memory, on disk), the largest that
    /// any of them states.
    fn input(&self, context: u32, (weights_bytes, disk_bytes): (u64, u64)) -> SlotInput {
        let context = self.context_given().min(context);
        let tokens = u64::from(context) * u64::from(self.parallel);
        let model = self.model();
        let own = artifact_id(&self.artifact);
        let listed = self.adapters.iter().map(|adapter| {
            let artifact = artifact_id(&adapter.artifact);
            (PlannedAdapter { domain: adapter.domain, artifact }, adapter.bytes)
        });
        let is_adapter = own != model;
        let itself = is_adapter.then_some((PlannedAdapter { domain: self.name, artifact: own }, self.adapter_bytes));
        SlotInput {
            name: self.name,
            base: ArtifactInput { artifact: model, bytes: disk_bytes },
            adapters: itself.into_iter().chain(listed).collect(),
            footprint: Footprint {
                weights_bytes,
                adapter_bytes: self.adapter_bytes,
                kv_bytes: self.kv_bytes_per_token.saturating_mul(tokens),
                compute_bytes: self.compute_bytes_per_token.saturating_mul(tokens),
                overhead_bytes: self.overhead_bytes,
            },
            context,
            parallel: self.parallel,
            replicas: self.replicas,
            policy: self.policy,
            demand_per_hour: self.demand_per_hour,
            pinned_on: Vec::new(),
            wanted_rank: self.wanted_rank,
            last_wanted: self.last_wanted,
        }
    }
}

/// A replica of the plan before. Of a slot that is no longer in the roster only the place is known.
fn replica(place: &PlaceEntry, node: NodeId, slots: &[SlotInput]) -> PlannedReplica {
    if let Some(slot) = slots.iter().find(|slot| slot.name == place.slot) {
        return slot.planned_on(node, &place.domain);
    }
    PlannedReplica {
        slot: place.slot,
        node,
        memory_domain: place.domain.clone(),
        artifact: Digest::default(),
        adapters: Vec::new(),
        context: 1,
        parallel: 1,
        bytes: 0,
        weights_bytes: 0,
    }
}
