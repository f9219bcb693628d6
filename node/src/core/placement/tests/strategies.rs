//! By example: the three strategies, ties between equal scores, disks, waits and refusals.

use super::*;
use crate::core::placement::plan::{PlanRole, PlannedAdapter};
use crate::core::placement::{Violation, expected_waits, score};

fn federation(strategy: PlanStrategy, awaited: bool) -> Problem {
    let slots = vec![
        slot(1, 10, 1, 1, true, 1),
        slot(2, 10, 1, 2, false, 1),
        SlotInput { wanted_rank: awaited.then_some(0), ..slot(3, 10, 1, 3, false, 1) },
    ];
    Problem { strategy, nodes: vec![node(1, &[24])], slots, ..Problem::default() }.sorted()
}

/// With the pinned slot and S2 resident, S3 is asked for.
fn asked(strategy: PlanStrategy) -> (Problem, Plan) {
    let calm = federation(PlanStrategy::Mixed, false);
    let previous =
        vec![calm.slots[0].planned_on(NodeId([1; 32]), "d0"), calm.slots[1].planned_on(NodeId([1; 32]), "d0")];
    let asked = Problem { previous, ..federation(strategy, true) }.sorted();
    let plan = solve(&asked);
    (asked, plan)
}

#[test]
fn mixed_fills_memory_with_what_is_asked_most_and_swaps_what_is_not_pinned() {
    let plan = solve(&federation(PlanStrategy::Mixed, false));
    assert_eq!((planned(&plan), plan.shortfalls.len()), (vec!["S1", "S3"], 0));
    let (_, plan) = asked(PlanStrategy::Mixed);
    assert_eq!((planned(&plan), plan.roles[0].1), (vec!["S1", "S3"], PlanRole::Mixed));
}

#[test]
fn specialised_evicts_nothing_for_a_request_and_says_what_is_short() {
    let plan = solve(&federation(PlanStrategy::Specialised, false));
    assert_eq!((planned(&plan), plan.shortfalls.len()), (vec!["S1", "S3"], 1));
    let (_, plan) = asked(PlanStrategy::Specialised);
    assert_eq!(planned(&plan), ["S1", "S2"]);
    assert_eq!(plan.shortfalls[0].slot.as_str(), "S3");
}

#[test]
fn swapping_loads_what_is_asked_for_and_keeps_it_until_another_is() {
    let plan = solve(&federation(PlanStrategy::Swapping, false));
    assert_eq!((planned(&plan), plan.shortfalls.len()), (vec!["S1"], 0));
    let (problem, plan) = asked(PlanStrategy::Swapping);
    assert_eq!(planned(&plan), ["S1", "S3"]);
    let calm = Problem { previous: plan.replicas, ..federation(PlanStrategy::Swapping, false) }.sorted();
    assert_eq!(planned(&solve(&calm)), ["S1", "S3"]);
    assert!(plan.stored.iter().any(|stored| stored.artifact == problem.slots[1].base.artifact), "ready to be loaded");
}

#[test]
fn all_resident_makes_a_machine_specialised() {
    for strategy in [PlanStrategy::Mixed, PlanStrategy::Specialised] {
        let roomy = Problem { nodes: vec![node(1, &[99]), node(2, &[0])], ..federation(strategy, false) };
        let plan = solve(&roomy);
        assert_eq!((plan.replicas.len(), plan.roles[0].1), (3, PlanRole::Specialised));
        assert_eq!(plan.roles[1].1, PlanRole::Delegate);
    }
}

