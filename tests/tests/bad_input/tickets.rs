//! Tickets that admit nobody: wrong, expired, used, and one that two machines use at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fednode_tests::{Error, Federation, NodeSpec, until};

use crate::command::{free_address, run, taken_port};
use crate::refusal::{Case, FAILED, Faults, REFUSED, WRONG_USE};
use crate::snapshot::Snapshot;

const READY: Duration = Duration::from_secs(20);

fn federation() -> Federation {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation
}

fn members(federation: &Federation) -> usize {
    let members = federation.node("north").command(&["members", "--json"]).expect("north lists its members").json();
    members["members"].as_array().expect("members is a list").len()
}

/// Joining with `ticket` from a fresh data directory is refused, twice; nothing is written and nobody becomes a member.
fn check(faults: &mut Faults, federation: &Federation, name: &str, ticket: &Path, (code, says): (i32, &[&str])) {
    let (count, fresh) = (members(federation), federation.folder().join("fresh"));
    let before = Snapshot::federation(federation);
    let [api, listen] = [free_address(), free_address()];
    let ticket = ticket.to_str().expect("paths of this test are UTF-8");
    let args = vec!["join", "--ticket-file", ticket, "--api", &api, "--listen", &listen, "--memory", "64GB"];
    faults.check(&Case { name, args, code, says }, &before, |args| run(&fresh, args));
    faults.expect(name, members(federation) == count, "there is another number of members");
    faults.expect(name, !fresh.exists(), "a refused join made its data directory");
}

fn write(federation: &Federation, name: &str, text: &str) -> PathBuf {
    let path = federation.folder().join(name);
    fs::write(&path, text).expect("a file is written");
    path
}

#[test]
fn a_wrong_ticket_is_refused() {
    let mut federation = federation();
    let good = federation.invite("north", "full").expect("north invites");
    let text = fs::read_to_string(&good).expect("a ticket file is text");
    let text = text.trim();
    // A digit in the middle, and one near the end, are replaced by another digit.
    let changed = |at: usize| {
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    };
    let wrong = [
        ("garbage", "garbage".to_owned()),
        ("empty", String::new()),
        ("prefix-only", "fednode1:".to_owned()),
        ("cut", text[..text.len() / 2].to_owned()),
        ("one-digit-missing", text[..text.len() - 1].to_owned()),
        ("digit-changed", changed(text.len() / 2)),
        ("late-digit-changed", changed(text.len() - 12)),
        ("not-hex", text.replace('0', "z")),
        ("long", format!("{text}{}", "0".repeat(1 << 20))),
    ];
    let mut faults = Faults::default();
    for (name, text) in &wrong {
        let code = if text.is_empty() { WRONG_USE } else { REFUSED };
        let path = write(&federation, name, text);
        check(&mut faults, &federation, name, &path, (code, &["ticket|right file", "invite|copy|right file"]));
    }
    let absent = federation.folder().join("absent");
    check(&mut faults, &federation, "no file", &absent, (FAILED, &["absent", "no such file|not found"]));
    faults.none();
    federation.add(NodeSpec::delegate("laptop")).expect("a free port").join(&good).expect("the right ticket admits");
}

#[test]
fn a_ticket_of_a_federation_that_has_gone_is_refused() {
    let address = free_address();
    let port = address.rsplit(':').next().expect("an address has a port");
    let mut gone = Federation::new().expect("a temporary directory and a binary");
    let spec = NodeSpec::full("north").memory("64GB").flag("--listen", &address);
    gone.create(spec.clone()).expect("the first federation starts");
    let ticket = gone.invite("north", "full").expect("it invites");
    let ticket = fs::read_to_string(ticket).expect("a ticket file is text");
    gone.node_mut("north").stop().expect("it stops");

    // Another federation answers at the same address.
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(spec).expect("the second federation starts");
    let mut faults = Faults::default();
    let path = write(&federation, "other-federation", &ticket);
    check(&mut faults, &federation, "of another federation", &path, (FAILED, &[port, "reach|another|other"]));
    federation.node_mut("north").stop().expect("it stops");
    let (fresh, before) = (federation.folder().join("fresh"), Snapshot::federation(&federation));
    let [api, listen] = [free_address(), free_address()];
    let path = path.to_str().expect("paths of this test are UTF-8");
    let args = vec!["join", "--ticket-file", path, "--api", &api, "--listen", &listen];
    let case = Case { name: "nobody there", args, code: FAILED, says: &[port, "reach"] };
    faults.check(&case, &before, |args| run(&fresh, args));
    faults.none();
}

