//! What this node holds in memory, and the work to get from there to its plan: desired minus actual under the node's own
//! ledger. The coordinator proposes; only this file loads and evicts.
//!
//! One load at a time per memory domain; a replica that is no longer wanted drains before it goes, and stays for a minimum
//! dwell so that those who waited for it are served. Weights come from disk: what is missing there is `transfer`'s to get.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::limits;
use crate::core::membership::advert::{DomainKind, MemoryDomain, ReplicaState, ReplicaStatus};
use crate::core::placement::plan::PlannedReplica;
use crate::core::types::{Digest, Duration, NodeId, SlotName, Time, human_bytes};

/// A replica in this node's memory, or on its way in or out.
#[derive(Clone, Debug)]
struct Actual {
    order: PlannedReplica,
    state: State,
    since: Time,
    /// Not evicted for another before this has passed since it was ready.
    dwell: Duration,
    /// Measured after the load; the ledger uses the larger of this and the estimate.
    measured_bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Loading,
    Ready,
    Draining,
    Unloading,
}

/// A slot whose load failed.
#[derive(Clone, Debug)]
struct Failure {
    again_at: Time,
    times: u64,
    why: String,
}

/// What residency wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Load this; then tell [`Residency::loaded`].
    Load(PlannedReplica),
    /// End this slot's replica; then tell [`Residency::unloaded`].
    Unload(SlotName),
}

/// One node's residency.
#[derive(Clone, Debug, Default)]
pub struct Residency {
    desired: Vec<PlannedReplica>,
    actual: BTreeMap<SlotName, Actual>,
    failures: BTreeMap<SlotName, Failure>,
    domains: Vec<MemoryDomain>,
    /// What managers could use of each domain in all when it was last measured. A measurement grows old while replicas come
    /// and go; this does not, so that a swap shows the room it made before anybody measures again.
    room: BTreeMap<String, u64>,
    waiting: BTreeMap<SlotName, String>,
}

impl Residency {
    /// The hardware as measured now; `ours_bytes` and `free_bytes` are filled in by the ledger.
    pub fn capacity(&mut self, domains: Vec<MemoryDomain>) {
        let room = |domain: &MemoryDomain| {
            let others_leave = domain.free_bytes.saturating_sub(self.unseen(domain));
            others_leave.saturating_add(self.used(&domain.name))
        };
        self.room = domains.iter().map(|domain| (domain.name.clone(), room(domain))).collect();
        self.domains = domains;
    }

    /// The replicas the accepted plan gives this node.
    pub fn desire(&mut self, me: NodeId, replicas: impl Iterator<Item = PlannedReplica>) {
        self.desired = replicas.filter(|replica| replica.node == me).collect();
        let wanted: BTreeSet<&SlotName> = self.desired.iter().map(|replica| &replica.slot).collect();
        self.failures.retain(|slot, _| wanted.contains(slot));
    }

    /// Memory domains with what our replicas hold and what admission could still give.
    pub fn ledger(&self) -> Vec<MemoryDomain> {
        self.domains.iter().map(|domain| self.with_ours(domain)).collect()
    }

    fn with_ours(&self, domain: &MemoryDomain) -> MemoryDomain {
        let ours_bytes = self.used(&domain.name);
        let cap = domain.total_bytes.saturating_sub(domain.reserve_bytes);
        let room = self.room.get(&domain.name).copied().unwrap_or(0);
        let free_bytes = room.min(cap).saturating_sub(ours_bytes);
        MemoryDomain { ours_bytes, free_bytes, ..domain.clone() }
    }

    /// Bytes held on a domain: Σ distinct bases + what each replica needs of its own.
    fn used(&self, domain: &str) -> u64 {
        let own = |held: &Actual| held.bytes().saturating_sub(held.order.weights_bytes);
        let own = self.on(domain).map(own).fold(0, u64::saturating_add);
        self.bases(domain, |_| true).saturating_add(own)
    }

    /// Of these, what the system still counts as free: all of a replica that is loading; and in host memory the mapped
    /// weights of every replica, which the system could drop but our replicas need.
    fn unseen(&self, domain: &MemoryDomain) -> u64 {
        let loading = |held: &&Actual| held.state == State::Loading;
        let coming = self.on(&domain.name).filter(loading);
        if domain.kind == DomainKind::Vram {
            return coming.map(|held| held.order.bytes).fold(0, u64::saturating_add);
        }
        let own = coming.map(|held| held.order.bytes.saturating_sub(held.order.weights_bytes));
        self.bases(&domain.name, |_| true).saturating_add(own.fold(0, u64::saturating_add))
    }

