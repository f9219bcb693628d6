//! Properties of the solver over random small federations.

use proptest::prelude::*;

use super::plan::Strategy as PlanStrategy;
use super::problem::{ArtifactInput, DomainInput, NodeInput, Problem, RoleWanted, SlotInput};
use super::{check, solve};
use crate::core::membership::advert::DomainKind;
use crate::core::roster::SlotPolicy;
use crate::core::sizing::Footprint;
use crate::core::types::{Digest, NodeId, SlotName};

fn node(id: u8, budgets: &[u64]) -> NodeInput {
    let domain = |(index, &budget_bytes): (usize, &u64)| DomainInput {
        name: format!("d{index}"),
        kind: if index == 0 { DomainKind::Ram } else { DomainKind::Vram },
        budget_bytes,
    };
    NodeInput {
        id: NodeId([id; 32]),
        name: format!("n{id}"),
        role: RoleWanted::Auto,
        disk_free_bytes: 1 << 40,
        domains: budgets.iter().enumerate().map(domain).collect(),
        holds: Vec::new(),
        claimed: Vec::new(),
    }
}

fn slot(index: usize, weights: u64, own: u64, base: u8, pinned: bool, replicas: u32) -> SlotInput {
    SlotInput {
        name: SlotName::new(&format!("S{index}")).expect("name"),
        base: ArtifactInput { artifact: Digest([base; 32]), bytes: weights },
        adapters: Vec::new(),
        footprint: Footprint { weights_bytes: weights, kv_bytes: own, ..Footprint::default() },
        context: 1,
        parallel: 1,
        replicas,
        policy: if pinned { SlotPolicy::Pinned } else { SlotPolicy::Swappable },
        demand_per_hour: index as u32,
        pinned_on: Vec::new(),
        wanted_rank: None,
        last_wanted: 0,
    }
}

prop_compose! {
    fn problems()(
        budgets in prop::collection::vec(prop::collection::vec(0u64..60, 1..3), 1..5),
        slots in prop::collection::vec((prop::sample::subsequence(vec![1u8, 2, 3, 9], 0..2), 1u64..6, 0u8..6, any::<bool>(), 1u32..3), 0..8),
        strategy in prop::sample::select(vec![PlanStrategy::Mixed, PlanStrategy::Specialised, PlanStrategy::Swapping]),
    ) -> Problem {
        let nodes = budgets.iter().enumerate().map(|(index, budgets)| node(index as u8 + 1, budgets)).collect();
        // One base has one size.
        let slots = slots.iter().enumerate().map(|(index, &(ref on, own, base, pinned, replicas))| SlotInput {
            pinned_on: on.iter().map(|node| NodeId([*node; 32])).collect(),
            ..slot(index, 8 + 3 * u64::from(base), own, base, pinned, replicas)
        });
        Problem { strategy, nodes, slots: slots.collect(), previous: Vec::new() }.sorted()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_plan_passes_its_check(problem in problems()) {
        prop_assert_eq!(check(&problem, &solve(&problem)), Ok(()));
    }

    #[test]
    fn order_of_input_changes_nothing(problem in problems()) {
        let mut shuffled = problem.clone();
        shuffled.nodes.reverse();
        shuffled.slots.reverse();
        prop_assert_eq!(solve(&shuffled.sorted()), solve(&problem));
    }

    #[test]
    fn planning_again_from_a_plan_keeps_its_replicas(problem in problems()) {
        let first = solve(&problem);
        let again = Problem { previous: first.replicas.clone(), ..problem };
        let second = solve(&again);
        prop_assert_eq!(second.replicas, first.replicas);
    }
}

#[test]
fn a_wanted_slot_takes_the_place_of_one_nobody_waits_for() {
    let mut wanted = slot(1, 10, 1, 1, false, 1);
    wanted.wanted_rank = Some(0);
    let resident = slot(2, 10, 1, 2, false, 1);
    let nodes = vec![node(1, &[15])];
    let calm = Problem { nodes: nodes.clone(), slots: vec![resident.clone()], ..Problem::default() }.sorted();
    let previous = solve(&calm).replicas;
    assert_eq!(previous.len(), 1);
    let asked = Problem { nodes, slots: vec![wanted.clone(), resident], previous, ..Problem::default() }.sorted();
    let plan = solve(&asked);
    assert_eq!(plan.replicas.iter().map(|replica| &replica.slot).collect::<Vec<_>>(), [&wanted.name]);
}

#[test]
fn of_two_awaited_slots_one_waits_for_its_turn_and_only_what_never_fits_falls_short() {
    let awaited = |index: usize, weights, rank| SlotInput {
        wanted_rank: Some(rank),
        ..slot(index, weights, 1, index as u8, false, 1)
    };
    let slots = vec![awaited(1, 10, 0), awaited(2, 10, 1), awaited(3, 99, 2)];
    let problem = Problem { nodes: vec![node(1, &[15])], slots, ..Problem::default() }.sorted();
    let plan = solve(&problem);
    assert_eq!(plan.replicas.iter().map(|replica| replica.slot.as_str()).collect::<Vec<_>>(), ["S1"]);
    assert_eq!(plan.shortfalls.iter().map(|shortfall| shortfall.slot.as_str()).collect::<Vec<_>>(), ["S3"]);
}

#[test]
fn seven_adapters_of_one_base_fit_where_one_manager_fits() {
    let slots = (0..7).map(|index| slot(index, 100, 1, 9, true, 1)).collect();
    let problem = Problem { nodes: vec![node(1, &[107])], slots, ..Problem::default() }.sorted();
    let plan = solve(&problem);
    assert_eq!((plan.replicas.len(), plan.shortfalls.len()), (7, 0));
}

#[test]
fn what_is_pinned_on_a_machine_is_placed_there_and_pushes_the_others_elsewhere() {
    let on = |index: usize, node: u8| SlotInput {
        pinned_on: vec![NodeId([node; 32])],
        ..slot(index, 10, 1, index as u8, false, 1)
    };
    // Machine 2 is the roomier one, and holds S1.
    let nodes = vec![node(1, &[12]), node(2, &[23])];
    let calm = Problem { nodes: nodes.clone(), slots: vec![slot(1, 10, 1, 1, false, 1)], ..Problem::default() };
    let previous = solve(&calm.sorted()).replicas;
    let slots = vec![slot(1, 10, 1, 1, true, 1), on(2, 2), on(3, 2), on(4, 2), on(5, 9)];
    let problem = Problem { nodes, slots, previous, ..Problem::default() }.sorted();
    let plan = solve(&problem);
    assert_eq!(check(&problem, &plan), Ok(()));
    let placed: Vec<_> = plan.replicas.iter().map(|r| (r.slot.as_str(), r.node.0[0])).collect();
    assert_eq!(placed, [("S1", 1), ("S3", 2), ("S4", 2)], "those asked for more come first");
    let short: Vec<_> = plan.shortfalls.iter().map(|s| (s.slot.as_str(), s.why.as_str())).collect();
    let beside = "it is pinned on n2, whose d0 lacks 10 B for it beside what else is pinned there";
    assert_eq!(short, [("S2", beside), ("S5", "the machine that it is pinned on is not there")]);
}
