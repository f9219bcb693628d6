//! Whole runs, short: the same seed is the same run, and nothing is violated.

use super::*;
use crate::report::Report;
use crate::scenario;

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
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let first = play("household", 4, 600, 1, true);
    assert_eq!(first.trace_hash, play("household", 4, 600, 1, true).trace_hash);
    assert_ne!(first.trace_hash, play("household", 4, 600, 2, true).trace_hash);
}

#[test]
fn without_faults_people_are_answered() {
    let report = check_clean("griffith", 4, 1200, 1, false);
    assert!(report.requests.ok > 0 && report.requests.failed == 0, "{report}");
}

#[test]
fn with_faults_nothing_is_violated() {
    for seed in 1..=3 {
        check_clean("household", 4, 1800, seed, true);
    }
}
