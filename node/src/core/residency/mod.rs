//! What this node holds in memory, and the work to get from there to its plan: desired minus actual under the node's own
//! ledger. The coordinator proposes; only this room loads and evicts, and it may refuse (`refusal`).
//!
//! One load at a time per memory domain; a replica that is no longer wanted drains before it goes. Before that it stays for a
//! minimum dwell, until those who waited for it had their turn, and, where its memory is not needed, until another machine
//! answers for it. While somebody waits for its memory it answers at most `OVERTAKES_MAX` new requests and then drains, dwell
//! or not: so no stream of requests keeps a swap waiting. Weights come from disk; what is missing there `transfer` gets.

mod deaths;
mod ledger;
mod pressure;
mod refusal;
mod sharing;
mod staging;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::limits;
use crate::core::membership::advert::MemoryDomain;
use crate::core::placement::plan::PlannedReplica;
use crate::core::seeded::{Bug, has};
use crate::core::types::{Digest, Duration, NodeId, SlotName, Time};

pub use deaths::{Cause, Death, private_bytes_allowed};
pub use pressure::{Pressure, Stall};
pub use refusal::Refusal;

use deaths::Failure;

/// A replica in this node's memory, or on its way in or out.
#[derive(Clone, Debug)]
struct Actual {
    order: PlannedReplica,
    state: State,
    since: Time,
    /// Not evicted for another before this has passed since it was ready.
    dwell: Duration,
    /// Measured in this life or one before; the ledger uses the larger of this and the estimate.
    measured_bytes: u64,
    /// Of its own memory what it had taken when it was last looked at, and of its mapped weights what is locked in memory.
    /// `None` where nobody can look.
    seen: Option<Seen>,
    /// When it last had something to do.
    used: Time,
    /// Those who waited for it are still on their way to it.
    first_turn: bool,
    /// Requests it took while it was to go and somebody waited for its memory.
    overtakes: u32,
    /// Somebody doubts what it answers: it goes, and is loaded anew.
    doubted: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Loading,
    Ready,
    Draining,
    Unloading,
}

/// What was seen of a running replica's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Resident now, mapped weights included, bytes.
    pub resident_bytes: u64,
    /// Its own memory now, without what is mapped from files, bytes.
    pub private_bytes: u64,
    /// Locked in memory now, bytes: these the system does not count as free.
    pub locked_bytes: u64,
}

/// What residency needs to know of the rest of the node, and of the federation.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Artifacts complete in the store.
    pub on_disk: &'a BTreeSet<Digest>,
    /// Requests per slot here.
    pub in_flight: &'a BTreeMap<SlotName, u32>,
    /// Slots that somebody waits for, anywhere.
    pub wanted: &'a BTreeSet<SlotName>,
    /// Slots that the owner wants resident on this node.
    pub pinned: &'a BTreeSet<SlotName>,
    /// Slots that must be resident whatever anybody asks: those, and those that the roster pins.
    pub kept: &'a BTreeSet<SlotName>,
    /// Slots that the plan has elsewhere, where none of their replicas answers yet.
    pub coming: &'a BTreeSet<SlotName>,
}

/// What residency wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Load this; then tell [`Residency::loaded`].
    Load(PlannedReplica),
    /// Read so many bytes of an artifact that is loaded next into the page cache. Nothing is told about it.
    Stage(Digest, u64),
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
    /// What managers could use of each domain in all when it was last measured: a measurement grows old while replicas come and
    /// go, and this shows the room a swap made before anybody measures again.
    room: BTreeMap<String, u64>,
    /// Loads that the plan wants and this node refuses now.
    waiting: BTreeMap<SlotName, Refusal>,
    /// Evictions that the plan wants and this node refuses now.
    staying: BTreeMap<SlotName, Refusal>,
    /// Evicted by a person: not loaded again before somebody asks for it.
    put_away: BTreeSet<SlotName>,
    /// Memory domains that somebody's request waits for.
    contested: BTreeSet<String>,
    /// Footprints measured here: a replica that has run once is admitted against what it took.
    measured: BTreeMap<Footing, u64>,
    pressure: Pressure,
    /// The artifact that was staged last and is not loaded yet.
    staged: Option<Digest>,
    /// When a replica was last let go because of pressure.
    relieved: Option<Time>,
}

