//! Facts about the example inventories, and what changes under "what if".

use std::collections::BTreeSet;

use super::*;
use crate::core::artifact::Shape;
use crate::core::limits;
use crate::core::placement::document::PlanDocument;
use crate::core::placement::evaluate::{Claim, evaluate};
use crate::core::sizing;

/// One of the example inventories.
pub(super) fn example(name: &str) -> Inventory {
    let text = match name {
        "one-griffith" => include_str!("../../../../inventories/one-griffith.json"),
        "four-32gb" => include_str!("../../../../inventories/four-32gb.json"),
        "five-20gb" => include_str!("../../../../inventories/five-20gb.json"),
        "two-gpus-and-a-laptop" => include_str!("../../../../inventories/two-gpus-and-a-laptop.json"),
        "forty-mixed" => include_str!("../../../../inventories/forty-mixed.json"),
        other => panic!("no example is called {other}"),
    };
    let inventory: Inventory = serde_json::from_str(text).expect("an example is an inventory");
    inventory.check().expect("an example is sound");
    inventory
}

pub(super) fn plan(inventory: &Inventory) -> PlanDocument {
    answer(inventory).expect("a plan that keeps its rules").document
}

fn resident(plan: &PlanDocument) -> BTreeSet<&str> {
    plan.replicas.iter().map(|replica| replica.slot.as_str()).collect()
}

fn on<'a>(plan: &'a PlanDocument, node: &str, domain: &str) -> Vec<&'a str> {
    let here = plan.replicas.iter().filter(|replica| replica.node == node && replica.domain == domain);
    here.map(|replica| replica.slot.as_str()).collect()
}

pub(super) fn reference() -> Shape {
    Shape {
        layers: 32,
        embedding: 4096,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        context_max: 16_384,
        vocabulary: 32_256,
        feed_forward: 11_008,
        weights_bytes: 13_481_025_536,
        ..Shape::default()
    }
}

#[test]
fn the_examples_have_the_reference_roster_at_the_sizes_that_sizing_says() {
    for name in ["one-griffith", "four-32gb", "five-20gb", "two-gpus-and-a-laptop", "forty-mixed"] {
        let inventory = example(name);
        let slots: Vec<(&str, SlotPolicy, u32, u32)> = inventory
            .roster
            .slots
            .iter()
            .map(|slot| (slot.name.as_str(), slot.policy, slot.replicas, slot.demand_per_hour))
            .collect();
        let (pinned, swapped) = (SlotPolicy::Pinned, SlotPolicy::Swappable);
        let reference_roster = [
            ("UFM", pinned, 2, 60),
            ("UCM", swapped, 1, 30),
            ("URM", swapped, 1, 20),
            ("ULM", swapped, 1, 20),
            ("UIM", swapped, 1, 40),
            ("UAM", swapped, 1, 10),
            ("UDM", swapped, 1, 10),
        ];
        assert_eq!(slots, reference_roster, "{name}");
        for context in [512, 2048, 4096, 16_384] {
            let expect = sizing::footprint(&reference(), context, 1, 0).total_bytes();
            let mut changed = inventory.clone();
            changed.roster.slots.iter_mut().for_each(|slot| slot.context = context);
            let (problem, _) = changed.problem();
            assert!(problem.slots.iter().all(|slot| slot.footprint.total_bytes() == expect), "{name} at {context}");
        }
    }
}

#[test]
fn a_griffith_of_128_gb_hosts_all_seven_at_context_4096() {
    let plan = plan(&example("one-griffith"));
    assert_eq!(on(&plan, "griffith", "ram"), ["UAM", "UCM", "UDM", "UFM", "UIM", "ULM", "URM"]);
    assert_eq!((plan.shortfalls.len(), plan.remedies.len(), plan.context_for_all), (0, 0, None));
    let memory = &plan.memory[0];
    let each = sizing::footprint(&reference(), 4096, 1, 0).total_bytes();
    assert_eq!((memory.used_bytes, memory.total_bytes), (7 * each, 128 << 30));
    assert!(memory.used_bytes <= memory.budget_bytes && memory.budget_bytes < memory.total_bytes);
}

