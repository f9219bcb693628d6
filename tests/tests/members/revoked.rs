//! A machine is turned out in the middle of a transfer.

use std::time::{Duration, Instant};

use fednode_tests::model::{self, Model};
use fednode_tests::{Federation, NodeSpec, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::{LIMIT, REFUSED, federation, names, refused, sockets, wait_alive};

/// The issue's: after a revocation nothing of that machine is left anywhere by then.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

/// At 3 MB/s what lies between two processes is full by then: nothing more can be written to the other.
const FILL: Duration = Duration::from_secs(4);

/// `desk` sends some 51 MB at 3 MB/s, so that its transfer to `nas` runs for as long as the test needs.
fn sending(others: &[&str]) -> (Federation, String) {
    let federation = federation(NodeSpec::full("desk").memory("1MiB").flag("--limit-up", "3MB/s"), others);
    let path = federation.folder().join("model.gguf");
    let model = Model::make(federation.node("desk"), path, 32, 256, 704).expect("a model");
    let artifact = model::publish(federation.node("desk"), &model.path, "UCM").expect("published");
    until("the catalog", LIMIT, || match federation.node("nas").cli(&["pin", "UCM"]) {
        Ok(output) if output.code == 0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it can be pinned");
    until("the transfer", LIMIT, || {
        let done = progress(&federation, &artifact);
        if done > 1 << 20 { Ok(()) } else { Err(format!("{done} bytes")) }
    })
    .expect("it runs");
    (federation, artifact)
}

fn progress(federation: &Federation, artifact: &str) -> u64 {
    let state = federation.node("nas").state().unwrap_or_default();
    let transfers = state["transfers"].as_array().cloned().unwrap_or_default();
    let found = transfers.iter().find(|transfer| transfer["artifact"] == artifact);
    found.and_then(|transfer| transfer["done_bytes"].as_u64()).unwrap_or(0)
}

fn pid(federation: &Federation, name: &str) -> u32 {
    federation.node(name).pid().expect("it runs")
}

fn signal(federation: &Federation, name: &str, signal: Signal) {
    let pid = Pid::from_raw(pid(federation, name) as i32).expect("a process id");
    kill_process(pid, signal).expect("it can be signalled");
}

#[test]
fn a_revoked_member_that_does_not_even_read_is_cut_off_and_stays_out_after_every_restart() {
    let (mut federation, artifact) = sending(&["den", "nas"]);
    let (desk, den, nas) = (pid(&federation, "desk"), pid(&federation, "den"), pid(&federation, "nas"));
    assert!(sockets::between(desk, nas) > 0 && sockets::between(den, nas) > 0, "all are connected");
    // The worst case: a peer that takes nothing in, and so lets nobody say goodbye.
    signal(&federation, "nas", Signal::STOP);
    std::thread::sleep(FILL);
    let asked = Instant::now();
    let done =
        federation.node("desk").command(&["members", "revoke", "nas", "--yes", "--json"]).expect("revoked").json();
    assert_eq!((&done["action"], &done["member"]["name"]), (&"revoke".into(), &"nas".into()), "{done}");
    assert_eq!(done["told"], serde_json::json!(["den"]), "{done}");
    until("the end of every connection", LIMIT, || {
        let left = (sockets::between(desk, nas), sockets::between(den, nas));
        if left == (0, 0) { Ok(()) } else { Err(format!("{left:?} with desk and den")) }
    })
    .expect("they end");
    let took = asked.elapsed();
    assert!(took <= REVOKED_WITHIN, "connections of a revoked member lived on for {took:?}");
    for name in ["desk", "den"] {
        assert!(!names(federation.node(name)).contains("nas"), "{name} still lists it");
    }

    // It wakes, believes that it belongs, and is let in nowhere: not now, not by any node after a restart.
    signal(&federation, "nas", Signal::CONT);
    stays_out(&federation);
    // What had reached its machine before was its own to read.
    let before = progress(&federation, &artifact);
    for name in ["desk", "den", "nas"] {
        federation.node_mut(name).kill9();
    }
    for name in ["den", "desk", "nas"] {
        federation.node_mut(name).up().expect("up again");
    }
    wait_alive(&federation, &["desk", "den"], &["desk", "den"]);
    stays_out(&federation);
    assert!(progress(&federation, &artifact) <= before, "it got weights after it was revoked");

    // Its own roster still names it; a new ticket lets it in all the same.
    federation.node_mut("nas").kill9();
    let ticket = federation.invite("desk", "full").expect("a ticket");
    federation.node_mut("nas").join(&ticket).expect("it may come back");
    wait_alive(&federation, &["desk", "den", "nas"], &["desk", "den", "nas"]);
}

/// Waits until it was turned away several times, and looks meanwhile whether anybody lets it in.
fn stays_out(federation: &Federation) {
    until("its notice that it is shut out", LIMIT, || {
        for name in ["desk", "den"] {
            assert!(!names(federation.node(name)).contains("nas"), "{name} lists it again");
        }
        let state = federation.node("nas").state().unwrap_or_default();
        let notice = state["node"]["notice"].as_str().unwrap_or_default().to_owned();
        if notice.contains("may have been revoked") { Ok(()) } else { Err(state["node"].to_string()) }
    })
    .expect("it is turned away");
    let status = federation.node("nas").command(&["status"]).expect("it answers its own user").stdout;
    assert!(status.contains("notice "), "{status}");
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[test]
fn a_revoked_machine_says_so_keeps_its_files_and_comes_back_with_a_new_ticket() {
    let (mut federation, artifact) = sending(&["nas"]);
    let asked = Instant::now();
    federation.node("desk").command(&["members", "revoke", "nas", "--yes"]).expect("revoked");
    let ended = until("the end of its node", LIMIT, || match federation.node_mut("nas").check_running() {
        Ok(()) => Err("it runs".to_owned()),
        Err(error) => Ok(error.to_string()),
    });
    let said = ended.expect("a revoked node ends");
    assert!(asked.elapsed() <= REVOKED_WITHIN + Duration::from_secs(4), "it ended after {:?}", asked.elapsed());
    assert!(said.contains("was revoked from its federation") && said.contains("fednode join"), "{said}");
    assert!(said.contains(&format!("exit status: {REFUSED}")), "{said}");
    assert!(federation.node_mut("nas").up().expect_err("it is out").to_string().contains("was revoked"));

    assert!(bytes_below(federation.node("nas").data_dir()) > 1 << 20, "its files are where they were");
    refused(federation.node("desk"), &["members", "revoke", "nas", "--yes"], "no member is called nas");
    let ticket = federation.invite("desk", "full").expect("a ticket");
    federation.node_mut("nas").join(&ticket).expect("it may come back");
    wait_alive(&federation, &["desk", "nas"], &["desk", "nas"]);
    until("the rest of the transfer", LIMIT, || {
        let state = federation.node("nas").state().unwrap_or_default();
        let stored =
            state["members"][0]["stored"].as_array().is_some_and(|stored| stored.contains(&artifact.as_str().into()));
        if stored { Ok(()) } else { Err(state["transfers"].to_string()) }
    })
    .expect("it goes on where it was");
}
