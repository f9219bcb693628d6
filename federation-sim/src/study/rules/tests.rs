//! Each rule on made-up figures, on both sides of its thresholds.

use super::*;
use crate::report::Waits;
use crate::study::cases::{DELEGATE, FETCHED, FILLING, LOCAL, NARROW, ONE, REFERENCE, ROOM, SEVEN};
use crate::study::sizes::Size;

const SATA: (Link, Disk) = (Link::Gbe1, Disk::Sata);

/// A run with these labels, of 1,000 questions.
fn run(question: Question, machines: &str, task: &str, way: Way, (link, disk): (Link, Disk), loss: Loss) -> Outcome {
    let (machines, task) = (machines.to_owned(), task.to_owned());
    Outcome {
        labels: Labels { question, machines, task, way, link, disk, loss },
        nodes: 2,
        simulated_s: 3600,
        asked: 1000,
        answered: 1000,
        failed: Default::default(),
        lost: 0,
        wait_ms: Waits { p50: 1000, p95: 10_000, p99: 20_000 },
        waited_for_load: 0,
        load_wait_ms: Waits::default(),
        loads: 0,
        swaps: 0,
        bytes_moved: 0,
        memory_used_bytes: 0,
        memory_used_bytes_max: 100,
        memory_bytes: 1000,
        first_ready_ms: None,
        last_stored_ms: None,
        violations: 0,
        trace_hash: String::new(),
    }
}

fn strategy(way: Way, on: (Link, Disk), answered: u64, p95: u64) -> Outcome {
    let run = run(Question::Strategy, "home", SEVEN, way, on, Loss::None);
    Outcome { answered, wait_ms: Waits { p95, ..run.wait_ms }, ..run }
}

fn size(gib: u64, short_bytes: u64) -> Size {
    Size {
        gib,
        tier: "minimum",
        hosts: short_bytes == 0,
        reserve_bytes: 2,
        budget_bytes: 18,
        manager_bytes: 16,
        short_bytes,
        context: (short_bytes == 0).then_some(8192),
        resident: usize::from(short_bytes == 0),
        wait_nvme_ms: Some(4_500),
        wait_sata_ms: Some(25_000),
    }
}

fn study(outcomes: Vec<Outcome>) -> Study {
    Study { seed: 1, simulated_s: 3600, outcomes, sizes: vec![size(16, 5), size(20, 0), size(24, 0)] }
}

/// What is said about `topic`.
fn said(outcomes: Vec<Outcome>, topic: &str) -> String {
    let advice = study(outcomes).advice();
    let found = advice.iter().find(|one| one.topic.contains(topic));
    found.map(|one| one.says.clone()).unwrap_or_else(|| panic!("nothing is said about {topic}: {advice:?}"))
}

fn check(outcomes: Vec<Outcome>, topic: &str, expect: &str) {
    let says = said(outcomes, topic);
    assert!(says.contains(expect), "{topic}: {says}, expected: {expect}");
}

fn three(answered: [u64; 3], p95: [u64; 3], swaps: [u64; 3]) -> Vec<Outcome> {
    let ways = [Way::Specialised, Way::Swapping, Way::Mixed];
    let each = (0..3).map(|n| Outcome { swaps: swaps[n], ..strategy(ways[n], REFERENCE, answered[n], p95[n]) });
    each.collect()
}

#[test]
fn nothing_is_recommended_of_nothing() {
    let nothing = Study { sizes: Vec::new(), ..study(Vec::new()) };
    assert_eq!(nothing.advice(), Vec::new());
    assert_eq!(study(Vec::new()).advice(), Vec::new());
}

#[test]
fn the_strategy_that_answers_enough_and_soonest_wins() {
    let topic = "which strategy";
    // The quickest answers too few.
    check(three([800, 1000, 1000], [1_000, 30_000, 20_000], [0, 9, 9]), topic, "Use mixed");
    check(three([1000, 1000, 1000], [5_000, 30_000, 20_000], [0, 9, 9]), topic, "Use specialised");
    // Among equals who swaps least; among equals of those the first.
    check(three([1000, 1000, 1000], [20_000, 20_100, 21_000], [7, 3, 5]), topic, "Use swapping");
    check(three([1000, 1000, 1000], [20_000, 20_000, 20_000], [0, 0, 0]), topic, "Use mixed");
    // 990 of 1,000 are enough, 989 are not.
    check(three([989, 990, 0], [1_000, 2_000, 1_000], [0, 0, 0]), topic, "Use swapping");
    check(three([700, 980, 985], [1_000, 2_000, 3_000], [0, 0, 0]), topic, "mixed comes closest with 98.5 %");
    check(three([700, 980, 980], [1_000, 2_000, 3_000], [0, 0, 0]), topic, "swapping comes closest");
    let because = study(three([1000; 3], [1_000; 3], [0; 3])).advice()[0].because.len();
    assert_eq!(because, 3, "every candidate's figures are named");
}