/// The published idea of two managers of 16 to 18 GB on one machine of 32 GB.
#[test]
fn four_machines_of_32_gb_host_four_and_it_is_said_at_which_context_two_would_fit_on_one() {
    let inventory = example("four-32gb");
    let plan = plan(&inventory);
    assert_eq!((resident(&plan).len(), plan.replicas.len()), (4, 4));
    assert!(resident(&plan).contains("UFM"));
    assert_eq!(plan.remedies.len(), 3);
    let budget = inventory.nodes[0].domains[0].budget_bytes();
    let two = |context| 2 * sizing::footprint(&reference(), context, 1, 0).total_bytes();
    for remedy in &plan.remedies {
        let context = remedy.context.expect("there is a context");
        assert!(two(context) <= budget && two(context + 256) > budget, "{context}");
        assert_eq!((context, remedy.bytes_short, remedy.beside.len()), (2560, two(4096) - budget, 1));
        for part in ["29.5 GiB together with", "at context 4096", "28.2 GiB may be used", "at context 2560"] {
            assert!(remedy.why.contains(part), "{} should say {part}", remedy.why);
        }
    }
    assert_eq!(plan.context_for_all, Some(2560));
    let changes = [Change::Context { slot: None, tokens: 2560 }];
    let after = what_if(&inventory, &changes).expect("an answer");
    assert_eq!((resident(&after.plan).len(), after.plan.context_for_all), (7, None));
    let changes = [Change::Context { slot: None, tokens: 2816 }];
    assert!(resident(&what_if(&inventory, &changes).expect("an answer").plan).len() < 7);
}

#[test]
fn five_machines_of_20_gb_host_five_and_no_context_brings_two_onto_one() {
    let plan = plan(&example("five-20gb"));
    assert_eq!((resident(&plan).len(), plan.remedies.len(), plan.context_for_all), (5, 2, None));
    for remedy in &plan.remedies {
        assert_eq!(remedy.context, None);
        assert!(remedy.why.contains("at no context of 512 or more, but with"), "{}", remedy.why);
    }
}

#[test]
fn memory_domains_are_never_summed_and_a_delegate_hosts_nothing() {
    let plan = plan(&example("two-gpus-and-a-laptop"));
    assert_eq!((on(&plan, "workstation", "gpu0").len(), on(&plan, "workstation", "gpu1").len()), (1, 1));
    assert_eq!(on(&plan, "workstation", "ram").len(), 3);
    assert_eq!(resident(&plan).len(), 5);
    assert!(on(&plan, "laptop", "ram").is_empty());
    assert_eq!(plan.roles["laptop"], "delegate");
    let smallest_gpu = plan.remedies.iter().all(|remedy| remedy.node.as_deref() == Some("workstation"));
    assert!(smallest_gpu && plan.remedies.len() == 2);
}

#[test]
fn forty_mixed_machines_host_everything_with_the_replicas_wanted() {
    let plan = plan(&example("forty-mixed"));
    assert_eq!((resident(&plan).len(), plan.replicas.len()), (7, 8));
    assert!(plan.shortfalls.is_empty() && plan.remedies.is_empty());
    assert!(plan.replicas.iter().all(|replica| !replica.node.starts_with("laptop")));
    assert_eq!(plan.memory.len(), 44);
}

#[test]
fn seven_adapters_of_one_base_fit_where_one_manager_fits() {
    let mut inventory = example("five-20gb");
    inventory.nodes.truncate(1);
    for slot in &mut inventory.roster.slots {
        slot.base = Some("base".to_owned());
        slot.weights_bytes = 13_481_025_536;
        (slot.kv_bytes_per_token, slot.compute_bytes_per_token, slot.overhead_bytes) = (0, 0, 50 << 20);
        slot.adapter_bytes = 40 << 20;
    }
    assert_eq!(resident(&plan(&inventory)).len(), 7);
    // The largest size stated counts, whoever states it.
    inventory.roster.slots[3].weights_bytes = 30 << 30;
    assert_eq!(resident(&plan(&inventory)).len(), 0);
}

