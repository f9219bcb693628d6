//! What must hold of the solver. Here: how problems are made, and the rules about slots that somebody waits for. `exhaustive`
//! compares with every plan there is; `properties` and `stability` hold for all problems; `strategies` are by example.

mod exhaustive;
mod pinned;
mod properties;
mod stability;
mod strategies;

use proptest::prelude::*;

use super::plan::{Plan, PlannedReplica, Strategy as PlanStrategy};
use super::problem::{ArtifactInput, DomainInput, NodeInput, Problem, RoleWanted, SlotInput};
use super::{check, solve};
use crate::core::limits;
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
        load_bytes_per_s: 0,
        link_bytes_per_s: 0,
        domains: budgets.iter().enumerate().map(domain).collect(),
        holds: Vec::new(),
        claimed: Vec::new(),
        recent: false,
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
        wanted_rank: None,
        pinned_on: Vec::new(),
        last_wanted: 0,
    }
}

/// So many cases, or as many as PROPTEST_CASES says.
fn cases(unless_told: u32) -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES").ok().and_then(|told| told.parse().ok());
    ProptestConfig::with_cases(told.unwrap_or(unless_told))
}

/// What a problem is made of: how many machines and slots, and whether somebody waits.
#[derive(Clone, Copy)]
struct Size {
    machines: usize,
    domains: usize,
    slots: usize,
    awaited: bool,
}

/// As large as what is compared with exhaustive search.
const SMALL: Size = Size { machines: 4, domains: 2, slots: 5, awaited: false };

/// Machines, some with a disk that is nearly full, some meant for one kind of slot.
fn machines(size: Size) -> impl Strategy<Value = Vec<NodeInput>> {
    let budgets = prop::collection::vec(prop_oneof![4 => 0u64..70, 1 => 60u64..130], 1..=size.domains);
    let role = prop_oneof![
        8 => Just(RoleWanted::Auto),
        1 => prop::sample::select(vec![RoleWanted::Specialised, RoleWanted::Swapping, RoleWanted::Delegate]),
    ];
    let disk =
        prop_oneof![4 => Just(1u64 << 40), 1 => (0u64..60).prop_map(|free| limits::DISK_MARGIN_SMALL_BYTES + free)];
    let holds = prop::collection::vec(0u8..6, 0..3);
    let speeds = prop::sample::select(vec![0u64, 10, 1000]);
    let machine = (budgets, role, disk, holds, speeds.clone(), speeds);
    prop::collection::vec(machine, 1..=size.machines).prop_map(|machines| {
        let made = machines.into_iter().enumerate();
        made.map(|(index, (budgets, role, disk_free_bytes, holds, load_bytes_per_s, link_bytes_per_s))| {
            let holds = holds.into_iter().map(|base| Digest([base; 32])).collect();
            let plain = node(index as u8 + 1, &budgets);
            NodeInput { role, disk_free_bytes, holds, load_bytes_per_s, link_bytes_per_s, ..plain }
        })
        .collect()
    })
}

/// Slots of six bases, each of one size; demands that differ little, or much.
fn slots(size: Size) -> impl Strategy<Value = Vec<SlotInput>> {
    let demand = prop_oneof![0u32..4, 0u32..1000];
    let awaited = prop::option::weighted(0.3, 0u64..9).prop_map(move |since| since.filter(|_| size.awaited));
    let slot_of = (1u64..8, 0u8..6, any::<bool>(), 1u32..3, demand, awaited);
    prop::collection::vec(slot_of, 0..=size.slots).prop_map(|made| {
        let slots = made.into_iter().enumerate();
        slots
            .map(|(index, (own, base, pinned, replicas, demand_per_hour, awaited))| {
                let plain = slot(index, 8 + 3 * u64::from(base), own, base, pinned, replicas);
                let wanted_rank = awaited.map(|_| index as u32);
                SlotInput { demand_per_hour, wanted_rank, last_wanted: awaited.unwrap_or(0), ..plain }
            })
            .collect()
    })
}

fn strategies() -> impl Strategy<Value = PlanStrategy> {
    prop::sample::select(vec![PlanStrategy::Mixed, PlanStrategy::Specialised, PlanStrategy::Swapping])
}

/// Problems without a plan before.
fn problems(size: Size) -> impl Strategy<Value = Problem> {
    (machines(size), slots(size), strategies())
        .prop_map(|(nodes, slots, strategy)| Problem { strategy, nodes, slots, ..Problem::default() }.sorted())
}

/// `problem` after `plan` was made for `made_for`.
fn after(problem: Problem, plan: &Plan, made_for: &Problem) -> Problem {
    let known = made_for.nodes.iter().map(|node| node.id).collect();
    Problem { previous: plan.replicas.clone(), known, ..problem }.sorted()
}

/// The replicas of `plan` that were not in `before`.
fn loads<'a>(before: &Plan, plan: &'a Plan) -> Vec<&'a PlannedReplica> {
    let new = |replica: &&PlannedReplica| !before.replicas.iter().any(|old| old.place() == replica.place());
    plan.replicas.iter().filter(new).collect()
}

fn planned(plan: &Plan) -> Vec<&str> {
    plan.replicas.iter().map(|replica| replica.slot.as_str()).collect()
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
    assert_eq!(planned(&solve(&asked)), ["S1"]);
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
    assert_eq!(planned(&plan), ["S1"]);
    assert_eq!(plan.shortfalls.iter().map(|shortfall| shortfall.slot.as_str()).collect::<Vec<_>>(), ["S3"]);
}

#[test]
fn who_waited_longest_outweighs_any_number_behind() {
    let awaited = |index: usize, own, rank| SlotInput {
        wanted_rank: Some(rank),
        demand_per_hour: 1000,
        ..slot(index, 8, own, index as u8, false, 1)
    };
    let first = SlotInput { demand_per_hour: 0, ..awaited(9, 32, 0) };
    let slots = [first].into_iter().chain((1..5).map(|index| awaited(index, 2, index as u32))).collect();
    let problem = Problem { nodes: vec![node(1, &[40])], slots, ..Problem::default() }.sorted();
    assert_eq!(planned(&solve(&problem)), ["S9"]);
}

#[test]
fn seven_adapters_of_one_base_fit_where_one_manager_fits() {
    let slots = (0..7).map(|index| slot(index, 100, 1, 9, true, 1)).collect();
    let problem = Problem { nodes: vec![node(1, &[107])], slots, ..Problem::default() }.sorted();
    let plan = solve(&problem);
    assert_eq!((plan.replicas.len(), plan.shortfalls.len()), (7, 0));
}
