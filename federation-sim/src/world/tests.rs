//! Whole runs, short: the same seed is the same run, and nothing is violated.

use fednode::core::types::SlotName;

use super::*;
use crate::fuzz::random;
use crate::report::Report;
use crate::scenario;
use crate::schedule::Recorded;

fn play(name: &str, nodes: usize, simulated_s: u64, seed: u64, faults: bool) -> Report {
    let scenario = scenario::load(name).expect("named");
    World::new(Run::expand(&scenario, nodes, simulated_s, seed, faults)).play()
}

fn check_clean(name: &str, nodes: usize, simulated_s: u64, seed: u64, faults: bool) -> Report {
    let report = play(name, nodes, simulated_s, seed, faults);
    assert_eq!(report.violations, 0, "{report}");
    report
}

#[test]
fn the_same_seed_is_the_same_run_saved_or_not_and_another_is_not() {
    let scenario = scenario::load("household").expect("named");
    let run = |seed| Run::expand(&scenario, 3, 240, seed, true);
    let first = World::new(run(1)).play();
    let saved = toml::to_string(&run(1)).expect("plain data");
    assert_eq!(World::new(toml::from_str(&saved).expect("its own output")).play().trace_hash, first.trace_hash);
    assert_ne!(World::new(run(2)).play().trace_hash, first.trace_hash);
    let mut quarters = 0;
    assert_eq!(
        World::new(run(1)).play_watched(|percent| quarters += u64::from(percent % 25 == 0)).trace_hash,
        first.trace_hash
    );
    assert_eq!(quarters, 4);
}

#[test]
fn without_faults_people_are_answered() {
    let report = check_clean("griffith", 4, 600, 1, false);
    assert!(report.requests.ok > 0 && report.requests.failed == 0, "{report}");
}

#[test]
fn recorded_questions_are_asked_when_they_were_and_beside_sessions_that_are_drawn() {
    let scenario = scenario::load("griffith").expect("named");
    let recorded = |at_s: u64, tokens| Recorded {
        at_ms: at_s * 1000,
        node: 1,
        slot: scenario.slots[0].name,
        domain: None,
        prompt_tokens: 7,
        tokens,
    };
    let mut run = Run::expand(&scenario, 4, 600, 1, false);
    let drawn = World::new(run.clone()).play().requests.asked;
    run.questions = vec![recorded(200, 1), recorded(200, 5), recorded(599, 9), recorded(601, 1)];
    assert_eq!(run.check(), Ok(()));
    let report = World::new(run.clone()).play();
    assert_eq!(report.requests.asked, drawn + 3, "{report}");
    run.workload.sessions_per_node_hour = 0;
    let report =
        World::new(toml::from_str(&toml::to_string(&run).expect("plain data")).expect("its own output")).play();
    assert_eq!((report.requests.asked, report.requests.ok), (3, 3), "{report}");

    run.questions[1].at_ms = 0;
    assert!(run.check().is_err_and(|why| why.contains("stands after")));
    run.questions = vec![Recorded { node: 4, ..recorded(1, 1) }];
    assert!(run.check().is_err_and(|why| why.contains("machine 4 of 4")));
    run.questions = vec![Recorded { domain: SlotName::new("nobody").ok(), ..recorded(1, 1) }];
    assert!(run.check().is_err_and(|why| why.contains(":nobody")));
}

/// A load takes 14 s and its dwell as long; a request waits for two minutes at most.
#[test]
fn two_managers_that_share_one_machines_memory_have_turns() {
    let report = check_clean("turns", 4, 1800, 1, false);
    assert!(report.requests.ok > 100 && report.requests.failed == 0, "{report}");
    assert!(report.swaps > 3, "{report}");
}

#[test]
fn with_faults_nothing_is_violated() {
    for seed in [2, 3] {
        let report = check_clean("household", 4, 900, seed, true);
        assert!(report.faults > 0, "{report}");
    }
}

#[test]
fn random_runs_are_the_same_twice() {
    for index in 0..3 {
        let run = random::run(5, index);
        let (first, second) = (World::new(run.clone()).play(), World::new(run).play());
        assert_eq!(first.trace_hash, second.trace_hash, "{index}");
        assert_eq!((first.events, first.violations), (second.events, 0), "{first}");
    }
}
