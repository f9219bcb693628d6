//! What readers of the machine may see: the view, the tests and the simulator's checkers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::machine::{Config, Machine};
use crate::core::membership::advert::{Advert, ReplicaStatus};
use crate::core::membership::table::Table;
use crate::core::pins::Pins;
use crate::core::placement::plan::Plan;
use crate::core::residency;
use crate::core::route::Counts;
use crate::core::transfer::Transfers;
use crate::core::types::{Digest, NodeId};

impl Machine {
    /// This node's configuration, with the current roster of members and catalog.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The table of members.
    pub fn table(&self) -> &Table {
        &self.table
    }
    /// The plan this node follows.
    pub fn plan(&self) -> Option<&Plan> {
        self.coordinator.plan().map(Arc::as_ref).filter(|plan| plan.epoch <= self.epoch_durable)
    }
    /// Who coordinates, and under which epoch.
    pub fn coordinator(&self) -> Option<(NodeId, u64)> {
        self.coordinator.coordinator()
    }
    /// The highest epoch seen.
    pub fn epoch_highest(&self) -> u64 {
        self.coordinator.epoch_highest()
    }
    /// Transfers into this node.
    pub fn transfers(&self) -> &Transfers {
        &self.transfers
    }
    /// This node's own replicas, as it would advertise them now.
    pub(super) fn own_replicas(&self) -> Vec<ReplicaStatus> {
        self.residency.statuses(&BTreeMap::new(), |_| String::new())
    }
    /// This node's own statement, as it would be advertised now.
    pub fn own_advert(&self) -> Advert {
        self.statement()
    }
    /// Requests not yet ended, and counters.
    pub fn requests(&self) -> (usize, Counts) {
        (self.router.open(), self.router.counts)
    }
    /// What the plan this node follows wants on its disk; `None` while it follows none that knows it.
    pub fn planned_here(&self) -> Option<BTreeSet<Digest>> {
        let me = self.config.me;
        let plan = self.plan().filter(|plan| plan.role_of(&me).is_some())?;
        Some(plan.stored_on(me).chain(plan.replicas_of(me).flat_map(residency::artifacts)).collect())
    }
    /// What the replicas are made of that should be resident here.
    pub fn needed_here(&self) -> BTreeSet<Digest> {
        self.residency.artifacts_wanted()
    }
    /// Artifacts that replicas in this node's memory are made of.
    pub fn resident_artifacts(&self) -> BTreeSet<Digest> {
        self.residency.artifacts_held()
    }
    /// Found damaged on this disk and not whole again.
    pub fn damaged(&self) -> &BTreeSet<Digest> {
        &self.damaged
    }
    /// Does the disk have urgent work: a transfer, or a load?
    pub fn disk_is_busy(&self) -> bool {
        self.transfers.iter().any(|(_, transfer)| transfer.is_active()) || self.residency.is_loading()
    }
    /// What is kept here whatever the plan says.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }
    /// Artifacts whole on this node's disk.
    pub fn on_disk(&self) -> &BTreeSet<Digest> {
        &self.on_disk
    }
}