/// What a measured footprint depends on: artifact, context, parallel sequences, adapters.
pub type Footing = (Digest, u32, u32, usize);

impl Residency {
    /// The replicas the accepted plan gives this node.
    pub fn desire(&mut self, me: NodeId, replicas: impl Iterator<Item = PlannedReplica>) {
        self.desired = replicas.filter(|replica| replica.node == me).collect();
        let wanted: BTreeSet<&SlotName> = self.desired.iter().map(|replica| &replica.slot).collect();
        self.failures.retain(|slot, _| wanted.contains(slot));
        self.put_away.retain(|slot| wanted.contains(slot));
    }

    /// Works towards the plan.
    pub fn reconcile(&mut self, now: Time, around: &Around<'_>) -> Vec<Action> {
        self.put_away.retain(|slot| !around.wanted.contains(slot));
        self.relieve(now, around);
        let short = self.short_of_memory(now, around);
        let somebody_waits = short.iter().filter(|order| around.wanted.contains(&order.slot));
        self.contested = somebody_waits.map(|order| order.memory_domain.clone()).collect();
        let needed: BTreeSet<&str> = short.iter().map(|order| order.memory_domain.as_str()).collect();
        let mut actions = self.evict(now, around, &needed);
        actions.extend(self.load(now, around));
        actions
    }

    /// Should `order` be resident here now?
    fn wants(&self, order: &PlannedReplica) -> bool {
        let due = self.desired.iter().any(|desired| same_replica(desired, order));
        due && !self.put_away.contains(&order.slot)
    }

    /// What should be resident and is not even on its way.
    fn absent(&self) -> impl Iterator<Item = &PlannedReplica> {
        let absent =
            |order: &&PlannedReplica| !self.actual.contains_key(&order.slot) && !self.put_away.contains(&order.slot);
        self.desired.iter().filter(absent)
    }

    /// What could be loaded if others went.
    fn short_of_memory(&self, now: Time, around: &Around<'_>) -> Vec<PlannedReplica> {
        let stored = self.absent().filter(|order| around.stores(order) && self.rests(now, &order.slot).is_none());
        let stored = stored.filter(|order| self.pressed(order).is_ok());
        stored.filter(|order| matches!(self.fits(order), Err(Refusal::Memory { .. }))).cloned().collect()
    }

    fn evict(&mut self, now: Time, around: &Around<'_>, needed: &BTreeSet<&str>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.staying.clear();
        for slot in self.actual.keys().cloned().collect::<Vec<_>>() {
            let held = &self.actual[&slot];
            let wanted = self.wants(&held.order) && !has(Bug::EvictsPinned);
            // Made of weights that turned out damaged, or may be: it goes at once, and comes back when they are repaired.
            let damaged = !around.stores(&held.order) || held.doubted;
            let young = now.since(held.since) < limits::FIRST_TURN;
            let first_turn = held.first_turn && young && around.wanted.contains(&slot);
            let stays = self.stays(now, held, first_turn, around, needed.contains(held.order.memory_domain.as_str()));
            let Some(held) = self.actual.get_mut(&slot) else { continue };
            match (&held.state, stays) {
                (State::Ready, _) if damaged => held.state = State::Draining,
                (State::Ready, _) if wanted => held.overtakes = 0,
                (State::Ready, None) => held.state = State::Draining,
                (State::Ready, Some(refusal)) => drop(self.staying.insert(slot, refusal)),
                (State::Draining, _) if wanted && !damaged => held.state = State::Ready,
                _ => {}
            }
            held.first_turn = first_turn || held.state == State::Loading;
            let in_flight = around.in_flight.get(&slot).copied().unwrap_or(0);
            if held.state == State::Draining && (in_flight == 0 || has(Bug::EvictsUnderRequests)) {
                held.state = State::Unloading;
                actions.push(Action::Unload(slot));
            }
        }
        actions
    }

