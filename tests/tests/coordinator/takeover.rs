//! kill -9 of the coordinator: another node plans soon, and whoever asks a manager that was not on the killed process notices
//! nothing.

use std::time::{Duration, Instant};

use fednode_tests::{Federation, until};

use crate::asking::{Asking, Door, faults};
use crate::{LIMIT, NAMES, held_by, number, plan, seat, settled, three};

/// What the issue asks for.
const PLANNED: Duration = Duration::from_secs(8);

#[test]
fn after_the_coordinators_death_another_one_plans_and_no_answer_elsewhere_fails() {
    let mut federation = three(None);
    // The figures are those of five: FEDNODE_TAKEOVERS=5.
    let runs = number("FEDNODE_TAKEOVERS", 1);
    let mut took: Vec<Duration> = Vec::new();
    for run in 0..runs {
        if run > 0 {
            let dead = NAMES.into_iter().find(|name| !federation.node(name).is_running()).expect("one was killed");
            federation.node_mut(dead).up().expect("up again");
            settled(&federation);
        }
        took.push(takeover(&mut federation));
    }
    took.sort();
    let (p50, max) = (took[took.len() / 2], took[took.len() - 1]);
    println!("the first plan after the coordinator's death: p50 {p50:?}, max {max:?} of {runs}");
    assert!(max < PLANNED, "{took:?}");
}

/// Kills the coordinator; how long it took until both others followed a plan of a new one.
fn takeover(federation: &mut Federation) -> Duration {
    let state = federation.node(NAMES[0]).state().expect("state");
    let (old, epoch) = seat(&state);
    let left: Vec<&str> = NAMES.into_iter().filter(|name| *name != old).collect();
    let mut resident: Vec<&'static str> = left.iter().flat_map(|name| held_by(&state, name)).collect();
    resident.sort_unstable();
    resident.dedup();
    let doors: Vec<_> = left.iter().map(|name| (Door::of(federation, name), resident.clone())).collect();

    let asking = Asking::begin(&doors, 2);
    std::thread::sleep(Duration::from_millis(500));
    federation.node_mut(&old).kill9();
    let killed = Instant::now();
    let took = until("a plan of another coordinator", LIMIT, || {
        let states: Vec<_> = left.iter().filter_map(|name| federation.node(name).state().ok()).collect();
        let seen: Vec<_> = states.iter().map(|state| (seat(state), plan(state))).collect();
        let new =
            |seen: &((String, u64), (u64, u64, String))| seen.0.0 != old && seen.0.1 > epoch && seen.1.0 == seen.0.1;
        if seen.len() == left.len() && seen.iter().all(new) { Ok(killed.elapsed()) } else { Err(format!("{seen:?}")) }
    })
    .expect("a takeover");
    // What was on the killed process is loaded elsewhere meanwhile.
    settled(federation);
    let asked = asking.end();
    println!("{old} was killed: a new plan after {took:?}, carried out after {:?}", killed.elapsed());
    println!("  {} answers of {resident:?} through {left:?}", asked.len());
    let during = asked.iter().filter(|asked| asked.begun > killed && asked.begun < killed + took).count();
    assert!(during > 10, "only {during} questions before the new plan");
    assert_eq!(faults(&asked, &old), Vec::<String>::new());
    for (door, _) in &doors {
        let faults: Vec<String> =
            fednode_tests::managers::SLOTS.iter().filter_map(|slot| door.ask(slot).fault()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }
    took
}
