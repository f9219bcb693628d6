//! The problem with numbers in place of names, and one way of filling its memory: what every stage of the solver works on.
//! Sizes only; what a replica is worth is `objective`'s to say.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::Strategy;
use crate::core::placement::problem::{ArtifactInput, NodeInput, Problem, RoleWanted, SlotInput};
use crate::core::roster::SlotPolicy;
use crate::core::sizing;
use crate::core::types::{Digest, NodeId};

/// Index of a slot in the problem.
pub(super) type SlotIndex = usize;
/// Index of a memory domain that may host.
pub(super) type BinIndex = usize;

/// One slot.
pub(super) struct Slot<'a> {
    pub(super) input: &'a SlotInput,
    /// Its base, numbered.
    base: usize,
    own_bytes: u64,
    /// Replicas wanted, at least 1.
    pub(super) wanted: usize,
    /// Base and adapters on disk, numbered.
    artifacts: Vec<usize>,
}

/// One memory domain of a machine that may host.
pub(super) struct Bin<'a> {
    pub(super) host: usize,
    pub(super) name: &'a str,
    pub(super) kind: DomainKind,
    pub(super) budget_bytes: u64,
}

/// One machine that may host.
pub(super) struct Host<'a> {
    pub(super) input: &'a NodeInput,
    pub(super) bins: Range<BinIndex>,
    /// Its disk has room for everything there is: nothing to count.
    roomy: bool,
}

/// The problem, numbered.
pub(super) struct Space<'a> {
    pub(super) problem: &'a Problem,
    pub(super) slots: Vec<Slot<'a>>,
    pub(super) bins: Vec<Bin<'a>>,
    pub(super) hosts: Vec<Host<'a>>,
    /// Weights of each base, bytes.
    bases: Vec<u64>,
    artifacts: Vec<ArtifactInput>,
    /// The largest domain.
    pub(super) widest_bytes: u64,
}

/// Would a replica of `slot` stay resident under `strategy`?
pub(super) fn stays(slot: &SlotInput, strategy: Strategy) -> bool {
    strategy == Strategy::Specialised || slot.policy == SlotPolicy::Pinned
}

/// Is the artifact on the machine's disk, or is its room there claimed?
pub(super) fn on_disk(node: &NodeInput, artifact: &Digest) -> bool {
    node.holds.binary_search(artifact).is_ok() || node.claimed.binary_search(artifact).is_ok()
}

/// The slot's base and its adapters.
pub(super) fn artifacts_of(slot: &SlotInput) -> impl Iterator<Item = ArtifactInput> + '_ {
    let adapters =
        slot.adapters.iter().map(|(adapter, bytes)| ArtifactInput { artifact: adapter.artifact, bytes: *bytes });
    std::iter::once(slot.base).chain(adapters)
}

/// Bytes that `slots` need together on one domain: Σ distinct bases + Σ what each needs of its own (DESIGN 8). A base whose
/// slots disagree about its size counts with the largest.
pub fn footprint_together<'a>(slots: impl IntoIterator<Item = &'a SlotInput>) -> u64 {
    let mut bases: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut own = 0u64;
    for slot in slots {
        let weights = bases.entry(slot.base.artifact).or_default();
        *weights = (*weights).max(slot.footprint.weights_bytes);
        own = own.saturating_add(slot.footprint.own_bytes());
    }
    bases.into_values().fold(own, u64::saturating_add)
}

/// Disk that fetching these artifacts takes, bytes: their sizes, and the largest of their margins, so that any order works.
pub(super) fn disk_together(sizes: impl IntoIterator<Item = u64>) -> u64 {
    let add = |(sum, margin): (u64, u64), bytes: u64| {
        (sum.saturating_add(bytes), margin.max(sizing::disk_needed_bytes(bytes).saturating_sub(bytes)))
    };
    let (sum, margin) = sizes.into_iter().fold((0, 0), add);
    sum.saturating_add(margin)
}

