//! The question placement answers: machines with memory and disk, slots with footprints, and what was planned before.
//! Sorted on construction, so that the order in which things were learned changes nothing.

use std::hash::{Hash, Hasher};

use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::{PlannedAdapter, PlannedReplica, Strategy};
use crate::core::roster::SlotPolicy;
use crate::core::sizing::Footprint;
use crate::core::types::{Digest, NodeId, SlotName};

/// One memory domain of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct DomainInput {
    /// Its name.
    pub name: String,
    /// VRAM, RAM or unified.
    pub kind: DomainKind,
    /// What managers may use, bytes.
    pub budget_bytes: u64,
}

/// What the owner wants a machine to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum RoleWanted {
    /// Placement decides.
    #[default]
    Auto,
    /// Only replicas that stay.
    Specialised,
    /// Only replicas that may be evicted.
    Swapping,
    /// Nothing.
    Delegate,
}

/// One machine.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct NodeInput {
    /// Which.
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// What the owner wants it to be.
    pub role: RoleWanted,
    /// Free disk, bytes.
    pub disk_free_bytes: u64,
    /// What its disk gives when a replica is loaded, bytes per second; 0 is unknown.
    pub load_bytes_per_s: u64,
    /// What comes over its line from other machines, bytes per second; 0 is unknown.
    pub link_bytes_per_s: u64,
    /// Memory domains, sorted by name.
    pub domains: Vec<DomainInput>,
    /// Artifacts on its disk, sorted.
    pub holds: Vec<Digest>,
    /// Artifacts on their way, whose room on the disk is claimed already, sorted.
    pub claimed: Vec<Digest>,
    /// It came, or came back, a short while ago: what runs elsewhere does not move to its GPUs yet.
    pub recent: bool,
}

impl NodeInput {
    /// Its GPUs.
    pub fn gpus(&self) -> impl Iterator<Item = &DomainInput> {
        self.domains.iter().filter(|domain| domain.kind == DomainKind::Vram)
    }
}

/// An artifact a slot needs on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ArtifactInput {
    /// Which.
    pub artifact: Digest,
    /// Its size on disk, bytes.
    pub bytes: u64,
}

/// One slot with something published in it.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct SlotInput {
    /// Which.
    pub name: SlotName,
    /// Base artifact: slots of one base on one domain share its weights.
    pub base: ArtifactInput,
    /// Adapters.
    pub adapters: Vec<(PlannedAdapter, u64)>,
    /// Footprint of one replica.
    pub footprint: Footprint,
    /// Tokens per sequence.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// Replicas wanted.
    pub replicas: u32,
    /// Pinned or swappable.
    pub policy: SlotPolicy,
    /// Expected requests per hour.
    pub demand_per_hour: u32,
    /// Machines on which it must be resident, sorted.
    pub pinned_on: Vec<NodeId>,
    /// Somebody waits for it: 0 has waited longest.
    pub wanted_rank: Option<u32>,
    /// When somebody last waited for it: larger is later, 0 is never.
    pub last_wanted: u64,
}

impl SlotInput {
    /// Replicas wanted: one at least, and one on each machine where it is pinned.
    pub fn replicas_wanted(&self) -> usize {
        (self.replicas.max(1) as usize).max(self.pinned_on.len())
    }

    /// A replica of this slot on that domain.
    pub fn planned_on(&self, node: NodeId, memory_domain: &str) -> PlannedReplica {
        PlannedReplica {
            slot: self.name,
            node,
            memory_domain: memory_domain.to_owned(),
            artifact: self.base.artifact,
            adapters: self.adapters.iter().map(|(adapter, _)| adapter.clone()).collect(),
            context: self.context,
            parallel: self.parallel,
            bytes: self.footprint.total_bytes(),
            weights_bytes: self.footprint.weights_bytes,
        }
    }
}

/// The whole question.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Problem {
    /// How residency is weighed.
    pub strategy: Strategy,
    /// Machines, sorted by id.
    pub nodes: Vec<NodeInput>,
    /// Slots, sorted by name.
    pub slots: Vec<SlotInput>,
    /// Replicas of the plan before, sorted.
    pub previous: Vec<PlannedReplica>,
    /// Machines the plan before spoke of, with or without replicas, sorted. Any other machine has joined since.
    pub known: Vec<NodeId>,
}

impl Problem {
    /// Brings everything into canonical order.
    pub fn sorted(mut self) -> Problem {
        self.nodes.sort_by_key(|node| node.id);
        for node in &mut self.nodes {
            node.domains.sort_by(|a, b| a.name.cmp(&b.name));
            node.holds.sort();
            node.holds.dedup();
            node.claimed.sort();
            node.claimed.dedup();
        }
        self.slots.sort_by_key(|a| a.name);
        for slot in &mut self.slots {
            slot.adapters.sort();
            slot.pinned_on.sort();
            slot.pinned_on.dedup();
        }
        self.previous.sort();
        self.known.sort();
        self.known.dedup();
        self
    }

    /// BLAKE3 over all there is, in the order in which it is declared: two problems of one digest have one plan.
    pub fn digest(&self) -> Digest {
        let mut hashing = Hashing::default();
        self.hash(&mut hashing);
        hashing.hasher.update(&hashing.bytes);
        Digest(*hashing.hasher.finalize().as_bytes())
    }
}

/// Bytes that are hashed together.
const HASHED_AT_ONCE: usize = 4096;

/// Takes what `derive(Hash)` gives, some of it at a time: a problem of a thousand machines is never one string.
#[derive(Default)]
struct Hashing {
    hasher: blake3::Hasher,
    bytes: Vec<u8>,
}

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= HASHED_AT_ONCE {
            self.hasher.update(&self.bytes);
            self.bytes.clear();
        }
    }

    /// Not asked for: 64 bits are too few to tell all problems apart.
    fn finish(&self) -> u64 {
        0
    }
}
