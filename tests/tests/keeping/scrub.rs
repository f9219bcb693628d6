//! A bit flips under a stored artifact: it is found, repaired from the other machine, and never served.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fednode_tests::{managers, until};

use super::{LIMIT, file_of, full, list, publish_as, two, wait_known, wait_published, wait_stored};

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the stored file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte");
    file.write_all_at(&[byte[0] ^ 16], offset).expect("written");
    file.sync_all().expect("synced");
}

#[test]
fn a_flipped_bit_is_found_repaired_and_meanwhile_nobody_gets_it() {
    // Without its own scrub, which would find the bit, too, and perhaps first.
    let mut federation = two(full("griffith"), full("desktop").flag("--scrub-days", "0"));
    let artifact = publish_as(federation.node("griffith"), "UCM", "UCM", "1");
    wait_stored(federation.node("desktop"), &artifact);
    wait_published(federation.node("desktop"), "UCM", &artifact);
    let original = std::fs::read(managers::file("UCM")).expect("the published file");
    let path = file_of(federation.node("desktop"), &artifact);

    let desktop = federation.node("desktop");
    flip(&path, 300_000);
    let report = desktop.command(&["scrub", "--now", "UCM", "--json"]).expect("found and repaired").json();
    assert_eq!(report["artifacts"][0]["state"], "repaired", "{report}");
    assert_eq!(list(&report["artifacts"][0]["damaged"]).len(), 1, "one chunk of many: {report}");
    assert_eq!(std::fs::read(&path).expect("repaired"), original, "bit-identical");
    let again = desktop.command(&["scrub", "--now", "--json"]).expect("sound").json();
    assert_eq!((&again["artifacts"][0]["state"], &again["damaged_chunks"]), (&"sound".into(), &0.into()));
    let answer = managers::first_answer("UCM").expect("known");
    assert_eq!(desktop.client().chat("UCM", &answer.prompt).expect("a reply").text, answer.answer);

    // Without anybody to repair from: said, kept, and repaired as soon as somebody is there.
    federation.node_mut("griffith").stop().expect("stopped");
    flip(&path, 400_000);
    let desktop = federation.node("desktop");
    let output = desktop.cli(&["scrub", "--now", &artifact, "--json"]).expect("it runs");
    assert_eq!(output.code, 1, "{}", output.stdout);
    let state = desktop.state().expect("state");
    let damage = &state["store"]["damaged"][0];
    assert_eq!((&damage["artifact"], &damage["state"]), (&artifact.as_str().into(), &"unrepairable".into()), "{state}");
    assert!(damage["reason"].as_str().is_some_and(|why| why.contains("publish the same file again")), "{damage}");
    assert_eq!(list(&state["members"][0]["stored"]).len(), 0, "it is not said to be whole");
    let text = desktop.command(&["status"]).expect("status").stdout;
    assert!(text.contains("is damaged"), "{text}");

    federation.node_mut("griffith").up().expect("up again");
    let desktop = federation.node("desktop");
    wait_stored(desktop, &artifact);
    assert_eq!(std::fs::read(&path).expect("repaired"), original);
    wait_known(federation.node("griffith"), "desktop", &artifact, true);
}

#[test]
fn a_source_that_sent_a_corrupt_chunk_repairs_itself() {
    let mut federation = two(full("griffith"), full("desktop"));
    let artifact = publish_as(federation.node("griffith"), "UAM", "UAM", "1");
    wait_stored(federation.node("desktop"), &artifact);
    let original = std::fs::read(managers::file("UAM")).expect("the published file");
    let rotten = file_of(federation.node("griffith"), &artifact);
    flip(&rotten, 250_000);
    // A third machine gets the rotten chunk, for nobody else is there, and says so to its source.
    federation.node_mut("desktop").kill9();
    federation.join(full("tower"), "griffith").expect("joined");
    let refused = until("tower refusing a chunk", LIMIT, || {
        let state = federation.node("tower").state().map_err(|error| error.to_string())?;
        let corrupt = state["transfers"][0]["chunks_corrupt"].as_u64().filter(|&corrupt| corrupt > 0);
        corrupt.ok_or_else(|| state["transfers"].to_string())
    });
    refused.expect("the rotten chunk is asked for");
    federation.node_mut("desktop").up().expect("up again");
    wait_stored(federation.node("tower"), &artifact);
    assert_eq!(std::fs::read(file_of(federation.node("tower"), &artifact)).expect("stored"), original);
    let repaired = until("griffith repairing itself", LIMIT, || match std::fs::read(&rotten) {
        Ok(bytes) if bytes == original => Ok(()),
        Ok(_) => Err("still rotten".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    repaired.expect("repaired");
}

#[test]
fn the_background_scrub_ends_a_pass_and_remembers_it_over_a_restart() {
    let mut federation = fednode_tests::Federation::new().expect("a federation");
    federation.create(full("alone")).expect("up");
    publish_as(federation.node("alone"), "UCM", "UCM", "1");
    let scrub = |federation: &fednode_tests::Federation| {
        federation.node("alone").command(&["scrub", "--json"]).expect("how it stands").json()["scrub"].clone()
    };
    let passed = until("a full pass", LIMIT, || {
        let scrub = scrub(&federation);
        scrub["passed_unix_s"].as_u64().filter(|at| *at > 0).ok_or_else(|| scrub.to_string())
    });
    let passed = passed.expect("a pass ends");
    assert_eq!(scrub(&federation)["damaged_chunks"], 0);
    federation.node_mut("alone").kill9();
    federation.node_mut("alone").up().expect("up again");
    assert_eq!(scrub(&federation)["passed_unix_s"], passed);
    federation.node_mut("alone").stop().expect("stopped");
    federation.node_mut("alone").start(&["up", "--scrub-days", "0"]).expect("up without");
    assert_eq!(scrub(&federation)["state"], "off");
}
