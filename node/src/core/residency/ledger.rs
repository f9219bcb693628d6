//! The ledger: what this node's replicas hold of each memory domain, and what admission could still give.

use std::collections::BTreeMap;

use crate::core::membership::advert::{DomainKind, MemoryDomain};
use crate::core::residency::{Actual, Residency, State};
use crate::core::seeded::{Bug, has};
use crate::core::types::Digest;

impl Residency {
    /// The hardware as measured now; `ours_bytes` and `free_bytes` are filled in by the ledger.
    pub fn capacity(&mut self, domains: Vec<MemoryDomain>) {
        // What others took of the pages that our weights are mapped to is missing, and must be missed: free plus ours comes first.
        let room = |domain: &MemoryDomain| {
            domain.free_bytes.saturating_add(self.used(&domain.name)).saturating_sub(self.unseen(domain))
        };
        self.room = domains.iter().map(|domain| (domain.name.clone(), room(domain))).collect();
        self.domains = domains;
    }

    /// Is nothing resident here, nor to be?
    pub fn is_idle(&self) -> bool {
        let empty = self.desired.is_empty() && self.actual.is_empty() && self.put_away.is_empty();
        empty && self.waiting.is_empty() && self.staying.is_empty()
    }

    /// Would [`Residency::capacity`] learn nothing from this?
    pub fn is_measured_as(&self, domains: &[MemoryDomain]) -> bool {
        self.domains == domains
    }

    /// Memory domains with what our replicas hold and what admission could still give.
    pub fn ledger(&self) -> Vec<MemoryDomain> {
        self.domains.iter().map(|domain| self.with_ours(domain)).collect()
    }

    pub(super) fn with_ours(&self, domain: &MemoryDomain) -> MemoryDomain {
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

    /// Of these, what the system still counts as free, or does again: all of a replica that is loading or ending, and what a ready
    /// one has not taken yet of its promise; and in host memory the mapped weights of every replica, which the system could drop
    /// but our replicas need, unless they are locked.
    fn unseen(&self, domain: &MemoryDomain) -> u64 {
        if domain.kind == DomainKind::Vram {
            let moving = self.on(&domain.name).filter(|held| matches!(held.state, State::Loading | State::Unloading));
            return moving.map(Actual::bytes).fold(0, u64::saturating_add);
        }
        let own = self.on(&domain.name).map(Actual::not_taken).fold(0, u64::saturating_add);
        self.bases(&domain.name, |_| true).saturating_sub(self.locked(&domain.name)).saturating_add(own)
    }

    /// Weights of distinct bases that are locked in memory.
    fn locked(&self, domain: &str) -> u64 {
        let mut bases = BTreeMap::<Digest, u64>::new();
        for held in self.on(domain).filter(|held| held.state != State::Unloading) {
            let locked = held.seen.map_or(0, |seen| seen.locked_bytes).min(held.order.weights_bytes);
            let known = bases.entry(held.order.artifact).or_default();
            *known = locked.max(*known);
        }
        bases.into_values().fold(0, u64::saturating_add)
    }

    pub(super) fn on<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a Actual> {
        let forgotten = |held: &&Actual| has(Bug::ForgetsLoads) && held.state == State::Loading;
        self.actual.values().filter(move |held| held.order.memory_domain == domain && !forgotten(held))
    }

    /// Weights of the distinct bases on a domain.
    pub(super) fn bases(&self, domain: &str, which: impl Fn(&Digest) -> bool) -> u64 {
        let held = self.on(domain).filter(|held| which(&held.order.artifact));
        let bases: BTreeMap<Digest, u64> = held.map(|held| (held.order.artifact, held.order.weights_bytes)).collect();
        bases.into_values().fold(0, u64::saturating_add)
    }
}

impl Actual {
    /// What the ledger counts: the estimate until a measurement exceeds it.
    pub(super) fn bytes(&self) -> u64 {
        self.order.bytes.max(self.measured_bytes)
    }

    /// Of its own memory, what it was promised and has not taken yet; or has given back already, of which one that ends says
    /// nothing. Where nobody can look, a ready one has taken all.
    fn not_taken(&self) -> u64 {
        let own = self.bytes().saturating_sub(self.order.weights_bytes);
        match (&self.state, self.seen) {
            (State::Loading | State::Unloading, _) => own,
            (_, Some(seen)) => own.saturating_sub(seen.private_bytes),
            (_, None) => 0,
        }
    }
}
