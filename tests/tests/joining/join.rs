//! `fednode join`: where the ticket may stand, and machines that are members already.

use std::fs;
use std::time::Duration;

use fednode_tests::{Error, Federation, NodeSpec, until};

use crate::command::Running;

const LIMIT: Duration = Duration::from_secs(20);

fn federation() -> Federation {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation
}

fn ticket(federation: &Federation) -> String {
    let invited = federation.node("north").command(&["invite", "--json"]).expect("north invites");
    invited.json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn members(federation: &Federation) -> usize {
    let members = federation.node("north").command(&["members", "--json"]).expect("north lists its members").json();
    members["members"].as_array().expect("members is a list").len()
}

/// Joins as a new machine until the admin socket answers, and ends.
fn joins(federation: &Federation, name: &str, args: &[&str], environment: &[(&str, &str)], input: &str) {
    let data_dir = federation.folder().join(name);
    let mut line = vec!["join"];
    line.extend(args);
    line.extend(["--name", name, "--role", "delegate", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
    let _node = Running::start_with(&data_dir, &line, environment, input);
    let listed = || {
        let list = federation.node("north").command(&["members"]).map_err(|error| error.to_string())?.stdout;
        if list.contains(name) { Ok(()) } else { Err(list) }
    };
    until(&format!("{name} joining"), LIMIT, listed).expect("joined");
}

#[test]
fn a_ticket_may_come_from_the_command_line_a_file_standard_input_or_the_environment() {
    let federation = federation();
    joins(&federation, "by-argument", &[&ticket(&federation)], &[], "");
    let file = federation.folder().join("ticket");
    // As mail and terminals leave it: in lines, with white space around.
    let text = ticket(&federation);
    let (first, second) = text.split_at(text.len() / 2);
    fs::write(&file, format!("\n  {first}\r\n  {second}\n")).expect("a file is written");
    // What the command line says outweighs the environment.
    joins(&federation, "by-file", &["--ticket-file", file.to_str().expect("UTF-8")], &[("FEDNODE_TICKET", "old")], "");
    joins(&federation, "by-input", &["-"], &[], &format!("{}\n", ticket(&federation)));
    joins(&federation, "by-variable", &[], &[("FEDNODE_TICKET", &ticket(&federation))], "");
    joins(&federation, "by-picture", &[&ticket(&federation).to_uppercase()], &[], "");
    assert_eq!(members(&federation), 6);
}

#[test]
fn a_member_of_this_federation_runs_and_does_not_use_the_ticket_up() {
    let mut federation = federation();
    let first = ticket(&federation);
    let laptop = federation.add(NodeSpec::delegate("laptop")).expect("a free port");
    laptop.start(&["join", &first]).expect("joined");
    laptop.stop().expect("it stops");
    // The used ticket, as in a service that always starts with the same line; and a new one.
    let second = ticket(&federation);
    for again in [&first, &second] {
        let laptop = federation.node_mut("laptop");
        laptop.start(&["join", again]).expect("it runs");
        let log = fs::read_to_string(laptop.log_path()).expect("a log");
        assert!(log.contains("a member of this federation already, as laptop (delegate)"), "{log}");
        laptop.stop().expect("it stops");
    }
    assert_eq!(members(&federation), 2);
    federation.add(NodeSpec::delegate("tablet")).expect("a free port").start(&["join", &second]).expect("still good");
}

#[test]
fn an_inviter_that_is_away_is_named_with_every_address_that_was_tried() {
    let mut federation = federation();
    let ticket = ticket(&federation);
    let state = federation.node("north").state().expect("its state");
    federation.node_mut("north").stop().expect("it stops");
    let laptop = federation.add(NodeSpec::delegate("laptop")).expect("a free port");
    let Err(Error::Ended { status, log, .. }) = laptop.start(&["join", &ticket]) else {
        panic!("nobody is there to join")
    };
    assert!(status.contains(": 1"), "{status}");
    for address in state["node"]["addresses"].as_array().into_iter().flatten().filter_map(|address| address.as_str()) {
        assert!(log.contains(&format!("{address} (refused)")), "{address} is not in: {log}");
    }
    assert!(log.contains("/tcp/") && log.contains("is its node running"), "{log}");
    assert!(!laptop.data_dir().exists(), "nothing is left behind");
}
