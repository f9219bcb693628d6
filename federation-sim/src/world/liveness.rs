//! Liveness: after the last fault everything is healed and nobody asks anything more. Within a stated time, and as long as
//! queues become shorter, the federation must agree: one coordinator, one plan that all follow, every member seen alive, one
//! catalog, no request open. A plan made anew then takes no replica away, and a minute later none was taken away, unless it
//! moved to a GPU, or fewer are wanted as fewer people ask.
//!
//! Does not check that every planned replica is loaded and every planned artifact stored: over slow links that takes
//! hours.

use std::collections::{BTreeMap, BTreeSet};

use fednode::core::limits;
use fednode::core::membership::table::{Entry, Presence};
use fednode::core::placement;
use fednode::core::placement::plan::PlannedReplica;
use fednode::core::types::{Duration, NodeId, SlotName, Time};

use crate::world::{SimNode, World};

/// How often the world looks whether the federation agrees.
const LOOK: Duration = Duration::from_secs(1);
/// By then every machine has measured its memory and its disk, and what follows from that was planned.
const MEASURED: Duration = Duration::from_secs(10);
/// Between two plans that must be alike.
const LATER: Duration = Duration::from_secs(60);

/// Longest pause between dials, a lease's life, takeover by the last in rank, and the longest wait of a request that was
/// asked just before; then a minute for answers on slow machines.
pub fn settling(nodes: usize) -> Duration {
    let takeover = limits::TAKEOVER_SILENT.0 + limits::TAKEOVER_STEP.times(nodes as u64).0;
    let wait = limits::REQUEST_WAIT.times(2).0;
    Duration(limits::REDIAL_LONGEST.0 + limits::LEASE_LIFE.0 + takeover + wait + Duration::from_secs(300).0)
}

impl World {
    pub(super) fn check_liveness(&mut self) {
        let deadline = self.now.after(self.settling());
        if !self.agrees_by(deadline) {
            return self.checkers.all_heard(self.now);
        }
        self.stats.settled_s = self.now.0 / 1_000_000_000 - self.run.simulated_s;
        // What other programs and files took until now is free again, and that leads to one more plan.
        self.play_until(self.now.after(MEASURED));
        let agrees = self.agrees_by(deadline.after(MEASURED));
        self.checkers.all_heard(self.now);
        let Some((seat, before)) = self.plan_in_force().filter(|_| agrees) else { return };
        self.check_no_moves(seat, &before);
        let wanted = self.wanted(seat);
        self.play_until(self.now.after(LATER));
        let after = self.plan_in_force();
        let same = after.is_some_and(|(seat, replicas)| {
            let now = self.wanted(seat);
            let less = |slot: &SlotName| now.get(slot) < wanted.get(slot);
            let before: Vec<_> = before.iter().filter(|replica| !less(&replica.slot)).cloned().collect();
            rests(&before, &replicas)
        });
        if !same && !self.is_over() {
            let after = self.plan_in_force().map(|(_, replicas)| self.said(&replicas)).unwrap_or_default();
            let what = format!("a minute later the plan has moved replicas: {} became {after}", self.said(&before));
            self.checkers.dead(self.now, seat, what);
        }
    }

    /// Plays until all agree, at most until `deadline`; whether they do.
    fn agrees_by(&mut self, deadline: Time) -> bool {
        let (mut deadline, mut fewest) = (deadline, usize::MAX);
        let mut disagreement = self.disagreement();
        while disagreement.is_some() && self.now < deadline && !self.is_over() {
            self.play_until(self.now.after(LOOK));
            disagreement = self.disagreement();
            // A long queue before a slow engine is no fault while it becomes shorter.
            let open =
                self.nodes.iter().filter_map(|node| node.process.as_ref()).map(|process| process.requests.len()).sum();
            if open < fewest {
                fewest = open;
                deadline = deadline.max(self.now.after(limits::REQUEST_WAIT));
            }
        }
        let Some((node, what)) = disagreement else { return true };
        if !self.is_over() {
            self.checkers.dead(self.now, node, what);
        }
        false
    }

    /// A plan made anew by whoever sits, from what it knows now, moves nothing.
    fn check_no_moves(&mut self, seat: usize, before: &[PlannedReplica]) {
        let Some(process) = self.nodes[seat].process.as_ref() else { return };
        let anew = placement::solve(&process.machine.problem());
        if !places(before).is_subset(&places(&anew.replicas)) {
            self.checkers.dead(self.now, seat, "a plan made anew would move replicas".to_owned());
        }
    }

    /// How many replicas of each slot whoever sits wants.
    fn wanted(&self, seat: usize) -> BTreeMap<SlotName, u32> {
        let slots = self.nodes[seat].process.as_ref().map(|process| process.machine.problem().slots);
        slots.into_iter().flatten().map(|slot| (slot.name, slot.replicas)).collect()
    }