    fn on<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a Actual> {
        self.actual.values().filter(move |held| held.order.memory_domain == domain)
    }

    /// Weights of the distinct bases on a domain.
    fn bases(&self, domain: &str, which: impl Fn(&Digest) -> bool) -> u64 {
        let held = self.on(domain).filter(|held| which(&held.order.artifact));
        let bases: BTreeMap<Digest, u64> = held.map(|held| (held.order.artifact, held.order.weights_bytes)).collect();
        bases.into_values().fold(0, u64::saturating_add)
    }

    /// Works towards the plan. `on_disk`: artifacts complete in the store; `in_flight`: requests per slot here.
    pub fn reconcile(
        &mut self,
        now: Time,
        on_disk: &BTreeSet<Digest>,
        in_flight: &BTreeMap<SlotName, u32>,
    ) -> Vec<Action> {
        let mut actions = self.evict(now, on_disk, in_flight);
        actions.extend(self.load(now, on_disk));
        actions
    }

    fn wants(&self, order: &PlannedReplica) -> bool {
        self.desired.iter().any(|desired| same_replica(desired, order))
    }

    fn evict(&mut self, now: Time, on_disk: &BTreeSet<Digest>, in_flight: &BTreeMap<SlotName, u32>) -> Vec<Action> {
        let desired = self.desired.clone();
        let mut actions = Vec::new();
        for (slot, held) in &mut self.actual {
            let wanted = desired.iter().any(|order| same_replica(order, &held.order));
            // Made of weights that turned out damaged: it goes at once, and comes back when they are repaired.
            let damaged = artifacts(&held.order).any(|artifact| !on_disk.contains(&artifact));
            match held.state {
                State::Ready if damaged => held.state = State::Draining,
                State::Ready if !wanted && now.since(held.since) >= held.dwell => held.state = State::Draining,
                State::Draining if wanted && !damaged => held.state = State::Ready,
                _ => {}
            }
            if held.state == State::Draining && in_flight.get(slot).copied().unwrap_or(0) == 0 {
                held.state = State::Unloading;
                actions.push(Action::Unload(slot.clone()));
            }
        }
        actions
    }

    fn load(&mut self, now: Time, on_disk: &BTreeSet<Digest>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.waiting.clear();
        for order in self.desired.clone() {
            if self.actual.contains_key(&order.slot) {
                continue;
            }
            let missing = artifacts(&order).any(|artifact| !on_disk.contains(&artifact));
            match self.admission(now, &order) {
                _ if missing => {}
                Err(why) => {
                    self.waiting.insert(order.slot.clone(), why);
                }
                Ok(()) => {
                    let (state, dwell) = (State::Loading, limits::DWELL_MIN);
                    let held = Actual { order: order.clone(), state, since: now, dwell, measured_bytes: 0 };
                    self.actual.insert(order.slot.clone(), held);
                    actions.push(Action::Load(order));
                }
            }
        }
        actions
    }

    /// May `order` be loaded now? The refusal is said with its arithmetic.
    fn admission(&self, now: Time, order: &PlannedReplica) -> Result<(), String> {
        if let Some(failure) = self.failures.get(&order.slot)
            && now < failure.again_at
        {
            return Err(failure.why.clone());
        }
        let here = |held: &&Actual| held.order.memory_domain == order.memory_domain;
        if self.actual.values().filter(here).any(|held| held.state == State::Loading) {
            return Err("waits for another load on this memory domain".to_owned());
        }
        let domain = self.domains.iter().find(|domain| domain.name == order.memory_domain && domain.hosts);
        let Some(domain) = domain.map(|domain| self.with_ours(domain)) else {
            return Err(format!("this node cannot host on {}", order.memory_domain));
        };
        // Weights that another slot's replica maps here already cost nothing more.
        let shared = self.bases(&order.memory_domain, |base| *base == order.artifact).min(order.weights_bytes);
        let needs = order.bytes - shared.min(order.bytes);
        if needs > domain.free_bytes {
            let short = needs - domain.free_bytes;
            return Err(format!(
                "needs {}, {} free after reserve, short {}",
                human_bytes(needs),
                human_bytes(domain.free_bytes),
                human_bytes(short)
            ));
        }
        Ok(())
    }

    /// A load ended.
    pub fn loaded(&mut self, now: Time, slot: &SlotName, result: Result<u64, String>) {
        let Some(held) = self.actual.get_mut(slot) else { return };
        match result {
            Ok(measured_bytes) => {
                held.state = State::Ready;
                held.dwell = limits::DWELL_MIN.max(now.since(held.since));
                held.since = now;
                held.measured_bytes = measured_bytes;
                self.failures.remove(slot);
            }
            Err(why) => self.failed(now, slot, why),
        }
    }

