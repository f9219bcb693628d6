//! Two members that cannot reach each other meet through a third that relays, when all three want it.

use fednode_tests::lan::{Lan, Machine};
use fednode_tests::until;
use serde_json::Value;

use crate::{LIMIT, invite};

/// What `who` knows of reaching `other`.
fn reach(who: &Machine, other: &str) -> Value {
    let report = who.cli(&["doctor", "--json"]).expect("doctor").json();
    let members = report["node"]["members"].as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member["name"] == other).unwrap_or_default()
}

fn machine(lan: &Lan, name: &str, address: &str) -> Machine {
    let machine = lan.machine(name).expect("a machine");
    machine.set_addresses(&[address]).expect("an address");
    machine
}

#[test]
fn members_that_cannot_reach_each_other_meet_through_one_that_relays() {
    let lan = Lan::new().expect("a network");
    let mut hub = machine(&lan, "hub", "10.77.0.1/24");
    let (mut left, mut right) = (machine(&lan, "left", "10.77.0.2/24"), machine(&lan, "right", "10.77.0.3/24"));
    left.run("ip route add blackhole 10.77.0.3/32").expect("a route");
    right.run("ip route add blackhole 10.77.0.2/32").expect("a route");
    let small = ["--role", "full", "--memory", "1MiB"];
    hub.start(&[&["up", "--relay-server"], &small[..]].concat()).expect("up");
    for machine in [&mut left, &mut right] {
        let ticket = invite(&hub);
        machine
            .start(&[&["join", "--ticket-file", ticket.as_str(), "--no-mdns"], &small[..]].concat())
            .expect("joined");
    }
    // It is opt-in: there is no way yet, though gossip through the hub makes each known to the other.
    let heard = until("one hearing of the other", LIMIT, || match reach(&left, "right") {
        Value::Null => Err("unknown".to_owned()),
        right => Ok(right),
    });
    assert_eq!(heard.expect("known")["reach"]["connected"], false);

    for machine in [&mut left, &mut right] {
        machine.stop().expect("stopped");
        machine.start(&["up", "--wan", "--no-mdns"]).expect("up again");
    }
    for (who, other) in [(&left, "right"), (&right, "left")] {
        until("a relayed connection that carries calls", LIMIT, || {
            let other = reach(who, other);
            let calls = other["reach"]["connected"] == true && other["clock_ahead_ms"].is_i64();
            if calls { Ok(()) } else { Err(format!("{other:#}")) }
        })
        .expect("connected");
    }
    let relayed =
        |log: String| log.lines().any(|line| line.contains("member connected") && line.contains("p2p-circuit"));
    assert!(relayed(left.log()) || relayed(right.log()), "by a circuit");
}