    /// Who sits, and the replicas of the plan it follows.
    fn plan_in_force(&self) -> Option<(usize, Vec<PlannedReplica>)> {
        let machine = &self.nodes.first()?.process.as_ref()?.machine;
        let seat = *self.by_id.get(&machine.coordinator()?.0)?;
        let plan = self.nodes[seat].process.as_ref()?.machine.plan()?;
        Some((seat, plan.replicas.clone()))
    }

    /// What the federation does not agree on yet, if anything.
    fn disagreement(&self) -> Option<(usize, String)> {
        let mut coordinators = BTreeSet::new();
        let mut seated = 0;
        let mut plans = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(process) = node.process.as_ref() else { return Some((index, "does not run".to_owned())) };
            let machine = &process.machine;
            let coordinator = machine.coordinator();
            coordinators.insert(coordinator);
            seated += usize::from(coordinator.is_some_and(|(holder, _)| holder == node.id));
            plans.insert(machine.plan().map(|plan| (plan.epoch, plan.revision, plan.author)));
            let open = machine.requests().0;
            if open > 0 {
                return Some((index, format!("{open} requests are still open")));
            }
        }
        if coordinators.len() != 1 || seated != 1 {
            let names: Vec<String> = coordinators.iter().map(|known| self.name_of(*known)).collect();
            return Some((0, format!("{seated} nodes sit; seen as coordinator: {}", names.join(", "))));
        }
        if plans.len() != 1 || plans.contains(&None) {
            return Some((0, format!("{} different plans are followed: {}", plans.len(), self.plans_followed())));
        }
        self.differing_views()
    }

    /// Whose view of the others or of what is published differs, or whose queues have not drained.
    fn differing_views(&self) -> Option<(usize, String)> {
        let mut catalogs = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let process = node.process.as_ref()?;
            catalogs.insert(process.machine.config().catalog.digest());
            let jobs = process.jobs.values().flatten().count();
            if jobs > 0 {
                return Some((index, format!("{jobs} answers are still computed")));
            }
            let (table, there) =
                (process.machine.table(), |entry: &Entry| entry.connected && entry.presence == Presence::Alive);
            // Members are only looked up one by one where somebody is missing.
            let unseen = |other: &&SimNode| other.id != node.id && !table.get(&other.id).is_some_and(there);
            if table.iter().filter(|(_, entry)| there(entry)).count() + 1 < self.nodes.len()
                && let Some(other) = self.nodes.iter().find(unseen)
            {
                return Some((index, format!("does not see {} alive", other.spec.what.name)));
            }
        }
        (catalogs.len() > 1).then(|| (0, format!("{} different catalogs", catalogs.len())))
    }

    /// Slots and where they are, for people.
    fn said(&self, replicas: &[PlannedReplica]) -> String {
        let name = |node: &NodeId| self.by_id.get(node).map_or("?", |index| self.nodes[*index].spec.what.name.as_str());
        let each = replicas.iter().map(|r| format!("{} on {} {}", r.slot, name(&r.node), r.memory_domain));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Which machine follows which plan.
    fn plans_followed(&self) -> String {
        let followed = self.nodes.iter().map(|node| {
            let plan = node.process.as_ref().and_then(|process| process.machine.plan());
            let plan = plan.map_or_else(|| "none".to_owned(), |plan| format!("{}.{}", plan.epoch, plan.revision));
            format!("{} {plan}", node.spec.what.name)
        });
        followed.collect::<Vec<_>>().join(", ")
    }

    fn name_of(&self, coordinator: Option<(NodeId, u64)>) -> String {
        let Some((node, epoch)) = coordinator else { return "nobody".to_owned() };
        let name = self.by_id.get(&node).map_or("?", |&index| self.nodes[index].spec.what.name.as_str());
        format!("{name} in epoch {epoch}")
    }
}

/// Is every replica where it was, or has it come to a GPU that is one to count on by now?
fn rests(before: &[PlannedReplica], after: &[PlannedReplica]) -> bool {
    let (was, is) = (places(before), places(after));
    let (came, gone) = (is.difference(&was), was.difference(&is));
    let came: Vec<&str> = came.filter(|(.., domain)| *domain != "ram").map(|(slot, ..)| *slot).collect();
    let gone: Vec<_> = gone.collect();
    let count = |slot: &str| gone.iter().filter(|(other, ..)| *other == slot).count();
    let to_gpus = |slot: &str| came.iter().filter(|other| **other == slot).count();
    gone.iter().all(|(slot, _, domain)| *domain == "ram" && count(slot) <= to_gpus(slot))
}

/// Slot, machine and memory domain of each replica.
fn places(replicas: &[PlannedReplica]) -> BTreeSet<(&str, NodeId, &str)> {
    replicas.iter().map(|r| (r.slot.as_str(), r.node, r.memory_domain.as_str())).collect()
}