    /// A replica's process is gone, as asked.
    pub fn unloaded(&mut self, slot: &SlotName) {
        self.actual.remove(slot);
    }

    /// A replica's process died by itself, or its load failed: it is tried again after a growing pause.
    pub fn failed(&mut self, now: Time, slot: &SlotName, why: String) {
        self.actual.remove(slot);
        if !self.desired.iter().any(|order| &order.slot == slot) {
            return;
        }
        let times = self.failures.get(slot).map_or(1, |failure| failure.times + 1);
        let again_at = now.after(limits::LOAD_BACKOFF.times(times.min(limits::LOAD_BACKOFF_STEPS_MAX)));
        self.failures.insert(slot.clone(), Failure { again_at, times, why });
    }

    /// When [`Residency::reconcile`] may find more to do although nothing happened.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let retries = self.failures.iter().filter(|(slot, _)| !self.actual.contains_key(slot));
        // One that is due already waits for memory or for another load, and whatever ends that comes as an input.
        let retries = retries.map(|(_, failure)| failure.again_at);
        let leaving = self.actual.values().filter(|held| held.state == State::Ready && !self.wants(&held.order));
        let dwells = leaving.map(|held| held.since.after(held.dwell));
        retries.chain(dwells).filter(|at| *at > now).min()
    }

    /// The replica of `slot` here that answers, if one does.
    pub fn ready(&self, slot: &SlotName) -> Option<&PlannedReplica> {
        self.actual.get(slot).filter(|held| held.state == State::Ready).map(|held| &held.order)
    }

    /// Artifacts that must be on disk for what the plan wants resident here.
    pub fn artifacts_wanted(&self) -> BTreeSet<Digest> {
        self.desired.iter().flat_map(artifacts).collect()
    }

    /// Artifacts that what is in memory, or on its way in or out, is made of.
    pub fn artifacts_held(&self) -> BTreeSet<Digest> {
        self.actual.values().flat_map(|held| artifacts(&held.order)).collect()
    }

    /// Is weights' way from disk to memory in use?
    pub fn is_loading(&self) -> bool {
        self.actual.values().any(|held| held.state == State::Loading)
    }

    /// What to say of our replicas: those in memory, and those the plan wants that are on their way.
    pub fn statuses(
        &self,
        in_flight: &BTreeMap<SlotName, u32>,
        precision: impl Fn(&Digest) -> String,
    ) -> Vec<ReplicaStatus> {
        let held = self.actual.values().map(|held| {
            let state = match held.state {
                State::Loading => ReplicaState::Loading,
                State::Ready => ReplicaState::Ready,
                State::Draining | State::Unloading => ReplicaState::Draining,
            };
            (&held.order, state, held.bytes(), String::new())
        });
        let coming = self.desired.iter().filter(|order| !self.actual.contains_key(&order.slot)).map(|order| {
            match (self.failures.get(&order.slot), self.waiting.get(&order.slot)) {
                (Some(failure), _) => (order, ReplicaState::Failed, order.bytes, failure.why.clone()),
                (None, Some(why)) => (order, ReplicaState::Loading, order.bytes, why.clone()),
                (None, None) => (order, ReplicaState::Fetching, order.bytes, String::new()),
            }
        });
        let status = |(order, state, bytes, reason): (&PlannedReplica, _, _, _)| ReplicaStatus {
            slot: order.slot.clone(),
            artifact: order.artifact,
            domains: order.adapters.iter().map(|adapter| adapter.domain.clone()).collect(),
            memory_domain: order.memory_domain.clone(),
            state,
            bytes,
            in_flight: in_flight.get(&order.slot).copied().unwrap_or(0),
            precision: precision(&order.artifact),
            reason,
        };
        held.chain(coming).map(status).collect()
    }
}

impl Actual {
    /// What the ledger counts: the estimate until a measurement exceeds it.
    fn bytes(&self) -> u64 {
        self.order.bytes.max(self.measured_bytes)
    }
}

/// The same weights, adapters and size of context in the same place: nothing to reload.
fn same_replica(a: &PlannedReplica, b: &PlannedReplica) -> bool {
    let content = |r: &PlannedReplica| (r.artifact, r.adapters.clone(), r.context, r.parallel);
    a.slot == b.slot && a.memory_domain == b.memory_domain && content(a) == content(b)
}

/// The artifacts a replica is made of.
pub fn artifacts(order: &PlannedReplica) -> impl Iterator<Item = Digest> + '_ {
    std::iter::once(order.artifact).chain(order.adapters.iter().map(|adapter| adapter.artifact))
}

#[cfg(test)]
mod tests;
