//! What stays on this node's disk and what may go: decisions only. `decide` orders the deletions of one garbage collection
//! and says of everything else why it stays; `holds` are the promises between members that keep the federation's last
//! verified copy from being deleted twice at once. The driver carries both out.

mod decide;
pub mod holds;
#[cfg(test)]
mod tests;

pub use decide::decide;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::types::{Digest, NodeId, human_bytes};

/// One artifact on this disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnDisk {
    /// Which.
    pub artifact: Digest,
    /// What it takes, bytes.
    pub bytes: u64,
    /// Whole and verified; else under way, or damaged.
    pub complete: bool,
    /// When it came or was last needed, in whatever unit rises with time: what was idle longest goes first.
    pub idle_since: u64,
}

/// Another member that says it has a whole, verified copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Holder {
    /// Which.
    pub node: NodeId,
    /// Can be asked now.
    pub connected: bool,
}

/// Everything a garbage collection is decided from, as this node knows it now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// What lies on this disk.
    pub here: Vec<OnDisk>,
    /// Artifacts that a slot or one of its domains names now.
    pub named: BTreeSet<Digest>,
    /// Pinned on this node.
    pub pinned: BTreeSet<Digest>,
    /// The plan this node follows wants it here; `None`: no plan that knows this node is followed yet.
    pub planned: Option<BTreeSet<Digest>>,
    /// Replicas that the plan wants here are made of these; what else it wants here are spare copies.
    pub needed: BTreeSet<Digest>,
    /// By how much the store exceeds what its owner allows: so many bytes of spare copies may go, too.
    pub over_budget_bytes: u64,
    /// Loaded, being loaded or being unloaded here.
    pub resident: BTreeSet<Digest>,
    /// Coming here, or being repaired.
    pub under_way: BTreeSet<Digest>,
    /// Held for another member that counts on this copy.
    pub promised: BTreeMap<Digest, NodeId>,
    /// Who else has it whole.
    pub holders: BTreeMap<Digest, Vec<Holder>>,
    /// The owner said of these: delete them even if this is the last copy.
    pub forget: BTreeSet<Digest>,
}

/// How much is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// All that may.
    All,
    /// So many bytes, and no more than it takes.
    Bytes(u64),
}

/// Why something may be deleted. The order is the order of deletion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// No slot names it any more, and its owner said to forget it.
    Forgotten,
    /// No slot names it any more.
    Superseded,
    /// A slot names it, but the plan does not want it on this node.
    Unwanted,
    /// The plan wants it here only as a spare copy, for which the budget has no room.
    Spare,
}

impl Why {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Forgotten => "no slot names it any more, and it was to be forgotten",
            Why::Superseded => "no slot names it any more",
            Why::Unwanted => "the plan does not want it on this node",
            Why::Spare => "a spare copy, for which the disk budget has no room",
        }
    }
}

/// One deletion: to be carried out only once one of `ask` has promised to hold its copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Which artifact.
    pub artifact: Digest,
    /// What that frees, bytes.
    pub bytes: u64,
    /// Why it may go.
    pub why: Why,
    /// Connected members with a whole copy. Empty only for [`Why::Forgotten`].
    pub ask: Vec<NodeId>,
}

/// Why something stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Pinned on this node.
    Pinned,
    /// A replica here is made of it.
    Resident,
    /// The plan wants it here.
    Planned,
    /// A slot names it, and no plan is known yet.
    NoPlan,
    /// A transfer or a repair works on it.
    UnderWay,
    /// Promised to this member.
    Promised(NodeId),
    /// Nobody else is known to have it whole.
    LastCopy,
    /// These have it, and none is connected.
    HoldersAway(Vec<NodeId>),
    /// Enough was found before it.
    Enough,
}

impl Keep {
    /// In words; `name` says what a member is called.
    pub fn sentence(&self, name: impl Fn(&NodeId) -> String) -> String {
        match self {
            Keep::Pinned => "pinned on this node".to_owned(),
            Keep::Resident => "resident on this node".to_owned(),
            Keep::Planned => "wanted here by the plan".to_owned(),
            Keep::NoPlan => "a slot names it, and no plan has reached this node yet".to_owned(),
            Keep::UnderWay => "a transfer or a repair is working on it".to_owned(),
            Keep::Promised(to) => format!("held for {}, which deleted or is deleting its own copy", name(to)),
            Keep::LastCopy => "the last verified copy in the federation".to_owned(),
            Keep::HoldersAway(nodes) => {
                let names: Vec<String> = nodes.iter().map(name).collect();
                match names.as_slice() {
                    [one] => format!("the only other holder, {one}, is not connected"),
                    many => format!("none of the other holders ({}) is connected", many.join(", ")),
                }
            }
            Keep::Enough => "enough is freed without it".to_owned(),
        }
    }
}

/// One artifact that stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Which artifact.
    pub artifact: Digest,
    /// What it takes, bytes.
    pub bytes: u64,
    /// Why it stays.
    pub why: Keep,
}

/// What a garbage collection would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// In this order.
    pub delete: Vec<Deletion>,
    /// In order of artifact.
    pub keep: Vec<Kept>,
}

impl Decision {
    /// What all deletions free together.
    pub fn bytes(&self) -> u64 {
        self.delete.iter().map(|deletion| deletion.bytes).fold(0, u64::saturating_add)
    }
}

/// A disk budget that has no room for an artifact, with the arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "not enough disk budget: {used} are used and {needed} needed, together {together} of {budget}, short {short}",
    used = human_bytes(*.used_bytes),
    needed = human_bytes(*.needed_bytes),
    together = human_bytes(.used_bytes.saturating_add(*.needed_bytes)),
    budget = human_bytes(*.budget_bytes),
    short = human_bytes(self.short_bytes())
)]
pub struct BudgetShort {
    /// What the store takes now.
    pub used_bytes: u64,
    /// What is to come.
    pub needed_bytes: u64,
    /// What the owner allows.
    pub budget_bytes: u64,
}

impl BudgetShort {
    /// How much has to go first.
    pub fn short_bytes(&self) -> u64 {
        self.used_bytes.saturating_add(self.needed_bytes).saturating_sub(self.budget_bytes)
    }

    /// Refuses `needed_bytes` more on top of `used_bytes` if that exceeds the budget.
    pub fn check(used_bytes: u64, needed_bytes: u64, budget_bytes: u64) -> Result<(), BudgetShort> {
        let refusal = BudgetShort { used_bytes, needed_bytes, budget_bytes };
        if refusal.short_bytes() > 0 { Err(refusal) } else { Ok(()) }
    }
}