#[test]
fn without_a_machine_the_remedy_is_a_machine() {
    let mut inventory = example("four-32gb");
    inventory.nodes.clear();
    let plan = plan(&inventory);
    assert_eq!((plan.remedies.len(), plan.shortfalls.len()), (7, 1));
    assert!(plan.remedies[0].why.contains("one with 14.7 GiB for them would do"), "{}", plan.remedies[0].why);
    inventory.nodes = example("four-32gb").nodes;
    inventory.nodes.iter_mut().for_each(|node| node.domains[0].free_bytes = Some(0));
    let plan = answer(&inventory).expect("a plan").document;
    assert!(plan.remedies[0].why.contains("no machine has memory that managers may use"), "{}", plan.remedies[0].why);
    inventory.nodes = example("four-32gb").nodes;
    inventory.nodes.iter_mut().for_each(|node| node.disk_free_bytes = Some(1 << 30));
    let plan = answer(&inventory).expect("a plan").document;
    assert!(plan.remedies[0].why.contains("memory alone does not help"), "{}", plan.remedies[0].why);
}

#[test]
fn what_if_says_what_a_machine_more_brings_and_what_one_less_takes() {
    let four = example("four-32gb");
    let added = what_if(&four, &[Change::Add { name: None, memory_bytes: 64_000_000_000 }]).expect("an answer");
    assert_eq!(added.changes, ["add a machine of 59.6 GiB"]);
    assert_eq!((added.gained.len(), added.lost.len()), (3, 0));
    assert!(added.score_after > added.score_before);
    assert!(
        added.moves.iter().all(|it| it.from.is_none() && it.to.as_deref() == Some("added ram")),
        "{:?}",
        added.moves
    );

    let griffith = example("one-griffith");
    let change = Change::Remove { node: "griffith".to_owned() };
    let gone = what_if(&griffith, std::slice::from_ref(&change)).expect("an answer");
    assert_eq!((gone.gained.len(), gone.lost.len(), gone.score_after), (0, 7, 0));
    assert_eq!((gone.shortfalls_before.len(), gone.shortfalls_after.len()), (0, 1));
    assert!(
        gone.moves.iter().all(|it| it.from.as_deref() == Some("griffith ram") && it.to.is_none()),
        "{:?}",
        gone.moves
    );

    // In their order: the machine that takes over is there before the other one goes.
    let changes = [Change::Add { name: Some("new".to_owned()), memory_bytes: 128 << 30 }, change];
    let moved = what_if(&griffith, &changes).expect("an answer");
    assert_eq!((moved.gained.len(), moved.lost.len(), moved.moves.len()), (0, 0, 7));
    let changes = [Change::Context { slot: SlotName::new("UFM").ok(), tokens: 1 << 20 }];
    let capped = what_if(&griffith, &changes).expect("an answer");
    let ufm = capped.plan.replicas.iter().find(|replica| replica.slot == "UFM").expect("UFM is resident");
    assert_eq!(
        ufm.bytes,
        sizing::footprint(&reference(), 16_384, 1, 0).total_bytes(),
        "the model's own maximum caps it"
    );
}

#[test]
fn changes_that_cannot_be_made_are_refused_with_what_there_is() {
    let check = |change: Change, expect: &str| {
        let error = what_if(&example("four-32gb"), &[change]).expect_err(expect).to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(
        Change::Remove { node: "loft".to_owned() },
        "no machine \"loft\" to remove; there are: attic, den, desk, study",
    );
    check(Change::Context { slot: SlotName::new("X").ok(), tokens: 5 }, "no manager X whose context could change");
    check(Change::Context { slot: None, tokens: 0 }, "context is 0, but must be from 1 to 1048576");
    check(Change::Add { name: Some("den".to_owned()), memory_bytes: 5 }, "a machine \"den\" already");
    check(Change::Add { name: None, memory_bytes: u64::MAX }, "total_bytes is 18446744073709551615, but");
    let many = vec![Change::Context { slot: None, tokens: 512 }; limits::CHANGES_MAX + 1];
    assert_eq!(what_if(&example("four-32gb"), &many), Err(WhatIfError::TooMany(limits::CHANGES_MAX + 1)));
}

#[test]
fn a_plan_that_drops_a_pinned_slot_without_a_word_is_not_feasible() {
    let griffith = example("one-griffith");
    let claim = Claim { shortfalls: Some(Vec::new()), ..Claim::default() };
    let verdict = evaluate(&griffith, &claim).expect("a verdict");
    assert_eq!(verdict.violations, ["UFM is pinned, but neither planned nor reported as a shortfall"]);
    let silent = Claim { shortfalls: None, ..claim };
    assert!(evaluate(&griffith, &silent).expect("a verdict").feasible);
}
