//! Proof of the checkers: each bug that `core::seeded` knows is found within a thousand seeds of random short runs, and the
//! same runs find nothing where no bug was seeded. Built with the feature `seeded-bugs` only:
//! `cargo test --profile sim -p federation-sim --features seeded-bugs --test seeded_bugs -- --nocapture`.

use federation_sim::checkers::Violation;
use federation_sim::fuzz::{judge, random, shrink};
use fednode::core::seeded::{Bug, seed};

/// The seed of all runs here.
const SEED: u64 = 42;
const SEEDS_MAX: u64 = 1_000;

/// The first run in which anything is violated.
fn first_found(bug: Bug) -> Option<(u64, Violation)> {
    seed(Some(bug));
    let found = (0..SEEDS_MAX).find_map(|index| {
        let verdict = judge(&random::run(SEED, index));
        Some((index, verdict.violations.into_iter().next()?))
    });
    seed(None);
    match &found {
        Some((index, violation)) => {
            println!("{bug:?}: {} after {} seeds: {}", violation.checker, index + 1, violation.what);
        }
        None => println!("{bug:?}: not found within {SEEDS_MAX} seeds"),
    }
    found
}

/// Which checkers may find a bug: the one that is for it, or those that see its consequences first.
fn meant(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::IgnoresEpochs => &["epochs", "plans"],
        Bug::SitsBeforeDurable => &["epochs"],
        Bug::NeverRenewsLease => &["lease"],
        Bug::SameRevision | Bug::SilentShortfall | Bug::OverfillsDomains => &["plans"],
        Bug::DeliversOnce => &["liveness"],
        Bug::ForgetsLoads => &["memory"],
        Bug::EvictsPinned => &["pinned"],
        Bug::EvictsUnderRequests => &["order"],
        Bug::CountsCorrupt => &["order"],
        Bug::NeverStrikes => &["strikes"],
        Bug::AsksWithoutBound => &["queues"],
        Bug::EndsTwice => &["order", "requests"],
        Bug::ForgetsRequest | Bug::DispatchesTwice => &["requests"],
        Bug::StaysDue => &["progress"],
        Bug::DropsLastCopy => &["copies"],
        Bug::DeletesWithoutPromise | Bug::ForgetsPromises => &["copies"],
        Bug::SkipsHashes => &["verified"],
    }
}

/// Two threads share the bugs: a bug is seeded for one thread.
#[test]
fn every_seeded_bug_is_found_within_a_thousand_seeds_and_nothing_without_one() {
    let (even, odd) = std::thread::scope(|scope| {
        let half = |half: usize| {
            move || {
                let bugs = Bug::ALL.into_iter().skip(half).step_by(2);
                bugs.map(|bug| (bug, first_found(bug))).collect::<Vec<_>>()
            }
        };
        let (even, odd) = (scope.spawn(half(0)), scope.spawn(half(1)));
        (even.join().expect("violations are no panics"), odd.join().expect("violations are no panics"))
    });
    let mut most = 0;
    for (bug, found) in even.into_iter().chain(odd) {
        let (index, violation) = found.unwrap_or_else(|| panic!("{bug:?} was not found within {SEEDS_MAX} seeds"));
        assert!(meant(bug).contains(&violation.checker), "{bug:?} was found by {}", violation.checker);
        most = most.max(index);
    }
    let most = most.max(99);
    for index in 0..=most {
        let verdict = judge(&random::run(SEED, index));
        assert_eq!(verdict.violations, [], "run {index} without a bug");
    }
    println!("without a bug: nothing in {} seeds", most + 1);
}

#[test]
fn what_is_left_of_a_run_still_fails_and_is_smaller() {
    let (index, violation) = first_found(Bug::NeverStrikes).expect("a liar among a thousand runs");
    let run = random::run(SEED, index);
    seed(Some(Bug::NeverStrikes));
    let small = shrink::shrink(&run, violation.checker, |_| {});
    let verdict = judge(&small);
    let again = shrink::shrink(&run, violation.checker, |_| {});
    seed(None);
    assert!(verdict.has(violation.checker), "{:?}", verdict.violations);
    assert_eq!(again, small);
    println!("{} became {}", shrink::size(&run), shrink::size(&small));
    let sizes = |run: &federation_sim::schedule::Run| (run.faults.len(), run.machines.len(), run.simulated_s);
    let (before, after) = (sizes(&run), sizes(&small));
    assert!(after.0 < before.0 && after.1 <= before.1 && after.2 <= before.2, "{before:?} {after:?}");
    assert!(judge(&small).violations.is_empty(), "without the bug it passes");
}