impl<'a> Space<'a> {
    pub(super) fn new(problem: &'a Problem) -> Space<'a> {
        let mut numbers: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut artifacts: Vec<ArtifactInput> = Vec::new();
        let mut bases: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut weights: Vec<u64> = Vec::new();
        let mut slots = Vec::new();
        for input in &problem.slots {
            let base = *bases.entry(input.base.artifact).or_insert(weights.len());
            weights.resize(weights.len().max(base + 1), 0);
            weights[base] = weights[base].max(input.footprint.weights_bytes);
            let numbered = artifacts_of(input).map(|artifact| {
                let number = *numbers.entry(artifact.artifact).or_insert(artifacts.len());
                if number == artifacts.len() {
                    artifacts.push(artifact);
                }
                artifacts[number].bytes = artifacts[number].bytes.max(artifact.bytes);
                number
            });
            let numbered = numbered.collect();
            let (own_bytes, wanted) = (input.footprint.own_bytes(), input.replicas_wanted());
            slots.push(Slot { input, base, own_bytes, wanted, artifacts: numbered });
        }
        let everything = disk_together(artifacts.iter().map(|artifact| artifact.bytes));
        let (mut bins, mut hosts) = (Vec::new(), Vec::new());
        for node in problem.nodes.iter().filter(|node| node.role != RoleWanted::Delegate) {
            let (first, host) = (bins.len(), hosts.len());
            bins.extend(node.domains.iter().map(|domain| Bin {
                host,
                name: &domain.name,
                kind: domain.kind,
                budget_bytes: domain.budget_bytes,
            }));
            hosts.push(Host { input: node, bins: first..bins.len(), roomy: node.disk_free_bytes >= everything });
        }
        let widest_bytes = bins.iter().map(|bin: &Bin<'_>| bin.budget_bytes).max().unwrap_or(0);
        Space { problem, slots, bins, hosts, bases: weights, artifacts, widest_bytes }
    }

    /// How many artifacts the slots need, each counted once.
    pub(super) fn artifacts(&self) -> usize {
        self.artifacts.len()
    }

    pub(super) fn host(&self, bin: BinIndex) -> &Host<'a> {
        &self.hosts[self.bins[bin].host]
    }

    /// The domain of that name on that machine, if it may host.
    pub(super) fn find(&self, node: NodeId, name: &str) -> Option<BinIndex> {
        let host = self.hosts.binary_search_by_key(&node, |host| host.input.id).ok()?;
        self.hosts[host].bins.clone().find(|&bin| self.bins[bin].name == name)
    }

    pub(super) fn stays(&self, slot: SlotIndex) -> bool {
        stays(self.slots[slot].input, self.problem.strategy)
    }

    /// Does what its owner wants the machine to be allow `slot`?
    pub(super) fn role_allows(&self, bin: BinIndex, slot: SlotIndex) -> bool {
        match self.host(bin).input.role {
            RoleWanted::Delegate => false,
            RoleWanted::Specialised => self.stays(slot),
            RoleWanted::Swapping => !self.stays(slot),
            RoleWanted::Auto => true,
        }
    }

    /// Artifacts of `slot` that its machine's disk lacks.
    pub(super) fn missing(&self, host: usize, slot: SlotIndex) -> impl Iterator<Item = usize> + '_ {
        let node = self.hosts[host].input;
        let artifacts = self.slots[slot].artifacts.iter().copied();
        artifacts.filter(move |&artifact| !on_disk(node, &self.artifacts[artifact].artifact))
    }

    /// Disk that `slots` together still need on a machine beyond what is free there, bytes.
    pub(super) fn disk_short(&self, host: usize, slots: impl IntoIterator<Item = SlotIndex>) -> u64 {
        if self.hosts[host].roomy {
            return 0;
        }
        let mut missing: Vec<usize> = slots.into_iter().flat_map(|slot| self.missing(host, slot)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return 0;
        }
        let needed = disk_together(missing.into_iter().map(|artifact| self.artifacts[artifact].bytes));
        needed.saturating_sub(self.hosts[host].input.disk_free_bytes)
    }

    /// Bytes that `slots` need together on one domain.
    pub(super) fn footprint(&self, slots: &[SlotIndex]) -> u64 {
        let own = slots.iter().fold(0u64, |sum, &slot| sum.saturating_add(self.slots[slot].own_bytes));
        let first = |(index, &slot): (usize, &SlotIndex)| {
            let base = self.slots[slot].base;
            (!slots[..index].iter().any(|&other| self.slots[other].base == base)).then_some(self.bases[base])
        };
        slots.iter().enumerate().filter_map(first).fold(own, u64::saturating_add)
    }

