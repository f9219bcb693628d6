//! A plan as people and scripts read it: `fednode plan --json`, live or from an inventory. Field names are a contract
//! (DESIGN 13).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::placement::plan::{Plan, PlannedReplica};
use crate::core::types::{Digest, NodeId, SlotName};

/// One resident replica.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ReplicaDocument {
    /// Slot.
    pub slot: String,
    /// Machine's name.
    pub node: String,
    /// Memory domain.
    pub domain: String,
    /// Footprint, bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// One artifact on one disk.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct StoredDocument {
    /// Artifact.
    pub artifact: String,
    /// Machine's name.
    pub node: String,
}

/// A replica that should exist and cannot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShortfallDocument {
    /// Slot.
    pub slot: String,
    /// Bytes lacking at the best candidate.
    pub bytes_short: u64,
    /// One sentence.
    pub why: String,
}

/// A replica that changes its place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct MoveDocument {
    /// Slot.
    pub slot: String,
    /// Machine and domain it leaves, or null for a new replica.
    pub from: Option<String>,
    /// Machine and domain it goes to, or null for one that is given up.
    pub to: Option<String>,
}

/// A candidate that was not chosen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusedDocument {
    /// Slot.
    pub slot: String,
    /// Machine's name.
    pub node: String,
    /// Memory domain.
    pub domain: String,
    /// One sentence with the arithmetic.
    pub why: String,
    /// Bytes lacking; 0 when memory was not the reason.
    pub bytes_short: u64,
}

/// A replica that nobody asks, because it does not answer as its artifact's fingerprint says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DistrustDocument {
    /// Slot.
    pub slot: String,
    /// Machine's name.
    pub node: String,
    /// The artifact that it does not seem to be.
    pub artifact: String,
    /// One sentence with both numbers.
    pub why: String,
}

/// One memory domain under the plan.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct MemoryDocument {
    /// Machine's name.
    pub node: String,
    /// Memory domain.
    pub domain: String,
    /// vram | ram | unified.
    pub kind: String,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What managers may use, bytes.
    pub budget_bytes: u64,
    /// What the planned replicas need, bytes.
    pub used_bytes: u64,
    /// The slots planned there, sorted.
    pub slots: Vec<String>,
}

/// How long a request for a slot waits before its manager can begin to answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WaitDocument {
    /// Slot.
    pub slot: String,
    /// Milliseconds; 0 when it is resident, null when nothing can load it or no speed is known.
    pub wait_ms: Option<u64>,
}

/// What would bring a slot into memory that is resident nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RemedyDocument {
    /// Slot.
    pub slot: String,
    /// The machine where the least is lacking, or null where none may host it.
    pub node: Option<String>,
    /// Its memory domain.
    pub domain: Option<String>,
    /// The slots that are planned there.
    pub beside: Vec<String>,
    /// Bytes lacking there.
    pub bytes_short: u64,
    /// The largest context, tokens, at which it would fit beside them; null when it would at none.
    pub context: Option<u32>,
    /// One sentence with the arithmetic.
    pub why: String,
}

/// The whole document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanDocument {
    /// Digest of the inputs.
    pub digest: String,
    /// What the plan is worth: see `core::placement::objective`.
    pub score: u64,
    /// specialised | swapping | mixed.
    pub strategy: String,
    /// Replicas.
    pub replicas: Vec<ReplicaDocument>,
    /// What is on which disk.
    pub stored: Vec<StoredDocument>,
    /// Machine's name → role.
    pub roles: BTreeMap<String, String>,
    /// What should exist and cannot.
    pub shortfalls: Vec<ShortfallDocument>,
    /// Changes from the plan before.
    pub moves: Vec<MoveDocument>,
    /// Candidates that were not chosen.
    pub refused: Vec<RefusedDocument>,
    /// Replicas that nobody asks.
    pub distrusted: Vec<DistrustDocument>,
    /// Each memory domain, sorted by machine and domain.
    pub memory: Vec<MemoryDocument>,
    /// For each slot that is resident nowhere and might be: what would help.
    pub remedies: Vec<RemedyDocument>,
    /// The largest context, tokens, at which every slot would be resident; null when all are, or when none is found.
    pub context_for_all: Option<u32>,
    /// Expected waits, where they were asked for.
    pub waits: Vec<WaitDocument>,
}

