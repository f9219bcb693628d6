//! The machine's storing half: which artifacts belong on this disk, by the plan or by a pin, and the transfers that bring
//! them.

use crate::core::artifact::Bitmap;
use crate::core::machine::{Machine, Output};
use crate::core::membership::roster::Role;
use crate::core::membership::table::{Presence, Table};
use crate::core::transfer::{self, Holder, Transfer};
use crate::core::types::{Digest, Time};

impl Machine {
    pub(super) fn stored(&mut self, now: Time, artifact: Digest) {
        self.on_disk.insert(artifact);
        self.partial.remove(&artifact);
        self.damaged.remove(&artifact);
        self.want();
        self.plan_dirty(now);
    }

    /// A transfer's room on the disk is claimed, and said to be so before the disk is measured again.
    pub(super) fn begun(&mut self, artifact: Digest, have: Bitmap) {
        let before = self.partial.insert(artifact, have.count());
        if before.is_none() {
            let bytes = self.transfers.get(&artifact).map_or(0, Transfer::total_bytes);
            self.disk_free_bytes = self.disk_free_bytes.saturating_sub(bytes);
        }
        self.transfers.begun(artifact, have);
    }

    pub(super) fn dropped(&mut self, now: Time, artifact: &Digest) {
        self.on_disk.remove(artifact);
        self.partial.remove(artifact);
        self.damaged.remove(artifact);
        self.want();
        self.plan_dirty(now);
    }

    /// It is no longer said to be whole, its replicas here go, and what it lacks comes again.
    pub(super) fn found_damaged(&mut self, now: Time, artifact: Digest, sound: u32) {
        self.on_disk.remove(&artifact);
        self.partial.insert(artifact, sound);
        self.damaged.insert(artifact);
        self.want();
        self.plan_dirty(now);
    }

    /// Wants what the plan and the pins want here and the disk lacks, and what is to be repaired.
    pub(super) fn want(&mut self) {
        if self.config.role != Role::Full {
            return; // no disk to keep anything on
        }
        let pinned = self.pins.artifacts(&self.config.catalog);
        let wanted = self.planned.iter().chain(&pinned).chain(&self.damaged);
        self.transfers.want(&wanted.copied().filter(|artifact| !self.on_disk.contains(artifact)).collect());
    }

    pub(super) fn transfer(&mut self, now: Time, outbox: &mut Vec<Output>) {
        let table = &self.table;
        let holders = |artifact: &Digest| holders(table, artifact);
        for action in self.transfers.schedule(now, holders) {
            outbox.push(match action {
                transfer::Action::GetManifest { artifact, from } => Output::GetManifest { artifact, from },
                transfer::Action::GetHave { artifact, from } => Output::GetHave { artifact, from },
                transfer::Action::Fetch { artifact, chunk, bytes, from } => {
                    Output::Fetch { artifact, chunk, bytes, from }
                }
                transfer::Action::Cancel { artifact, chunk, from } => Output::Cancel { artifact, chunk, from },
                transfer::Action::Finish { artifact } => Output::Finish(artifact),
            });
        }
    }
}

/// Connected members that hold `artifact`, wholly or in part.
fn holders(table: &Table, artifact: &Digest) -> Vec<Holder> {
    let connected = table.iter().filter(|(_, entry)| entry.connected && entry.presence == Presence::Alive);
    let holding = connected.filter_map(|(node, entry)| {
        let held = entry.advert()?.holdings.iter().find(|held| &held.artifact == artifact)?;
        Some(Holder { node: *node, complete: held.complete })
    });
    holding.collect()
}
