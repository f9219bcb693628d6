//! Machines that vanish and come back: kill -9 of the node that answers and coordinates, and its return with the same data
//! directory.

use std::collections::BTreeSet;
use std::time::Duration;

use fednode_tests::{Client, Federation, NodeProcess, NodeSpec, Question, engines_of, managers, until};
use serde_json::{Value, json};

const PLAN_LIMIT: Duration = Duration::from_secs(60);
/// A takeover, a swap, and a busy machine.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// Some renewals of the lease, which come every 2 s.
const COORDINATOR_LIMIT: Duration = Duration::from_secs(20);
/// Engines notice the end of their node at once.
const ENGINES_LIMIT: Duration = Duration::from_secs(5);

/// griffith holds everything, desktop has room for two managers, laptop for none.
fn federation() -> Federation {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith").memory("128GB")).expect("up");
    federation.join(NodeSpec::full("desktop").memory("150MiB"), "griffith").expect("joined");
    federation.join(NodeSpec::delegate("laptop"), "griffith").expect("joined");
    federation.publish_all("griffith").expect("published");
    federation.wait_published(PLAN_LIMIT, |_| {}).expect("carried out");
    federation
}

#[test]
fn the_desktop_answers_for_a_griffith_that_was_killed_and_the_griffith_comes_back() {
    let mut federation = federation();
    killing_the_answering_node_ends_the_answer(&mut federation);
    every_manager_is_answered_by("desktop", &federation);
    let epoch = coordinator(&federation, "laptop").1;
    assert_eq!(coordinator(&federation, "laptop").0, "desktop");

    let stored = stored(&federation, "desktop");
    federation.node_mut("griffith").up().expect("up again");
    federation.wait_published(PLAN_LIMIT, |_| {}).expect("carried out again");
    nothing_was_fetched_again(&federation);
    assert_eq!(self::stored(&federation, "desktop"), stored, "the desktop keeps what it had");
    one_coordinator(&federation, epoch);
    every_manager_is_answered(&federation);
}

/// The stream ends soon: whole, or with an error that a client understands. No engine outlives its node.
fn killing_the_answering_node_ends_the_answer(federation: &mut Federation) {
    let pid = federation.node("griffith").pid().expect("it runs");
    let engines = engines_of(pid);
    assert!(engines.len() >= managers::SLOTS.len(), "an engine for each manager: {engines:?}");
    let client = Client::with_limit(federation.node("laptop").client().base(), Duration::from_secs(30));
    // This seed gives an answer of about 160 tokens, a tenth of a second.
    let question =
        Question::new("UCM", "Tell me a very long story").with("temperature", json!(2)).with("seed", json!(2));
    let griffith = federation.node_mut("griffith");
    let answer = client.ask_with(&question, |_| griffith.kill9()).expect("a reply");
    assert_eq!(answer.node.as_deref(), Some("griffith"));
    assert!(answer.is_complete() || answer.has_typed_error(), "{}", answer.summary());
    assert!(answer.took < Duration::from_secs(10), "the answer ended only after {:?}", answer.took);
    until("the end of the killed node's engines", ENGINES_LIMIT, || {
        let left: Vec<&u32> = engines.iter().filter(|pid| is_engine(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} still run")) }
    })
    .expect("no engine is left behind");
}

fn is_engine(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"engine")
}

fn every_manager_is_answered_by(name: &str, federation: &Federation) {
    let client = Client::with_limit(federation.node("laptop").client().base(), ASK_LIMIT);
    for model in managers::models() {
        let known = managers::first_answer(&model).expect("a known answer");
        let answer = client.chat(&model, &known.prompt).expect("a reply");
        assert!(answer.is_complete(), "{model}: {}", answer.summary());
        assert_eq!((answer.text, answer.node.as_deref()), (known.answer, Some(name)), "{model}");
    }
}

fn every_manager_is_answered(federation: &Federation) {
    for known in managers::models().iter().map(|model| managers::first_answer(model).expect("a known answer")) {
        let answer = federation.node("laptop").client().chat(&known.model, &known.prompt).expect("a reply");
        assert!(answer.is_complete(), "{}: {}", known.model, answer.summary());
        assert_eq!(answer.text, known.answer, "{}", known.model);
    }
}

fn coordinator(federation: &Federation, seen_by: &str) -> (String, u64) {
    let state = federation.node(seen_by).state().expect("state");
    let coordinator = &state["coordinator"];
    (coordinator["name"].as_str().unwrap_or_default().to_owned(), coordinator["epoch"].as_u64().unwrap_or(0))
}

/// All nodes soon agree on one, whose epoch is not older than that of the takeover.
fn one_coordinator(federation: &Federation, epoch: u64) {
    let agreed = until("agreement on one coordinator", COORDINATOR_LIMIT, || {
        let names = federation.nodes().iter().map(NodeProcess::name);
        let seen: BTreeSet<(String, u64)> = names.map(|name| coordinator(federation, name)).collect();
        match seen.first() {
            Some((name, epoch)) if seen.len() == 1 && !name.is_empty() => Ok(*epoch),
            _ => Err(format!("{seen:?}")),
        }
    });
    let agreed = agreed.expect("one coordinator");
    assert!(agreed >= epoch, "epoch {agreed} after {epoch}");
}

/// A node that returns holds what it held; it has no transfer of anything.
fn nothing_was_fetched_again(federation: &Federation) {
    let state = federation.node("griffith").state().expect("state");
    let fetched: u64 = list(&state["transfers"]).iter().filter_map(|transfer| transfer["done_bytes"].as_u64()).sum();
    assert_eq!(fetched, 0, "{}", state["transfers"]);
    assert_eq!(stored(federation, "griffith").len(), managers::models().len());
}

/// What a node says of its own store.
fn stored(federation: &Federation, name: &str) -> BTreeSet<String> {
    let state = federation.node(name).state().expect("state");
    list(&state["members"][0]["stored"]).iter().filter_map(|hash| hash.as_str().map(str::to_owned)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