#[test]
fn a_shared_base_is_judged_by_memory_waits_and_answers() {
    let with = |answered, p95, memory_used_bytes_max| {
        let shared = Outcome { memory_used_bytes_max, ..strategy(Way::SharedBase, REFERENCE, answered, p95) };
        three([1000; 3], [10_000; 3], [0; 3]).into_iter().chain([shared]).collect::<Vec<_>>()
    };
    let topic = "adapters of one base";
    check(with(1000, 11_000, 50), topic, "Worth training for: as good with 50 %");
    check(with(1000, 11_000, 51), topic, "no smaller");
    check(with(1000, 11_100, 20), topic, "slower or less sure");
    check(with(980, 10_000, 20), topic, "slower or less sure");
    check(with(981, 10_000, 20), topic, "Worth training for");
    check(with(1000, 7_500, 120), topic, "begin within 7.5 s rather than 10.0 s, with 120 %");
    check(with(1000, 7_501, 120), topic, "no smaller");
    check(with(500, 1_000, 120), topic, "Not worth it");
    check(with(500, 10_000, 90), topic, "Not worth it");
}

#[test]
fn a_faster_disk_is_worth_ten_seconds_a_load() {
    let load = |on, p50| Outcome {
        waited_for_load: 5,
        load_wait_ms: Waits { p50, ..Waits::default() },
        ..strategy(Way::Swapping, on, 1000, 1000)
    };
    check(vec![load(REFERENCE, 5_000), load(SATA, 15_000)], "NVMe or SATA", "Put the store on NVMe");
    check(vec![load(REFERENCE, 5_000), load(SATA, 14_999)], "NVMe or SATA", "A SATA disk will do");
    // Where nobody waited nothing can be said.
    let idle = |on| strategy(Way::Swapping, on, 1000, 1000);
    assert!(study(vec![idle(REFERENCE), idle(SATA)]).advice().iter().all(|one| one.topic != "NVMe or SATA"));
}

#[test]
fn a_faster_line_is_worth_it_where_waits_are_shorter() {
    let on = |link, p95| strategy(Way::Mixed, (link, Disk::Nvme), 1000, p95);
    check(vec![on(Link::Gbe1, 11_000), on(Link::Gbe10, 10_000)], "Which line", "1 GbE is enough");
    check(vec![on(Link::Gbe1, 11_001), on(Link::Gbe10, 10_000)], "Which line", "shortens waits on home");
}

#[test]
fn a_loss_is_survived_by_some_ways_all_or_none() {
    let with = |gone: [u64; 4]| {
        let each = Way::ALL.into_iter().zip(gone).flat_map(|(way, answered)| {
            let lost =
                |loss, answered| Outcome { answered, ..run(Question::Loss, "home", SEVEN, way, REFERENCE, loss) };
            [lost(Loss::ForAWhile, 1000), lost(Loss::ForGood, answered)]
        });
        each.collect::<Vec<_>>()
    };
    let topic = "its largest machine dies";
    check(with([950; 4]), topic, "whatever the strategy");
    check(with([949; 4]), topic, "does not survive");
    check(with([100, 960, 990, 949]), topic, "swapping and mixed only");
}

fn minimum(gib: u64, task: &str, way: Way, disk: Disk, answered: u64, p95: u64) -> Outcome {
    let on = (Link::Gbe1, disk);
    let run = run(Question::Minimum, &format!("{gib} GB"), task, way, on, Loss::None);
    Outcome { answered, wait_ms: Waits { p95, ..run.wait_ms }, ..run }
}

#[test]
fn the_smallest_machine_that_is_enough_for_each_role() {
    let outcomes = vec![
        minimum(16, DELEGATE, Way::Mixed, Disk::Nvme, 1000, 1),
        minimum(16, ONE, Way::Specialised, Disk::Nvme, 1000, 1),
        minimum(20, ONE, Way::Specialised, Disk::Nvme, 1000, 1),
        minimum(20, SEVEN, Way::Swapping, Disk::Nvme, 1000, 60_001),
        minimum(24, SEVEN, Way::Swapping, Disk::Nvme, 1000, 60_000),
        minimum(24, SEVEN, Way::Swapping, Disk::Sata, 980, 1),
    ];
    check(outcomes.clone(), "A delegate", "16 GB is enough");
    // Whatever a run says, what does not fit is not enough.
    check(outcomes.clone(), "Hosting one manager", "20 GB is enough. The longest context that fits there is 8192");
    check(outcomes.clone(), "from NVMe", "24 GB is enough");
    check(outcomes, "from SATA", "None of these sizes");
}

