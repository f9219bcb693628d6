//! Garbage collection as the driver carries it out, with the core's own decisions: what may go and in which order
//! (`core::keeping::decide`), and the promises without which nothing goes (`core::keeping::holds`). It begins when a
//! transfer had no room or the store is over its budget.
//!
//! Not modelled: what a person has collected by hand or forgets, promises that cannot be read after a crash. All machines
//! have one wall clock.

use std::collections::VecDeque;

use fednode::core::keeping::{Deletion, Need, OnDisk, Snapshot, decide};
use fednode::core::machine::Input;
use fednode::core::pins::Pins;
use fednode::core::seeded::{Bug, has};
use fednode::core::types::{Digest, Duration, NodeId};

use crate::world::World;
use crate::world::calls::{Ask, Reply, Waiting};
use crate::world::event::Event;
use crate::world::node::CallId;

/// As the driver has it: how often the store is compared with its budget.
const BUDGET_PERIOD: Duration = Duration::from_secs(5);
/// And after a collection that freed too little.
const VAIN_REST: Duration = Duration::from_secs(60);
/// Seconds since the Unix epoch when a run begins.
const BEGIN_UNIX_S: u64 = 1_800_000_000;

/// One process's collection.
#[derive(Debug, Default)]
pub struct Collection {
    /// Room that a transfer did not have.
    shortage: u64,
    /// A look at the store is due.
    due: bool,
    /// What is to go after this.
    left: VecDeque<Deletion>,
    /// For what a promise is being asked.
    asking: Option<Asking>,
}

#[derive(Debug)]
struct Asking {
    artifact: Digest,
    serial: u64,
    left: VecDeque<NodeId>,
}

impl World {
    /// The wall clock.
    pub(super) fn unix_s(&self) -> u64 {
        BEGIN_UNIX_S + self.now.0 / 1_000_000_000
    }

