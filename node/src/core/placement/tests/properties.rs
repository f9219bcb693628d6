//! What holds of every plan.

use proptest::prelude::*;

use super::*;
use crate::core::placement::score;

const ANY: Size = Size { awaited: true, ..SMALL };
/// Beyond what is searched exactly.
const LARGE: Size = Size { machines: 9, domains: 2, slots: 24, awaited: true };

/// The same problem, told in another order.
fn retold(problem: &Problem, turn: usize) -> Problem {
    fn turned<T>(items: &mut [T], turn: usize) {
        if !items.is_empty() {
            items.rotate_left(turn % items.len());
            items.reverse();
        }
    }
    let mut retold = problem.clone();
    turned(&mut retold.nodes, turn);
    turned(&mut retold.slots, turn);
    turned(&mut retold.previous, turn);
    for node in &mut retold.nodes {
        turned(&mut node.domains, turn);
        turned(&mut node.holds, turn);
    }
    retold.sorted()
}

/// The same problem with more of one domain's memory.
fn enlarged(problem: &Problem, which: prop::sample::Index, more: u64) -> Problem {
    let mut larger = problem.clone();
    let domains = larger.nodes.iter_mut().flat_map(|node| &mut node.domains);
    let mut domains: Vec<&mut DomainInput> = domains.collect();
    let which = which.index(domains.len());
    domains[which].budget_bytes += more;
    larger
}

/// Problems of one size whose plan before was made for another roster on the same machines.
fn with_a_past(size: Size) -> impl Strategy<Value = Problem> {
    (problems(size), slots(size)).prop_map(|(problem, slots)| {
        let other = Problem { slots, ..problem.clone() }.sorted();
        let plan = solve(&other);
        after(problem, &plan, &other)
    })
}

proptest! {
    #![proptest_config(cases(1_000))]

    /// No domain and no disk over its budget; one replica on a machine; pinned slots resident or reported.
    #[test]
    fn every_plan_passes_its_check(problem in with_a_past(ANY)) {
        prop_assert_eq!(check(&problem, &solve(&problem)), Ok(()));
        let fresh = Problem { previous: Vec::new(), ..problem };
        prop_assert_eq!(check(&fresh, &solve(&fresh)), Ok(()));
    }

    #[test]
    fn a_pinned_slot_never_loses_to_any_demand(problem in problems(ANY), demand in 1u32..u32::MAX) {
        let pinned = |slot: &SlotInput| slot.policy == SlotPolicy::Pinned;
        let resident = |problem: &Problem| {
            let plan = solve(problem);
            problem.slots.iter().filter(|slot| pinned(slot) && planned(&plan).contains(&slot.name.as_str())).count()
        };
        let alone = Problem { slots: problem.slots.iter().filter(|slot| pinned(slot)).cloned().collect(), ..problem.clone() };
        let mut pressed = problem.clone();
        pressed.slots.iter_mut().filter(|slot| !pinned(slot)).for_each(|slot| slot.demand_per_hour = demand);
        prop_assert_eq!(resident(&pressed), resident(&alone));
    }

    #[test]
    fn order_of_input_changes_nothing(problem in with_a_past(ANY), turn in 0usize..9) {
        prop_assert_eq!(solve(&retold(&problem, turn)), solve(&problem));
    }

    #[test]
    fn planning_again_from_a_plan_keeps_its_replicas(problem in problems(ANY)) {
        let first = solve(&problem);
        let second = solve(&after(problem.clone(), &first, &problem));
        prop_assert_eq!(second.replicas, first.replicas);
    }

    #[test]
    fn planning_again_after_changes_keeps_its_replicas_while_nothing_moves_to_gpus(problem in with_a_past(ANY)) {
        let mut problem = problem;
        problem.nodes.iter_mut().for_each(|node| node.recent = true);
        let first = solve(&problem);
        let second = solve(&after(problem.clone(), &first, &problem));
        prop_assert_eq!(second.replicas, first.replicas);
    }

    /// What moves to a GPU leaves room, which is the next plan's to use.
    #[test]
    fn planning_again_and_again_comes_to_rest_and_is_never_worse(problem in with_a_past(ANY)) {
        let mut plan = solve(&problem);
        for _ in 0..=problem.slots.len() {
            let next = solve(&after(problem.clone(), &plan, &problem));
            prop_assert!(score(&problem, &next) >= score(&problem, &plan));
            if next.replicas == plan.replicas {
                return Ok(());
            }
            plan = next;
        }
        prop_assert!(false, "still moving");
    }

    #[test]
    fn more_memory_never_lowers_the_score_whatever_was_asked_before(
        problem in problems(ANY), demands in prop::collection::vec(0u32..1000, 5), which in any::<prop::sample::Index>(),
        more in 1u64..60,
    ) {
        let mut other = problem.clone();
        other.slots.iter_mut().zip(demands).for_each(|(slot, demand)| slot.demand_per_hour = demand);
        let plan = solve(&other);
        let smaller = after(problem.clone(), &plan, &problem);
        let larger = after(enlarged(&problem, which, more), &plan, &problem);
        prop_assert!(score(&larger, &solve(&larger)) >= score(&smaller, &solve(&smaller)));
    }

    #[test]
    fn more_memory_never_lowers_the_score(
        problem in problems(ANY), which in any::<prop::sample::Index>(), more in 1u64..60,
    ) {
        let larger = enlarged(&problem, which, more);
        let plan = solve(&problem);
        prop_assert!(score(&larger, &solve(&larger)) >= score(&problem, &plan));
        let (before, later) = (after(problem.clone(), &plan, &problem), after(larger, &plan, &problem));
        prop_assert!(score(&later, &solve(&later)) >= score(&before, &solve(&before)));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn large_plans_pass_their_check_in_any_order(problem in with_a_past(LARGE), turn in 0usize..9) {
        let plan = solve(&problem);
        prop_assert_eq!(check(&problem, &plan), Ok(()));
        prop_assert_eq!(solve(&retold(&problem, turn)), plan);
    }

    #[test]
    fn planning_again_from_a_large_plan_keeps_its_replicas(problem in problems(LARGE)) {
        let first = solve(&problem);
        prop_assert_eq!(check(&problem, &first), Ok(()));
        let second = solve(&after(problem.clone(), &first, &problem));
        prop_assert_eq!(second.replicas, first.replicas);
    }
}
