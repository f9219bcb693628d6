//! A node that is told to stop finishes what it is answering and begins nothing new; told twice, it ends at once.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use fednode_tests::model::{Model, publish};
use fednode_tests::{Answer, Error, Federation, NodeProcess, NodeSpec, Question, until};
use rustix::process::Signal;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
/// Seconds of computing for a model of this shape: long enough to do something meanwhile.
const TOKENS: u32 = 1500;

/// A node with a manager of random weights that takes its time.
fn slow() -> Federation {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("desk").memory("1GiB")).expect("up");
    let node = federation.node("desk");
    let model = Model::make(node, federation.folder().join("slow.gguf"), 4, 512, 1024).expect("a model");
    publish(node, &model.path, "UFM").expect("published");
    federation.wait_answered("desk", "UFM", LIMIT).expect("an answer");
    federation
}

/// Asks for a long answer, and returns once it has begun.
fn begun(node: &NodeProcess) -> JoinHandle<Result<Answer, Error>> {
    let question = Question::new("UFM", "Go on.").with("max_tokens", json!(TOKENS)).with("temperature", json!(0));
    let client = node.client().clone();
    let (tell, began) = mpsc::channel();
    let asking = std::thread::spawn(move || {
        client.ask_with(&question, |_| {
            // Only the first one is waited for.
            let _heard = tell.send(());
        })
    });
    began.recv_timeout(LIMIT).expect("its first token");
    asking
}

fn ended(federation: &mut Federation) {
    let node = federation.node_mut("desk");
    let ended = until("the end of the node", LIMIT, || match node.check_running() {
        Err(Error::Ended { status, .. }) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    let status = ended.expect("it ends");
    assert!(status.contains("exit status: 0"), "{status}");
}

#[test]
fn what_is_being_answered_is_finished_and_nothing_new_begins() {
    let mut federation = slow();
    let asking = begun(federation.node("desk"));
    federation.node("desk").signal(Signal::TERM).expect("told");
    let other = federation.node("desk").client().chat("UFM", "Hello.");
    assert!(other.as_ref().map_or(true, |answer| answer.status == 503), "{other:?}");
    let answer = asking.join().expect("a thread").expect("an answer");
    assert!(answer.is_complete(), "{}", answer.summary());
    ended(&mut federation);
}

#[test]
fn told_twice_it_ends_at_once() {
    let mut federation = slow();
    let asking = begun(federation.node("desk"));
    federation.node("desk").signal(Signal::TERM).expect("told");
    std::thread::sleep(Duration::from_millis(200));
    federation.node("desk").signal(Signal::TERM).expect("told again");
    let answer = asking.join().expect("a thread");
    assert!(!answer.is_ok_and(|answer| answer.is_complete()), "it was finished all the same");
    ended(&mut federation);
}
