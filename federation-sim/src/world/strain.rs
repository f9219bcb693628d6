//! What faults do to a machine while they last: a slow disk, other programs' memory and files, a clock that drifts, a slow
//! line. Several may last at once: whenever one begins or ends, everything is made anew from those that are open. And rot
//! on a disk: silent until a scrub or a receiver finds it.

use std::collections::BTreeMap;

use fednode::core::artifact::Bitmap;
use fednode::core::machine::Input;
use fednode::core::types::{Digest, Time};

use crate::schedule::FaultKind;
use crate::world::World;
use crate::world::node::Partial;

/// Of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strain {
    /// Without power: does not even refuse connections.
    pub dark: bool,
    /// Sends corrupt chunks.
    pub lies: bool,
    /// Its disk and engines take so many times as long.
    pub slow: u64,
    /// Other files on its disk, bytes.
    pub files: u64,
    /// What the owner allows its store, bytes.
    pub budget: Option<u64>,
    /// What other programs want of host memory, bytes.
    pub memory_taken: u64,
    /// Its engines do not start.
    pub loads_fail: bool,
    /// Its clock runs too fast by so many millionths, beside what quartz does.
    pub drift_ppm: i64,
}

impl Default for Strain {
    fn default() -> Strain {
        Strain {
            dark: false,
            lies: false,
            slow: 1,
            files: 0,
            budget: None,
            memory_taken: 0,
            loads_fail: false,
            drift_ppm: 0,
        }
    }
}

impl Strain {
    /// Of several faults of one kind the worst counts.
    fn add(&mut self, kind: &FaultKind) {
        match kind {
            FaultKind::PowerCut(_) | FaultKind::Blackout(_) => self.dark = true,
            FaultKind::Lie(_) => self.lies = true,
            FaultKind::SlowNode(_, times) => self.slow = self.slow.max(*times),
            FaultKind::FullDisk(_, bytes) => self.files = self.files.max(*bytes),
            FaultKind::TightBudget(_, bytes) => self.budget = Some(self.budget.map_or(*bytes, |b| b.min(*bytes))),
            FaultKind::MemoryTaken(_, bytes) => self.memory_taken = self.memory_taken.max(*bytes),
            FaultKind::LoadsFail(_) => self.loads_fail = true,
            FaultKind::Drift(_, ppm) => self.drift_ppm = *ppm,
            _ => {}
        }
    }
}

/// Pairs between which everything takes longer.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowLinks(BTreeMap<(usize, usize), u64>);

impl SlowLinks {
    /// How many times as long.
    pub(super) fn times(&self, a: usize, b: usize) -> u64 {
        if self.0.is_empty() { 1 } else { self.0.get(&(a.min(b), a.max(b))).copied().unwrap_or(1) }
    }
}

impl World {
    /// Makes anew what faults do to `node`.
    pub(super) fn strain(&mut self, node: usize) {
        let mut strain = Strain::default();
        let mut slow = BTreeMap::new();
        for index in &self.faults_open {
            let kind = &self.run.faults[*index].kind;
            if let FaultKind::SlowLink(a, b, times) = kind {
                let known = slow.entry((*a.min(b), *a.max(b))).or_insert(1);
                *known = (*times).max(*known);
            } else if kind.nodes().contains(&node) {
                strain.add(kind);
            }
        }
        self.slow_links = SlowLinks(slow);
        let before = std::mem::replace(&mut self.nodes[node].strain, strain);
        if before.drift_ppm != strain.drift_ppm {
            self.drift(node);
        }
        if before.budget != strain.budget {
            self.keep_house(node);
        }
    }

    /// A clock goes on at another pace, and its timer is set anew.
    fn drift(&mut self, node: usize) {
        let now = self.now;
        let sim = &mut self.nodes[node];
        let ppm = sim.spec.clock_drift_ppm + sim.strain.drift_ppm;
        let Some(process) = sim.process.as_mut() else { return };
        process.clock.drift(now, ppm);
        process.tick_due = Time(u64::MAX);
        self.wind(node);
    }

    /// A chunk of an artifact rots on a node's disk. Copies that are promised or the last are spared: what is lost with
    /// them no rule could keep.
    pub(super) fn rot(&mut self, node: usize, draw: u64) {
        let sound = |of: usize, artifact: &Digest| {
            let disk = &self.nodes[of].disk;
            disk.complete.contains(artifact) && !disk.rotten.contains_key(artifact)
        };
        let elsewhere = |artifact: &&Digest| {
            (0..self.nodes.len()).any(|other| other != node && sound(other, artifact))
                && sound(node, artifact)
                && self.nodes[node].disk.promises.iter().all(|promise| promise.artifact != **artifact)
        };
        let may_rot: Vec<Digest> = self.nodes[node].disk.complete.iter().filter(elsewhere).copied().collect();
        let Some(artifact) = may_rot.get((draw % may_rot.len().max(1) as u64) as usize).copied() else { return };
        let chunks = self.published.chunks.get(&artifact).map_or(1, Vec::len) as u64;
        self.nodes[node].disk.rotten.insert(artifact, ((draw >> 16) % chunks) as u32);
    }

    /// A pass of the scrub: what has rotted is whole no longer.
    pub(super) fn scrub(&mut self, node: usize) {
        for (artifact, bad) in std::mem::take(&mut self.nodes[node].disk.rotten) {
            let chunks = self.published.chunks.get(&artifact).map_or(0, Vec::len) as u32;
            let mut have = Bitmap::empty(chunks);
            (0..chunks).filter(|chunk| *chunk != bad).for_each(|chunk| have.set(chunk));
            let disk = &mut self.nodes[node].disk;
            if !disk.complete.remove(&artifact) {
                continue;
            }
            let sound = have.count();
            let partial = Partial { durable: have.clone(), have, since: 0, unsound: Default::default(), resumed: true };
            disk.partial.insert(artifact, partial);
            self.tell(node, Input::Damaged(artifact, sound));
        }
    }
}
