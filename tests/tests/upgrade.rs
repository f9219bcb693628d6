//! An upgrade keeps data and protocol: this version starts from what each earlier one left on its disk (`tests/recorded`), is the
//! same machine of the same federation, serves what was published, accepts the keys that were given, and takes in a new member
//! that fetches what lies there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fednode_tests::{Client, Federation, NodeSpec, Question, until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Every data directory that was recorded.
fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let entries = std::fs::read_dir(folder).expect("what was recorded").map(|entry| entry.expect("an entry").path());
    let archives: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".tar.gz")).collect();
    assert!(!archives.is_empty(), "nothing was recorded");
    archives
}

#[test]
fn this_version_goes_on_where_each_earlier_one_ended() {
    for archive in recorded() {
        println!("from {}", archive.display());
        goes_on(&archive);
        keys_open(&archive);
    }
}

/// A federation whose folder has what was recorded.
fn unpacked(archive: &Path) -> (Federation, impl Fn(&str) -> String) {
    let federation = Federation::new().expect("a federation");
    let folder = federation.folder().to_owned();
    let unpacked = Command::new("tar").arg("-C").arg(&folder).arg("-xzf").arg(archive).status().expect("tar");
    assert!(unpacked.success(), "{unpacked}");
    (federation, move |name| std::fs::read_to_string(folder.join(name)).expect(name).trim().to_owned())
}

fn keys_open(archive: &Path) {
    let (mut federation, text) = unpacked(archive);
    let mut spec = NodeSpec::full("desk").memory("300MiB");
    spec.flags.push("--api-key-always".to_owned());
    let node = federation.add(spec).expect("a node");
    node.up().expect("up");
    let status = |client: &Client| client.get("/v1/models").expect("an answer").status;
    assert_eq!(status(node.client()), 401, "a key is needed");
    assert_eq!(status(&node.client().with_key(&text("key"))), 200, "one that was given before is accepted");
}

fn goes_on(archive: &Path) {
    let mut federation = Federation::new().expect("a federation");
    let folder = federation.folder().to_owned();
    let unpacked = Command::new("tar").arg("-C").arg(&folder).arg("-xzf").arg(archive).status().expect("tar");
    assert!(unpacked.success(), "{unpacked}");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name).trim().to_owned();

    federation
        .add(NodeSpec::full("desk").memory("300MiB").flag("--scrub-days", "0"))
        .expect("a node")
        .up()
        .expect("up");
    the_same_machine(&federation);
    answers_as_before(&federation, &text("answer-ULM"), &text("answer-ULM-personal"));
    let desk = federation.node("desk");
    let keys = desk.command(&["keys", "--json"]).expect("keys").json();
    assert_eq!(keys["keys"][0]["name"], "phone", "{keys}");
    let scrub = desk.command(&["scrub", "--now", "--json"]).expect("all that is stored is sound").json();
    assert_eq!(scrub["damaged_chunks"], 0, "{scrub}");
    takes_a_new_member_in(&mut federation);

    // What this version has written is what it starts from the next time.
    federation.node_mut("desk").stop().expect("stopped");
    federation.node_mut("desk").up().expect("up again");
    the_same_machine(&federation);
}

fn the_same_machine(federation: &Federation) {
    let state = federation.node("desk").state().expect("its view");
    let members = state["members"].as_array().expect("members");
    let named = |name: &str| members.iter().find(|member| member["name"] == name).cloned().unwrap_or_default();
    let (desk, laptop) = (named("desk"), named("laptop"));
    assert_eq!(
        (&desk["owner"], &desk["role"], &laptop["role"]),
        (&json!(true), &json!("full"), &json!("delegate")),
        "{members:?}"
    );
    assert_eq!(state["node"]["peer_id"], desk["peer_id"]);
    assert_eq!(state["pins"], json!(["ULM"]));
    let slots = state["slots"].as_array().expect("slots");
    let ulm = slots.iter().find(|slot| slot["name"] == "ULM").expect("the slot");
    assert!(ulm["artifact"].as_str().is_some_and(|hex| hex.len() == 64) && ulm["fingerprint"] == true, "{ulm}");
}

fn answers_as_before(federation: &Federation, base: &str, personal: &str) {
    federation.wait_answered("desk", "ULM", LIMIT).expect("an answer");
    for (model, expect) in [("ULM", base), ("ULM:personal", personal)] {
        let question = Question::new(model, "Who are you?").with("temperature", Value::from(0));
        let answer = federation.node("desk").client().ask(&question).expect("an answer");
        assert_eq!(answer.text.trim(), expect, "{model}");
    }
}

fn takes_a_new_member_in(federation: &mut Federation) {
    federation.join(NodeSpec::full("den").memory("300MiB"), "desk").expect("joined");
    let den = federation.node("den");
    // What is published reaches a new member a moment after it is one.
    until("a pin on what is published", LIMIT, || den.command(&["pin", "ULM"]).map_err(|error| error.to_string()))
        .expect("pinned");
    until("the manager arriving at a new member", LIMIT, || {
        let state = den.state().map_err(|error| error.to_string())?;
        let transfers = state["transfers"].as_array().cloned().unwrap_or_default();
        match transfers.iter().any(|one| one["slot"] == "ULM" && one["state"] == "done" && one["verified"] == true) {
            true => Ok(()),
            false => Err(format!("{transfers:?}")),
        }
    })
    .expect("fetched");
    let epoch =
        |name: &str| federation.node(name).state().map_or(Value::Null, |state| state["coordinator"]["epoch"].clone());
    until("both following one coordinator", LIMIT, || {
        let (here, there) = (epoch("desk"), epoch("den"));
        if here.is_u64() && here == there { Ok(()) } else { Err(format!("{here} and {there}")) }
    })
    .expect("they agree");
}
