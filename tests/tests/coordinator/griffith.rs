//! Who holds the seven reference managers of 13.48 GB each: a Griffith of 128 GB all of them, four machines of 32 GB four, with
//! a word on what is short. Nothing is loaded: the memory is stated, and the weights are zeros that take no room.

use std::path::Path;
use std::time::Instant;

use fednode_tests::{Federation, NodeProcess, NodeSpec, engines_of, managers, sparse, status_bytes, until};
use serde_json::{Value, json};

use crate::{LIMIT, list, number};

const GB: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;
/// Of one reference manager at context 4096, as engines were measured, to a tenth of a GiB.
const MEASURED: std::ops::Range<u64> = 1465 * GIB / 100..1480 * GIB / 100;
/// The same as the inventories have it (DESIGN 9).
const FOOTPRINT: std::ops::Range<u64> = 1525 * GIB / 100..1535 * GIB / 100;

/// Machines of so many gigabytes each, the default share of it kept for the system, and the reference roster.
fn inventory(machines: &[(&str, u64)]) -> Value {
    let node = |(name, gigabytes): &(&str, u64)| {
        let (total, reserve) = (gigabytes * GB, gigabytes * GB / 100 * 10);
        let domain = json!({"name": "ram", "kind": "ram", "total_bytes": total, "free_bytes": total - reserve,
            "reserve_bytes": reserve});
        json!({"name": name, "role": "auto", "disk_free_bytes": 1000 * GB, "load_bytes_per_s": 2 * GB,
            "link_bytes_per_s": GB / 10, "domains": [domain], "holds": []})
    };
    let slot = |name: &str| {
        json!({"name": name, "artifact": format!("{name}-v1"), "base": null, "weights_bytes": 13_481_558_016_u64,
            "adapter_bytes": 0, "kv_bytes_per_token": 512 << 10, "context": 4096, "parallel": 1,
            "overhead_bytes": 800_000_000, "replicas": 1, "policy": "pinned", "demand_per_hour": 10})
    };
    json!({"strategy": "mixed", "nodes": machines.iter().map(node).collect::<Vec<_>>(),
        "roster": {"slots": managers::SLOTS.map(slot)}, "previous": null})
}

/// What `fednode plan --inventory` prints for it.
fn planned(federation: &mut Federation, inventory: &Value) -> Value {
    let path = federation.folder().join("inventory.json");
    std::fs::write(&path, inventory.to_string()).expect("an inventory");
    let planner = federation.nodes().first();
    let line = ["plan", "--json", "--inventory", &path.to_string_lossy()];
    let output = match planner {
        Some(planner) => planner.command(&line),
        None => federation.add(NodeSpec::full("planner")).expect("a node that never starts").command(&line),
    };
    output.expect("a plan").json()
}

fn texts<'a>(plan: &'a Value, of: &str, field: &str) -> Vec<&'a str> {
    list(&plan[of]).iter().map(|item| item[field].as_str().unwrap_or_default()).collect()
}

#[test]
fn a_griffith_in_an_inventory_hosts_all_seven_at_the_default_context() {
    let mut federation = Federation::new().expect("a temporary directory");
    let plan = planned(&mut federation, &inventory(&[("griffith", 128), ("laptop", 16)]));
    let mut hosted = texts(&plan, "replicas", "slot");
    hosted.sort_unstable();
    let mut all = managers::SLOTS.to_vec();
    all.sort_unstable();
    assert_eq!(hosted, all);
    assert!(texts(&plan, "replicas", "node").iter().all(|node| *node == "griffith"), "{plan:#}");
    assert!(list(&plan["replicas"]).iter().all(|replica| FOOTPRINT.contains(&replica["bytes"].as_u64().unwrap_or(0))));
    assert_eq!(list(&plan["shortfalls"]).len(), 0, "{}", plan["shortfalls"]);
}

