//! `fednode invite`: what it prints, what it waits for, how it ends.

use fednode_tests::{Federation, NodeSpec};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::Running;

fn federation() -> Federation {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation
}

fn invite(federation: &Federation, args: &[&str]) -> Running {
    Running::start(federation.node("north").data_dir(), &[&["invite"], args].concat())
}

fn peer_id(federation: &Federation, name: &str) -> String {
    let state = federation.node(name).state().expect("its state");
    state["node"]["peer_id"].as_str().expect("a peer id").to_owned()
}

#[test]
fn it_waits_and_says_who_joined() {
    let mut federation = federation();
    let mut waiting = invite(&federation, &["--role", "delegate"]);
    let ticket = waiting.ticket();
    let laptop = federation.add(NodeSpec::delegate("laptop")).expect("a free port");
    laptop.start(&["join", &ticket]).expect("the ticket admits");
    let log = std::fs::read_to_string(laptop.log_path()).expect("its log");
    assert!(log.contains("joined: this machine is laptop (delegate), let in by north"), "{log}");
    let output = waiting.end();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let expect = format!("laptop joined as delegate; its peer id is {}\n", peer_id(&federation, "laptop"));
    assert_eq!(output.stdout.trim_start(), expect);
    let says = |text: &str| output.stderr.lines().any(|line| line.starts_with(text));
    assert!(says("waiting for a machine to join; 1"), "{}", output.stderr);
    assert!(says("note: this node can be reached from this machine alone"), "{}", output.stderr);
}

#[test]
fn scripts_get_one_line_at_once_and_another_when_somebody_joined() {
    let mut federation = federation();
    let at_once = federation.node("north").command(&["invite", "--json"]).expect("it returns");
    assert_eq!(at_once.stdout.lines().count(), 1, "{}", at_once.stdout);
    assert!(at_once.json()["ticket"].as_str().is_some_and(|ticket| ticket.starts_with("fednode1:")));

    let mut waiting = invite(&federation, &["--json", "--wait"]);
    let document: Value = waiting.line(|line| serde_json::from_str(line).ok());
    let ticket = document["ticket"].as_str().expect("a ticket").to_owned();
    federation.add(NodeSpec::delegate("laptop")).expect("a free port").start(&["join", &ticket]).expect("joined");
    let output = waiting.end();
    let joined = &output.json()["joined"];
    assert_eq!((output.code, output.stdout.lines().count()), (0, 1), "{output:?}");
    assert_eq!((&joined["name"], &joined["role"]), (&"laptop".into(), &"delegate".into()));
    assert_eq!(joined["peer_id"], peer_id(&federation, "laptop").as_str());
}

#[test]
fn it_ends_with_3_when_the_ticket_expires_unused() {
    let federation = federation();
    let mut waiting = invite(&federation, &["--ttl", "1s"]);
    waiting.ticket();
    let output = waiting.end();
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stderr.contains("refused: the ticket expired before anybody used it"), "{}", output.stderr);
    let output = invite(&federation, &["--ttl", "1s", "--json", "--wait"]).end();
    let last = output.stdout.split_once('\n').expect("two documents").1;
    let last: Value = serde_json::from_str(last).expect("an error as JSON");
    assert_eq!((output.code, &last["error"]["code"]), (3, &"expired".into()), "{last}");
}

#[test]
fn ctrl_c_stops_waiting_and_not_the_ticket() {
    let mut federation = federation();
    let mut waiting = invite(&federation, &[]);
    let ticket = waiting.ticket();
    let pid = i32::try_from(waiting.pid()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::INT).expect("a signal is sent");
    let output = waiting.end();
    assert_eq!(output.code, 130, "{output:?}");
    assert!(output.stderr.contains("the ticket can still be used for 1"), "{}", output.stderr);
    federation.add(NodeSpec::delegate("laptop")).expect("a free port").start(&["join", &ticket]).expect("joined");
}

#[test]
fn a_ticket_can_be_taken_back() {
    let mut federation = federation();
    let mut waiting = invite(&federation, &[]);
    let ticket = waiting.ticket();
    let north = federation.node("north");
    let id =
        north.command(&["invite", "--json"]).expect("another ticket").json()["id"].as_str().expect("an id").to_owned();
    let output = north.command(&["invite", "--revoke", &id, "--json"]).expect("it is taken back");
    assert_eq!(output.json()["withdrawn"], 1);
    assert_eq!(north.cli(&["invite", "--revoke", &id]).expect("it ends").code, 3, "it is not open any more");
    let output = north.command(&["invite", "--revoke"]).expect("all are taken back");
    assert_eq!(output.stdout, "one ticket was taken back\n");
    let output = waiting.end();
    assert_eq!(output.code, 3);
    assert!(output.stderr.contains("was taken back before anybody used it"), "{}", output.stderr);
    let laptop = federation.add(NodeSpec::delegate("laptop")).expect("a free port");
    let refused = laptop.start(&["join", &ticket]).expect_err("nobody is let in").to_string();
    assert!(refused.contains("withdrawn"), "{refused}");
}

#[test]
fn a_qr_code_is_drawn_where_it_is_asked_for() {
    let federation = federation();
    let north = federation.node("north");
    let plain = north.command(&["invite", "--no-wait"]).expect("it returns").stdout;
    assert!(!plain.contains('█'), "nobody can scan a pipe");
    let drawn = north.command(&["invite", "--no-wait", "--qr"]).expect("it returns").stdout;
    let widths: Vec<usize> = drawn
        .lines()
        .filter(|line| line.contains('█'))
        .map(|line| line.matches(['█', '▀', '▄', ' ']).count())
        .collect();
    assert!(widths.len() > 20 && widths.windows(2).all(|pair| pair[0] == pair[1]), "{drawn}");
    assert!(drawn.contains("\n  fednode join fednode1:"), "the command is printed too");
    assert_eq!(north.cli(&["invite", "--qr", "--json"]).expect("it ends").code, 2);
}
