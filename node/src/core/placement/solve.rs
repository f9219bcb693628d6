//! Problem → plan. What was planned before stays; then slots in order of their claim to memory take the machine with the
//! most room, or push one replica elsewhere, or (pinned or awaited) take a weaker claim's place. Integer arithmetic, no clock: the same problem gives the same plan everywhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::core::membership::advert::DomainKind;
use crate::core::placement::pinned::is_pinned_on;
use crate::core::placement::plan::{Plan, PlanRole, PlannedReplica, PlannedStore, Strategy};
use crate::core::placement::problem::{ArtifactInput, NodeInput, Problem, RoleWanted, SlotInput};
use crate::core::roster::SlotPolicy;
use crate::core::sizing;
use crate::core::types::{Digest, NodeId, SlotName};

/// A memory domain being filled.
#[derive(Clone, Debug)]
pub(super) struct Bin<'a> {
    pub(super) node: &'a NodeInput,
    pub(super) name: &'a str,
    pub(super) kind: DomainKind,
    pub(super) budget_bytes: u64,
    pub(super) slots: Vec<&'a SlotInput>,
}

/// Bytes that `slots` need together on one domain: Σ distinct bases + Σ what each needs of its own (DESIGN 8).
pub fn footprint_together<'a>(slots: impl IntoIterator<Item = &'a SlotInput>) -> u64 {
    let mut bases = BTreeSet::new();
    let mut sum = 0u64;
    for slot in slots {
        if bases.insert(slot.base.artifact) {
            sum = sum.saturating_add(slot.footprint.weights_bytes);
        }
        sum = sum.saturating_add(slot.footprint.own_bytes());
    }
    sum
}

impl<'a> Bin<'a> {
    pub(super) fn used(&self) -> u64 {
        footprint_together(self.slots.iter().copied())
    }

    pub(super) fn used_with(&self, slot: &'a SlotInput) -> u64 {
        footprint_together(self.slots.iter().copied().chain([slot]))
    }

    /// Bytes missing for `slot` to fit here too.
    pub(super) fn short(&self, slot: &'a SlotInput) -> u64 {
        self.used_with(slot).saturating_sub(self.budget_bytes)
    }

    pub(super) fn has(&self, slot: &SlotName) -> bool {
        self.slots.iter().any(|placed| &placed.name == slot)
    }

    /// Does the machine's wanted role allow `slot`?
    pub(super) fn allows(&self, slot: &SlotInput, strategy: Strategy) -> bool {
        self.disk_short(slot) == 0 && self.role_allows(slot, strategy)
    }

    /// Bytes of disk missing for the slot's base to be stored here.
    pub(super) fn disk_short(&self, slot: &SlotInput) -> u64 {
        if on_disk(self.node, &slot.base.artifact) {
            return 0;
        }
        sizing::disk_needed_bytes(slot.base.bytes).saturating_sub(self.node.disk_free_bytes)
    }

    pub(super) fn role_allows(&self, slot: &SlotInput, strategy: Strategy) -> bool {
        match self.node.role {
            RoleWanted::Delegate => false,
            RoleWanted::Specialised => stays(slot, strategy),
            RoleWanted::Swapping => !stays(slot, strategy),
            RoleWanted::Auto => true,
        }
    }
}

/// Would a replica of `slot` stay resident under `strategy`?
pub(super) fn stays(slot: &SlotInput, strategy: Strategy) -> bool {
    strategy == Strategy::Specialised || slot.policy == SlotPolicy::Pinned
}

/// Everything one run of the solver works on.
pub(super) struct Solver<'a> {
    pub(super) problem: &'a Problem,
    pub(super) bins: Vec<Bin<'a>>,
    before: BTreeSet<(&'a SlotName, NodeId, &'a str)>,
    resident_before: BTreeSet<&'a SlotName>,
}

/// Rounds of improvement after which the plan is taken as it is. Each round only adds replicas or gives one to a stronger
/// claim, so that a few always settle it; the bound is for the proof.
const ROUNDS_MAX: usize = 8;

