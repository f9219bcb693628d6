//! Weights that move between real nodes: what a new version costs, partial holders, a source that lies, one that dies, and
//! processes killed at any moment. The nodes have no memory to load anything: they only store.

#[path = "transfers/chaos.rs"]
mod chaos;
#[path = "transfers/sources.rs"]
mod sources;
#[path = "transfers/versions.rs"]
mod versions;

use std::path::PathBuf;
use std::time::Duration;

use fednode_tests::model::Model;
use fednode_tests::{Federation, NodeProcess, NodeSpec, until};
use serde_json::Value;

/// For tens of megabytes, some of them at ten megabytes a second.
const LIMIT: Duration = Duration::from_secs(90);
/// Most that may be under way to one node: `CHUNKS_IN_FLIGHT_MAX`.
const CHUNKS_IN_FLIGHT: u64 = 24;

/// A node that stores and loads nothing.
fn shelf(name: &str) -> NodeSpec {
    NodeSpec::full(name).memory("1MiB")
}

/// A federation of one seed and these receivers.
fn federation(seed: NodeSpec, receivers: Vec<NodeSpec>) -> Federation {
    let mut federation = Federation::new().expect("a federation");
    let inviter = federation.create(seed).expect("the seed starts").name().to_owned();
    for receiver in receivers {
        federation.join(receiver, &inviter).expect("a receiver joins");
    }
    federation
}

/// A model of about 51 MB in 291 chunks.
fn model(federation: &Federation) -> Model {
    let path = federation.folder().join("model.gguf");
    Model::make(&federation.nodes()[0], path, 32, 256, 704).expect("a model")
}

/// The largest chunk of that model: a matrix of its feed-forward part.
const CHUNK_BYTES: u64 = 256 * 704 * 2;

fn pin(federation: &Federation, name: &str) {
    until("the catalog", LIMIT, || match federation.node(name).cli(&["pin", "UCM"]) {
        Ok(output) if output.code == 0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it can be pinned");
}

fn transfer(node: &NodeProcess, artifact: &str) -> Value {
    let state = node.state().unwrap_or_default();
    let all = state["transfers"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|transfer| transfer["artifact"] == artifact).unwrap_or_default()
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or(0)
}

/// Waits until `name` has so many percent of `artifact`; its transfer then.
fn wait_percent(federation: &Federation, name: &str, artifact: &str, percent: u64) -> Value {
    until(&format!("{percent} % at {name}"), LIMIT, || {
        let seen = transfer(federation.node(name), artifact);
        let (done, total) = (number(&seen, "done_bytes"), number(&seen, "total_bytes"));
        if total > 0 && done * 100 >= percent * total { Ok(seen) } else { Err(seen.to_string()) }
    })
    .expect("it comes")
}

fn file_of(node: &NodeProcess, artifact: &str) -> PathBuf {
    let folder = node.data_dir().join("artifacts").join(artifact).join("files");
    let first = std::fs::read_dir(&folder).ok().and_then(|mut entries| entries.next()?.ok());
    first.map_or(folder, |entry| entry.path())
}

/// Waits until `name` has the whole, and compares every byte.
fn wait_whole(federation: &Federation, name: &str, artifact: &str, model: &Model) -> Value {
    let node = federation.node(name);
    until(&format!("{artifact} whole at {name}"), LIMIT, || match file_of(node, artifact) {
        path if path.is_file() => Ok(()),
        _ => Err(format!("{}\n{}", transfer(node, artifact), node.log_tail())),
    })
    .expect("it comes");
    let same = std::fs::read(file_of(node, artifact)).ok() == Some(model.bytes().expect("the model"));
    assert!(same, "{name} has other bytes");
    transfer(node, artifact)
}

/// Bytes that came from members.
fn fetched(transfer: &Value) -> u64 {
    transfer["sources"].as_array().into_iter().flatten().map(|source| number(source, "bytes")).sum()
}

fn source<'a>(transfer: &'a Value, name: &str) -> &'a Value {
    let sources = transfer["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
    sources.iter().find(|source| source["node"] == name).unwrap_or(&Value::Null)
}
