//! Plans, epochs and leases: one content per name, nobody goes back, nobody issues what it may not.

use std::collections::BTreeMap;

use fednode::core::limits;
use fednode::core::membership::advert::Lease;
use fednode::core::placement::plan::{Plan, PlannedReplica};
use fednode::core::types::{Digest, NodeId, SlotName, Time};

use super::Checkers;
use super::memory::together;
use crate::world::SimNode;

/// Plans whose content is remembered.
const PLANS_MAX: usize = 10_000;

/// What is remembered of plans.
pub(super) struct Plans {
    known: BTreeMap<(u64, NodeId, u64), Digest>,
    /// What each node follows.
    followed: Vec<Option<(u64, u64, NodeId)>>,
    /// The highest epoch of a plan that each machine ever followed.
    highest: Vec<u64>,
    /// In which life each node last said its lease, and when by its own clock.
    leases: Vec<Option<(u64, Time)>>,
}

impl Plans {
    pub(super) fn new(nodes: usize) -> Plans {
        Plans {
            known: BTreeMap::new(),
            followed: vec![None; nodes],
            highest: vec![0; nodes],
            leases: vec![None; nodes],
        }
    }
}

impl Checkers {
    /// *Epochs*: a node never begins to follow a plan of an epoch below the highest one on its disk or below one that it
    /// followed before, nor of one that is not durable. Does not check what a node does between accepting a plan and
    /// making its epoch durable.
    pub(super) fn epochs(&mut self, now: Time, index: usize, node: &SimNode) {
        let Some(process) = node.process.as_ref() else { return };
        let follows = process.machine.plan().map(|plan| (plan.epoch, plan.revision, plan.author));
        if follows == self.plans.followed[index] {
            return;
        }
        self.plans.followed[index] = follows;
        self.made(now, index, node);
        let Some((epoch, revision, _)) = follows else { return };
        let highest = node.disk.epoch.max(self.plans.highest[index]);
        self.plans.highest[index] = highest.max(epoch);
        if epoch < highest {
            self.violation(now, "epochs", index, format!("follows plan {epoch}.{revision} after epoch {highest}"));
        }
        if epoch > node.disk.epoch {
            let what = format!("follows plan {epoch}.{revision} with epoch {} on its disk", node.disk.epoch);
            self.violation(now, "epochs", index, what);
        }
    }

    /// *Epochs*: a lease is said only under an epoch that is durable. Does not check who may claim when; that two never
    /// sit for long is liveness.
    pub(super) fn lease(&mut self, now: Time, index: usize, node: &SimNode, lease: &Lease) {
        let Some(process) = node.process.as_ref() else { return };
        if lease.epoch > node.disk.epoch {
            let what = format!("claims epoch {} with epoch {} on its disk", lease.epoch, node.disk.epoch);
            self.violation(now, "epochs", index, what);
        }
        if !lease.resigns {
            self.plans.leases[index] = Some((process.life, process.clock.local(now)));
        }
    }

    /// *Plans*: one content per (epoch, author, revision); no domain is given more than it has; every pinned slot that is
    /// published where the plan was made is placed or named as a shortfall. *Lease*: a plan is issued only by a node that
    /// renewed its lease lately, by its own clock. Looks at each plan when it is first sent. Does not check whether the
    /// plan is good, nor whether disks have room for it.
    pub(crate) fn plan(
        &mut self,
        now: Time,
        index: usize,
        plan: &Plan,
        digest: Digest,
        nodes: &[SimNode],
        by_id: &BTreeMap<NodeId, usize>,
    ) {
        let name = (plan.epoch, plan.author, plan.revision);
        if let Some(known) = self.plans.known.get(&name) {
            if *known != digest {
                let what = format!("two plans are called {}.{}", plan.epoch, plan.revision);
                self.violation(now, "plans", index, what);
            }
            return;
        }
        self.plans.known.insert(name, digest);
        if self.plans.known.len() > PLANS_MAX {
            self.plans.known.pop_first();
        }
        let node = &nodes[index];
        self.issued(now, index, plan, node);
        self.fits(now, index, plan, |node, domain| {
            let domains = nodes[*by_id.get(node)?].domains();
            let domain = domains.into_iter().find(|known| known.name == domain)?;
            Some(domain.total_bytes - domain.reserve_bytes)
        });
    }

    /// Looks at a plan as its author makes it: what is published a moment later is for the next one.
    fn made(&mut self, now: Time, index: usize, node: &SimNode) {
        let Some(process) = node.process.as_ref() else { return };
        let Some(plan) = process.machine.plan().filter(|plan| plan.author == node.id) else { return };
        let published = |slot: &&SlotName| process.machine.config().catalog.publication(slot, None).is_some();
        let dropped = |slot: &&SlotName| {
            !plan.replicas.iter().any(|replica| &replica.slot == *slot)
                && !plan.shortfalls.iter().any(|shortfall| &shortfall.slot == *slot)
        };
        let dropped: Vec<SlotName> = self.pinned.iter().filter(published).filter(dropped).cloned().collect();
        for slot in dropped {
            let what = format!("{slot} is pinned, and plan {}.{} drops it silently", plan.epoch, plan.revision);
            self.violation(now, "plans", index, what);
        }
    }

    fn issued(&mut self, now: Time, index: usize, plan: &Plan, node: &SimNode) {
        let Some(process) = node.process.as_ref().filter(|_| plan.author == node.id) else { return };
        let lease = self.plans.leases[index].filter(|(life, _)| *life == process.life);
        let since = lease.map(|(_, said)| process.clock.local(now).since(said));
        if since.is_none_or(|since| since >= limits::LEASE_SELF_LIFE) {
            let since = since.map_or_else(|| "never".to_owned(), |since| format!("{} ms ago", since.as_millis()));
            let what = format!("issues plan {}.{}, and renewed its lease {since}", plan.epoch, plan.revision);
            self.violation(now, "lease", index, what);
        }
    }

    fn fits(&mut self, now: Time, index: usize, plan: &Plan, allowed: impl Fn(&NodeId, &str) -> Option<u64>) {
        let mut domains: BTreeMap<(NodeId, &str), Vec<&PlannedReplica>> = BTreeMap::new();
        for replica in &plan.replicas {
            domains.entry((replica.node, &replica.memory_domain)).or_default().push(replica);
        }
        for ((node, domain), replicas) in domains {
            let (used, allowed) = (together(replicas.into_iter()), allowed(&node, domain).unwrap_or(0));
            if used > allowed {
                let what = format!("plan {}.{} gives {domain} {used} bytes of {allowed}", plan.epoch, plan.revision);
                self.violation(now, "plans", index, what);
            }
        }
    }
}
