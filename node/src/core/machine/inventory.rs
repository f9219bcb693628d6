//! The machine's question as an inventory: what `fednode plan --as-inventory` prints, and what `--what-if` asks a running node.

use std::collections::BTreeMap;

use crate::core::artifact::Shape;
use crate::core::machine::Machine;
use crate::core::machine::previous::already_there;
use crate::core::membership::table::Presence;
use crate::core::placement::inventory::{Inventory, Known};
use crate::core::placement::plan::{PlanRole, PlannedReplica};
use crate::core::roster::SlotRoster;
use crate::core::sizing;
use crate::core::types::{NodeId, SlotName};

/// What the table and the catalog say beyond the problem.
struct Surroundings<N> {
    name: N,
    /// All of a domain and its reserve, bytes.
    memory: BTreeMap<(NodeId, String), (u64, u64)>,
    shapes: BTreeMap<SlotName, Shape>,
    roles: BTreeMap<NodeId, PlanRole>,
}

impl<N: Fn(NodeId) -> String> Known for Surroundings<N> {
    fn node(&self, node: NodeId) -> String {
        (self.name)(node)
    }

    fn role(&self, node: NodeId) -> PlanRole {
        self.roles.get(&node).copied().unwrap_or(PlanRole::Mixed)
    }

    fn memory(&self, node: NodeId, domain: &str) -> Option<(u64, u64)> {
        self.memory.get(&(node, domain.to_owned())).copied()
    }

    fn compute(&self, slot: &SlotName) -> Option<(u64, u32)> {
        let shape = self.shapes.get(slot)?;
        Some((sizing::compute_bytes_per_token(), shape.context_max.max(1)))
    }
}

impl Machine {
    /// Replicas that are ready or being loaded, on any machine that is not known to be gone.
    pub fn replicas_there(&self) -> Vec<PlannedReplica> {
        let mine = self.own_advert();
        let there = self.table.iter().filter(|(_, entry)| entry.presence != Presence::Down);
        let adverts = there.filter_map(|(_, entry)| entry.advert()).chain([&mine]);
        adverts.flat_map(already_there).collect()
    }

    /// The question as this node sees it now, written down; `name` is what people call a machine, and no two the same.
    pub fn inventory(&self, name: impl Fn(NodeId) -> String) -> Inventory {
        let mine = self.own_advert();
        let there = self.table.iter().filter(|(_, entry)| entry.presence != Presence::Down);
        let adverts = there.filter_map(|(_, entry)| entry.advert()).chain([&mine]);
        let memory = adverts.flat_map(|advert| {
            let domains = advert.domains.iter();
            domains.map(|domain| ((advert.node, domain.name.clone()), (domain.total_bytes, domain.reserve_bytes)))
        });
        let memory = memory.collect();
        let roster = self.config.catalog.roster().map(SlotRoster::served);
        let published = roster.iter().flat_map(|roster| &roster.slots).filter_map(|slot| {
            let base = self.config.catalog.publication(&slot.name, None)?;
            Some((slot.name, base.shape.clone()))
        });
        let roles = self.coordinator.plan().iter().flat_map(|plan| plan.roles.iter().copied()).collect();
        Inventory::of(&self.problem(), &Surroundings { name, memory, shapes: published.collect(), roles })
    }
}

#[cfg(test)]
mod tests {
    use crate::core::machine::tests::household;
    use crate::core::placement::solve;

    #[test]
    fn the_inventory_asks_what_the_machine_asks_itself() {
        for machine in household().nodes.values() {
            let inventory = machine.inventory(|node| format!("machine {}", node.0[0]));
            assert_eq!(inventory.check(), Ok(()));
            assert!(inventory.nodes.len() > 1 && !inventory.roster.slots.is_empty());
            let (problem, _) = inventory.problem();
            let own = machine.problem();
            assert!(!own.previous.is_empty() && !own.known.is_empty());
            let (theirs, ours) = (solve(&problem), solve(&own));
            assert_eq!((theirs.replicas, theirs.stored, theirs.roles), (ours.replicas, ours.stored, ours.roles));
            // At another context a slot needs what sizing says, as far as its model goes.
            for entry in &inventory.roster.slots {
                let shape = &machine.config.catalog.publication(&entry.name, None).expect("published").shape;
                assert_eq!(entry.context_max, Some(shape.context_max));
                assert_eq!(entry.compute_bytes_per_token, crate::core::sizing::compute_bytes_per_token());
            }
        }
    }
}