    /// A transfer lacks so many bytes.
    pub(super) fn lacks_room(&mut self, node: usize, bytes: u64) {
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.collection.shortage = process.collection.shortage.max(bytes);
            self.keep_house(node);
        }
    }

    /// The store is looked at soon.
    pub(super) fn keep_house(&mut self, node: usize) {
        self.keep_house_after(node, BUDGET_PERIOD);
    }

    fn keep_house_after(&mut self, node: usize, wait: Duration) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if !std::mem::replace(&mut process.collection.due, true) {
            let life = process.life;
            self.after(wait, Event::Keep { node, life });
        }
    }

    /// The store is looked at.
    pub(super) fn kept(&mut self, node: usize, life: u64) {
        let budget = self.nodes[node].strain.budget.unwrap_or(u64::MAX);
        let over = self.stored_bytes(node).saturating_sub(budget);
        let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.life == life) else { return };
        process.collection.due = false;
        if process.collection.asking.is_some() {
            return self.keep_house(node);
        }
        let bytes = over.max(std::mem::take(&mut process.collection.shortage));
        if bytes == 0 {
            return;
        }
        let Some(decision) = self.facts(node).map(|facts| decide(&facts, Need::Bytes(bytes))) else { return };
        if over > 0 || decision.bytes() >= bytes {
            if let Some(process) = self.nodes[node].process.as_mut() {
                process.collection.left = decision.delete.into();
            }
            self.delete_next(node);
        }
        if over > 0 {
            self.keep_house_after(node, VAIN_REST);
        }
    }

    /// Everything a collection is decided from.
    fn facts(&self, node: usize) -> Option<Snapshot> {
        let sim = &self.nodes[node];
        let process = sim.process.as_ref()?;
        let on_disk = |artifact: &Digest, complete: bool| OnDisk {
            artifact: *artifact,
            bytes: self.bytes_of(artifact),
            complete,
            idle_since: 0,
        };
        let whole = sim.disk.complete.iter().map(|artifact| on_disk(artifact, true));
        let here: Vec<OnDisk> = whole.chain(sim.disk.partial.keys().map(|artifact| on_disk(artifact, false))).collect();
        let artifacts: Vec<Digest> = here.iter().map(|held| held.artifact).collect();
        let mut holds = process.holds.clone();
        let unix_s = self.unix_s();
        let promised = artifacts.iter().filter_map(|artifact| Some((*artifact, holds.promised_to(artifact, unix_s)?)));
        let promised = promised.collect();
        let over_budget_bytes = sim.strain.budget.map_or(0, |budget| self.stored_bytes(node).saturating_sub(budget));
        let known = process.machine.keeping_facts(&Pins::default(), &artifacts);
        Some(Snapshot { here, promised, over_budget_bytes, ..known })
    }

    fn delete_next(&mut self, node: usize) {
        let unix_s = self.unix_s();
        while let Some(process) = self.nodes[node].process.as_mut() {
            let Some(deletion) = process.collection.left.pop_front() else { return };
            if let Ok(serial) = process.holds.ask(deletion.artifact, unix_s) {
                let (artifact, left) = (deletion.artifact, deletion.ask.into());
                process.collection.asking = Some(Asking { artifact, serial, left });
                return self.ask_next_to_hold(node);
            }
        }
    }

    fn ask_next_to_hold(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(asking) = process.collection.asking.as_mut() else { return };
        let artifact = asking.artifact;
        if has(Bug::DeletesWithoutPromise) {
            asking.left.clear();
            self.discard(node, None, artifact);
            return self.deletion_ends(node);
        }
        match asking.left.pop_front().and_then(|peer| self.by_id.get(&peer).copied()) {
            Some(peer) => self.call(node, peer, Ask::Hold(artifact), Waiting::Hold(artifact)),
            None if has(Bug::DropsLastCopy) => {
                self.discard(node, None, artifact);
                self.deletion_ends(node);
            }
            None => self.deletion_ends(node), // nobody has promised
        }
    }

    /// A member was asked to hold its copy: it promises, durably, or does not.
    pub(super) fn asked_to_hold(&mut self, node: usize, from: usize, link: u64, call: CallId, artifact: Digest) {
        let (unix_s, to) = (self.unix_s(), self.nodes[from].id);
        let sim = &mut self.nodes[node];
        let held = sim.disk.complete.contains(&artifact);
        let Some(process) = sim.process.as_mut() else { return };
        let promised = process.holds.promise(artifact, to, held, unix_s).is_ok();
        if promised {
            sim.disk.rotten.remove(&artifact); // what is promised is spared, also what had rotted unnoticed
        }
        if !has(Bug::ForgetsPromises) {
            sim.disk.promises = process.holds.promises().collect();
        }
        let (latency, written) = (self.latency(node, from), self.fsync());
        let reply = Box::new(Reply::Hold(promised));
        self.after(Duration(latency.0 + written.0), Event::Reply { node: from, from: node, link, call, reply });
    }

    /// A member promised, or did not.
    pub(super) fn hold_answered(&mut self, node: usize, by: usize, artifact: Digest, promised: bool) {
        let unix_s = self.unix_s();
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(asking) = process.collection.asking.as_ref().filter(|asking| asking.artifact == artifact) else {
            return;
        };
        if !promised {
            return self.ask_next_to_hold(node);
        }
        let serial = asking.serial;
        if process.holds.granted(&artifact, serial, unix_s) {
            // Looked at again: it may be wanted here since.
            let still = self.facts(node).map(|facts| decide(&facts, Need::All).delete);
            if still.is_some_and(|still| still.iter().any(|deletion| deletion.artifact == artifact)) {
                self.discard(node, Some(by), artifact);
            }
        }
        self.deletion_ends(node);
    }

    fn discard(&mut self, node: usize, by: Option<usize>, artifact: Digest) {
        self.checkers.discards(self.now, node, by, &artifact, self.unix_s(), &self.nodes);
        let disk = &mut self.nodes[node].disk;
        disk.complete.remove(&artifact);
        disk.partial.remove(&artifact);
        disk.rotten.remove(&artifact);
        self.stats.discards += 1;
        self.tell(node, Input::Dropped(artifact));
    }

    fn deletion_ends(&mut self, node: usize) {
        if let Some(process) = self.nodes[node].process.as_mut()
            && let Some(asking) = process.collection.asking.take()
        {
            process.holds.ended(&asking.artifact, asking.serial);
            self.delete_next(node);
        }
    }
}