    /// Why a ready replica that the plan no longer has here does not drain yet. `needed`: a load waits for its memory.
    fn stays(&self, now: Time, held: &Actual, first_turn: bool, around: &Around<'_>, needed: bool) -> Option<Refusal> {
        let slot = &held.order.slot;
        let replaced = self.desired.iter().any(|order| &order.slot == slot);
        if self.put_away.contains(slot) {
            return None;
        }
        if around.pinned.contains(slot) && !replaced {
            return Some(Refusal::Pinned);
        }
        let dwells = now.since(held.since) < held.dwell;
        let has_had_its_share = self.is_contested(held) && held.overtakes >= limits::OVERTAKES_MAX;
        if first_turn || (dwells && !has_had_its_share) {
            return Some(Refusal::Dwell);
        }
        if around.coming.contains(slot) && !replaced && !needed {
            return Some(Refusal::Busy("it stays until another machine answers for it"));
        }
        None
    }

    fn is_contested(&self, held: &Actual) -> bool {
        self.contested.contains(&held.order.memory_domain)
    }

    fn load(&mut self, now: Time, around: &Around<'_>) -> Vec<Action> {
        let (mut actions, mut next) = (Vec::new(), None);
        self.waiting.clear();
        let mut absent: Vec<PlannedReplica> = self.absent().cloned().collect();
        // What somebody waits for goes first.
        absent.sort_by_key(|order| !around.wanted.contains(&order.slot));
        for mut order in absent {
            if !around.stores(&order) || self.rests(now, &order.slot).is_some() {
                continue;
            }
            if let Err(refusal) = self.admission(&order) {
                let for_memory = matches!(refusal, Refusal::Memory { .. });
                self.waiting.insert(order.slot, refusal);
                next = next.or(for_memory.then_some(order));
                continue;
            }
            // It is held to what it was admitted against.
            order.bytes = order.bytes.max(self.measured(footing(&order)));
            let held = Actual {
                order: order.clone(),
                state: State::Loading,
                since: now,
                dwell: limits::DWELL_MIN,
                measured_bytes: 0,
                seen: None,
                used: now,
                first_turn: true,
                overtakes: 0,
                doubted: false,
            };
            self.actual.insert(order.slot, held);
            self.staged.take_if(|staged| *staged == order.artifact);
            actions.push(Action::Load(order));
        }
        actions.extend(next.and_then(|next| self.stage(&next)));
        actions
    }

    /// May `order` be loaded now? The refusal is said with its arithmetic.
    fn admission(&self, order: &PlannedReplica) -> Result<(), Refusal> {
        if self.on(&order.memory_domain).any(|held| held.state == State::Loading) && !has(Bug::ForgetsLoads) {
            return Err(Refusal::Busy("waits for another load on this memory domain"));
        }
        self.pressed(order)?;
        self.fits(order)
    }

    fn fits(&self, order: &PlannedReplica) -> Result<(), Refusal> {
        let domain = self.domains.iter().find(|domain| domain.name == order.memory_domain && domain.hosts);
        let Some(domain) = domain.map(|domain| self.with_ours(domain)) else {
            return Err(Refusal::Stale(format!("this node cannot host on {}", order.memory_domain)));
        };
        // Weights that another slot's replica maps here already cost nothing more.
        let shared = self.bases(&order.memory_domain, |base| *base == order.artifact).min(order.weights_bytes);
        let bytes = order.bytes.max(self.measured(footing(order)));
        let (needs_bytes, free_bytes) = (bytes - shared.min(bytes), domain.free_bytes);
        if needs_bytes > free_bytes { Err(Refusal::Memory { needs_bytes, free_bytes }) } else { Ok(()) }
    }

