//! Inventories and claimed plans from outside: what is refused, with place and remedy, and what is not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{evaluate_text, parse, parse_claim, plan_text};
use crate::core::limits;

const GRIFFITH: &str = include_str!("../../../inventories/one-griffith.json");
const FOUR: &str = include_str!("../../../inventories/four-32gb.json");

/// The example of four machines with `value` at `place`.
fn changed(place: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(FOUR).expect("an example is JSON");
    *document.pointer_mut(place).expect("the place is there") = value;
    document.to_string()
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_remedy() {
    let eleven_gib_more = json!(45u64 << 30);
    let cases = [
        ("/nodes/1/name", json!("attic"), "nodes[1] is called \"attic\", and so is another one before it"),
        ("/nodes/2/name", json!(""), "nodes[2].name is \"\", but must have 1 to 64 characters"),
        ("/nodes/0/role", json!("boss"), "nodes[0].role: unknown variant `boss`, expected one of `auto`"),
        (
            "/nodes/3/domains/0/kind",
            json!("rom"),
            "nodes[3].domains[0].kind: unknown variant `rom`, expected one of `vram`",
        ),
        ("/nodes/3/domains/0/total_bytes", json!(-5), "nodes[3].domains[0].total_bytes: invalid value: integer `-5`"),
        (
            "/nodes/0/domains/0/free_bytes",
            eleven_gib_more,
            "more than its total_bytes of 34359738368; correct one of them",
        ),
        (
            "/nodes/0/domains/0/total_bytes",
            json!(1u64 << 60),
            "nodes[0].domains[0].total_bytes is 1152921504606846976, but",
        ),
        ("/roster/slots/1/name", json!("UFM"), "roster.slots[1] is called \"UFM\""),
        ("/roster/slots/1/name", json!("../UFM"), "roster.slots[1].name: a name is 1 to 32 ASCII letters"),
        ("/roster/slots/0/context", json!(0), "roster.slots[0].context is 0, but must be from 1 to 1048576"),
        ("/roster/slots/0/parallel", json!(257), "roster.slots[0].parallel is 257, but must be from 1 to 256"),
        ("/roster/slots/0/policy", json!("loved"), "roster.slots[0].policy: unknown variant `loved`"),
        (
            "/strategy",
            json!("clever"),
            "strategy: unknown variant `clever`, expected one of `specialised`, `swapping`, `mixed`",
        ),
        ("/nodes", json!({}), "nodes: invalid type: map, expected a sequence"),
        ("/previous", json!({}), "previous: missing field `replicas`"),
    ];
    for (place, value, expect) in cases {
        let error = parse(&changed(place, value)).expect_err(place).to_string();
        assert!(error.contains(expect), "{place}: {error}");
    }
    let error =
        parse("{\"nodes\": [],\n \"roster\": {\"slots\": []}, \"extra\": 1}").expect_err("a new field").to_string();
    let expect = "extra: unknown field `extra`, expected one of `strategy`, `nodes`, `roster`, `previous` at line 2 column 33; \
                  `fednode plan --schema` describes every field";
    assert_eq!(error, expect);
}

#[test]
fn an_adapter_stands_on_a_model() {
    let mut document: Value = serde_json::from_str(FOUR).expect("an example is JSON");
    document["roster"]["slots"][1]["base"] = json!("URM-6.7B");
    assert!(parse(&document.to_string()).is_ok());
    document["roster"]["slots"][2]["base"] = json!("UFM-6.7B");
    let error = parse(&document.to_string()).expect_err("an adapter of an adapter").to_string();
    let expect = "roster.slots[1].base is \"URM-6.7B\", which is itself an adapter of \"UFM-6.7B\"; name the model that both \
                  stand on";
    assert_eq!(error, expect);
}

#[test]
fn nonsense_is_no_inventory_and_no_plan() {
    let deep = "[".repeat(100_000);
    for bad in
        ["", "{}", "[]", "null", "\"x\"", "{\"nodes\":[]", deep.as_str(), "{\"nodes\":[],\"roster\":{\"slots\":[]}} x"]
    {
        assert!(plan_text(bad).is_err(), "{}", &bad[..bad.len().min(40)]);
        assert!(parse_claim(bad).is_err(), "{}", &bad[..bad.len().min(40)]);
    }
    let long = " ".repeat(limits::INVENTORY_BYTES_MAX + 1);
    assert!(plan_text(&long).expect_err("too long").to_string().contains("exceed the limit"));
}

#[test]
fn errors_play_no_tricks_on_a_terminal_and_stay_short() {
    let bell = format!("\u{1b}[2J\u{7}{}", "x".repeat(5_000));
    for place in ["/nodes/0/name", "/nodes/0/role", "/roster/slots/0/name", "/roster/slots/0/base"] {
        let error = parse(&changed(place, json!(bell))).expect_err(place).to_string();
        assert!(!error.contains(char::is_control) && error.len() < 1_000, "{place}: {error:?}");
    }
    let mut document: Value = serde_json::from_str(FOUR).expect("an example is JSON");
    document["nodes"][0][&bell] = json!(1);
    let error = parse(&document.to_string()).expect_err("an unknown field").to_string();
    assert!(!error.contains(char::is_control) && error.len() < 1_000, "{error:?}");
}

/// 5,000 machines with 64 managers, each machine naming all of them by digest.
#[test]
fn an_inventory_of_five_thousand_machines_and_64_managers_is_accepted() {
    let artifacts: Vec<String> = (0..64).map(|index| format!("{index:064x}")).collect();
    let nodes = (0..5_000).map(|index| {
        json!({"name": format!("node-{index}"), "role": "auto", "disk_free_bytes": 1u64 << 40, "load_bytes_per_s": 0,
               "link_bytes_per_s": 0, "holds": artifacts,
               "domains": [{"name": "ram", "kind": "ram", "total_bytes": 1u64 << 35, "free_bytes": 1u64 << 35,
                            "reserve_bytes": 0}]})
    });
    let slots = artifacts.iter().enumerate().map(|(index, artifact)| {
        json!({"name": format!("S{index}"), "artifact": artifact, "weights_bytes": 13_481_025_536u64, "context": 4096})
    });
    let nodes: Vec<Value> = nodes.collect();
    let slots: Vec<Value> = slots.collect();
    let text = json!({"nodes": nodes, "roster": {"slots": slots}}).to_string();
    let inventory = parse(&text).expect("accepted");
    assert_eq!((inventory.nodes.len(), inventory.roster.slots.len()), (5_000, 64));
}

#[test]
fn what_a_plan_prints_is_read_again_as_the_plan_before_and_as_a_claim() {
    let first = plan_text(GRIFFITH).expect("a plan");
    let printed = serde_json::to_value(&first).expect("JSON");
    let mut document: Value = serde_json::from_str(GRIFFITH).expect("an example is JSON");
    document["previous"] = printed.clone();
    let second = plan_text(&document.to_string()).expect("a plan again");
    assert_eq!((second.replicas, second.moves), (first.replicas.clone(), Vec::new()));
    let verdict = evaluate_text(GRIFFITH, &printed.to_string()).expect("a verdict");
    assert!(verdict.feasible && verdict.score == first.score && verdict.best_score == first.score, "{verdict:?}");
}

#[test]
fn a_hostile_plan_gets_violations_or_a_typed_error() {
    let replica = |slot: &str, node: &str, domain: &str| json!({"slot": slot, "node": node, "domain": domain});
    let check = |replicas: Vec<Value>, expect: &[&str]| {
        let verdict = evaluate_text(FOUR, &json!({ "replicas": replicas }).to_string()).expect("a verdict");
        assert_eq!(verdict.violations.len(), expect.len(), "{:?}", verdict.violations);
        for (violation, expect) in verdict.violations.iter().zip(expect) {
            assert!(violation.contains(expect), "{violation:?} should say {expect:?}");
        }
        assert_eq!(verdict.feasible, expect.is_empty());
    };
    check(vec![replica("UFM", "attic", "ram")], &[]);
    check(vec![replica("UFM", "\u{1b}[2J", "ram")], &["no machine \"\\u{1b}[2J\""]);
    check(vec![replica("???", "attic", "ram")], &["no manager \"???\""]);
    check(vec![replica("UFM", "attic", "gpu7")], &["attic has no memory domain \"gpu7\""]);
    check(vec![replica("UFM", "attic", "ram"), replica("UFM", "attic", "ram")], &["UFM is on attic twice"]);
    let two = vec![replica("UFM", "attic", "ram"), replica("UCM", "attic", "ram")];
    check(two, &["attic ram: UCM UFM needs 29.5 GiB"]);
    for bad in [json!({}), json!({"replicas": 5}), json!({"replicas": [{"slot": "UFM"}]}), json!({"replicas": [5]})] {
        let error = evaluate_text(FOUR, &bad.to_string()).expect_err("no plan").to_string();
        assert!(error.contains("a plan is what"), "{error}");
    }
    let many: Vec<Value> = (0..500).map(|index| replica(&format!("X{index}"), "attic", "ram")).collect();
    let verdict = evaluate_text(FOUR, &json!({ "replicas": many }).to_string()).expect("a verdict");
    assert_eq!(verdict.violations.len(), limits::VIOLATIONS_TOLD_MAX + 1);
    assert_eq!(verdict.violations.last().map(String::as_str), Some("and 400 more"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}", place in 0usize..2_000) {
        let _ = plan_text(&text);
        let _ = evaluate_text(FOUR, &text);
        // A sound inventory with something put into it anywhere.
        let at = (0..=place.min(FOUR.len())).rev().find(|at| FOUR.is_char_boundary(*at)).unwrap_or(0);
        let _ = plan_text(&format!("{}{text}{}", &FOUR[..at], &FOUR[at..]));
    }
}
