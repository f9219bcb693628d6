//! What lies on the machines' disks: damage is found and repaired from another machine, garbage goes only while somebody else
//! keeps a copy, and neither a budget nor a full disk costs anything but time.

#[path = "keeping/disk_full.rs"]
mod disk_full;
#[path = "keeping/garbage.rs"]
mod garbage;
#[path = "keeping/scrub.rs"]
mod scrub;

use std::path::PathBuf;
use std::time::Duration;

use fednode_tests::{Federation, NodeProcess, NodeSpec, until};
use serde_json::Value;

/// Generous: debug binaries on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Two machines with room for everything; the first one creates the federation.
fn two(first: NodeSpec, second: NodeSpec) -> Federation {
    let mut federation = Federation::new().expect("a federation");
    let name = first.name.clone();
    federation.create(first).expect("up");
    let node = federation.join(second, &name).expect("joined");
    wait_published(node, "UCM", "");
    federation
}

/// Until this node knows what fills a slot; nothing, for an empty `artifact`.
fn wait_published(node: &NodeProcess, slot: &str, artifact: &str) {
    let looked = until(&format!("{} knowing what fills {slot}", node.name()), LIMIT, || {
        let state = node.state().map_err(|error| error.to_string())?;
        let found = list(&state["slots"]).iter().any(|view| view["name"] == slot && view["artifact"] == artifact);
        if found { Ok(()) } else { Err(state["slots"].to_string()) }
    });
    looked.expect("known");
}

fn full(name: &str) -> NodeSpec {
    NodeSpec::full(name).memory("20GB")
}

/// Publishes the file of `model` into `slot`, whatever is there; its artifact.
fn publish_as(node: &NodeProcess, model: &str, slot: &str, version: &str) -> String {
    let path = fednode_tests::managers::file(model);
    let args = ["publish", &path.to_string_lossy(), "--as", slot, "--version", version, "--json"];
    node.command(&args).expect("published").json()["artifact"].as_str().expect("an artifact").to_owned()
}

/// What this machine says of itself in its list of members.
fn stores(node: &NodeProcess, artifact: &str) -> bool {
    let state = node.state().expect("state");
    list(&state["members"][0]["stored"]).iter().any(|stored| stored == artifact)
}

fn wait_stored(node: &NodeProcess, artifact: &str) {
    let looked = until(&format!("{} storing {artifact}", node.name()), LIMIT, || match stores(node, artifact) {
        true => Ok(()),
        false => Err(format!("transfers: {}", node.state().map_or(Value::Null, |state| state["transfers"].clone()))),
    });
    looked.expect("stored");
}

/// Until `node` knows that `other` holds the artifact whole, or no longer does.
fn wait_known(node: &NodeProcess, other: &str, artifact: &str, holds: bool) {
    let looked = until(&format!("{} knowing of {other}", node.name()), LIMIT, || {
        let state = node.state().map_err(|error| error.to_string())?;
        let member = list(&state["members"]).iter().find(|member| member["name"] == other).cloned().unwrap_or_default();
        let stored = list(&member["stored"]).iter().any(|stored| stored == artifact);
        if stored == holds { Ok(()) } else { Err(member.to_string()) }
    });
    looked.expect("known");
}

/// The only file of a whole artifact on this machine.
fn file_of(node: &NodeProcess, artifact: &str) -> PathBuf {
    node.data_dir().join("artifacts").join(artifact).join("files").join("model.gguf")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn entry<'a>(list_of: &'a Value, artifact: &str) -> &'a Value {
    list(list_of).iter().find(|entry| entry["artifact"] == artifact).unwrap_or(&Value::Null)
}