    /// What such a replica took when it ran here, bytes; 0 if none did.
    pub fn measured(&self, footing: Footing) -> u64 {
        self.measured.get(&footing).copied().unwrap_or(0)
    }

    /// A person wants the replica of `slot` out of this memory, until somebody asks for it again. `kept`: it must be resident
    /// whatever anybody asks. On success the next [`Residency::reconcile`] lets it go.
    pub fn put_away(&mut self, now: Time, slot: &SlotName, kept: bool) -> Result<(), Refusal> {
        self.may_put_away(now, slot, kept)?;
        self.put_away.insert(*slot);
        Ok(())
    }

    /// Would [`Residency::put_away`] do it?
    pub fn may_put_away(&self, now: Time, slot: &SlotName, kept: bool) -> Result<(), Refusal> {
        let Some(held) = self.actual.get(slot) else {
            return Err(Refusal::Stale(format!("{slot} is not resident on this node")));
        };
        match held.state {
            _ if kept => Err(Refusal::Pinned),
            State::Loading => Err(Refusal::Busy("it is being loaded")),
            State::Ready if now.since(held.since) < held.dwell => Err(Refusal::Dwell),
            State::Ready | State::Draining | State::Unloading => Ok(()),
        }
    }

    /// A load ended.
    pub fn loaded(&mut self, now: Time, slot: &SlotName, result: Result<u64, Death>) {
        let Some(held) = self.actual.get_mut(slot) else { return };
        match result {
            Ok(measured_bytes) => {
                held.state = State::Ready;
                held.dwell = limits::DWELL_MIN.max(now.since(held.since));
                (held.since, held.used) = (now, now);
                self.took_memory(slot, measured_bytes);
            }
            Err(death) => self.failed(now, slot, death),
        }
    }

    /// Somebody looked at the memory of the replica of `slot` here.
    pub fn seen(&mut self, slot: &SlotName, seen: Seen) {
        if let Some(held) = self.actual.get_mut(slot) {
            held.seen = Some(seen);
            self.took_memory(slot, seen.resident_bytes);
        }
    }

    fn took_memory(&mut self, slot: &SlotName, bytes: u64) {
        let Some(held) = self.actual.get_mut(slot) else { return };
        held.measured_bytes = held.measured_bytes.max(bytes);
        let order = held.order.clone();
        self.remember(&order, bytes);
    }

    /// The replica of `slot`, if one answers here, is let go and loaded anew.
    pub fn renew(&mut self, slot: &SlotName) {
        if let Some(held) = self.actual.get_mut(slot).filter(|held| held.state == State::Ready) {
            held.doubted = true;
        }
    }

    /// A replica's process is gone, as asked.
    pub fn unloaded(&mut self, slot: &SlotName) {
        self.actual.remove(slot);
        self.failures.remove(slot);
    }

    /// When [`Residency::reconcile`] may find more to do although nothing happened.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let retries = self.failures.iter().filter(|(slot, _)| !self.actual.contains_key(slot));
        // One that is due already waits for memory or for another load, and whatever ends that comes as an input.
        let retries = retries.map(|(_, failure)| failure.again_at);
        let leaving = self.actual.values().filter(|held| held.state == State::Ready && !self.wants(&held.order));
        let dwells = leaving.flat_map(|held| [held.since.after(held.dwell), held.since.after(limits::FIRST_TURN)]);
        retries.chain(dwells).filter(|at| *at > now).min()
    }
}

impl Around<'_> {
    /// Is all on disk that `order` is made of?
    fn stores(&self, order: &PlannedReplica) -> bool {
        artifacts(order).all(|artifact| self.on_disk.contains(&artifact))
    }
}

fn footing(order: &PlannedReplica) -> Footing {
    (order.artifact, order.context, order.parallel, order.adapters.len())
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
mod properties;
#[cfg(test)]
mod reality;
#[cfg(test)]
mod shortage;
#[cfg(test)]
mod tests;
