//! A coordinator that is stopped for longer than its lease lives, and goes on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fednode_tests::{Federation, NodeProcess, NodeSpec, until};
use serde_json::Value;

use crate::seconds;

/// Longer than a lease and the takeover. The issue asks for 90: FEDNODE_SLEEP_S=90.
const SLEEP_S: u64 = 25;
const LIMIT: Duration = Duration::from_secs(30);
/// What the issue asks for.
const REJOIN: Duration = Duration::from_secs(5);

fn coordinator(state: &Value) -> (String, u64) {
    let seat = &state["coordinator"];
    (seat["name"].as_str().unwrap_or_default().to_owned(), seat["epoch"].as_u64().unwrap_or(0))
}

fn wait_coordinator(node: &NodeProcess, name: &str) -> u64 {
    let what = format!("{} following {name}", node.name());
    let found = until(&what, LIMIT, || match node.state().map(|state| coordinator(&state)) {
        Ok((found, epoch)) if found == name => Ok(epoch),
        other => Err(format!("{other:?}")),
    });
    found.expect("a coordinator")
}

fn sees_alive(node: &NodeProcess, name: &str) -> bool {
    let state = node.state().expect("state");
    let members = state["members"].as_array().into_iter().flatten();
    members.filter(|member| member["name"] == name).any(|member| member["state"] == "alive")
}

/// The epochs of the plans that were offered to a node from this byte of its log on.
fn plans(node: &NodeProcess, from: usize) -> BTreeSet<u64> {
    let log = std::fs::read_to_string(node.log_path()).expect("a log");
    let log = &log[from..];
    let offered = log.lines().filter(|line| line.contains("PlanOffered"));
    let epoch = |line: &str| line.split("epoch: ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    offered.filter_map(epoch).collect()
}

#[test]
fn a_coordinator_that_was_stopped_rejoins_and_issues_nothing_under_its_old_epoch() {
    let mut federation = Federation::new().expect("a federation");
    let shelf = |name: &str| NodeSpec::full(name).memory("1MiB").flag("-v", "--no-mdns");
    federation.create(shelf("first")).expect("up");
    federation.join(shelf("second"), "first").expect("joined");
    federation.join(shelf("third"), "first").expect("joined");
    let old = wait_coordinator(federation.node("second"), "first");
    wait_coordinator(federation.node("third"), "first");
    let offered = || {
        plans(federation.node("third"), 0).contains(&old).then_some(()).ok_or_else(|| "no plan in its log".to_owned())
    };
    until("a plan of the old epoch", LIMIT, offered).expect("the log shows every plan that is offered");

    let first = federation.node("first");
    first.signal(rustix::process::Signal::STOP).expect("stopped");
    let stopped = Instant::now();
    let new = until("a takeover", LIMIT, || match coordinator(&federation.node("third").state().expect("state")) {
        (name, epoch) if name == "second" || name == "third" => Ok(epoch),
        other => Err(format!("{other:?}")),
    });
    let new = new.expect("a takeover");
    assert!(new > old, "epoch {new} after {old}");
    std::thread::sleep(seconds("FEDNODE_SLEEP_S", SLEEP_S).saturating_sub(stopped.elapsed()));
    assert!(!sees_alive(federation.node("second"), "first") && !sees_alive(federation.node("third"), "first"));
    let marks = ["second", "third"].map(|name| (name, log_bytes(federation.node(name))));

    first.signal(rustix::process::Signal::CONT).expect("continued");
    let continued = Instant::now();
    let mut back = None;
    let mut seats = BTreeSet::new();
    while continued.elapsed() < LIMIT / 2 {
        if let Ok(state) = first.state() {
            seats.insert(coordinator(&state));
        }
        let alive = ["second", "third"].iter().all(|name| sees_alive(federation.node(name), "first"));
        if alive && back.is_none() {
            back = Some(continued.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("stopped for {:?}; alive at both others after {back:?}; seats it saw: {seats:?}", continued - stopped);
    assert!(back.is_some_and(|took| took < REJOIN), "alive after {back:?}");
    assert!(sees_alive(federation.node("second"), "first") && sees_alive(federation.node("third"), "first"));
    assert!(!seats.contains(&("first".to_owned(), old)), "it sat under its old epoch: {seats:?}");
    for (name, from) in marks {
        let plans = plans(federation.node(name), from);
        assert!(plans.iter().all(|epoch| *epoch > old), "{name} was offered plans of epochs {plans:?}");
    }
    let now = wait_coordinator(first, &coordinator(&federation.node("second").state().expect("state")).0);
    assert!(now >= new, "one seat again, of epoch {now}");
}

fn log_bytes(node: &NodeProcess) -> usize {
    std::fs::read(node.log_path()).expect("a log").len()
}
