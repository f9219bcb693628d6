//! A whole roster over machines: which roles would be resident, which would be loaded when they are asked for, which cannot be had at
//! all, and what to give up first. The plan is placement's own, over an inventory made of the roster and the machines.

use serde::Serialize;

use super::place::{Load, Place};
use crate::core::artifact::Shape;
use crate::core::placement::Violation;
use crate::core::placement::document::{MemoryDocument, PlanDocument, RemedyDocument};
use crate::core::placement::inventory::{Answer, DomainEntry, Inventory, NodeEntry, RosterEntry, SlotEntry, answer};
use crate::core::placement::plan::Strategy;
use crate::core::placement::problem::RoleWanted;
use crate::core::roster::{RosterSlot, SlotPolicy};
use crate::core::sizing::{self, Band, percent};

/// A slot with the model that is meant for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meant {
    /// The slot. One that stands on another is served by that one's replicas and is not counted.
    pub slot: RosterSlot,
    /// What is loaded: slots of one artifact share its weights. Of a roster that names a model it is that model; of one that does not,
    /// each slot has a model of its own, of one shape.
    pub artifact: String,
    /// The model's name.
    pub model: String,
    /// Its precision.
    pub precision: String,
    /// Its shape in that precision.
    pub shape: Shape,
    /// Parameters that a token is computed with.
    pub active_parameters: u64,
}

impl Meant {
    /// What one token reads of the weights, bytes.
    pub fn read_bytes_per_token(&self) -> u64 {
        let Meant { slot, shape, active_parameters, .. } = self;
        let load =
            Load { shape, active_parameters: *active_parameters, context: slot.context, parallel: slot.parallel };
        load.read_bytes_per_token()
    }
}

/// What becomes of a role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Residency {
    /// In memory.
    Resident,
    /// It fits, but not beside the others: loaded when it is asked for, in place of one of them.
    Swap,
    /// It fits nowhere.
    None,
}

impl Residency {
    /// The word used in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Residency::Resident => "resident",
            Residency::Swap => "swap",
            Residency::None => "none",
        }
    }
}

/// One role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RoleDocument {
    /// The slot.
    pub slot: String,
    /// In words.
    pub title: String,
    /// The model meant for it.
    pub model: String,
    /// Its precision.
    pub precision: String,
    /// Tokens for each sequence.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// What a replica needs, bytes.
    pub bytes: u64,
    /// What becomes of it.
    pub state: Residency,
    /// Where it is resident: machine and memory.
    pub on: Vec<String>,
    /// How long a request waits until it is loaded, milliseconds; null where it cannot be, or no disk's speed is known.
    pub wait_ms: Option<u64>,
    /// What lacks in the largest memory there is, bytes.
    pub bytes_short: u64,
}

/// One memory under the plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FullDocument {
    /// As the plan has it.
    #[serde(flatten)]
    pub memory: MemoryDocument,
    /// Of its budget.
    pub percent: u32,
    /// Headroom.
    pub band: Band,
}

/// The answer: what `fednode fit --roster FILE --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RosterDocument {
    /// The roster's name.
    pub roster: String,
    /// What all roles need together where each is loaded once, bytes: slots of one model count its weights once.
    pub total_bytes: u64,
    /// The roles, in the order of their priority: what is needed most comes first.
    pub roles: Vec<RoleDocument>,
    /// The memories.
    pub memory: Vec<FullDocument>,
    /// What to give up, first things first, until the rest fits; empty where all fit.
    pub give_up: Vec<String>,
    /// What would help.
    pub remedies: Vec<RemedyDocument>,
}

/// The stronger claim first: pinned before swappable, then by demand, then as the roster lists them.
pub fn by_priority(mut meant: Vec<Meant>) -> Vec<Meant> {
    let claim = |slot: &RosterSlot| (slot.policy != SlotPolicy::Pinned, std::cmp::Reverse(slot.demand_per_hour));
    meant.sort_by_key(|meant| claim(&meant.slot));
    meant
}

/// Machines as an inventory has them: each with one memory, all models on its disk, which is read at `load_bytes_per_s`.
pub fn nodes(places: &[Place], load_bytes_per_s: u64) -> Vec<NodeEntry> {
    let node = |place: &Place| NodeEntry {
        name: place.name.clone(),
        id: None,
        role: RoleWanted::Auto,
        disk_free_bytes: None,
        load_bytes_per_s,
        link_bytes_per_s: 0,
        domains: vec![DomainEntry {
            name: place.kind.as_str().to_owned(),
            kind: place.kind,
            total_bytes: place.total_bytes,
            free_bytes: None,
            reserve_bytes: place.reserve_bytes,
        }],
        holds: Vec::new(),
        claimed: Vec::new(),
        recent: false,
    };
    places.iter().map(node).collect()
}

