//! The machine's resident half: from the plan in force and what other members hold to what is loaded and evicted here.

use std::collections::BTreeSet;

use crate::core::machine::{Machine, Output};
use crate::core::membership::table::Presence;
use crate::core::placement::plan::PlannedReplica;
use crate::core::residency::{Action, Around};
use crate::core::types::{NodeId, SlotName, Time};

impl Machine {
    /// Loads and evicts what is due.
    pub(super) fn reside(&mut self, now: Time, outbox: &mut Vec<Output>) {
        if self.residency.is_idle() {
            return;
        }
        let (in_flight, wanted) = (self.router.in_flight_here(self.config.me), self.wanted());
        let (pinned, coming, kept) = (self.pinned_here(), self.coming(), self.kept_here());
        let around = Around {
            on_disk: &self.on_disk,
            in_flight: &in_flight,
            wanted: &wanted,
            pinned: &pinned,
            kept: &kept,
            coming: &coming,
        };
        for action in self.residency.reconcile(now, &around) {
            outbox.push(match action {
                Action::Load(order) => Output::Load(Box::new(order)),
                Action::Stage(artifact, bytes) => Output::Stage(artifact, bytes),
                Action::Unload(slot) => Output::Unload(slot),
            });
        }
    }

    /// Slots that the owner wants resident on this very node.
    fn pinned_here(&self) -> BTreeSet<SlotName> {
        self.config.catalog.wishes(&self.config.me).map(|wishes| wishes.pinned.clone()).unwrap_or_default()
    }

    /// Slots that must stay resident here whatever anybody asks.
    fn kept_here(&self) -> BTreeSet<SlotName> {
        let Some(roster) = self.config.catalog.roster() else { return BTreeSet::new() };
        roster.slots.iter().map(|slot| &slot.name).filter(|slot| self.is_kept(slot)).cloned().collect()
    }

    /// Slots that the plan has on other machines too, where they do not answer yet.
    fn coming(&self) -> BTreeSet<SlotName> {
        let Some(plan) = self.plan() else { return BTreeSet::new() };
        let me = self.config.me;
        let there = |node: &NodeId| self.table.get(node).is_some_and(|entry| entry.presence == Presence::Alive);
        let answers = |one: &PlannedReplica| self.table.ready(&one.slot).any(|(node, _)| node == one.node);
        let elsewhere = plan.replicas.iter().filter(|one| one.node != me && there(&one.node));
        elsewhere.filter(|one| !answers(one)).map(|one| one.slot).collect()
    }
}