fn storage(task: &str, way: Way, link: Link, first_ready_ms: u64, answered: u64) -> Outcome {
    let run = run(Question::Storage, "library and desk", task, way, (link, Disk::Nvme), Loss::None);
    Outcome { answered, first_ready_ms: Some(first_ready_ms), last_stored_ms: Some(1_000), ..run }
}

#[test]
fn a_swap_is_fed_from_whatever_is_quicker() {
    let local = storage(LOCAL, Way::Mixed, Link::Gbe1, 9_000, 1000);
    let fetched = |link, ms| storage(FETCHED, Way::Mixed, link, ms, 1000);
    let topic = "A swap of";
    // 4.5 s from the disk; fetched first, what both spend before is left out: 4.5 + (13.5 - 9.0) s is twice as much.
    check(vec![local.clone(), fetched(Link::Gbe10, 13_499)], topic, "Either will do");
    check(vec![local.clone(), fetched(Link::Gbe10, 13_500)], topic, "over every line fetching takes at least twice");
    let both = vec![local.clone(), fetched(Link::Gbe1, 100_000), fetched(Link::Gbe10, 13_000)];
    check(both, topic, "at least twice as long over 1 GbE to NVMe");
    check(vec![local.clone(), fetched(Link::Gbe1, 124_501)], topic, "outlasts a request's patience of 120 s");
    assert!(!said(vec![local, fetched(Link::Gbe1, 124_500)], topic).contains("outlasts"));
}

#[test]
fn filling_disks_is_lived_through_over_all_lines_some_or_none() {
    let with = |ends: [(u64, u64); 2]| {
        let each = [Link::Gbe1, Link::Gbe10].into_iter().zip(ends).map(|(link, (answered, p95))| {
            let run = storage(FILLING, Way::Mixed, link, 1, answered);
            Outcome { wait_ms: Waits { p95, ..run.wait_ms.clone() }, ..run }
        });
        each.collect::<Vec<_>>()
    };
    let topic = "Four new desks";
    check(with([(990, 60_000), (1000, 1)]), topic, "whatever the line");
    check(with([(990, 60_000), (1000, 1)]), topic, "need not wait");
    check(with([(990, 60_001), (1000, 1)]), topic, "need not wait until disks are filled over 10 GbE to NVMe");
    check(with([(989, 1), (1000, 60_001)]), topic, "Let the disks fill");
}

#[test]
fn disk_for_all_managers_is_worth_more_answers() {
    let with = |narrow| {
        vec![storage(ROOM, Way::Swapping, Link::Gbe1, 1, 1000), storage(NARROW, Way::Swapping, Link::Gbe1, 1, narrow)]
    };
    check(with(980), "Disk for all managers", "Worth it");
    check(with(981), "Disk for all managers", "Not needed");
}

#[test]
fn a_second_griffith_is_worth_answers_or_waits_or_neither() {
    let of = |machines: &str, loss, answered, p95| {
        let run = run(Question::Griffith, machines, SEVEN, Way::Mixed, (Link::Gbe10, Disk::Nvme), loss);
        Outcome { answered, wait_ms: Waits { p95, ..run.wait_ms }, ..run }
    };
    let with = |one: (u64, u64), two: (u64, u64)| {
        vec![
            of("one-griffith", Loss::None, 1000, one.1),
            of("2 griffiths", Loss::None, 1000, two.1),
            of("one-griffith", Loss::ForGood, one.0, 1),
            of("2 griffiths", Loss::ForGood, two.0, 1),
        ]
    };
    let topic = "A second Griffith";
    check(with((100, 10_000), (990, 7_500)), topic, "Worth it twice");
    check(with((100, 10_000), (990, 7_501)), topic, "as insurance");
    check(with((981, 10_000), (1000, 7_500)), topic, "shorter waits only");
    check(with((981, 10_000), (1000, 10_000)), topic, "Not worth it");
    // Half a pair says nothing.
    assert_eq!(study(vec![of("one-griffith", Loss::None, 1000, 1)]).advice(), Vec::new());
}
