//! Holders that end without a word: one whose process is killed is out of every route at once; one that falls silent is found
//! out by pings. Whoever asks is answered by another replica.

use std::time::{Duration, Instant};

use fednode_tests::{Federation, managers, until};
use rustix::process::Signal;

use crate::asking::{Asked, Asking, Door, faults, longest};
use crate::{LIMIT, NAMES, held_by, seat, three};

/// What the issue asks for.
const OUT: Duration = Duration::from_secs(3);
/// A ping period, the wait for its pong, and a look at the clock: who is stopped or cut off may come back at any moment.
const OUT_SILENT: Duration = Duration::from_secs(18);

/// A replica of every manager on two of the three machines.
const TWO_OF_EACH: &str = "\
name = \"two of each\"
slot = [
    { name = \"UFM\", replicas = 2 }, { name = \"UCM\", replicas = 2 }, { name = \"URM\", replicas = 2 },
    { name = \"ULM\", replicas = 2 }, { name = \"UIM\", replicas = 2 }, { name = \"UAM\", replicas = 2 },
    { name = \"UDM\", replicas = 2 },
]
";

#[test]
fn a_killed_holder_is_out_of_every_route_within_three_seconds() {
    let mut federation = three(Some(TWO_OF_EACH));
    let (holder, others) = holder(&federation);
    let asking = ask_through(&federation, &others);
    std::thread::sleep(Duration::from_secs(1));
    federation.node_mut(holder).kill9();
    let killed = Instant::now();
    let took = until_out(&federation, holder, &others, killed);
    std::thread::sleep(OUT.saturating_sub(killed.elapsed()));
    let before = retried(&federation, &others);
    std::thread::sleep(OUT);
    let after = retried(&federation, &others);
    let asked = asking.end();
    report("killed", holder, took, &asked, killed);
    assert!(took < OUT, "{took:?}");
    assert_eq!(before, after, "after that no question is tried anywhere in vain");
    let late = asked.iter().filter(|asked| asked.begun > killed + OUT);
    assert!(late.clone().count() > 10 && late.clone().all(|asked| asked.by() != Some(holder)));
    assert_eq!(faults(&asked, holder), Vec::<String>::new());
}

#[test]
fn a_stopped_holder_is_found_out_by_pings_and_questions_go_elsewhere_before() {
    let federation = three(Some(TWO_OF_EACH));
    let (holder, others) = holder(&federation);
    let asking = ask_through(&federation, &others[..1]);
    std::thread::sleep(Duration::from_secs(1));
    federation.node(holder).signal(Signal::STOP).expect("stopped");
    let stopped = Instant::now();
    // Through the other nobody has asked yet, so that it has nothing to go by but silence: 2.5 s of it, on a busy machine.
    std::thread::sleep(OUT + Duration::from_secs(1));
    let late = ask_through(&federation, &others[1..]);
    let took = until_out(&federation, holder, &others, stopped);
    std::thread::sleep(Duration::from_secs(1));
    let (asked, late) = (asking.end(), late.end());
    federation.node(holder).signal(Signal::CONT).expect("continued");
    report("stopped", holder, took, &asked, stopped);
    println!("  {} more were asked later, {:?} at the longest", late.len(), longest(&late));
    assert!(took < OUT_SILENT, "{took:?}");
    assert_eq!(faults(&asked, holder), Vec::<String>::new());
    assert_eq!(late.iter().filter_map(Asked::fault).collect::<Vec<_>>(), Vec::<String>::new());
    assert!(late.len() > 10 && longest(&late) < OUT, "what is asked later waits for nobody: {:?}", longest(&late));
}

/// A node that holds managers and does not coordinate; the other two.
fn holder(federation: &Federation) -> (&'static str, Vec<&'static str>) {
    let state = federation.node(NAMES[0]).state().expect("state");
    let coordinator = seat(&state).0;
    let fits = |name: &&str| *name != coordinator && !held_by(&state, name).is_empty();
    let holder = NAMES.into_iter().find(fits).expect("a holder");
    (holder, NAMES.into_iter().filter(|name| *name != holder).collect())
}

/// Several at once, so that all replicas of a manager are asked.
fn ask_through(federation: &Federation, names: &[&str]) -> Asking {
    let doors: Vec<_> = names.iter().map(|name| (Door::of(federation, name), managers::SLOTS.to_vec())).collect();
    Asking::begin(&doors, 4)
}

/// Until nobody counts on a replica of `holder` any more.
fn until_out(federation: &Federation, holder: &str, others: &[&str], since: Instant) -> Duration {
    until(&format!("{holder} leaving every route"), LIMIT, || {
        let mut left = Vec::new();
        for name in others {
            let state = federation.node(name).state().map_err(|error| error.to_string())?;
            left.extend(held_by(&state, holder).iter().map(|slot| format!("{slot} at {name}")));
        }
        if left.is_empty() { Ok(since.elapsed()) } else { Err(left.join(", ")) }
    })
    .expect("it is noticed")
}

/// How often these nodes tried a question again.
fn retried(federation: &Federation, names: &[&str]) -> Vec<u64> {
    let state = |name: &&str| federation.node(name).state().expect("state");
    names.iter().map(|name| state(name)["requests"]["retried"].as_u64().unwrap_or(0)).collect()
}

fn report(how: &str, holder: &str, took: Duration, asked: &[Asked], since: Instant) {
    let (before, after): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.begun < since);
    let its = before.iter().filter(|asked| asked.by() == Some(holder)).count();
    println!("{holder} was {how}: out of every route after {took:?}");
    println!(
        "  {its} of {} answers were its before, {} answers came after, {:?} at the longest",
        before.len(),
        after.len(),
        longest(asked)
    );
    assert!(its > 0, "it was never asked");
}
