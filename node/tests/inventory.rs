//! `plan --inventory` as scripts use it, over random inventories: the order of a file changes no byte of the plan, and a plan that
//! is given back as `previous` moves nothing.

use fednode::core::placement::document::PlanDocument;
use fednode::wire::inventory::plan_text;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Machines (memory, whether there is a GPU beside it, disk) and slots (base, size, replicas, pinned, demand).
type Machines = Vec<(u64, bool, u64)>;
type Slots = Vec<(u8, u64, u32, bool, u32)>;

fn turned<T>(mut items: Vec<T>, turn: usize) -> Vec<T> {
    if !items.is_empty() {
        let by = turn % items.len();
        items.rotate_left(by);
        items.reverse();
    }
    items
}

fn inventory(machines: &Machines, slots: &Slots, previous: Option<&PlanDocument>, turn: usize) -> String {
    let machine = |(index, (gib, gpu, disk_gib)): (usize, &(u64, bool, u64))| {
        let domain = |name: &str, kind: &str, gib: u64| json!({"name": name, "kind": kind, "total_bytes": gib << 30, "reserve_bytes": 1u64 << 30});
        let mut domains = vec![domain("ram", "ram", *gib)];
        domains.extend(gpu.then(|| domain("gpu0", "vram", 24)));
        json!({"name": format!("m{index}"), "disk_free_bytes": disk_gib << 30, "load_bytes_per_s": 1u64 << 30,
            "link_bytes_per_s": 100 << 20, "domains": turned(domains, turn),
            "holds": turned(vec!["base0".to_owned(), format!("slot{index}")], turn)})
    };
    let slot = |(index, (base, gib, replicas, pinned, demand)): (usize, &(u8, u64, u32, bool, u32))| {
        let shared = *base < 2;
        json!({"name": format!("S{index}"), "artifact": format!("slot{index}"),
            "base": shared.then(|| format!("base{base}")),
            "weights_bytes": if shared { 13u64 << 30 } else { gib << 30 }, "adapter_bytes": 1 << 20,
            "kv_bytes_per_token": 524_288, "context": 4096, "overhead_bytes": 800_000_000, "replicas": replicas,
            "policy": if *pinned { "pinned" } else { "swappable" }, "demand_per_hour": demand})
    };
    let nodes: Vec<Value> = machines.iter().enumerate().map(machine).collect();
    let slots: Vec<Value> = slots.iter().enumerate().map(slot).collect();
    json!({"strategy": "mixed", "nodes": turned(nodes, turn), "roster": {"slots": turned(slots, turn)}, "previous": previous})
        .to_string()
}

fn plan(machines: &Machines, slots: &Slots, previous: Option<&PlanDocument>, turn: usize) -> (PlanDocument, String) {
    let document = plan_text(&inventory(machines, slots, previous, turn)).expect("a plan");
    let bytes = serde_json::to_string(&document).expect("JSON");
    (document, bytes)
}

fn cases() -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES").ok().and_then(|told| told.parse().ok());
    ProptestConfig::with_cases(told.unwrap_or(300))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn order_changes_no_byte_and_a_plan_given_back_moves_nothing(
        machines in prop::collection::vec((8u64..140, any::<bool>(), 0u64..300), 1..6),
        slots in prop::collection::vec((0u8..6, 4u64..30, 1u32..3, any::<bool>(), 0u32..100), 0..7),
        turn in 1usize..7,
    ) {
        let (first, bytes) = plan(&machines, &slots, None, 0);
        prop_assert_eq!(&bytes, &plan(&machines, &slots, None, turn).1);
        let (again, bytes) = plan(&machines, &slots, Some(&first), 0);
        prop_assert_eq!(&again.replicas, &first.replicas);
        prop_assert_eq!(again.moves.len(), 0);
        prop_assert_eq!(again.score, first.score);
        prop_assert_eq!(&bytes, &plan(&machines, &slots, Some(&first), turn).1);
    }
}