/// A slot as an inventory has it.
fn entry(meant: &Meant) -> SlotEntry {
    let Meant { slot, shape, .. } = meant;
    let context = slot.context.min(shape.context_max.max(1));
    let footprint = sizing::footprint(shape, context, slot.parallel, 0);
    let (kv, compute) = (sizing::kv_bytes_per_token(shape), sizing::compute_bytes_per_token());
    let growing = (kv.saturating_add(compute)).saturating_mul(u64::from(context) * u64::from(slot.parallel));
    SlotEntry {
        name: slot.name,
        artifact: meant.artifact.clone(),
        base: None,
        weights_bytes: footprint.weights_bytes,
        artifact_bytes: None,
        adapter_bytes: 0,
        adapters: Vec::new(),
        kv_bytes_per_token: kv,
        compute_bytes_per_token: compute,
        context,
        context_max: None,
        parallel: slot.parallel,
        overhead_bytes: footprint.own_bytes().saturating_sub(growing),
        replicas: slot.replicas,
        policy: slot.policy,
        demand_per_hour: slot.demand_per_hour,
        pinned_on: Vec::new(),
        wanted_rank: None,
        last_wanted: 0,
    }
}

/// The question as an inventory: `fednode plan --inventory` answers it alike.
pub fn inventory(meant: &[Meant], mut nodes: Vec<NodeEntry>) -> Inventory {
    let hosts = meant.iter().filter(|meant| meant.slot.base.is_none());
    let slots: Vec<SlotEntry> = hosts.map(entry).collect();
    let mut holds: Vec<String> = slots.iter().map(|slot| slot.artifact.clone()).collect();
    holds.sort();
    holds.dedup();
    for node in &mut nodes {
        node.holds.clone_from(&holds);
    }
    Inventory { strategy: Strategy::Mixed, nodes, roster: RosterEntry { slots }, previous: None }
}

/// Answers for roles in the order of their priority.
pub fn roster(name: &str, meant: &[Meant], nodes: &[NodeEntry]) -> Result<RosterDocument, Violation> {
    let whole = inventory(meant, nodes.to_vec());
    let Answer { document, problem, .. } = answer(&whole)?;
    let largest = problem.nodes.iter().flat_map(|node| &node.domains).map(|domain| domain.budget_bytes).max();
    let largest = largest.unwrap_or(0);
    let roles: Vec<RoleDocument> = meant.iter().map(|meant| role(meant, &document, largest)).collect();
    let full = |memory: MemoryDocument| FullDocument {
        percent: percent(memory.used_bytes, memory.budget_bytes),
        band: Band::of(memory.used_bytes, memory.budget_bytes),
        memory,
    };
    Ok(RosterDocument {
        roster: name.to_owned(),
        total_bytes: crate::core::placement::footprint_together(&problem.slots),
        give_up: give_up(meant, nodes, &roles)?,
        memory: document.memory.into_iter().map(full).collect(),
        remedies: document.remedies,
        roles,
    })
}

fn role(meant: &Meant, plan: &PlanDocument, largest_bytes: u64) -> RoleDocument {
    let host = meant.slot.base.as_ref().unwrap_or(&meant.slot.name);
    let places = plan.replicas.iter().filter(|replica| replica.slot == host.as_str());
    let on: Vec<String> = places.map(|replica| format!("{} {}", replica.node, replica.domain)).collect();
    let context = meant.slot.context.min(meant.shape.context_max.max(1));
    let bytes = match meant.slot.base {
        // Served by another slot's replica.
        Some(_) => 0,
        None => sizing::footprint(&meant.shape, context, meant.slot.parallel, 0).total_bytes(),
    };
    let wait = plan.waits.iter().find(|wait| wait.slot == host.as_str());
    let state = match on.is_empty() {
        false => Residency::Resident,
        true if bytes <= largest_bytes => Residency::Swap,
        true => Residency::None,
    };
    RoleDocument {
        slot: meant.slot.name.to_string(),
        title: meant.slot.title.clone(),
        model: meant.model.clone(),
        precision: meant.precision.clone(),
        context,
        parallel: meant.slot.parallel,
        bytes,
        state,
        on,
        wait_ms: wait.and_then(|wait| wait.wait_ms),
        bytes_short: bytes.saturating_sub(largest_bytes),
    }
}

/// The roles to give up, least needed first, so that all others are resident at once. A role stays if it fits beside those that are
/// needed more: none is given up for one that is needed less.
fn give_up(meant: &[Meant], nodes: &[NodeEntry], roles: &[RoleDocument]) -> Result<Vec<String>, Violation> {
    let mut kept: Vec<Meant> = Vec::new();
    let mut given: Vec<String> = Vec::new();
    for (meant, role) in meant.iter().zip(roles) {
        kept.push(meant.clone());
        if role.state == Residency::None || !all_resident(&kept, nodes)? {
            kept.pop();
            given.insert(0, role.slot.clone());
        }
    }
    Ok(given)
}

fn all_resident(meant: &[Meant], nodes: &[NodeEntry]) -> Result<bool, Violation> {
    let plan = answer(&inventory(meant, nodes.to_vec()))?.document;
    let there = |meant: &Meant| {
        let host = meant.slot.base.as_ref().unwrap_or(&meant.slot.name);
        plan.replicas.iter().any(|replica| replica.slot == host.as_str())
    };
    Ok(meant.iter().all(there))
}
