//! `fednode doctor` on machines of which something is wrong, and on such where nothing is.

use fednode_tests::lan::{Lan, Machine};
use fednode_tests::until;
use serde_json::Value;

use crate::{LIMIT, two};

/// Exit code, and what was found of each check: its verdict by its name.
fn doctor(machine: &Machine) -> (i32, Value) {
    let output = machine.cli(&["doctor", "--json"]).expect("doctor");
    let report = output.json();
    assert_eq!(report["ok"] == true, output.code == 0, "{} {}", output.stdout, output.stderr);
    (output.code, report)
}

fn verdict(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == name).expect("a check of this name");
    let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
    assert!(text("verdict") != "blocked" || !text("remedy").is_empty(), "{check} has no remedy");
    (text("verdict"), text("found"))
}

#[test]
fn two_healthy_members_are_told_so() {
    let lan = Lan::new().expect("a network");
    let (one, two) = two(&lan);
    for machine in [&one, &two] {
        let (code, report) = doctor(machine);
        assert_eq!(code, 0, "{report:#}");
        for name in ["node", "port", "address", "multicast", "mdns", "isolation", "firewall", "clock", "members"] {
            assert_eq!(verdict(&report, name).0, "ok", "{report:#}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let lan = Lan::new().expect("a network");
    let (one, mut two) = two(&lan);
    two.stop().expect("stopped");
    let (code, report) = doctor(&two);
    assert_eq!((code, verdict(&report, "node").0.as_str()), (1, "blocked"));
    assert_eq!(verdict(&report, "clock").0, "unknown", "nobody was asked");

    // Its packets to `one` go nowhere, but those to all do: what Wi-Fi with isolated clients looks like.
    one.set_addresses(&["10.77.0.1/24"]).expect("addresses");
    two.set_addresses(&["10.77.0.2/24"]).expect("addresses");
    two.run("ip route add blackhole 10.77.0.1/32").expect("a route");
    two.start(&["up"]).expect("up again");
    until("the isolation being named", LIMIT, || {
        let (_, report) = doctor(&one);
        let (found, sentence) = verdict(&report, "isolation");
        if found == "blocked" { Ok(()) } else { Err(format!("{found}: {sentence}")) }
    })
    .expect("named");
    let (_, report) = doctor(&one);
    let (members, found) = verdict(&report, "member");
    assert!(members == "warning" && found.contains("two") && found.contains("10.77.0.2"), "{found}");
    assert_eq!(verdict(&report, "members").0, "blocked", "{report:#}");

    one.run("ip link set eth0 multicast off").expect("no multicast");
    assert_eq!(verdict(&doctor(&one).1, "multicast").0, "blocked");
    one.set_addresses(&[]).expect("no address");
    assert_eq!(verdict(&doctor(&one).1, "address").0, "blocked");
}
