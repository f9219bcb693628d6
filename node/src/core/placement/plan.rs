//! A plan: the replicas and stored artifacts that should exist, with reasons. What placement makes, the coordinator
//! publishes and residency carries out.

use crate::core::types::{Digest, DomainName, NodeId, SlotName};

/// One adapter of a planned replica.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct PlannedAdapter {
    /// The domain it serves.
    pub domain: DomainName,
    /// Its artifact.
    pub artifact: Digest,
}

/// One replica that should be resident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct PlannedReplica {
    /// The slot it serves.
    pub slot: SlotName,
    /// Where.
    pub node: NodeId,
    /// In which memory domain.
    pub memory_domain: String,
    /// The base artifact.
    pub artifact: Digest,
    /// Adapters to attach, sorted by domain.
    pub adapters: Vec<PlannedAdapter>,
    /// Tokens per sequence.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// Footprint promised, bytes.
    pub bytes: u64,
    /// Of these, the base's weights: replicas of one base on one domain share them.
    pub weights_bytes: u64,
}

impl PlannedReplica {
    /// Slot, machine and memory domain.
    pub fn place(&self) -> (SlotName, NodeId, &str) {
        (self.slot, self.node, &self.memory_domain)
    }
}

/// One artifact that should be on a node's disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PlannedStore {
    /// Where.
    pub node: NodeId,
    /// Which artifact.
    pub artifact: Digest,
}

/// A replica that should exist and fits nowhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortfall {
    /// The slot.
    pub slot: SlotName,
    /// How many bytes the best candidate lacks; 0 when no machine can host at all.
    pub bytes_short: u64,
    /// One sentence.
    pub why: String,
}

/// A candidate that was not chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The slot.
    pub slot: SlotName,
    /// The candidate.
    pub node: NodeId,
    /// Its memory domain.
    pub memory_domain: String,
    /// One sentence with the arithmetic.
    pub why: String,
    /// How many bytes it lacks; 0 when memory was not the reason.
    pub bytes_short: u64,
}

/// A replica that did not answer as the artifact's fingerprint says: nobody sends it requests until a later check matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Distrust {
    /// Its holder.
    pub node: NodeId,
    /// The slot it serves.
    pub slot: SlotName,
    /// The artifact, base or adapter, that it does not seem to be.
    pub artifact: Digest,
    /// One sentence with both numbers.
    pub why: String,
}

/// What a node is in this plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PlanRole {
    /// Its replicas stay resident.
    Specialised,
    /// Its replicas are loaded and evicted on demand.
    Swapping,
    /// Some of each.
    Mixed,
    /// Hosts nothing.
    Delegate,
}

impl PlanRole {
    /// The word used in JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            PlanRole::Specialised => "specialised",
            PlanRole::Swapping => "swapping",
            PlanRole::Mixed => "mixed",
            PlanRole::Delegate => "delegate",
        }
    }

    /// The inverse of [`PlanRole::as_str`].
    pub fn parse(text: &str) -> Option<PlanRole> {
        [PlanRole::Specialised, PlanRole::Swapping, PlanRole::Mixed, PlanRole::Delegate]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// How placement weighs residency against swapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Strategy {
    /// All resident, never evicted by requests.
    Specialised,
    /// Loaded on demand.
    Swapping,
    /// Pinned core resident, the rest swapped.
    #[default]
    Mixed,
}

impl Strategy {
    /// The word used in JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Specialised => "specialised",
            Strategy::Swapping => "swapping",
            Strategy::Mixed => "mixed",
        }
    }

    /// The inverse of [`Strategy::as_str`].
    pub fn parse(text: &str) -> Option<Strategy> {
        [Strategy::Specialised, Strategy::Swapping, Strategy::Mixed].into_iter().find(|s| s.as_str() == text)
    }
}

/// What should exist, as published by a coordinator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Who published it.
    pub author: NodeId,
    /// Under which epoch.
    pub epoch: u64,
    /// Rises with every plan of one epoch.
    pub revision: u64,
    /// Digest of the problem it answers: the same inputs give the same plan.
    pub inputs_digest: Digest,
    /// How residency was weighed.
    pub strategy: Strategy,
    /// Sorted.
    pub replicas: Vec<PlannedReplica>,
    /// Sorted.
    pub stored: Vec<PlannedStore>,
    /// Sorted by node.
    pub roles: Vec<(NodeId, PlanRole)>,
    /// In roster order.
    pub shortfalls: Vec<Shortfall>,
    /// In roster order, then by node.
    pub refused: Vec<Refusal>,
    /// Sorted by node and slot.
    pub distrusted: Vec<Distrust>,
}

impl Plan {
    /// Does this plan take precedence over `other`? Higher epoch first; on a tie the lower author; then the revision.
    pub fn supersedes(&self, other: &Plan) -> bool {
        (self.epoch, std::cmp::Reverse(self.author), self.revision)
            > (other.epoch, std::cmp::Reverse(other.author), other.revision)
    }

    /// The replicas meant for `node`.
    pub fn replicas_of(&self, node: NodeId) -> impl Iterator<Item = &PlannedReplica> {
        self.replicas.iter().filter(move |replica| replica.node == node)
    }

    /// What is held against the replica of `slot` on `node`, if anything.
    pub fn distrust(&self, node: &NodeId, slot: &SlotName) -> Option<&Distrust> {
        self.distrusted.iter().find(|held| &held.node == node && &held.slot == slot)
    }

    /// The artifacts `node` should have on disk.
    pub fn stored_on(&self, node: NodeId) -> impl Iterator<Item = Digest> + '_ {
        let begin = self.stored.partition_point(|stored| stored.node < node);
        self.stored[begin..].iter().take_while(move |stored| stored.node == node).map(|stored| stored.artifact)
    }

    /// What `node` is in it; `None` in a plan that was made without it.
    pub fn role_of(&self, node: &NodeId) -> Option<PlanRole> {
        let at = self.roles.binary_search_by_key(node, |(of, _)| *of).ok()?;
        Some(self.roles[at].1)
    }
}