/// How ids are named for people.
pub trait Names {
    /// A machine.
    fn node(&self, node: NodeId) -> String;
    /// An artifact.
    fn artifact(&self, artifact: Digest) -> String;
}

impl PlanDocument {
    /// Renders `plan`, with its changes from `previous`.
    pub fn new(plan: &Plan, score: u64, previous: &[PlannedReplica], names: &impl Names) -> PlanDocument {
        let replica = |replica: &PlannedReplica| ReplicaDocument {
            slot: replica.slot.to_string(),
            node: names.node(replica.node),
            domain: replica.memory_domain.clone(),
            bytes: replica.bytes,
        };
        let mut replicas: Vec<_> = plan.replicas.iter().map(replica).collect();
        replicas.sort();
        let stored = plan
            .stored
            .iter()
            .map(|stored| StoredDocument { artifact: names.artifact(stored.artifact), node: names.node(stored.node) });
        let mut stored: Vec<_> = stored.collect();
        stored.sort();
        let shortfalls = plan.shortfalls.iter().map(|shortfall| ShortfallDocument {
            slot: shortfall.slot.to_string(),
            bytes_short: shortfall.bytes_short,
            why: shortfall.why.clone(),
        });
        let refused = plan.refused.iter().map(|refusal| RefusedDocument {
            slot: refusal.slot.to_string(),
            node: names.node(refusal.node),
            domain: refusal.memory_domain.clone(),
            why: refusal.why.clone(),
            bytes_short: refusal.bytes_short,
        });
        let distrusted = plan.distrusted.iter().map(|held| DistrustDocument {
            slot: held.slot.to_string(),
            node: names.node(held.node),
            artifact: names.artifact(held.artifact),
            why: held.why.clone(),
        });
        PlanDocument {
            digest: plan.inputs_digest.to_string(),
            score,
            strategy: plan.strategy.as_str().to_owned(),
            moves: moves(previous, &plan.replicas, names),
            replicas,
            stored,
            roles: plan.roles.iter().map(|(node, role)| (names.node(*node), role.as_str().to_owned())).collect(),
            shortfalls: shortfalls.collect(),
            refused: refused.collect(),
            distrusted: distrusted.collect(),
            ..PlanDocument::default()
        }
    }

    /// With the expected waits.
    pub fn with_waits(mut self, waits: impl IntoIterator<Item = (SlotName, Option<u64>)>) -> PlanDocument {
        let wait = |(slot, wait_ms): (SlotName, Option<u64>)| WaitDocument { slot: slot.to_string(), wait_ms };
        self.waits = waits.into_iter().map(wait).collect();
        self
    }
}

/// What changes between two sets of replicas: per slot, places left are paired with places taken.
fn moves(before: &[PlannedReplica], after: &[PlannedReplica], names: &impl Names) -> Vec<MoveDocument> {
    let places = |replicas: &[PlannedReplica]| {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for replica in replicas {
            let place = format!("{} {}", names.node(replica.node), replica.memory_domain);
            places.entry(replica.slot.to_string()).or_default().push(place);
        }
        places
    };
    let (mut before, mut after) = (places(before), places(after));
    let slots: std::collections::BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    let mut moves = Vec::new();
    for slot in slots {
        let old = before.remove(&slot).unwrap_or_default();
        let new = after.remove(&slot).unwrap_or_default();
        let mut left: Vec<_> = old.iter().filter(|place| !new.contains(place)).cloned().collect();
        let mut taken: Vec<_> = new.iter().filter(|place| !old.contains(place)).cloned().collect();
        left.sort();
        taken.sort();
        for index in 0..left.len().max(taken.len()) {
            moves.push(MoveDocument {
                slot: slot.clone(),
                from: left.get(index).cloned(),
                to: taken.get(index).cloned(),
            });
        }
    }
    moves
}
