//! How little moves when machines join and leave, and what may.

use proptest::prelude::*;

use super::*;

const CALM: Size = SMALL;
const LARGE: Size = Size { machines: 9, domains: 2, slots: 24, awaited: false };

/// A machine joins: what is loaded because of it is loaded on it.
fn joins(problem: &Problem, newcomer: &NodeInput, named: bool) -> Result<(), TestCaseError> {
    let before = solve(problem);
    let mut joined = problem.clone();
    let newcomer = NodeInput { id: NodeId([200; 32]), name: "newcomer".into(), ..newcomer.clone() };
    joined.nodes.push(newcomer.clone());
    let mut joined = after(joined, &before, problem);
    if !named {
        joined.known.clear();
    }
    let plan = solve(&joined);
    prop_assert_eq!(check(&joined, &plan), Ok(()));
    for load in loads(&before, &plan) {
        prop_assert_eq!(load.node, newcomer.id, "{:?}", load);
    }
    Ok(())
}

/// A machine leaves: at most twice as many are loaded as it held.
fn leaves(problem: &Problem, which: usize) -> Result<(), TestCaseError> {
    let before = solve(problem);
    let mut left = problem.clone();
    let gone = left.nodes.remove(which % problem.nodes.len());
    let left = after(left, &before, problem);
    let plan = solve(&left);
    prop_assert_eq!(check(&left, &plan), Ok(()));
    let held = before.replicas_of(gone.id).count();
    let loads = loads(&before, &plan);
    prop_assert!(loads.len() <= 2 * held, "{} held, {:?}", held, loads);
    Ok(())
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_machine_that_joins_loads_and_no_other_does(
        problem in problems(CALM), newcomers in machines(CALM), named in any::<bool>(),
    ) {
        joins(&problem, &newcomers[0], named)?;
    }

    #[test]
    fn a_machine_that_leaves_causes_two_loads_for_each_replica(problem in problems(CALM), which in 0usize..4) {
        leaves(&problem, which)?;
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_same_of_large_federations(problem in problems(LARGE), newcomers in machines(LARGE), which in 0usize..9) {
        joins(&problem, &newcomers[0], true)?;
        leaves(&problem, which)?;
    }
}

/// One problem after another: what the first plan placed is there when the second is made.
fn twice(first: Problem, second: Problem) -> (Plan, Plan) {
    let (first, second) = (first.sorted(), second.sorted());
    let before = solve(&first);
    let plan = solve(&after(second.clone(), &before, &first));
    assert_eq!(check(&second, &plan), Ok(()));
    (before, plan)
}

fn asked_for(index: usize, demand_per_hour: u32) -> SlotInput {
    SlotInput { demand_per_hour, ..slot(index, 10, 1, index as u8, false, 1) }
}

fn on_one(slots: Vec<SlotInput>) -> Problem {
    Problem { nodes: vec![node(1, &[15])], slots, ..Problem::default() }
}

#[test]
fn demand_takes_over_only_when_it_is_twice_as_large() {
    for (demand, expect) in [(11, "S1"), (19, "S1"), (20, "S2"), (500, "S2")] {
        let (_, plan) = twice(on_one(vec![asked_for(1, 10)]), on_one(vec![asked_for(1, 10), asked_for(2, demand)]));
        assert_eq!(planned(&plan), [expect], "demand {demand}");
    }
}

#[test]
fn what_had_its_turn_later_is_not_pushed_out_by_demand() {
    let lately = SlotInput { last_wanted: 7, ..asked_for(1, 1) };
    let (_, plan) = twice(on_one(vec![lately.clone()]), on_one(vec![lately, asked_for(2, 500)]));
    assert_eq!(planned(&plan), ["S1"]);
}

#[test]
fn a_pinned_slot_has_one_other_moved_rather_than_fall_short() {
    let nodes = vec![node(1, &[30]), node(2, &[20])];
    let small = slot(1, 10, 1, 1, true, 1);
    let first = Problem { nodes: vec![node(1, &[30])], slots: vec![small.clone()], ..Problem::default() };
    let known = vec![NodeId([1; 32]), NodeId([2; 32])];
    let second = Problem { nodes, slots: vec![small, slot(2, 20, 1, 2, true, 1)], known, ..Problem::default() };
    let before = solve(&first.sorted());
    let plan = solve(&Problem { previous: before.replicas, ..second }.sorted());
    assert_eq!((planned(&plan), plan.shortfalls.len()), (vec!["S1", "S2"], 0));
}

#[test]
fn a_newcomer_cures_a_shortfall_in_two_steps() {
    // 20 fit nowhere beside the 11; the newcomer takes the 11 only when it is known.
    let slots = vec![slot(1, 10, 1, 1, true, 1), slot(2, 20, 0, 2, true, 1)];
    let first = Problem { nodes: vec![node(1, &[25])], slots: slots.clone(), ..Problem::default() };
    let second = Problem { nodes: vec![node(1, &[25]), node(2, &[12])], slots, ..Problem::default() };
    let previous = vec![first.slots[0].planned_on(NodeId([1; 32]), "d0")];
    let known = vec![NodeId([1; 32])];
    let joined = Problem { previous, known, ..second.clone() }.sorted();
    let plan = solve(&joined);
    assert_eq!((planned(&plan), plan.shortfalls.len()), (vec!["S1"], 1));
    let next = solve(&after(second.clone().sorted(), &plan, &second));
    assert_eq!((planned(&next), next.shortfalls.len()), (vec!["S1", "S2"], 0));
}

#[test]
fn fewer_wanted_replicas_leave_fewer() {
    let problem = |replicas| Problem {
        nodes: vec![node(1, &[15]), node(2, &[15])],
        slots: vec![slot(1, 10, 1, 1, true, replicas)],
        ..Problem::default()
    };
    let (before, plan) = twice(problem(2), problem(1));
    assert_eq!((before.replicas.len(), plan.replicas.len()), (2, 1));
}

/// The plan for `nodes` after S1 and S2 were loaded on machine 1, into its host memory; S2 is asked for more. What is not on a
/// GPU yet although there is room is said to be waited for.
fn with_gpus(nodes: Vec<NodeInput>, pinned_on: &[u8], known: &[u8]) -> Vec<(String, u8, String)> {
    let pinned_on = pinned_on.iter().map(|id| NodeId([*id; 32])).collect();
    let slots = vec![slot(1, 10, 1, 1, false, 1), SlotInput { pinned_on, ..slot(2, 10, 1, 2, false, 1) }];
    let previous = slots.iter().map(|slot| slot.planned_on(NodeId([1; 32]), "d0")).collect();
    let known = known.iter().map(|id| NodeId([*id; 32])).collect();
    let problem = Problem { nodes, slots, previous, known, ..Problem::default() }.sorted();
    let plan = solve(&problem);
    assert_eq!(check(&problem, &plan), Ok(()));
    let young = problem.nodes.iter().any(|node| node.recent) || problem.known.len() < problem.nodes.len();
    let waits = plan.refused.iter().filter(|refusal| refusal.why.ends_with("has been there for 10 min")).count();
    assert_eq!(waits, if young { 2 } else { 0 }, "{:?}", plan.refused);
    plan.replicas.iter().map(|one| (one.slot.to_string(), one.node.0[0], one.memory_domain.clone())).collect()
}

fn at(slot: &str, node: u8, domain: &str) -> (String, u8, String) {
    (slot.to_owned(), node, domain.to_owned())
}

#[test]
fn what_is_asked_for_most_moves_to_a_gpu_once_its_machine_is_counted_on() {
    let nodes = || vec![node(1, &[30]), node(2, &[0, 15])];
    let (stays, moves) = ([at("S1", 1, "d0"), at("S2", 1, "d0")], [at("S1", 1, "d0"), at("S2", 2, "d1")]);
    assert_eq!(with_gpus(nodes(), &[], &[1, 2]), moves);
    assert_eq!(with_gpus(nodes(), &[], &[1]), stays, "it has just joined");
    let mut recent = nodes();
    recent[1].recent = true;
    assert_eq!(with_gpus(recent, &[], &[1, 2]), stays, "it may be gone in a moment");
    assert_eq!(with_gpus(vec![node(1, &[30]), node(2, &[0, 10])], &[], &[1, 2]), stays, "there is no room");
    assert_eq!(with_gpus(vec![node(1, &[30]), node(2, &[15])], &[], &[1, 2]), stays, "host memory is host memory");
}

#[test]
fn what_is_pinned_on_a_machine_stays_there_and_nothing_moves_within_a_machine() {
    let nodes = vec![node(1, &[30, 12]), node(2, &[0, 15])];
    assert_eq!(with_gpus(nodes, &[1], &[1, 2]), [at("S1", 2, "d1"), at("S2", 1, "d0")]);
    assert_eq!(with_gpus(vec![node(1, &[30, 12])], &[], &[1]), [at("S1", 1, "d0"), at("S2", 1, "d0")]);
}

#[test]
fn the_room_that_a_move_to_a_gpu_leaves_is_used_by_the_plan_after() {
    let slots = vec![slot(1, 14, 1, 1, false, 1), slot(2, 10, 1, 2, false, 1)];
    let previous = vec![slots[1].planned_on(NodeId([1; 32]), "d0")];
    let known = vec![NodeId([1; 32]), NodeId([2; 32])];
    let nodes = vec![node(1, &[16]), node(2, &[0, 12])];
    let problem = Problem { nodes, slots, previous, known, ..Problem::default() }.sorted();
    let first = solve(&problem);
    assert_eq!((planned(&first), first.replicas[0].node), (vec!["S2"], NodeId([2; 32])));
    let second = solve(&after(problem.clone(), &first, &problem));
    assert_eq!(planned(&second), ["S1", "S2"]);
    assert_eq!(loads(&first, &second).len(), 1);
}
