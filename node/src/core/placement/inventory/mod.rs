//! A federation written down: what `fednode plan --inventory` reads, what `--as-inventory` prints, what `--what-if` changes.
//! The fields are a contract (DESIGN 13), described with their units in `node/inventory.schema.json`; a test keeps the two
//! together. [`Inventory::check`] looks at what a type cannot express; `wire::inventory` reads the text.

mod answer;
mod checked;
mod problem;
mod reading;
mod what_if;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::Strategy;
use crate::core::placement::problem::RoleWanted;
use crate::core::roster::SlotPolicy;
use crate::core::types::{DomainName, NodeId, SlotName};

pub use answer::{Answer, answer};
pub use checked::InventoryError;
pub(super) use problem::artifact_id;
pub use problem::{InventoryNames, Known};
pub use what_if::{Change, WhatIfDocument, WhatIfError, what_if};

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// specialised | swapping | mixed.
    #[serde(default, with = "reading::strategy")]
    pub strategy: Strategy,
    /// The machines, in any order.
    #[serde(deserialize_with = "reading::objects")]
    pub nodes: Vec<NodeEntry>,
    /// The managers.
    #[serde(deserialize_with = "reading::object")]
    pub roster: RosterEntry,
    /// The plan before: what it holds stays where it can.
    #[serde(default, deserialize_with = "reading::object_or_null")]
    pub previous: Option<PreviousEntry>,
}

/// One machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// What people call it; no two have the same.
    pub name: String,
    /// Its key. Without one, an id made from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NodeId>,
    /// auto | specialised | swapping | delegate.
    #[serde(default, with = "reading::role")]
    pub role: RoleWanted,
    /// Free disk, bytes; without it, as much as is asked for.
    #[serde(default)]
    pub disk_free_bytes: Option<u64>,
    /// From disk into memory, bytes per second; 0 when not known.
    #[serde(default)]
    pub load_bytes_per_s: u64,
    /// From other machines, bytes per second; 0 when not known.
    #[serde(default)]
    pub link_bytes_per_s: u64,
    /// Its memory.
    #[serde(deserialize_with = "reading::objects")]
    pub domains: Vec<DomainEntry>,
    /// Artifacts on its disk.
    #[serde(default)]
    pub holds: Vec<String>,
    /// Artifacts on their way to its disk, whose room is claimed already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<String>,
    /// It came a short while ago: what runs elsewhere does not move to its GPUs yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recent: bool,
}

/// One memory domain of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainEntry {
    /// Such as `ram` or `gpu0`.
    pub name: String,
    /// vram | ram | unified.
    #[serde(with = "reading::kind")]
    pub kind: DomainKind,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What managers may use or use already, bytes; without it, all but the reserve.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Kept for the system and other programs, bytes.
    #[serde(default)]
    pub reserve_bytes: u64,
}

impl DomainEntry {
    /// What managers may use, bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.free_bytes.unwrap_or(u64::MAX).min(self.total_bytes.saturating_sub(self.reserve_bytes))
    }
}

/// The managers of an inventory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterEntry {
    /// In any order.
    #[serde(deserialize_with = "reading::objects")]
    pub slots: Vec<SlotEntry>,
}

/// One manager.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotEntry {
    /// Such as `UFM`.
    pub name: SlotName,
    /// The model in it, or the adapter if it has a base: a name, or a digest of 64 hexadecimal digits.
    pub artifact: String,
    /// The model that the artifact is an adapter of.
    #[serde(default)]
    pub base: Option<String>,
    /// Weights of the model, or of the base, bytes.
    pub weights_bytes: u64,
    /// The same on disk, bytes; without it, as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_bytes: Option<u64>,
    /// All adapters in memory, bytes.
    #[serde(default)]
    pub adapter_bytes: u64,
    /// Further adapters.
    #[serde(default, deserialize_with = "reading::objects", skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<AdapterEntry>,
    /// Keys and values of one token, bytes.
    #[serde(default)]
    pub kv_bytes_per_token: u64,
    /// Compute buffers that grow with each token of context, bytes.
    #[serde(default)]
    pub compute_bytes_per_token: u64,
    /// Tokens per sequence.
    pub context: u32,
    /// Tokens beyond which the model does not go, whatever the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_max: Option<u32>,
    /// Sequences at once.
    #[serde(default = "one")]
    pub parallel: u32,
    /// Whatever else a replica needs, bytes.
    #[serde(default)]
    pub overhead_bytes: u64,
    /// Replicas wanted.
    #[serde(default = "one")]
    pub replicas: u32,
    /// pinned | swappable.
    #[serde(default = "swappable", with = "reading::policy")]
    pub policy: SlotPolicy,
    /// Requests per hour.
    #[serde(default = "one")]
    pub demand_per_hour: u32,
    /// Machines on which it must be resident, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned_on: Vec<String>,
    /// Somebody waits for it: 0 has waited longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_rank: Option<u32>,
    /// When somebody last waited for it: larger is later, 0 is never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last_wanted: u64,
}

impl SlotEntry {
    /// Tokens per sequence as they are given: the model's own maximum caps what is asked for.
    pub fn context_given(&self) -> u32 {
        self.context.min(self.context_max.unwrap_or(u32::MAX))
    }

    /// Bytes of one token of context in each of the parallel sequences.
    pub fn bytes_per_token(&self) -> u64 {
        let one = self.kv_bytes_per_token.saturating_add(self.compute_bytes_per_token);
        one.saturating_mul(u64::from(self.parallel))
    }
}

/// One adapter beside the slot's model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterEntry {
    /// The domain it serves.
    pub domain: DomainName,
    /// A name, or a digest of 64 hexadecimal digits.
    pub artifact: String,
    /// On disk, bytes.
    pub bytes: u64,
}

/// The plan before: as `fednode plan --json` prints it. Of its many fields only these count here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PreviousEntry {
    /// Each machine that it spoke of, with its role; any other one has joined since.
    #[serde(default)]
    pub roles: BTreeMap<String, String>,
    /// What was resident.
    #[serde(deserialize_with = "reading::objects")]
    pub replicas: Vec<PlaceEntry>,
}

/// One replica of the plan before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlaceEntry {
    /// Which manager.
    pub slot: SlotName,
    /// On which machine.
    pub node: String,
    /// In which memory domain.
    pub domain: String,
}

fn one() -> u32 {
    1
}

fn swappable() -> SlotPolicy {
    SlotPolicy::Swappable
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
