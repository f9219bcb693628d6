//! The text of plans, word for word, at 80 and at 120 columns. The plans are written here and not solved, so that what is tested
//! is the text alone.

use serde_json::json;

use super::text::{evaluation, plan, what_if};
use crate::cli::golden;
use crate::core::placement::document::PlanDocument;
use crate::core::placement::evaluate::EvaluationDocument;
use crate::core::placement::inventory::WhatIfDocument;

const GIB: u64 = 1 << 30;

fn document() -> PlanDocument {
    let short = "needs 15.3 GiB, 12.9 GiB free after what is placed there";
    serde_json::from_value(json!({
        "digest": "0011223344556677", "score": 150, "strategy": "mixed",
        "replicas": [
            {"slot": "UCM", "node": "griffith", "domain": "ram", "bytes": 16_428_035_538u64},
            {"slot": "UFM", "node": "desk", "domain": "ram", "bytes": 16_428_035_538u64},
            {"slot": "UFM", "node": "griffith", "domain": "ram", "bytes": 16_428_035_538u64},
        ],
        "stored": [
            {"artifact": "UCM-6.7B", "node": "desk"}, {"artifact": "UCM-6.7B", "node": "griffith"},
            {"artifact": "0f".repeat(32), "node": "desk"}, {"artifact": "0f".repeat(32), "node": "griffith"},
            {"artifact": "UDM-6.7B", "node": "desk"},
        ],
        "roles": {"desk": "mixed", "griffith": "specialised", "the-oldest-laptop-of-them-all": "delegate"},
        "shortfalls": [{"slot": "UDM", "bytes_short": 2_600_000_000u64, "why": "no place has room for 15.3 GiB"}],
        "moves": [
            {"slot": "UCM", "from": "desk ram", "to": "griffith ram"}, {"slot": "UAM", "from": "desk ram", "to": null},
            {"slot": "UFM", "from": null, "to": "desk ram"},
        ],
        "refused": [
            {"slot": "UAM", "node": "desk", "domain": "ram", "bytes_short": 2_600_000_000u64, "why": short},
            {"slot": "UCM", "node": "desk", "domain": "ram", "bytes_short": 2_600_000_000u64, "why": short},
            {"slot": "UDM", "node": "desk", "domain": "ram", "bytes_short": 2_600_000_000u64, "why": short},
            {"slot": "UDM", "node": "attic", "domain": "gpu0", "bytes_short": 2_600_000_000u64, "why": short},
            {"slot": "UDM", "node": "griffith", "domain": "ram", "bytes_short": 0,
             "why": "its disk lacks 3.0 GiB to store it"},
        ],
        "memory": [
            {"node": "desk", "domain": "ram", "kind": "ram", "total_bytes": 32 * GIB, "budget_bytes": 28 * GIB,
             "used_bytes": 15 * GIB + GIB / 3, "slots": ["UFM"]},
            {"node": "griffith", "domain": "ram", "kind": "ram", "total_bytes": 128 * GIB, "budget_bytes": 112 * GIB,
             "used_bytes": 107 * GIB, "slots": ["UAM", "UCM", "UDM", "UFM", "UIM", "ULM", "URM", "judge", "architect"]},
            {"node": "griffith", "domain": "gpu0", "kind": "vram", "total_bytes": 24 * GIB, "budget_bytes": 23 * GIB,
             "used_bytes": 1 << 20, "slots": ["tiny"]},
            {"node": "the-oldest-laptop-of-them-all", "domain": "ram", "kind": "ram", "total_bytes": 16 * GIB,
             "budget_bytes": 0, "used_bytes": 0, "slots": []},
        ],
        "remedies": [
            {"slot": "UAM", "node": "desk", "domain": "ram", "beside": ["UFM"], "bytes_short": 2_600_000_000u64,
             "context": 1792, "why": "on desk ram it needs 30.6 GiB together with UFM at context 4096, 28.2 GiB may be used, \
                                      short 2.4 GiB; they fit together at context 1792, or with 2.4 GiB more memory"},
            {"slot": "UDM", "node": "desk", "domain": "ram", "beside": ["UFM"], "bytes_short": 2_600_000_000u64,
             "context": 1792, "why": "on desk ram it needs 30.6 GiB together with UFM at context 4096, 28.2 GiB may be used, \
                                      short 2.4 GiB; they fit together at context 1792, or with 2.4 GiB more memory"},
        ],
        "context_for_all": 1792,
        "waits": [{"slot": "UAM", "wait_ms": 5_392}, {"slot": "UDM", "wait_ms": null}, {"slot": "UFM", "wait_ms": 0}],
    }))
    .expect("a plan")
}

#[test]
fn a_plan_is_explained() {
    golden::check("explain", |columns| plan(&document(), true, columns));
}

#[test]
fn without_explain_refusals_and_bars_are_left_out() {
    golden::check("plan", |columns| plan(&document(), false, columns));
}

#[test]
fn what_changes_is_said() {
    let document = document();
    let answer = WhatIfDocument {
        changes: vec!["add a machine of 59.6 GiB".to_owned(), "remove den".to_owned(), "context 8192".to_owned()],
        score_before: 120,
        score_after: 150,
        gained: vec!["UCM".to_owned(), "UFM".to_owned()],
        lost: vec!["UAM".to_owned()],
        moves: document.moves.clone(),
        shortfalls_before: document.shortfalls.clone(),
        shortfalls_after: document.shortfalls.clone(),
        plan: document,
    };
    golden::check("what-if", |columns| what_if(&answer, false, columns));
    let calm = WhatIfDocument { gained: Vec::new(), lost: Vec::new(), moves: Vec::new(), ..answer };
    let text = what_if(&calm, false, 80);
    assert!(text.contains("gained: none") && text.ends_with("\nNothing moves.\n"), "{text}");
}

#[test]
fn a_verdict_names_every_violation() {
    let mut verdict = EvaluationDocument { feasible: true, score: 150, best_score: 190, violations: Vec::new() };
    assert_eq!(evaluation(&verdict, 80), "feasible, score 150; fednode's own plan scores 190\n");
    verdict.feasible = false;
    verdict.violations = vec!["the inventory has no machine \"loft\"".to_owned()];
    let expect = "not feasible, score 150; fednode's own plan scores 190\n\nViolations:\n  - the inventory has no machine \
                  \"loft\"\n";
    assert_eq!(evaluation(&verdict, 80), expect);
}

#[test]
fn no_plan_is_said_so_and_a_plan_of_another_version_is_read_as_far_as_it_goes() {
    assert!(plan(&PlanDocument::default(), true, 80).contains("no plan yet"));
    let old: PlanDocument =
        serde_json::from_value(json!({"digest": "00", "replicas": [], "newer": 5})).expect("a plan");
    assert!(plan(&old, true, 80).starts_with("plan 00"));
}