#[test]
fn four_machines_of_32_gb_in_an_inventory_host_four_and_the_plan_says_what_is_short() {
    let mut federation = Federation::new().expect("a temporary directory");
    let plan = planned(&mut federation, &inventory(&[("a", 32), ("b", 32), ("c", 32), ("d", 32)]));
    let mut machines = texts(&plan, "replicas", "node");
    machines.sort_unstable();
    assert_eq!(machines, ["a", "b", "c", "d"], "one on each: {plan:#}");
    let short = list(&plan["shortfalls"]);
    assert_eq!(short.len(), managers::SLOTS.len() - machines.len(), "{plan:#}");
    let hosted = texts(&plan, "replicas", "slot");
    for shortfall in short {
        let slot = shortfall["slot"].as_str().unwrap_or_default();
        assert!(managers::SLOTS.contains(&slot) && !hosted.contains(&slot), "{shortfall}");
        // Two of 15.3 GiB on one machine with 26.8 GiB for managers: 3.9 GiB are missing.
        let bytes = shortfall["bytes_short"].as_u64().unwrap_or(0);
        assert!((35 * GIB / 10..45 * GIB / 10).contains(&bytes), "{shortfall}");
        assert!(shortfall["why"].as_str().is_some_and(|why| why.contains("short")), "{shortfall}");
    }
}

#[test]
fn a_griffith_of_stated_memory_plans_the_reference_managers_resident() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith").memory("128GB")).expect("up");
    let folder = federation.folder().to_owned();
    let griffith = federation.node("griffith");
    // Each is hashed twice, which takes seconds: FEDNODE_GRIFFITH_MANAGERS=7 for all.
    let count = number("FEDNODE_GRIFFITH_MANAGERS", 2).min(managers::SLOTS.len() as u64) as usize;
    let published = &managers::SLOTS[..count];
    let begun = Instant::now();
    let bytes: u64 = published.iter().map(|slot| publish(griffith, &folder, slot)).sum();
    println!("{count} managers, {bytes} bytes, published within {:?}", begun.elapsed());
    let plan = until("a plan for all", LIMIT, || {
        let plan = griffith.command(&["plan", "--json"]).map_err(|error| error.to_string())?.json();
        if list(&plan["replicas"]).len() == count { Ok(plan) } else { Err(format!("{plan:#}")) }
    });
    let plan = plan.expect("a plan");
    let mut slots = texts(&plan, "replicas", "slot");
    slots.sort_by_key(|slot| managers::SLOTS.iter().position(|known| known == slot));
    assert_eq!(slots, published, "{plan:#}");
    let replicas = list(&plan["replicas"]);
    let sizes: Vec<u64> = replicas.iter().map(|replica| replica["bytes"].as_u64().unwrap_or(0)).collect();
    assert!(sizes.iter().all(|bytes| MEASURED.contains(bytes)), "{plan:#}");
    assert!(replicas.iter().all(|replica| replica["node"] == "griffith"), "{plan:#}");
    let state = griffith.state().expect("state");
    assert_eq!(state["node"]["tier"], "griffith");
    assert!(list(&state["slots"]).iter().all(|slot| slot["context"] == 4096), "{}", state["slots"]);
    let domain = &state["members"][0]["domains"][0];
    assert!(domain["total_bytes"].as_u64().is_some_and(|total| sizes.iter().all(|one| one * 7 <= total)), "{domain}");
    println!("planned at {sizes:?} bytes; the node's own memory is {} MiB", rss_mib(griffith));
    assert!(rss_mib(griffith) < 1024, "nothing of it is loaded");
}

/// Makes a model of 13.48 GB for `slot`, publishes it there; its size.
fn publish(node: &NodeProcess, folder: &Path, slot: &str) -> u64 {
    let path = folder.join(format!("{slot}.gguf"));
    let bytes = sparse::reference(&path, &format!("{slot} of zeros")).expect("a model");
    node.command(&["publish", &path.to_string_lossy(), "--as", slot, "--link"]).expect("published");
    bytes
}

/// Resident memory of a node and its engines, less what belongs to files.
fn rss_mib(node: &NodeProcess) -> u64 {
    let pid = node.pid().expect("it runs");
    let anonymous = |pid: u32| status_bytes(pid, "RssAnon").unwrap_or(0) >> 20;
    engines_of(pid).into_iter().chain([pid]).map(anonymous).sum()
}