#[test]
fn an_expired_ticket_is_refused() {
    let federation = federation();
    let ticket = federation.folder().join("short");
    let path = ticket.to_str().expect("paths of this test are UTF-8");
    let north = federation.node("north");
    north.command(&["invite", "--ttl", "1s", "--ticket-file", path]).expect("north invites for a second");
    std::thread::sleep(Duration::from_millis(2100));
    let mut faults = Faults::default();
    check(&mut faults, &federation, "expired", &ticket, (REFUSED, &["ticket", "expired", "invite"]));
    faults.none();
}

#[test]
fn a_used_ticket_is_refused_also_after_a_restart() {
    let mut federation = federation();
    let ticket = federation.invite("north", "full").expect("north invites");
    let laptop = federation.add(NodeSpec::delegate("laptop")).expect("a free port");
    laptop.join(&ticket).expect("the first use admits");
    let mut faults = Faults::default();
    let says: &[&str] = &["ticket", "used", "invite"];
    check(&mut faults, &federation, "used", &ticket, (REFUSED, says));
    federation.invite("north", "full").expect("north invites somebody else");
    check(&mut faults, &federation, "used while another is open", &ticket, (REFUSED, says));
    federation.node_mut("north").kill9();
    federation.node_mut("north").up().expect("north starts again");
    check(&mut faults, &federation, "used before a restart", &ticket, (REFUSED, says));
    faults.expect("at the end", members(&federation) == 2, "there are not two members");
    faults.none();
}

#[test]
fn a_refused_start_does_not_use_up_the_ticket() {
    let mut federation = federation();
    let ticket = federation.invite("north", "full").expect("north invites");
    let text = ticket.to_str().expect("paths of this test are UTF-8");
    let ((_held, taken), free) = (taken_port(), free_address());
    let fresh = federation.folder().join("fresh");
    let mut faults = Faults::default();
    for (name, api, listen) in [("--api", &taken, &free), ("--listen", &free, &taken)] {
        let before = Snapshot::federation(&federation);
        let args = vec!["join", "--ticket-file", text, "--api", api, "--listen", listen];
        let case = Case { name, args, code: REFUSED, says: &[&taken, "in use", name] };
        faults.check(&case, &before, |args| run(&fresh, args));
    }
    faults.expect("refused starts", members(&federation) == 1, "somebody was admitted");
    faults.none();
    federation.add(NodeSpec::delegate("laptop")).expect("a free port").join(&ticket).expect("the ticket still admits");
}

#[test]
fn a_ticket_that_two_machines_use_at_once_admits_exactly_one() {
    let mut federation = federation();
    let ticket = federation.invite("north", "full").expect("north invites");
    let ticket = ticket.to_str().expect("paths of this test are UTF-8").to_owned();
    let racers = ["east", "west"];
    for name in racers {
        federation.add(NodeSpec::delegate(name)).expect("a free port");
    }
    for name in racers {
        federation.node_mut(name).spawn(&["join", "--ticket-file", &ticket]).expect("it starts");
    }
    let results = racers.map(|name| federation.node_mut(name).wait_ready(READY));
    let [winner, loser] = match results.iter().map(Result::is_ok).collect::<Vec<_>>()[..] {
        [true, false] => [0, 1],
        [false, true] => [1, 0],
        _ => panic!("not exactly one racer joined: {results:?}"),
    };
    let Err(Error::Ended { status, log, .. }) = &results[loser] else { panic!("the loser hangs: {results:?}") };
    assert!(status.contains(": 3"), "the loser ended with {status}: {log}");
    // How far the winner had come decides the words; the tests of used tickets look at them.
    let says = log.contains("ticket") || log.contains("invitation");
    assert!(says && log.lines().count() == 1, "the loser says no one sentence about it: {log}");
    assert!(!federation.node(racers[loser]).data_dir().exists(), "the loser has a data directory");
    until("two members", READY, || match members(&federation) {
        2 => Ok(()),
        count => Err(format!("{count} members")),
    })
    .expect("north counts one member more");
    let list = federation.node("north").command(&["members"]).expect("north lists its members").stdout;
    assert!(list.contains(racers[winner]) && !list.contains(racers[loser]), "{list}");
}
