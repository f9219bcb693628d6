//! The roster of slots: which managers a federation has, and what each is due. Data, never code: the reference roster is
//! the file `rosters/reference.toml`.

mod seats;

use serde::{Deserialize, Serialize};

use super::limits;
use super::types::{DomainName, SlotName};

pub use seats::Seat;

/// Must a slot always be resident somewhere, or may it be loaded when asked for?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotPolicy {
    /// Always resident; if it fits nowhere that is a `Shortfall`.
    Pinned,
    /// Resident when there is room or demand.
    Swappable,
}

/// One slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterSlot {
    /// Such as `UFM`.
    pub name: SlotName,
    /// Such as "Universal Federation Manager".
    #[serde(default)]
    pub title: String,
    /// The slot whose model this manager is an adapter of, if it is one: then that slot's replicas serve it, and how many
    /// there are, of what context, is said there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<SlotName>,
    /// Tokens of context each parallel sequence gets; the model's own maximum caps it.
    #[serde(default = "default_context")]
    pub context: u32,
    /// Sequences at once in one replica.
    #[serde(default = "default_one")]
    pub parallel: u32,
    /// Replicas wanted, on different machines, as far as memory allows; the first is the floor.
    #[serde(default = "default_one")]
    pub replicas: u32,
    /// Replicas at most: beyond `replicas` one more is wanted for each `DEMAND_PER_REPLICA` requests an hour of demand, where
    /// memory is free. 0, the default: never more than `replicas`, for idle memory is its owner's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replicas_max: u32,
    /// Pinned or swappable.
    #[serde(default = "default_policy")]
    pub policy: SlotPolicy,
    /// Expected requests per hour: who goes first when memory is short.
    #[serde(default = "default_demand")]
    pub demand_per_hour: u32,
    /// Domains (LoRA adapters) that may be published.
    #[serde(default)]
    pub domains: Vec<DomainName>,
}

/// The whole roster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRoster {
    /// For people.
    pub name: String,
    /// `f16`, or `none` for rosters that admit quantised models.
    #[serde(default = "default_floor")]
    pub precision_floor: String,
    /// The slots, in the order they are shown.
    #[serde(rename = "slot")]
    pub slots: Vec<RosterSlot>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
fn default_context() -> u32 {
    4096
}
fn default_one() -> u32 {
    1
}
fn default_policy() -> SlotPolicy {
    SlotPolicy::Swappable
}
fn default_demand() -> u32 {
    1
}
fn default_floor() -> String {
    "f16".to_owned()
}

/// Why a roster is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RosterError {
    /// No slot, or too many.
    #[error("a roster has 1 to {max} slots, this one has {found}", max = limits::SLOTS_MAX)]
    SlotCount {
        /// How many there were.
        found: usize,
    },
    /// Two slots of one name.
    #[error("slot {0} stands twice in the roster; give each slot a name of its own")]
    Duplicate(SlotName),
    /// A number outside its range.
    #[error("slot {slot}: {field} is {found}, but must be from 1 to {max}")]
    Range {
        /// The slot.
        slot: SlotName,
        /// The field.
        field: &'static str,
        /// What it said.
        found: u32,
        /// The largest value allowed.
        max: u32,
    },
    /// Too many adapters.
    #[error("slot {0} names more than {max} domains", max = limits::DOMAINS_PER_SLOT_MAX)]
    Domains(SlotName),
    /// A base that cannot be one.
    #[error("slot {slot} stands on {base}, which must be another slot of this roster that stands on none itself")]
    Base {
        /// The slot.
        slot: SlotName,
        /// What it names.
        base: SlotName,
    },
    /// A slot that others' replicas serve says how many it wants.
    #[error("slot {slot} is served by {base}'s replicas: leave out {field}, or say it of {base}")]
    Guest {
        /// The slot.
        slot: SlotName,
        /// Whose replicas serve it.
        base: SlotName,
        /// What it says.
        field: &'static str,
    },
    /// Two adapters of one name on one base, or a name too long for one.
    #[error("{host} cannot serve {name}: another adapter on it is called so, or the name is longer than 32; rename it")]
    Seat {
        /// The base's slot.
        host: SlotName,
        /// The slot, with its domain.
        name: String,
    },
    /// A floor that is not known.
    #[error("precision_floor is {0:?}, but must be \"f16\" or \"none\"")]
    Floor(String),
}

impl RosterSlot {
    /// Replicas wanted at a demand of so many requests per hour.
    pub fn replicas_at(&self, demand_per_hour: u32) -> u32 {
        let carried = demand_per_hour.div_ceil(limits::DEMAND_PER_REPLICA);
        carried.clamp(self.replicas, self.replicas_max.max(self.replicas))
    }
}

impl SlotRoster {
    /// Checks what serde cannot.
    pub fn check(&self) -> Result<(), RosterError> {
        if self.slots.is_empty() || self.slots.len() > limits::SLOTS_MAX {
            return Err(RosterError::SlotCount { found: self.slots.len() });
        }
        if !matches!(self.precision_floor.as_str(), "f16" | "none") {
            return Err(RosterError::Floor(self.precision_floor.clone()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for slot in &self.slots {
            if !seen.insert(&slot.name) {
                return Err(RosterError::Duplicate(slot.name));
            }
            if slot.domains.len() > limits::DOMAINS_PER_SLOT_MAX {
                return Err(RosterError::Domains(slot.name));
            }
            let ranges = [
                ("context", slot.context, limits::CONTEXT_MAX),
                ("parallel", slot.parallel, limits::PARALLEL_MAX),
                ("replicas", slot.replicas, limits::REPLICAS_MAX),
                ("replicas_max", slot.replicas_max.max(1), limits::REPLICAS_MAX),
            ];
            for (field, found, max) in ranges {
                if found == 0 || found > max {
                    return Err(RosterError::Range { slot: slot.name, field, found, max });
                }
            }
        }
        self.check_bases()
    }

    /// The slot of this name.
    pub fn slot(&self, name: &SlotName) -> Option<&RosterSlot> {
        self.slots.iter().find(|slot| &slot.name == name)
    }

    /// Does this roster forbid anything below F16?
    pub fn requires_f16(&self) -> bool {
        self.precision_floor == "f16"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_asks_for_more_replicas_only_where_the_roster_says_so() {
        let slot = |replicas: u32, replicas_max: u32| -> RosterSlot {
            let slot = serde_json::json!({"name": "A", "replicas": replicas, "replicas_max": replicas_max});
            serde_json::from_value(slot).expect("a slot")
        };
        let check = |(replicas, most), demand, expect| assert_eq!(slot(replicas, most).replicas_at(demand), expect);
        check((1, 0), 10_000, 1);
        check((2, 0), 10_000, 2);
        check((1, 3), 0, 1);
        check((1, 3), limits::DEMAND_PER_REPLICA, 1);
        check((1, 3), limits::DEMAND_PER_REPLICA + 1, 2);
        check((1, 3), u32::MAX, 3);
        // A largest number below the number that is wanted anyway says nothing.
        check((2, 1), u32::MAX, 2);
    }
}
