//! Replicas on a GPU, for builds of the node that have one of the features `cuda`, `metal` and `vulkan`: `scripts/check-gpu`
//! runs this where such a build and a driver are, be it Mesa's, which computes on the CPU.

use std::time::Duration;

use fednode_tests::{Federation, NodeSpec, Question, managers, until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_manager_that_has_no_room_in_host_memory_is_computed_on_the_gpu_as_it_was_published() {
    let mut federation = Federation::new().expect("a federation");
    // Managers of 16 MiB and more do not fit.
    federation.create(NodeSpec::full("den").memory("4MiB")).expect("up");
    federation.join(NodeSpec::delegate("laptop"), "den").expect("joined");
    let den = federation.node("den");
    let devices = den.command(&["engine", "--devices"]).expect("a list").json();
    let named = devices.as_array().expect("a list").iter().filter(|device| device["integrated"] == false).count();
    assert!(named > 0, "this build finds no GPU: {devices}");

    for model in ["UCM", "ULM", "ULM:core"] {
        den.publish(model).expect("published");
    }
    // Each is compared with its fingerprint, which was read on the CPU, when it is loaded.
    let ready = until("replicas on the GPU", LIMIT, || match (den.holders("UCM"), den.holders("ULM")) {
        (Ok(one), Ok(other)) if one.len() + other.len() == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    ready.expect("what the GPU computes is what was published");
    // Mesa's software driver (22.3 and 25.0) takes minutes to compile what an answer needs, and has crashed where a base and its
    // adapter are computed by turns.
    if !devices.to_string().contains("llvmpipe") {
        answers_are_the_known_ones(&federation);
    }
    let state = den.state().expect("state");
    let replicas = state["slots"].as_array().expect("slots").iter().flat_map(|slot| list(&slot["replicas"]));
    let places: Vec<&Value> = replicas.map(|replica| &replica["memory_domain"]).collect();
    assert_eq!(places, ["gpu0", "gpu0"]);
    let gpu = list(&state["members"][0]["domains"]).iter().find(|domain| domain["name"] == "gpu0").expect("its memory");
    assert!(gpu["hosts"] == true && gpu["ours_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{gpu}");
}

fn answers_are_the_known_ones(federation: &Federation) {
    for model in ["UCM", "ULM", "ULM:core"] {
        for known in managers::answers(model).expect("known answers").into_iter().take(20) {
            let answer =
                federation.node("laptop").client().ask(&Question::new(model, &known.prompt)).expect("an answer");
            assert_eq!(answer.text, known.answer, "{model}: {}", answer.summary());
            assert_eq!(answer.precision.as_deref(), Some("F16"));
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
