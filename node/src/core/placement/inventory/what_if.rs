//! "What if": an inventory changed, planned anew from the plan it had, and what that changes.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{Answer, DomainEntry, Inventory, InventoryError, NodeEntry, PlaceEntry, PreviousEntry, answer};
use crate::core::limits;
use crate::core::membership::advert::DomainKind;
use crate::core::placement::Violation;
use crate::core::placement::document::{MoveDocument, Names, PlanDocument, ShortfallDocument};
use crate::core::placement::problem::RoleWanted;
use crate::core::sizing;
use crate::core::types::{SlotName, human_bytes};

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// One machine more, with this much host memory of which the usual part is kept for its system, and disk for everything.
    Add {
        /// What it is called, or the first free of `added`, `added-2`, …
        name: Option<String>,
        /// All its memory, bytes.
        memory_bytes: u64,
    },
    /// One machine less.
    Remove {
        /// Its name.
        node: String,
    },
    /// Another context.
    Context {
        /// Of one slot, or of all.
        slot: Option<SlotName>,
        /// Tokens per sequence.
        tokens: u32,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Change::Add { name: None, memory_bytes } => write!(f, "add a machine of {}", human_bytes(*memory_bytes)),
            Change::Add { name: Some(name), memory_bytes } => write!(f, "add {name} of {}", human_bytes(*memory_bytes)),
            Change::Remove { node } => write!(f, "remove {node}"),
            Change::Context { slot: None, tokens } => write!(f, "context {tokens}"),
            Change::Context { slot: Some(slot), tokens } => write!(f, "context {tokens} for {slot}"),
        }
    }
}

/// Why a change cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WhatIfError {
    /// No machine of this name.
    #[error("there is no machine {node:?} to remove; there are: {known}")]
    NoSuchNode {
        /// The name.
        node: String,
        /// Names there are, some of them.
        known: String,
    },
    /// No slot of this name.
    #[error("there is no manager {slot} whose context could change; there are: {known}")]
    NoSuchSlot {
        /// The name.
        slot: SlotName,
        /// Names there are, some of them.
        known: String,
    },
    /// The machine is there already.
    #[error("there is a machine {0:?} already; add the new one under another name")]
    Taken(String),
    /// Too many changes at once.
    #[error("{0} changes at once; ask for at most {max}", max = limits::CHANGES_MAX)]
    TooMany(usize),
    /// The result is no inventory.
    #[error("the federation after the change: {0}")]
    Inventory(#[from] InventoryError),
    /// A bug of ours.
    #[error("the plan does not keep its own rules, which is a bug of fednode: {0}")]
    Plan(#[from] Violation),
}

/// What changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WhatIfDocument {
    /// The changes in words.
    pub changes: Vec<String>,
    /// The score before.
    pub score_before: u64,
    /// The score after.
    pub score_after: u64,
    /// Slots that become resident.
    pub gained: Vec<String>,
    /// Slots that are no longer resident.
    pub lost: Vec<String>,
    /// Replicas that change their place.
    pub moves: Vec<MoveDocument>,
    /// What falls short before.
    pub shortfalls_before: Vec<ShortfallDocument>,
    /// What falls short after.
    pub shortfalls_after: Vec<ShortfallDocument>,
    /// The whole plan after.
    pub plan: PlanDocument,
}

/// Plans for `inventory`, changes it, and plans again from there.
pub fn what_if(inventory: &Inventory, changes: &[Change]) -> Result<WhatIfDocument, WhatIfError> {
    let before = answer(inventory)?;
    let mut changed = inventory.changed(changes)?;
    changed.previous = Some(previous(&before));
    let after = answer(&changed)?.document;
    let resident =
        |plan: &PlanDocument| -> BTreeSet<String> { plan.replicas.iter().map(|it| it.slot.clone()).collect() };
    let (had, has) = (resident(&before.document), resident(&after));
    Ok(WhatIfDocument {
        changes: changes.iter().map(ToString::to_string).collect(),
        score_before: before.document.score,
        score_after: after.score,
        gained: has.difference(&had).cloned().collect(),
        lost: had.difference(&has).cloned().collect(),
        moves: after.moves.clone(),
        shortfalls_before: before.document.shortfalls,
        shortfalls_after: after.shortfalls.clone(),
        plan: after,
    })
}

/// The plan before as the next inventory states it.
fn previous(before: &Answer) -> PreviousEntry {
    let replicas = before.plan.replicas.iter().map(|replica| PlaceEntry {
        slot: replica.slot,
        node: before.names.node(replica.node),
        domain: replica.memory_domain.clone(),
    });
    PreviousEntry { roles: before.document.roles.clone(), replicas: replicas.collect() }
}

impl Inventory {
    /// This inventory after `changes`, in their order.
    pub fn changed(&self, changes: &[Change]) -> Result<Inventory, WhatIfError> {
        if changes.len() > limits::CHANGES_MAX {
            return Err(WhatIfError::TooMany(changes.len()));
        }
        let mut inventory = self.clone();
        for change in changes {
            match change {
                Change::Add { name, memory_bytes } => inventory.add(name.as_deref(), *memory_bytes)?,
                Change::Remove { node } => inventory.remove(node)?,
                Change::Context { slot, tokens } => inventory.set_context(slot.as_ref(), *tokens)?,
            }
        }
        inventory.check()?;
        Ok(inventory)
    }

    fn add(&mut self, name: Option<&str>, memory_bytes: u64) -> Result<(), WhatIfError> {
        let taken: BTreeSet<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let name = match name {
            Some(name) if taken.contains(name) => return Err(WhatIfError::Taken(name.to_owned())),
            Some(name) => name.to_owned(),
            None => {
                let mut names = (1..).map(|n| if n == 1 { "added".to_owned() } else { format!("added-{n}") });
                names.find(|name| !taken.contains(name.as_str())).expect("there are more numbers than machines")
            }
        };
        let ram = DomainEntry {
            name: "ram".to_owned(),
            kind: DomainKind::Ram,
            total_bytes: memory_bytes,
            free_bytes: None,
            reserve_bytes: sizing::ram_reserve_bytes(memory_bytes),
        };
        self.nodes.push(NodeEntry {
            name,
            id: None,
            role: RoleWanted::Auto,
            disk_free_bytes: None,
            load_bytes_per_s: 0,
            link_bytes_per_s: 0,
            domains: vec![ram],
            holds: Vec::new(),
            claimed: Vec::new(),
            recent: false,
        });
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), WhatIfError> {
        let Some(index) = self.nodes.iter().position(|node| node.name == name) else {
            let known = some(self.nodes.iter().map(|node| node.name.clone()));
            return Err(WhatIfError::NoSuchNode { node: name.chars().take(40).collect(), known });
        };
        self.nodes.remove(index);
        Ok(())
    }

    fn set_context(&mut self, only: Option<&SlotName>, tokens: u32) -> Result<(), WhatIfError> {
        if let Some(slot) = only
            && !self.roster.slots.iter().any(|entry| &entry.name == slot)
        {
            let known = some(self.roster.slots.iter().map(|entry| entry.name.to_string()));
            return Err(WhatIfError::NoSuchSlot { slot: *slot, known });
        }
        let slots = self.roster.slots.iter_mut();
        slots.filter(|entry| only.is_none_or(|slot| &entry.name == slot)).for_each(|entry| entry.context = tokens);
        Ok(())
    }
}

/// The first names of many.
fn some(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = names.collect();
    names.sort();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}
