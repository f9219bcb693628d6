//! From a way of filling the memory to the plan that is published: replicas, what lies on which disk, and what each machine
//! is. Nothing is decided about memory here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::core::limits;
use crate::core::placement::plan::{Plan, PlanRole, PlannedReplica, PlannedStore};
use crate::core::placement::problem::{ArtifactInput, NodeInput, RoleWanted};
use crate::core::placement::solve::Solver;
use crate::core::placement::space::{Host, Layout, SlotIndex, artifacts_of, on_disk};
use crate::core::sizing;
use crate::core::types::{Digest, NodeId};

impl Solver<'_> {
    pub(super) fn plan(&self, layout: &Layout) -> Plan {
        let problem = self.space.problem;
        let replicas = self.replicas(layout);
        Plan {
            author: NodeId::default(),
            epoch: 0,
            revision: 0,
            inputs_digest: problem.digest(),
            strategy: problem.strategy,
            stored: self.stored(layout),
            roles: self.roles(layout),
            shortfalls: self.shortfalls(layout),
            refused: self.refused(layout),
            distrusted: Vec::new(),
            replicas,
        }
    }

    fn replicas(&self, layout: &Layout) -> Vec<PlannedReplica> {
        let bins = self.space.bins.iter().enumerate();
        let mut replicas: Vec<PlannedReplica> = bins
            .flat_map(|(index, bin)| {
                let node = self.space.hosts[bin.host].input.id;
                layout.on(index).iter().map(move |&slot| self.space.slots[slot].input.planned_on(node, bin.name))
            })
            .collect();
        replicas.sort();
        replicas
    }

    /// On each disk: what its replicas need, and whatever else the roster names and is there already. Then every other
    /// artifact in order of claim while the disk has room, so that a swap never waits for the network: first where its slot
    /// could be loaded, then as a copy for others. An office stops at so many copies of each.
    fn stored(&self, layout: &Layout) -> Vec<PlannedStore> {
        let hosts = 0..self.space.hosts.len();
        let mut disks: Vec<(BTreeSet<Digest>, u64)> = hosts.clone().map(|host| self.needed(layout, host)).collect();
        let mut copies: BTreeMap<Digest, usize> = BTreeMap::new();
        disks.iter().flat_map(|(kept, _)| kept).for_each(|artifact| *copies.entry(*artifact).or_default() += 1);
        let share = limits::PLANNED_COPIES_MAX / self.space.artifacts().max(1);
        let of_each = share.min(limits::PLANNED_COPIES_OF_EACH_MAX);
        let slots: Vec<SlotIndex> = self.by_claim();
        for where_it_loads in [true, false] {
            for (&slot, host) in slots.iter().flat_map(|slot| hosts.clone().map(move |host| (slot, host))) {
                if where_it_loads && !self.could_load(host, slot) {
                    continue;
                }
                let (kept, free) = &mut disks[host];
                for ArtifactInput { artifact, bytes } in artifacts_of(self.space.slots[slot].input) {
                    let copies = copies.entry(artifact).or_default();
                    let room = *copies < of_each && *free >= sizing::disk_needed_bytes(bytes);
                    if room && kept.insert(artifact) {
                        *free -= bytes;
                        *copies += 1;
                    }
                }
            }
        }
        let disks = self.space.hosts.iter().zip(disks);
        let on = |(host, (kept, _)): (&Host<'_>, (BTreeSet<Digest>, u64))| {
            let node = host.input.id;
            kept.into_iter().map(move |artifact| PlannedStore { artifact, node })
        };
        let mut stored: Vec<PlannedStore> = disks.flat_map(on).collect();
        stored.sort_unstable();
        stored
    }

    /// What a machine's disk keeps or fetches in any case, and what is free there after that, bytes.
    fn needed(&self, layout: &Layout, host: usize) -> (BTreeSet<Digest>, u64) {
        let node = self.space.hosts[host].input;
        let planned = layout.of_host(&self.space, host).flat_map(|slot| artifacts_of(self.space.slots[slot].input));
        let needed: BTreeMap<Digest, u64> = planned.map(|artifact| (artifact.artifact, artifact.bytes)).collect();
        let fetched = needed.iter().filter(|(artifact, _)| !on_disk(node, artifact));
        let free = fetched.fold(node.disk_free_bytes, |free, (_, bytes)| free.saturating_sub(*bytes));
        let named = self.space.slots.iter().flat_map(|slot| artifacts_of(slot.input));
        let there = named.filter(|named| on_disk(node, &named.artifact)).map(|named| named.artifact);
        (needed.keys().copied().chain(there).collect(), free)
    }

    /// All slots that are due, and behind them the others: a manager that is loaded on demand lies on the disks all the same.
    fn by_claim(&self) -> Vec<SlotIndex> {
        let (order, due) = (&self.order, &self.objective.due);
        let mut others: Vec<SlotIndex> = (0..due.len()).filter(|&slot| !due[slot]).collect();
        others.sort_by_key(|&slot| (Reverse(self.objective.demand[slot]), slot));
        order.iter().copied().chain(others).collect()
    }

    /// Could the machine load `slot` if nothing else were there?
    fn could_load(&self, host: usize, slot: SlotIndex) -> bool {
        let bytes = self.space.footprint(&[slot]);
        let fits = |bin: usize| self.space.role_allows(bin, slot) && bytes <= self.space.bins[bin].budget_bytes;
        self.space.hosts[host].bins.clone().any(fits)
    }

    /// A machine's replicas stay if nothing is ever swapped, or only pinned ones count on it; the replica on the largest
    /// domain is the one counted on, the others are spares.
    fn roles(&self, layout: &Layout) -> Vec<(NodeId, PlanRole)> {
        let all_resident = (0..self.space.slots.len()).all(|slot| layout.count(slot) > 0);
        let mut counted: Vec<(bool, bool)> = vec![(false, false); self.space.hosts.len()];
        for slot in 0..self.space.slots.len() {
            let largest = |&&bin: &&usize| (self.space.bins[bin].budget_bytes, Reverse(bin));
            let Some(&bin) = layout.holders(slot).iter().max_by_key(largest) else { continue };
            let (any, pinned) = &mut counted[self.space.bins[bin].host];
            *any = true;
            *pinned |= self.space.stays(slot);
        }
        let mut hosts = self.space.hosts.iter().zip(counted).peekable();
        let mut role = |node: &NodeInput| {
            let (host, (any, pinned)) = match node.role {
                RoleWanted::Delegate => return PlanRole::Delegate,
                _ => hosts.next().expect("every machine that is not a delegate is a host, in the same order"),
            };
            if !host.bins.clone().any(|bin| self.space.bins[bin].budget_bytes > 0) {
                return PlanRole::Delegate;
            }
            match (any, pinned, all_resident) {
                (true, _, true) => PlanRole::Specialised,
                (true, true, false) => PlanRole::Mixed,
                _ => PlanRole::Swapping,
            }
        };
        self.space.problem.nodes.iter().map(|node| (node.id, role(node))).collect()
    }
}
