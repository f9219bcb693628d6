//! The ledger: what this node's replicas hold of each memory domain, and what admission could still give.

use std::collections::BTreeMap;

use crate::core::membership::advert::{DomainKind, MemoryDomain};
use crate::core::residency::{Actual, Residency, State};
use crate::core::types::Digest;

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

    /// Of these, what the system still counts as free: all of a replica that is loading; and in host memory the mapped
    /// weights of every replica, which the system could drop but our replicas need.
    fn unseen(&self, domain: &MemoryDomain) -> u64 {
        let loading = |held: &&Actual| held.state == State::Loading;
        let coming = self.on(&domain.name).filter(loading);
        if domain.kind == DomainKind::Vram {
            return coming.map(Actual::bytes).fold(0, u64::saturating_add);
        }
        let own = coming.map(|held| held.bytes().saturating_sub(held.order.weights_bytes));
        self.bases(&domain.name, |_| true).saturating_add(own.fold(0, u64::saturating_add))
    }

    pub(super) fn on<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a Actual> {
        self.actual.values().filter(move |held| held.order.memory_domain == domain)
    }

    /// Weights of the distinct bases on a domain.
    pub(super) fn bases(&self, domain: &str, which: impl Fn(&Digest) -> bool) -> u64 {
        let held = self.on(domain).filter(|held| which(&held.order.artifact));
        let bases: BTreeMap<Digest, u64> = held.map(|held| (held.order.artifact, held.order.weights_bytes)).collect();
        bases.into_values().fold(0, u64::saturating_add)
    }
}
