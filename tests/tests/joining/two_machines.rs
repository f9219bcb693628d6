//! Two machines on one network, each with its own loopback and files: from `fednode invite` on the first to the first token
//! through the second, in two commands, with nothing brought over but the ticket.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fednode_tests::lan::{Lan, Machine, enter};
use fednode_tests::{Answer, Client, managers, until};

use crate::command::Running;

/// What the two commands may take.
const GOAL: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(60);
/// Where every node serves its API unless told otherwise; each machine has a loopback of its own.
const API: &str = "http://127.0.0.1:7717";

#[test]
fn from_an_invitation_to_the_first_token_through_the_second_machine() {
    if !namespaces_are_permitted() {
        println!("skipped: network namespaces need root, or `unshare -Ur`");
        return;
    }
    let lan = Lan::new().expect("a network");
    let (mut one, mut two) = (lan.machine("one").expect("a machine"), lan.machine("two").expect("a machine"));
    one.set_addresses(&["10.77.0.1/24"]).expect("addresses");
    two.set_addresses(&["10.77.0.2/24"]).expect("addresses");
    one.start(&["up", "--role", "full", "--memory", "1GB"]).expect("up");
    publish(&one, "UCM");

    let begin = Instant::now();
    let mut invite = Running::start(one.data_dir(), &["invite"]);
    let ticket = invite.ticket();
    two.start(&["join", &ticket]).expect("joined");
    let joined = begin.elapsed();
    let known = managers::first_answer("UCM").expect("a known answer");
    let (asked, answer) = until("an answer through the second machine", LIMIT, || {
        let asked = begin.elapsed();
        let answer = inside(&two, || Client::with_limit(API, LIMIT).chat(&known.model, &known.prompt));
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.is_complete() { Ok((asked, answer)) } else { Err(answer.summary()) }
    })
    .expect("answered");
    let took = asked + answer.first_text_after.expect("a streamed answer has a first text");
    println!("a member after {joined:.2?}, the first token through its API after {took:.2?}");

    check(&answer, &known.answer);
    assert!(took < GOAL, "{took:?}");
    let invite = invite.end();
    assert_eq!(invite.code, 0, "{}", invite.stderr);
    assert!(invite.stdout.contains("two joined as "), "{}", invite.stdout);
}

fn check(answer: &Answer, known: &str) {
    assert_eq!(answer.text, known);
    assert_eq!(answer.precision.as_deref(), Some("F16"));
    assert!(answer.node.as_deref().is_some_and(|node| node == "one" || node == "two"), "{:?}", answer.node);
}

/// Publishes a manager, and waits until it is ready.
fn publish(machine: &Machine, model: &str) {
    let file = managers::file(model);
    let output = machine.cli(&["publish", &file.to_string_lossy(), "--as", model]).expect("publish");
    assert_eq!(output.code, 0, "{}", output.stderr);
    until(&format!("{model} being ready"), LIMIT, || {
        let state = machine.state().map_err(|error| error.to_string())?;
        let slots = state["slots"].as_array().cloned().unwrap_or_default();
        let ready = slots.iter().any(|slot| slot["name"] == model && slot["state"] == "resident");
        if ready { Ok(()) } else { Err(state["slots"].to_string()) }
    })
    .expect("ready");
}

/// Does something as a program of that machine would: on its network.
fn inside<T: Send>(machine: &Machine, doing: impl FnOnce() -> T + Send) -> T {
    let namespace = machine.namespace();
    std::thread::scope(|scope| {
        // A thread of its own, which ends in that namespace.
        let thread = scope.spawn(|| {
            enter(&namespace).expect("a namespace can be entered");
            doing()
        });
        thread.join().expect("no panic")
    })
}

fn namespaces_are_permitted() -> bool {
    let probe =
        Command::new("unshare").args(["--net", "--mount", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}
