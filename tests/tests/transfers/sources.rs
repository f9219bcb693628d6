//! Several sources: half-complete ones, one that dies, one that lies; and the limits a person sets.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use fednode_tests::model::{self, Model};
use fednode_tests::until;
use serde_json::Value;

use crate::{
    CHUNK_BYTES, CHUNKS_IN_FLIGHT, LIMIT, federation, fetched, file_of, number, pin, shelf, source, transfer,
    wait_percent, wait_whole,
};

#[test]
fn a_half_complete_node_serves_what_it_has() {
    let mut federation = federation(shelf("seed").flag("--limit-up", "12MB/s"), vec![shelf("half"), shelf("late")]);
    until("late knowing half", LIMIT, || {
        let state = federation.node("late").state().unwrap_or_default();
        let members = state["members"].as_array().cloned().unwrap_or_default();
        let there = members.iter().any(|member| member["name"] == "half" && member["state"] == "alive");
        if there { Ok(()) } else { Err(state["members"].to_string()) }
    })
    .expect("they meet");
    // The plan stores copies by itself: who is to come later is away until then.
    federation.node_mut("late").kill9();
    let model = crate::model(&federation);
    let artifact = model::publish(federation.node("seed"), &model.path, "UCM").expect("published");
    pin(&federation, "half");
    wait_percent(&federation, "half", &artifact, 40);
    federation.node_mut("seed").kill9();
    let had = number(&wait_percent(&federation, "half", &artifact, 40), "done_bytes");
    federation.node_mut("late").up().expect("up");
    pin(&federation, "late");
    let seen = wait_percent(&federation, "late", &artifact, had * 100 / number_total(&federation, &artifact));
    assert_eq!(fetched(&seen), number(source(&seen, "half"), "bytes"), "{seen}");
    assert!(fetched(&seen) > 0, "{seen}");
    federation.node_mut("seed").up().expect("up again");
    wait_whole(&federation, "half", &artifact, &model);
    wait_whole(&federation, "late", &artifact, &model);
}

fn number_total(federation: &fednode_tests::Federation, artifact: &str) -> u64 {
    number(&transfer(federation.node("half"), artifact), "total_bytes").max(1)
}

#[test]
fn others_take_over_from_a_source_that_dies() {
    let slow = |name: &str| shelf(name).flag("--limit-up", "5MB/s");
    let mut federation = federation(slow("seed"), vec![slow("second"), shelf("desk")]);
    federation.node_mut("desk").kill9();
    let model = crate::model(&federation);
    let artifact = model::publish(federation.node("seed"), &model.path, "UCM").expect("published");
    pin(&federation, "second");
    wait_whole(&federation, "second", &artifact, &model);
    federation.node_mut("desk").up().expect("up");
    pin(&federation, "desk");
    let gave = |seen: &Value, name: &str| number(source(seen, name), "bytes") > 0;
    until("something of both", LIMIT, || {
        let seen = transfer(federation.node("desk"), &artifact);
        if gave(&seen, "seed") && gave(&seen, "second") { Ok(()) } else { Err(seen.to_string()) }
    })
    .expect("both give");
    federation.node_mut("second").kill9();
    let seen = wait_whole(&federation, "desk", &artifact, &model);
    assert!(number(source(&seen, "second"), "bytes") < number(&seen, "total_bytes") / 2, "{seen}");
}

#[test]
fn a_liar_is_out_after_three_strikes_and_costs_less_than_a_hundredth() {
    // The honest ones are slow, so that most is asked of the liar.
    let slow = |name: &str| shelf(name).flag("--limit-up", "12MB/s");
    let mut federation = federation(slow("seed"), vec![slow("honest"), shelf("liar"), shelf("desk")]);
    federation.node_mut("desk").kill9();
    // 1353 chunks, of which 14 will be damaged.
    let path = federation.folder().join("model.gguf");
    let model = Model::make(federation.node("seed"), path, 150, 128, 352).expect("a model");
    let artifact = model::publish(federation.node("seed"), &model.path, "UCM").expect("published");
    for name in ["honest", "liar"] {
        pin(&federation, name);
        wait_whole(&federation, name, &artifact, &model);
    }
    let path = file_of(federation.node("liar"), &artifact);
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("the liar's file");
    let bytes = file.metadata().expect("its length").len();
    for layer in (5..150).step_by(11) {
        file.write_all_at(b"a lie", model.ffn_offset(bytes, layer)).expect("damaged");
    }
    federation.node_mut("desk").up().expect("up");
    pin(&federation, "desk");
    let seen = wait_whole(&federation, "desk", &artifact, &model);
    assert_eq!(number(source(&seen, "liar"), "strikes"), 3, "{seen}");
    assert_eq!(number(&seen, "chunks_corrupt"), 3, "{seen}");
    assert!(number(&seen, "wasted_bytes") * 100 <= bytes, "{seen}");
    assert_eq!(fetched(&seen), bytes, "every sound chunk came once: {seen}");
}

#[test]
fn rate_limits_hold_over_all_members_together() {
    let mut federation = federation(
        shelf("seed").flag("--limit-up", "20MB/s"),
        vec![shelf("one").flag("--limit-down", "8MB/s"), shelf("two")],
    );
    federation.node_mut("one").kill9();
    let model = crate::model(&federation);
    let bytes = model.bytes().expect("the model").len() as u64;
    let begin = Instant::now();
    let artifact = model::publish(federation.node("seed"), &model.path, "UCM").expect("published");
    pin(&federation, "two");
    wait_whole(&federation, "two", &artifact, &model);
    // A machine that is busy with other things is only slower; without a limit it takes a small part of this.
    let least_ms = u128::from(bytes / 20_000) - 300;
    assert!(begin.elapsed().as_millis() >= least_ms, "{bytes} bytes in {:?} at 20 MB/s", begin.elapsed());
    let begin = Instant::now();
    federation.node_mut("one").up().expect("up");
    pin(&federation, "one");
    wait_whole(&federation, "one", &artifact, &model);
    let slack = CHUNKS_IN_FLIGHT * CHUNK_BYTES / 8_000_000 + 1;
    assert!(begin.elapsed().as_secs() + slack >= bytes / 8_000_000, "{bytes} bytes in {:?}", begin.elapsed());
    let traffic = &federation.node("one").state().expect("state")["traffic"];
    assert_eq!(number(traffic, "limit_down_bytes_per_s"), 8_000_000, "{traffic}");
}