/// Answers `problem`. Author, epoch and revision are the coordinator's to fill in.
pub fn solve(problem: &Problem) -> Plan {
    let mut solver = Solver::new(problem);
    let order = solver.claims();
    solver.keep_previous(&order);
    solver.place_pinned_on(&order);
    let mut replicas = solver.replicas();
    for _ in 0..ROUNDS_MAX {
        solver.round(&order);
        let next = solver.replicas();
        if next == replicas {
            break;
        }
        replicas = next;
    }
    solver.plan(replicas)
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem) -> Solver<'a> {
        let bins = problem.nodes.iter().filter(|node| node.role != RoleWanted::Delegate).flat_map(|node| {
            node.domains.iter().map(move |domain| Bin {
                node,
                name: &domain.name,
                kind: domain.kind,
                budget_bytes: domain.budget_bytes,
                slots: Vec::new(),
            })
        });
        let before = problem.previous.iter().map(|r| (&r.slot, r.node, r.memory_domain.as_str())).collect();
        let resident_before = problem.previous.iter().map(|replica| &replica.slot).collect();
        Solver { problem, bins: bins.collect(), before, resident_before }
    }

    /// Slots in the order of their claim: pinned, then awaited (longest first), then resident before (latest asked
    /// for first), then by demand, then the larger.
    fn claims(&self) -> Vec<&'a SlotInput> {
        let mut slots: Vec<&SlotInput> = self.problem.slots.iter().filter(|slot| self.is_due(slot)).collect();
        slots.sort_by_key(|slot| {
            (
                !stays(slot, self.problem.strategy),
                slot.wanted_rank.unwrap_or(u32::MAX),
                !self.resident_before.contains(&slot.name),
                Reverse(slot.last_wanted),
                Reverse(slot.demand_per_hour),
                Reverse(slot.footprint.total_bytes()),
                &slot.name,
            )
        });
        slots
    }

    /// Begins with what was planned before, as far as it is still allowed and still fits: what stays moves nothing.
    fn keep_previous(&mut self, order: &[&'a SlotInput]) {
        for &slot in order {
            for index in 0..self.bins.len() {
                let bin = &self.bins[index];
                let was_there = self.before.contains(&(&slot.name, bin.node.id, bin.name));
                let elsewhere = self.holders(&slot.name).contains(&bin.node.id);
                if was_there && !elsewhere && bin.allows(slot, self.problem.strategy) && bin.short(slot) == 0 {
                    self.bins[index].slots.push(slot);
                }
            }
        }
    }

    /// One pass: every slot without a replica looks for a place, then spares fill what is left.
    fn round(&mut self, order: &[&'a SlotInput]) {
        for (rank, &slot) in order.iter().enumerate() {
            if self.holders(&slot.name).is_empty() {
                let entitled = stays(slot, self.problem.strategy) || slot.wanted_rank.is_some();
                let _placed = self.place(slot)
                    || self.place_by_moving_one(slot)
                    || (entitled && self.place_by_eviction(slot, &order[rank + 1..]));
            }
        }
        for &slot in order {
            self.place_spares(slot);
        }
    }

    /// Makes room for `slot`, which is pinned or awaited, by giving up weaker claims on one domain: spares first, then
    /// from the weakest up, on the domain where the least demand is given up.
    fn place_by_eviction(&mut self, slot: &'a SlotInput, weaker: &[&'a SlotInput]) -> bool {
        let mut best: Option<(u64, usize, Vec<&'a SlotInput>)> = None;
        for (index, bin) in self.bins.iter().enumerate() {
            if !bin.allows(slot, self.problem.strategy) {
                continue;
            }
            let Some((cost, kept)) = self.evictions(bin, slot, weaker) else { continue };
            if best.as_ref().is_none_or(|(cheapest, ..)| cost < *cheapest) {
                best = Some((cost, index, kept));
            }
        }
        let Some((_, index, kept)) = best else { return false };
        self.bins[index].slots = kept;
        self.bins[index].slots.push(slot);
        true
    }

    /// What `bin` keeps if `slot` moves in, and the demand given up for it.
    fn evictions(
        &self,
        bin: &Bin<'a>,
        slot: &'a SlotInput,
        weaker: &[&'a SlotInput],
    ) -> Option<(u64, Vec<&'a SlotInput>)> {
        let is_spare = |placed: &SlotInput| self.holders(&placed.name).len() > 1;
        let may_go = |placed: &SlotInput| !is_pinned_on(placed, bin);
        let spares = bin.slots.iter().copied().filter(|placed| is_spare(placed) && may_go(placed));
        let weakest_first =
            weaker.iter().rev().copied().filter(|other| bin.has(&other.name) && !is_spare(other) && may_go(other));
        let mut trial = bin.clone();
        let mut cost = 0;
        for victim in spares.chain(weakest_first) {
            trial.slots.retain(|placed| placed.name != victim.name);
            cost += if is_spare(victim) { 0 } else { u64::from(victim.demand_per_hour.max(1)) };
            if trial.short(slot) == 0 {
                return Some((cost, trial.slots));
            }
        }
        None
    }

    /// Under `swapping` only what is pinned, awaited or already there is resident.
    fn is_due(&self, slot: &SlotInput) -> bool {
        self.problem.strategy != Strategy::Swapping
            || slot.policy == SlotPolicy::Pinned
            || slot.wanted_rank.is_some()
            || !slot.pinned_on.is_empty()
            || self.resident_before.contains(&slot.name)
    }

    /// The best domain for one more replica of `slot`: where it was, then VRAM, then where it is on disk, then the most
    /// room left.
    fn best(&self, slot: &'a SlotInput) -> Option<usize> {
        let holders: BTreeSet<NodeId> = self.holders(&slot.name);
        let fits = |bin: &Bin<'a>| {
            bin.allows(slot, self.problem.strategy) && !holders.contains(&bin.node.id) && bin.short(slot) == 0
        };
        let key = |bin: &Bin<'a>| {
            let was_there = self.before.contains(&(&slot.name, bin.node.id, bin.name));
            let stored = bin.node.holds.binary_search(&slot.base.artifact).is_ok();
            let room = bin.budget_bytes.saturating_sub(bin.used_with(slot));
            (!was_there, bin.kind != DomainKind::Vram, Reverse(room), !stored, bin.node.id, bin.name)
        };
        let candidates = self.bins.iter().enumerate().filter(|(_, bin)| fits(bin));
        candidates.min_by_key(|(_, bin)| key(bin)).map(|(index, _)| index)
    }

    pub(super) fn holders(&self, slot: &SlotName) -> BTreeSet<NodeId> {
        self.bins.iter().filter(|bin| bin.has(slot)).map(|bin| bin.node.id).collect()
    }

    fn place(&mut self, slot: &'a SlotInput) -> bool {
        let Some(index) = self.best(slot) else { return false };
        self.bins[index].slots.push(slot);
        true
    }

    /// Frees room for `slot` by moving one replica already placed to a domain where it fits too.
    fn place_by_moving_one(&mut self, slot: &'a SlotInput) -> bool {
        for from in 0..self.bins.len() {
            if !self.bins[from].allows(slot, self.problem.strategy) {
                continue;
            }
            for position in 0..self.bins[from].slots.len() {
                if is_pinned_on(self.bins[from].slots[position], &self.bins[from]) {
                    continue;
                }
                let moved = self.bins[from].slots.remove(position);
                let to = (0..self.bins.len())
                    .filter(|&to| to != from && self.bins[to].allows(moved, self.problem.strategy))
                    .find(|&to| {
                        let holders = self.holders(&moved.name);
                        self.bins[to].short(moved) == 0 && !holders.contains(&self.bins[to].node.id)
                    });
                if let (0, Some(to)) = (self.bins[from].short(slot), to) {
                    self.bins[to].slots.push(moved);
                    self.bins[from].slots.push(slot);
                    return true;
                }
                self.bins[from].slots.insert(position, moved);
            }
        }
        false
    }

    /// Further replicas of a resident slot, each on another machine, as far as memory allows.
    fn place_spares(&mut self, slot: &'a SlotInput) {
        let placed = self.holders(&slot.name).len() as u32;
        if placed == 0 {
            return;
        }
        for _ in placed..slot.replicas {
            if !self.place(slot) {
                break;
            }
        }
    }

    fn plan(&self, replicas: Vec<PlannedReplica>) -> Plan {
        Plan {
            author: NodeId::default(),
            epoch: 0,
            revision: 0,
            inputs_digest: self.problem.digest(),
            strategy: self.problem.strategy,
            stored: self.stored(&replicas),
            roles: self.roles(),
            shortfalls: self.shortfalls(),
            refused: self.refused(),
            replicas,
        }
    }

    fn replicas(&self) -> Vec<PlannedReplica> {
        let mut replicas: Vec<PlannedReplica> = self
            .bins
            .iter()
            .flat_map(|bin| bin.slots.iter().map(move |slot| slot.planned_on(bin.node.id, bin.name)))
            .collect();
        replicas.sort();
        replicas
    }

    /// On each disk: what its replicas need, then every other artifact in order of claim while the disk has room, so
    /// that a swap never waits for the network.
    fn stored(&self, replicas: &[PlannedReplica]) -> Vec<PlannedStore> {
        let sizes: BTreeMap<Digest, u64> =
            self.problem.slots.iter().flat_map(artifacts_of).map(|a| (a.artifact, a.bytes)).collect();
        let claims: Vec<ArtifactInput> = self.claims().into_iter().flat_map(artifacts_of).collect();
        let mut stored = BTreeSet::new();
        for node in self.problem.nodes.iter().filter(|node| node.role != RoleWanted::Delegate) {
            let needed = replicas
                .iter()
                .filter(|replica| replica.node == node.id)
                .flat_map(|replica| replica.adapters.iter().map(|adapter| adapter.artifact).chain([replica.artifact]));
            let mut keep: BTreeSet<Digest> = needed.collect();
            let missing = |artifact: &Digest| !on_disk(node, artifact);
            let mut free = node.disk_free_bytes;
            for artifact in keep.iter().filter(|artifact| missing(artifact)) {
                free = free.saturating_sub(sizes.get(artifact).copied().unwrap_or(0));
            }
            for claim in &claims {
                if !missing(&claim.artifact) {
                    keep.insert(claim.artifact);
                } else if free >= sizing::disk_needed_bytes(claim.bytes) && keep.insert(claim.artifact) {
                    free -= claim.bytes;
                }
            }
            stored.extend(keep.into_iter().map(|artifact| PlannedStore { artifact, node: node.id }));
        }
        stored.into_iter().collect()
    }

    fn roles(&self) -> Vec<(NodeId, PlanRole)> {
        let all_resident = self.problem.slots.iter().all(|slot| self.bins.iter().any(|bin| bin.has(&slot.name)));
        let mut first_holder: BTreeMap<&SlotName, (u64, NodeId)> = BTreeMap::new();
        for bin in &self.bins {
            for slot in &bin.slots {
                // The replica on the largest domain is the one counted on; the others are spares.
                let candidate = (u64::MAX - bin.budget_bytes, bin.node.id);
                let holder = first_holder.entry(&slot.name).or_insert(candidate);
                *holder = (*holder).min(candidate);
            }
        }
        let role = |node: &NodeInput| {
            let hosts = self.bins.iter().any(|bin| bin.node.id == node.id && bin.budget_bytes > 0);
            if !hosts {
                return PlanRole::Delegate;
            }
            let mut counted = self
                .problem
                .slots
                .iter()
                .filter(|slot| first_holder.get(&slot.name).is_some_and(|(_, holder)| *holder == node.id));
            let (mut any, mut pinned) = (false, false);
            counted.by_ref().for_each(|slot| {
                any = true;
                pinned |= stays(slot, self.problem.strategy);
            });
            match (any, pinned, all_resident) {
                (true, _, true) => PlanRole::Specialised,
                (true, true, false) => PlanRole::Mixed,
                _ => PlanRole::Swapping,
            }
        };
        self.problem.nodes.iter().map(|node| (node.id, role(node))).collect()
    }
}

/// Is the artifact on the machine's disk, or is its room there claimed?
fn on_disk(node: &NodeInput, artifact: &Digest) -> bool {
    node.holds.binary_search(artifact).is_ok() || node.claimed.binary_search(artifact).is_ok()
}

fn artifacts_of(slot: &SlotInput) -> impl Iterator<Item = ArtifactInput> + '_ {
    let adapters =
        slot.adapters.iter().map(|(adapter, bytes)| ArtifactInput { artifact: adapter.artifact, bytes: *bytes });
    std::iter::once(slot.base).chain(adapters)
}