#[test]
fn the_busiest_managers_get_the_vram_and_machines_share_the_work() {
    let slots: Vec<SlotInput> = (1..5).map(|index| slot(index, 10, 1, index as u8, false, 1)).collect();
    let problem = Problem { nodes: vec![node(1, &[99, 24])], slots: slots.clone(), ..Problem::default() }.sorted();
    let vram = |plan: &Plan| {
        let there = plan.replicas.iter().filter(|replica| replica.memory_domain == "d1");
        there.map(|replica| replica.slot.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(vram(&solve(&problem)), ["S3", "S4"]);
    let two = Problem { nodes: vec![node(1, &[99]), node(2, &[99])], slots, ..Problem::default() }.sorted();
    let plan = solve(&two);
    assert_eq!(plan.replicas_of(NodeId([1; 32])).count(), 2);
}

#[test]
fn of_two_machines_the_one_that_stores_it_or_loads_it_sooner_is_taken() {
    let stored = slot(1, 10, 1, 1, true, 1);
    let mut nodes = vec![node(1, &[15]), node(2, &[15])];
    nodes[1].holds = vec![stored.base.artifact];
    let problem = Problem { nodes, slots: vec![stored.clone()], ..Problem::default() };
    assert_eq!(solve(&problem).replicas[0].node, NodeId([2; 32]));
    let mut nodes = vec![node(1, &[15]), node(2, &[15])];
    (nodes[0].load_bytes_per_s, nodes[1].load_bytes_per_s) = (1, 5);
    let problem = Problem { nodes, slots: vec![stored], ..Problem::default() };
    assert_eq!(solve(&problem).replicas[0].node, NodeId([2; 32]));
}

#[test]
fn the_score_is_one_number_whose_digits_are_the_objective() {
    let mut problem = Problem { nodes: vec![node(1, &[99]), node(2, &[99])], ..federation(PlanStrategy::Mixed, false) };
    // Demands 1, 2 and 3: D = 7, no spares, nobody waits.
    assert_eq!(score(&problem, &solve(&problem)), 7 + 6);
    problem.slots[2].replicas = 2;
    // One spare at most, worth 4 × 3: S = 13.
    assert_eq!(score(&problem, &solve(&problem)), (7 + 6) * 13 + 12);
    problem.slots.iter_mut().for_each(|slot| slot.demand_per_hour = 100_000);
    assert!(score(&problem, &solve(&problem)) < 1 << 53);
}

#[test]
fn a_disk_that_has_room_for_one_of_two_gets_one() {
    let mut slots = vec![slot(1, 10, 1, 1, true, 1), slot(2, 10, 1, 2, true, 1)];
    slots[1].adapters = vec![(PlannedAdapter { domain: slots[1].name, artifact: Digest([77; 32]) }, 3)];
    let with_disk = |free| NodeInput { disk_free_bytes: limits::DISK_MARGIN_SMALL_BYTES + free, ..node(1, &[50]) };
    for (free, expect) in [(9, vec![]), (10, vec!["S1"]), (13, vec!["S2"]), (22, vec!["S2"]), (23, vec!["S1", "S2"])] {
        let problem = Problem { nodes: vec![with_disk(free)], slots: slots.clone(), ..Problem::default() }.sorted();
        let plan = solve(&problem);
        assert_eq!(planned(&plan), expect, "{free} free");
        assert_eq!(plan.shortfalls.len(), 2 - expect.len());
    }
    let roomy = Problem { nodes: vec![with_disk(23)], slots: slots.clone(), ..Problem::default() }.sorted();
    let tight = Problem { nodes: vec![with_disk(22)], slots, ..Problem::default() }.sorted();
    assert!(matches!(check(&tight, &solve(&roomy)), Err(Violation::OverDisk { .. })));
}

#[test]
fn disks_hold_first_what_their_machine_could_load() {
    let (small, large) = (slot(1, 10, 1, 1, false, 1), slot(2, 40, 1, 2, false, 1));
    // The small machine's disk has room for either.
    let laptop = NodeInput { disk_free_bytes: limits::DISK_MARGIN_SMALL_BYTES + 49, ..node(1, &[12]) };
    let nodes = vec![laptop, node(2, &[60])];
    let problem = Problem { nodes, slots: vec![small.clone(), large.clone()], ..Problem::default() }.sorted();
    let plan = solve(&problem);
    let on = |id: u8| plan.stored_on(NodeId([id; 32])).collect::<Vec<_>>();
    assert_eq!(on(1), [small.base.artifact]);
    assert_eq!(on(2), [small.base.artifact, large.base.artifact]);
}

#[test]
fn a_wait_is_a_load_and_a_fetch_where_no_host_stores_it() {
    let mut problem = federation(PlanStrategy::Mixed, false);
    problem.nodes[0].load_bytes_per_s = 5;
    let mut plan = solve(&problem);
    let waits =
        |problem: &Problem, plan: &Plan| expected_waits(problem, plan).into_iter().map(|w| w.1).collect::<Vec<_>>();
    assert_eq!(waits(&problem, &plan), [Some(0), Some(2000), Some(0)]);
    // Its weights are only where they cannot be loaded.
    let elsewhere = node(2, &[0]);
    plan.stored
        .iter_mut()
        .filter(|it| it.artifact == problem.slots[1].base.artifact)
        .for_each(|it| it.node = elsewhere.id);
    problem.nodes.push(elsewhere);
    assert_eq!(waits(&problem, &plan)[1], None, "no line's speed is known");
    problem.nodes[0].link_bytes_per_s = 10;
    assert_eq!(waits(&problem, &plan)[1], Some(3000));
}

#[test]
fn a_small_fleet_names_every_refusal_and_a_large_one_the_nearest() {
    let slots: Vec<SlotInput> = (0..2).map(|index| slot(index, 100, 1, index as u8, true, 1)).collect();
    let fleet = |machines: u64| {
        let nodes = (0..machines)
            .map(|index| NodeInput { id: NodeId(Digest::of(&index.to_le_bytes()).0), ..node(1, &[1 + index % 97]) });
        Problem { nodes: nodes.collect(), slots: slots.clone(), ..Problem::default() }.sorted()
    };
    let small = solve(&fleet(40));
    assert_eq!(small.refused.len(), 80);
    assert!(small.refused.iter().all(|refusal| refusal.why.contains("short")), "{:?}", small.refused[0]);
    let large = solve(&fleet(5000));
    assert_eq!(large.refused.len(), limits::REFUSALS_MAX);
    let last = large.refused.last().expect("a refusal");
    assert!(last.why.ends_with("904 more places were refused, none of them nearer"), "{}", last.why);
    assert!(large.refused.iter().any(|refusal| refusal.bytes_short == 4), "the nearest are named");
}

#[test]
fn small_managers_go_where_most_room_is_left_also_beside_a_tiny_machine() {
    // In the largest domain's terms a manager is next to nothing, and all that the small machine has.
    let nodes = vec![node(1, &[1_280_000]), node(2, &[150])];
    let slots = (1..=7).map(|index| slot(index, 50, 5, index as u8, index == 7, if index == 7 { 2 } else { 1 }));
    let problem = Problem { nodes, slots: slots.collect(), ..Problem::default() }.sorted();
    let plan = solve(&problem);
    let on = |id: u8| plan.replicas.iter().filter(|replica| replica.node.0[0] == id).count();
    assert_eq!((on(1), on(2)), (7, 1));
}
