//! Properties over random small inventories: from a problem to an inventory and back, our own plans evaluated, the contexts
//! that are proposed.

use proptest::prelude::*;

use super::tests::{example, plan, reference};
use super::*;
use crate::core::placement::document::Names;
use crate::core::placement::evaluate::{Claim, ClaimedReplica, evaluate};
use crate::core::placement::plan::{PlanRole, Strategy as PlanStrategy};
use crate::core::placement::problem::Problem;
use crate::core::placement::solve;
use crate::core::sizing;

prop_compose! {
    /// Small federations: one to four machines of one or two domains, up to seven slots, some of which share a base.
    fn inventories()(
        budgets in prop::collection::vec(prop::collection::vec(0u64..60, 1..3), 1..5),
        slots in prop::collection::vec((5u64..25, 0u64..6, 0u8..6, any::<bool>(), 1u32..3, 1u32..5), 0..8),
        strategy in prop::sample::select(vec![PlanStrategy::Mixed, PlanStrategy::Specialised, PlanStrategy::Swapping]),
        roles in prop::collection::vec(0usize..6, 4),
    ) -> Inventory {
        let roles = |index: usize| match roles[index] {
            0 => RoleWanted::Delegate,
            1 => RoleWanted::Specialised,
            2 => RoleWanted::Swapping,
            _ => RoleWanted::Auto,
        };
        let domain = |(index, &total_bytes): (usize, &u64)| DomainEntry {
            name: format!("d{index}"),
            kind: if index == 0 { DomainKind::Ram } else { DomainKind::Vram },
            total_bytes,
            free_bytes: None,
            reserve_bytes: total_bytes / 8,
        };
        let node = |(index, budgets): (usize, &Vec<u64>)| NodeEntry {
            name: format!("n{index}"),
            id: None,
            role: roles(index),
            disk_free_bytes: None,
            load_bytes_per_s: 0,
            link_bytes_per_s: 0,
            domains: budgets.iter().enumerate().map(domain).collect(),
            holds: vec![format!("base{index}")],
            claimed: Vec::new(),
            recent: index == 1,
        };
        let slot = |(index, &(weights_bytes, per_token, base, pinned, replicas, context))| SlotEntry {
            artifact: format!("artifact{index}"),
            base: (base < 4).then(|| format!("base{base}")),
            weights_bytes,
            adapter_bytes: 1,
            kv_bytes_per_token: per_token,
            compute_bytes_per_token: per_token / 2,
            replicas,
            policy: if pinned { SlotPolicy::Pinned } else { SlotPolicy::Swappable },
            demand_per_hour: index as u32,
            context,
            ..slot(&format!("S{index}"))
        };
        Inventory {
            strategy,
            nodes: budgets.iter().enumerate().map(node).collect(),
            roster: RosterEntry { slots: slots.iter().enumerate().map(slot).collect() },
            previous: None,
        }
    }
}

/// A slot about which as little as possible is said.
fn slot(name: &str) -> SlotEntry {
    let text = format!(r#"{{"name": "{name}", "artifact": "{name}", "weights_bytes": 1, "context": 1}}"#);
    serde_json::from_str(&text).expect("that is enough for a slot")
}

/// Nothing is known beyond the problem.
struct Nothing;

impl Known for Nothing {
    fn node(&self, node: NodeId) -> String {
        node.to_string()
    }
    fn role(&self, _: NodeId) -> PlanRole {
        PlanRole::Mixed
    }
    fn memory(&self, _: NodeId, _: &str) -> Option<(u64, u64)> {
        None
    }
    fn compute(&self, _: &SlotName) -> Option<(u64, u32)> {
        None
    }
}

/// The same question: how a footprint divides into its terms and what machines are called makes no difference.
fn plain(mut problem: Problem) -> Problem {
    for node in &mut problem.nodes {
        node.name = String::new();
    }
    for slot in &mut problem.slots {
        let own = slot.footprint.own_bytes() - slot.footprint.adapter_bytes;
        (slot.footprint.kv_bytes, slot.footprint.compute_bytes, slot.footprint.overhead_bytes) = (0, 0, own);
    }
    problem
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_inventory_asks_the_question_it_was_made_from(made in inventories()) {
        let (problem, _) = made.problem();
        let plan = solve(&problem);
        let known = plan.roles.iter().map(|(node, _)| *node).collect();
        let problem = Problem { previous: plan.replicas, known, ..problem };
        let inventory = Inventory::of(&problem, &Nothing);
        prop_assert_eq!(inventory.check(), Ok(()));
        let text = serde_json::to_string(&inventory).expect("JSON");
        let read: Inventory = serde_json::from_str(&text).expect("what we wrote ourselves");
        prop_assert_eq!(&read, &inventory);
        prop_assert_eq!(plain(inventory.problem().0), plain(problem));
    }

    #[test]
    fn our_own_plans_are_feasible_and_worth_what_they_say(inventory in inventories()) {
        let own = answer(&inventory).expect("a plan that keeps its rules");
        let replicas = own.document.replicas.iter().map(|replica| ClaimedReplica {
            slot: replica.slot.clone(),
            node: replica.node.clone(),
            domain: replica.domain.clone(),
        });
        let claim = Claim { replicas: replicas.collect(), stored: None, shortfalls: None };
        let verdict = evaluate(&inventory, &claim).expect("a verdict");
        prop_assert_eq!(&verdict.violations, &Vec::<String>::new());
        prop_assert_eq!((verdict.score, verdict.best_score), (own.document.score, own.document.score));
        for memory in &own.document.memory {
            prop_assert!(memory.used_bytes <= memory.budget_bytes && memory.budget_bytes <= memory.total_bytes);
        }
        let names = own.document.roles.keys().all(|name| own.problem.nodes.iter().any(|node| own.names.node(node.id) == *name));
        prop_assert!(names);
    }

    /// At the context that is proposed the slot fits beside the others, and one step above it does not.
    #[test]
    fn a_proposed_context_is_the_largest_that_fits(budget in 20u64..80, context in 600u32..20_000) {
        let mut inventory = example("four-32gb");
        inventory.nodes.truncate(1);
        inventory.nodes[0].domains[0].total_bytes = budget << 30;
        inventory.nodes[0].domains[0].free_bytes = None;
        inventory.roster.slots.iter_mut().for_each(|slot| (slot.context, slot.context_max) = (context, None));
        let plan = plan(&inventory);
        let available = inventory.nodes[0].domains[0].budget_bytes();
        for remedy in &plan.remedies {
            let together = |context: u32| {
                let each = sizing::footprint(&reference(), context, 1, 0).total_bytes();
                each * (remedy.beside.len() as u64 + 1)
            };
            let most = (2..=context / 256).map(|steps| steps * 256).filter(|&context| together(context) <= available).max();
            prop_assert_eq!(remedy.context, most);
            prop_assert_eq!(remedy.bytes_short, together(context) - available);
        }
    }
}
