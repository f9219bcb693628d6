//! The machine's part in what stays on the disk: the facts that `core::keeping` decides from, as far as the machine has
//! them.

use crate::core::keeping::{Holder, Snapshot};
use crate::core::machine::Machine;
use crate::core::pins::Pins;
use crate::core::types::Digest;

impl Machine {
    /// What is named, planned, needed, resident or under way here, and who else holds which of `artifacts`. `pins` come from
    /// their keeper: a pin is durable there before the machine hears of it. What lies on the disk, what is promised and what
    /// the budget says is for whoever asks to fill in.
    pub fn keeping_facts(&self, pins: &Pins, artifacts: &[Digest]) -> Snapshot {
        let catalog = &self.config.catalog;
        let under_way = self.transfers.iter().filter(|(_, transfer)| transfer.is_under_way());
        let under_way = under_way.map(|(artifact, _)| *artifact).chain(self.damaged.iter().copied());
        let holders = |artifact: &Digest| {
            let members = self.table.iter().filter(|(node, _)| self.config.members.member(node).is_some());
            let holding = members.filter(|(_, entry)| entry.advert().is_some_and(|advert| advert.stores(artifact)));
            holding.map(|(node, entry)| Holder { node: *node, connected: entry.connected }).collect::<Vec<_>>()
        };
        let holders = artifacts.iter().map(|artifact| (*artifact, holders(artifact)));
        Snapshot {
            named: catalog.publications().map(|publication| publication.artifact).collect(),
            pinned: pins.artifacts(catalog),
            planned: self.planned_here(),
            needed: self.needed_here(),
            resident: self.resident_artifacts(),
            under_way: under_way.collect(),
            holders: holders.filter(|(_, nodes)| !nodes.is_empty()).collect(),
            ..Snapshot::default()
        }
    }
}
