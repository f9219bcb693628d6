//! Who belongs to the federation, changed while real nodes run: revoked in the middle of a transfer, renamed, trusted as an
//! admin, and the owner's machine lost and replaced by another with the recovery file.

#[path = "members/revoked.rs"]
mod revoked;
#[path = "members/signers.rs"]
mod signers;
#[path = "members/sockets.rs"]
mod sockets;

use std::collections::BTreeSet;
use std::time::Duration;

use fednode_tests::{Federation, NodeProcess, NodeSpec, Output, until};
use serde_json::Value;

/// For what takes seconds on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// The command line's word for a refusal.
const REFUSED: i32 = 3;

/// A node that stores and loads nothing.
fn shelf(name: &str) -> NodeSpec {
    NodeSpec::full(name).memory("1MiB")
}

/// The owner's machine `desk`, and `others`, all of which see each other.
fn federation(desk: NodeSpec, others: &[&str]) -> Federation {
    let mut federation = Federation::new().expect("a federation");
    federation.create(desk).expect("the owner's machine starts");
    for name in others {
        federation.join(shelf(name), "desk").expect("it joins");
    }
    let all: Vec<&str> = ["desk"].iter().chain(others).copied().collect();
    wait_alive(&federation, &all, &all);
    federation
}

/// Waits until every node of `at` sees exactly `expect` as members, all alive.
fn wait_alive(federation: &Federation, at: &[&str], expect: &[&str]) {
    let expect: BTreeSet<(String, String)> =
        expect.iter().map(|name| ((*name).to_owned(), "alive".to_owned())).collect();
    for name in at {
        until(&format!("{name} seeing {expect:?}"), LIMIT, || {
            let seen = members(federation.node(name));
            if seen == expect { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .expect("they agree");
    }
}

/// Names and states of the members as this node sees them.
fn members(node: &NodeProcess) -> BTreeSet<(String, String)> {
    let state = node.state().unwrap_or_default();
    let list = state["members"].as_array().cloned().unwrap_or_default();
    list.iter().map(|member| (text(&member["name"]), text(&member["state"]))).collect()
}

fn names(node: &NodeProcess) -> BTreeSet<String> {
    members(node).into_iter().map(|(name, _)| name).collect()
}

fn member(node: &NodeProcess, name: &str) -> Value {
    let state = node.state().unwrap_or_default();
    let list = state["members"].as_array().cloned().unwrap_or_default();
    list.into_iter().find(|member| member["name"] == name).unwrap_or_default()
}

/// Runs a command that must be refused, with a reason in which `says` stands.
fn refused(node: &NodeProcess, args: &[&str], says: &str) -> Output {
    let output = node.cli(args).expect("the command runs");
    let shown = format!("{} {args:?}: {output:?}", node.name());
    assert_eq!(output.code, REFUSED, "{shown}");
    assert!(output.stderr.contains(says), "{shown}");
    output
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
