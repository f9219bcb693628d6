//! The machine's distrustful half: the coordinator's spot checks of fingerprints, what its plan says of them, and what an
//! accused node does about it.

use std::collections::BTreeSet;

use crate::core::checks::{Checks, Suspect};
use crate::core::fingerprint::Judgement;
use crate::core::machine::{Config, Machine, Output};
use crate::core::placement::plan::Distrust;
use crate::core::types::{Digest, DomainName, NodeId, SlotName, Time};

/// Differs from start to start and from node to node, and is the same whenever the same start is simulated.
pub(super) fn seed(config: &Config) -> u64 {
    let mut seed = [0; 8];
    seed.copy_from_slice(&config.me.0[..8]);
    u64::from_le_bytes(seed) ^ config.incarnation
}

impl Machine {
    /// This node sits: what its predecessor's plan held against anybody still counts.
    pub(super) fn begin_checks(&mut self, now: Time) {
        let inherited = self.coordinator.plan().map(|plan| plan.distrusted.clone()).unwrap_or_default();
        self.checks.begin(now, &inherited);
        self.plan_dirty(now);
    }

    /// Has a fingerprint compared if one is due.
    pub(super) fn check_if_due(&mut self, now: Time, outbox: &mut Vec<Output>) {
        if self.coordinator.seated().is_none() {
            return;
        }
        let mut checks = std::mem::replace(&mut self.checks, Checks::new(self.config.check_period, 0));
        let due = checks.due(now, || self.comparable());
        self.checks = checks;
        outbox.extend(due.map(Output::CheckFingerprint));
    }

    /// Replicas that answer and whose fingerprint is known: the base, and each adapter.
    fn comparable(&self) -> Vec<Suspect> {
        let mut found = Vec::new();
        let slots = self.config.catalog.roster().map(|roster| roster.slots.as_slice()).unwrap_or_default();
        for slot in slots.iter().map(|slot| &slot.name) {
            let published = self.config.catalog.publication(slot, None).map(|published| published.artifact);
            if let Some(mine) = self.residency.ready(slot).filter(|mine| Some(mine.artifact) == published) {
                let domains = mine.adapters.iter().map(|adapter| adapter.domain).collect::<Vec<_>>();
                self.comparable_of(self.config.me, slot, &domains, &mut found);
            }
            for (node, replica) in self.table.ready(slot).filter(|(_, replica)| Some(replica.artifact) == published) {
                if self.table.get(&node).is_some_and(|entry| entry.connected) {
                    self.comparable_of(node, slot, &replica.domains, &mut found);
                }
            }
        }
        found
    }

    fn comparable_of(&self, node: NodeId, slot: &SlotName, domains: &[DomainName], found: &mut Vec<Suspect>) {
        for domain in std::iter::once(None).chain(domains.iter().map(Some)) {
            if let Some((artifact, _)) = self.config.catalog.fingerprint(slot, domain) {
                found.push(Suspect { node, slot: *slot, domain: domain.cloned(), artifact });
            }
        }
    }

    /// A comparison ended.
    pub(super) fn fingerprint_checked(&mut self, now: Time, suspect: &Suspect, judged: &Result<Judgement, String>) {
        if self.checks.checked(now, suspect, judged) {
            self.plan_dirty(now);
        }
    }

    /// Who is not to be asked, as the next plan says it: nobody for what is published no longer, nobody who was turned out.
    pub(super) fn distrusted(&mut self) -> Vec<Distrust> {
        let (catalog, members) = (&self.config.catalog, &self.config.members);
        let published = |held: &Distrust| {
            let adapters = catalog.adapters(&held.slot).map(|adapter| adapter.artifact);
            let base = catalog.publication(&held.slot, None).map(|base| base.artifact);
            base.into_iter().chain(adapters).any(|artifact| artifact == held.artifact)
        };
        self.checks.retain(|held| members.member(&held.node).is_some() && published(held));
        self.checks.distrusted()
    }

    /// The plan holds this against this node's replicas: what is new is hashed again and loaded anew.
    pub(super) fn take_accusations(&mut self, held: BTreeSet<(SlotName, Digest)>, outbox: &mut Vec<Output>) {
        for (slot, artifact) in held.difference(&self.accused) {
            self.residency.renew(slot);
            outbox.push(Output::Verify(*artifact));
        }
        self.accused = held;
    }

    /// Is nobody to ask the replica of `slot` on `node`?
    pub(super) fn is_distrusted(&self, node: &NodeId, slot: &SlotName) -> bool {
        self.plan().is_some_and(|plan| plan.distrust(node, slot).is_some())
    }
}
