//! The coordinator's seat and the holders of managers, when machines die, fall silent or are cut apart: who plans then, who
//! answers, and how long it takes. A coordinator that is stopped and goes on is in `discovery/sleep.rs`. Networks that are cut
//! are network namespaces, so these tests need root, or `unshare -Ur`.

#[path = "coordinator/apart.rs"]
mod apart;
#[path = "coordinator/asking.rs"]
mod asking;
#[path = "coordinator/cut.rs"]
mod cut;
#[path = "coordinator/dead_holder.rs"]
mod dead_holder;
#[path = "coordinator/griffith.rs"]
mod griffith;
#[path = "coordinator/house.rs"]
mod house;
#[path = "coordinator/takeover.rs"]
mod takeover;

use std::collections::BTreeSet;
use std::time::Duration;

use fednode_tests::{Federation, NodeSpec, managers, until};
use serde_json::Value;

/// For whatever is not measured: debug binaries on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["north", "east", "south"];
/// Room for six tiny managers of about 60 MiB.
const ROOM: &str = "400MiB";

/// Three machines with room for all managers together on any two of them; the tiny managers, published and resident.
fn three(roster: Option<&str>) -> Federation {
    let mut federation = Federation::new().expect("a federation");
    let spec = |name: &str| NodeSpec::full(name).memory(ROOM).flag("-v", "--no-mdns");
    let first = match roster {
        Some(roster) => {
            let path = federation.folder().join("roster.toml");
            std::fs::write(&path, roster).expect("a roster");
            spec(NAMES[0]).flag("--roster", &path.to_string_lossy())
        }
        None => spec(NAMES[0]),
    };
    federation.create(first).expect("up");
    for name in &NAMES[1..] {
        federation.join(spec(name), NAMES[0]).expect("joined");
    }
    for slot in managers::SLOTS {
        federation.node(NAMES[0]).publish(slot).expect("published");
    }
    settled(&federation);
    federation
}

/// Until every running node has heard of every manager and of one coordinator, and the plan they follow is carried out.
fn settled(federation: &Federation) {
    until("the plan for all managers", LIMIT, || {
        let mut missing = federation.missing();
        let mut seats = BTreeSet::new();
        for node in federation.nodes().iter().filter(|node| node.is_running()) {
            let state = node.state().map_err(|error| error.to_string())?;
            missing.extend(unanswered(&state, &managers::SLOTS).iter().map(|slot| format!("{}: {slot}", node.name())));
            seats.insert(seat(&state));
        }
        if seats.len() != 1 || seats.iter().any(|(name, _)| name.is_empty()) {
            missing.push(format!("seats {seats:?}"));
        }
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    })
    .expect("carried out");
}

/// Which of these slots are resident nowhere, as this node sees it, or what fills them is not known to it.
fn unanswered<'a>(state: &Value, slots: &[&'a str]) -> Vec<&'a str> {
    let known = |slot: &str| list(&state["slots"]).iter().any(|view| view["name"] == slot && view["artifact"] != "");
    slots.iter().copied().filter(|slot| !known(slot) || holders(state, slot).is_empty()).collect()
}

/// Who has a ready replica of `slot`.
fn holders(state: &Value, slot: &str) -> Vec<String> {
    let view = list(&state["slots"]).iter().find(|view| view["name"] == slot).unwrap_or(&Value::Null);
    let ready = list(&view["replicas"]).iter().filter(|replica| replica["state"] == "ready");
    ready.filter_map(|replica| replica["node"].as_str().map(str::to_owned)).collect()
}

/// The slots that `name` answers for itself.
fn held_by(state: &Value, name: &str) -> Vec<&'static str> {
    managers::SLOTS.into_iter().filter(|slot| holders(state, slot).iter().any(|holder| holder == name)).collect()
}

/// Who coordinates, and under which epoch.
fn seat(state: &Value) -> (String, u64) {
    let seat = &state["coordinator"];
    (seat["name"].as_str().unwrap_or_default().to_owned(), seat["epoch"].as_u64().unwrap_or(0))
}

/// Epoch, revision and digest of the plan that is followed.
fn plan(state: &Value) -> (u64, u64, String) {
    let plan = &state["plan"];
    let number = |field: &str| plan[field].as_u64().unwrap_or(0);
    (number("epoch"), number("revision"), plan["digest"].as_str().unwrap_or_default().to_owned())
}

/// How `state` sees the member `name`: alive, suspect, down.
fn presence(state: &Value, name: &str) -> String {
    let member = list(&state["members"]).iter().find(|member| member["name"] == name).unwrap_or(&Value::Null);
    member["state"].as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// How often or how long a test does something, unless the variable says otherwise.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