    /// Bytes that `slot` adds to what `there` already occupies on a domain.
    pub(super) fn added(&self, there: &[SlotIndex], slot: SlotIndex) -> u64 {
        let Slot { base, own_bytes, .. } = self.slots[slot];
        let shared = there.iter().any(|&other| self.slots[other].base == base);
        if shared { own_bytes } else { own_bytes.saturating_add(self.bases[base]) }
    }
}

/// One way of filling the memory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Per domain: the slots there, in order.
    content: Vec<Vec<SlotIndex>>,
    /// Per domain: bytes occupied.
    used: Vec<u64>,
    /// Per slot: the domains that hold it, in order.
    holders: Vec<Vec<BinIndex>>,
}

impl Layout {
    pub(super) fn empty(space: &Space<'_>) -> Layout {
        Layout {
            content: vec![Vec::new(); space.bins.len()],
            used: vec![0; space.bins.len()],
            holders: vec![Vec::new(); space.slots.len()],
        }
    }

    pub(super) fn on(&self, bin: BinIndex) -> &[SlotIndex] {
        &self.content[bin]
    }

    pub(super) fn used(&self, bin: BinIndex) -> u64 {
        self.used[bin]
    }

    /// Bytes left on a domain.
    pub(super) fn left(&self, space: &Space<'_>, bin: BinIndex) -> u64 {
        space.bins[bin].budget_bytes.saturating_sub(self.used[bin])
    }

    pub(super) fn holders(&self, slot: SlotIndex) -> &[BinIndex] {
        &self.holders[slot]
    }

    pub(super) fn count(&self, slot: SlotIndex) -> usize {
        self.holders[slot].len()
    }

    pub(super) fn has(&self, bin: BinIndex, slot: SlotIndex) -> bool {
        self.content[bin].binary_search(&slot).is_ok()
    }

    pub(super) fn replicas(&self) -> usize {
        self.holders.iter().map(Vec::len).sum()
    }

    /// Does the machine of `bin` hold `slot`?
    pub(super) fn on_host(&self, space: &Space<'_>, host: usize, slot: SlotIndex) -> bool {
        let bins = &space.hosts[host].bins;
        let at = self.holders[slot].partition_point(|&bin| bin < bins.start);
        self.holders[slot].get(at).is_some_and(|&bin| bin < bins.end)
    }

    /// All slots on a machine.
    pub(super) fn of_host(&self, space: &Space<'_>, host: usize) -> impl Iterator<Item = SlotIndex> + '_ {
        space.hosts[host].bins.clone().flat_map(|bin| self.content[bin].iter().copied())
    }

    /// Bytes missing for `slot` to fit on `bin` too.
    pub(super) fn short(&self, space: &Space<'_>, bin: BinIndex, slot: SlotIndex) -> u64 {
        let with = self.used[bin].saturating_add(space.added(&self.content[bin], slot));
        with.saturating_sub(space.bins[bin].budget_bytes)
    }

    /// Disk missing on the machine of `bin` for `slot` beside what is placed there, bytes.
    pub(super) fn disk_short(&self, space: &Space<'_>, bin: BinIndex, slot: SlotIndex) -> u64 {
        let host = space.bins[bin].host;
        space.disk_short(host, self.of_host(space, host).chain([slot]))
    }

    /// May `slot` go to `bin` as things are?
    pub(super) fn takes(&self, space: &Space<'_>, bin: BinIndex, slot: SlotIndex) -> bool {
        self.short(space, bin, slot) == 0
            && space.role_allows(bin, slot)
            && !self.on_host(space, space.bins[bin].host, slot)
            && self.disk_short(space, bin, slot) == 0
    }

    pub(super) fn put(&mut self, space: &Space<'_>, bin: BinIndex, slot: SlotIndex) {
        self.used[bin] = self.used[bin].saturating_add(space.added(&self.content[bin], slot));
        insert(&mut self.content[bin], slot);
        insert(&mut self.holders[slot], bin);
    }

    pub(super) fn take(&mut self, space: &Space<'_>, bin: BinIndex, slot: SlotIndex) {
        self.content[bin].retain(|&placed| placed != slot);
        self.holders[slot].retain(|&holder| holder != bin);
        self.used[bin] = space.footprint(&self.content[bin]);
    }
}

fn insert(sorted: &mut Vec<usize>, value: usize) {
    if let Err(at) = sorted.binary_search(&value) {
        sorted.insert(at, value);
    }
}
