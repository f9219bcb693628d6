//! The solver against every plan there is, on small problems. Shares no code with it: machines take every subset of slots in
//! every way, and of all that the machines can do together the best by the words of `objective` is looked for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::placement::score;

/// How many replicas of each slot.
type Counts = Vec<u32>;

/// The objective, digit by digit: pinned, awaited by rank, demand, spares.
type Worth = (u64, Vec<bool>, u64, u64);

fn worth(problem: &Problem, counts: &Counts) -> Worth {
    let resident = || problem.slots.iter().zip(counts).filter(|(slot, count)| **count > 0 && is_due(problem, slot));
    let pinned = resident().filter(|(slot, _)| slot.policy == SlotPolicy::Pinned).count() as u64;
    let mut waiting: Vec<&SlotInput> = problem.slots.iter().filter(|slot| waits(problem, slot)).collect();
    waiting.sort_by_key(|slot| slot.wanted_rank);
    let here = |slot: &&SlotInput| resident().any(|(placed, _)| placed.name == slot.name);
    let demand = resident().map(|(slot, _)| u64::from(slot.demand_per_hour.max(1))).sum();
    let spare = |(slot, count): (&SlotInput, &u32)| -> u64 {
        let of = u64::from(slot.demand_per_hour.max(1));
        (2..=(*count).min(slot.replicas)).map(|nth| (4 * of / u64::from(nth - 1)).max(1)).sum()
    };
    (pinned, waiting.iter().map(here).collect(), demand, resident().map(spare).sum())
}

fn waits(problem: &Problem, slot: &SlotInput) -> bool {
    let swaps = problem.strategy != PlanStrategy::Specialised;
    swaps && slot.wanted_rank.is_some() && slot.policy == SlotPolicy::Swappable
}

fn is_due(problem: &Problem, slot: &SlotInput) -> bool {
    problem.strategy != PlanStrategy::Swapping || slot.policy == SlotPolicy::Pinned || slot.wanted_rank.is_some()
}

/// The number that these digits make.
fn number(problem: &Problem, worth: &Worth) -> u64 {
    let all: Counts = problem.slots.iter().map(|slot| slot.replicas).collect();
    let full = Problem { strategy: PlanStrategy::Mixed, ..problem.clone() };
    let (.., demand_max, spares_max) = self::worth(&full, &all);
    let awaited = worth.1.iter().fold(0, |sum, &here| sum * 2 + u64::from(here));
    ((worth.0 * (1 << worth.1.len()) + awaited) * (demand_max + 1) + worth.2) * (spares_max + 1) + worth.3
}

/// All sets of slots that one machine can hold, each slot in at most one of its domains.
fn sets(problem: &Problem, node: &NodeInput) -> BTreeSet<Counts> {
    let slots = &problem.slots;
    let choices = node.domains.len() + 1;
    let mut found = BTreeSet::new();
    for mut number in 0..choices.pow(slots.len() as u32) {
        // 0 is nowhere.
        let mut at = vec![0; slots.len()];
        for place in &mut at {
            *place = number % choices;
            number /= choices;
        }
        if allowed(problem, node, &at) {
            found.insert(at.iter().map(|&place| u32::from(place > 0)).collect());
        }
    }
    found
}

fn allowed(problem: &Problem, node: &NodeInput, at: &[usize]) -> bool {
    let stays = |slot: &SlotInput| slot.policy == SlotPolicy::Pinned || problem.strategy == PlanStrategy::Specialised;
    let meant = |slot: &SlotInput| match node.role {
        RoleWanted::Auto => true,
        RoleWanted::Specialised => stays(slot),
        RoleWanted::Swapping => !stays(slot),
        RoleWanted::Delegate => false,
    };
    let placed = || problem.slots.iter().zip(at).filter(|(_, place)| **place > 0);
    let fits = node.domains.iter().enumerate().all(|(index, domain)| {
        let here = || placed().filter(|(_, place)| **place == index + 1).map(|(slot, _)| slot);
        let bases: BTreeSet<(Digest, u64)> =
            here().map(|slot| (slot.base.artifact, slot.footprint.weights_bytes)).collect();
        let own: u64 = here().map(|slot| slot.footprint.kv_bytes).sum();
        bases.iter().map(|(_, bytes)| bytes).sum::<u64>() + own <= domain.budget_bytes
    });
    let fetched: BTreeSet<(Digest, u64)> = placed()
        .filter(|(slot, _)| !node.holds.contains(&slot.base.artifact))
        .map(|(slot, _)| (slot.base.artifact, slot.base.bytes))
        .collect();
    let fetched_bytes: u64 = fetched.iter().map(|(_, bytes)| bytes).sum();
    let stored = fetched.is_empty() || fetched_bytes + limits::DISK_MARGIN_SMALL_BYTES <= node.disk_free_bytes;
    fits && stored && placed().all(|(slot, _)| meant(slot) && is_due(problem, slot))
}

/// The best that all machines can do together.
fn best(problem: &Problem) -> Worth {
    let mut reached: BTreeSet<Counts> = BTreeSet::from([vec![0; problem.slots.len()]]);
    for node in &problem.nodes {
        let sets = sets(problem, node);
        let with = |counts: &Counts| {
            let sum = |set: &Counts| counts.iter().zip(set).map(|(a, b)| a + b).collect::<Counts>();
            sets.iter().map(sum).collect::<Vec<_>>()
        };
        let wanted = |counts: &Counts| counts.iter().zip(&problem.slots).all(|(count, slot)| *count <= slot.replicas);
        reached = reached.iter().flat_map(with).filter(wanted).collect();
    }
    let none = worth(problem, &vec![0; problem.slots.len()]);
    reached.iter().map(|counts| worth(problem, counts)).max().unwrap_or(none)
}

fn counts(problem: &Problem, plan: &Plan) -> Counts {
    let count = |slot: &SlotInput| plan.replicas.iter().filter(|replica| replica.slot == slot.name).count() as u32;
    problem.slots.iter().map(count).collect()
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Not within 1 % in all and exact in 99 %: exact in all.
    #[test]
    fn no_plan_is_worth_more(problem in problems(Size { awaited: true, domains: 3, ..SMALL })) {
        let plan = solve(&problem);
        let (found, best) = (worth(&problem, &counts(&problem, &plan)), best(&problem));
        prop_assert_eq!(&found, &best);
        prop_assert_eq!(score(&problem, &plan), number(&problem, &best));
    }
}

/// What greedy passes and exchanges reach where the question is too large to be answered exactly, measured where it is not.
#[test]
fn without_exact_search_nearly_all_are_found_too() {
    use crate::core::placement::greedy;
    use crate::core::placement::solve::Solver;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut exact, mut total, mut pinned_lost) = (0, 0, 0u64);
    for _ in 0..500 {
        let problem = problems(SMALL).new_tree(&mut runner).expect("a problem").current();
        let solver = Solver::new(&problem);
        let plan = solver.plan(&greedy::fresh(&solver));
        assert_eq!(check(&problem, &plan), Ok(()));
        let (found, best) = (worth(&problem, &counts(&problem, &plan)), best(&problem));
        total += 1;
        exact += u32::from(found == best);
        pinned_lost += best.0 - found.0;
    }
    assert!(exact * 100 >= total * 97, "{exact} of {total}");
    assert!(pinned_lost <= 5, "{pinned_lost} pinned slots left out");
}
