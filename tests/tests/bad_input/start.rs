//! Nodes that must not start: ports in use, an API open to the world, data directories of somebody else.

use std::fs;
use std::path::Path;

use fednode_tests::{Federation, NodeSpec};

use crate::command::{free_address, run, taken_port};
use crate::refusal::{Case, Faults, REFUSED};
use crate::snapshot::Snapshot;

fn check(case: &Case<'_>, federation: &Federation, data_dir: &Path) {
    let (mut faults, before) = (Faults::default(), Snapshot::federation(federation));
    faults.check(case, &before, |args| run(data_dir, args));
    faults.none();
}

fn up<'a>(api: &'a str, listen: &'a str) -> Vec<&'a str> {
    vec!["up", "--role", "full", "--threads", "1", "--memory", "64GB", "--api", api, "--listen", listen]
}

/// A federation of one, that has stopped.
fn stopped() -> Federation {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation.node_mut("north").stop().expect("north stops");
    federation
}

#[test]
fn a_port_in_use_is_refused_and_a_new_data_directory_is_not_made() {
    let federation = Federation::new().expect("a temporary directory and a binary");
    let ((_held, taken), free) = (taken_port(), free_address());
    let fresh = federation.folder().join("deep").join("fresh");
    let says = [taken.as_str(), "in use", "--api"];
    check(&Case { name: "--api", args: up(&taken, &free), code: REFUSED, says: &says }, &federation, &fresh);
    let says = [taken.as_str(), "in use", "--listen"];
    check(&Case { name: "--listen", args: up(&free, &taken), code: REFUSED, says: &says }, &federation, &fresh);
    let port = taken.rsplit(':').next().expect("an address has a port");
    let multiaddress = format!("/ip4/127.0.0.1/tcp/{port}");
    let says = [port, "in use", "--listen"];
    let case = Case { name: "--listen multiaddress", args: up(&free, &multiaddress), code: REFUSED, says: &says };
    check(&case, &federation, &fresh);
    assert!(!fresh.exists() && !federation.folder().join("deep").exists(), "a refused start made a folder");
}

#[test]
fn a_port_in_use_leaves_an_old_data_directory_as_it_was() {
    let mut federation = stopped();
    let ((_held, taken), free) = (taken_port(), free_address());
    let data_dir = federation.node("north").data_dir().to_owned();
    check(&Case { name: "--api", args: up(&taken, &free), code: REFUSED, says: &["--api"] }, &federation, &data_dir);
    let case = Case { name: "--listen", args: up(&free, &taken), code: REFUSED, says: &["--listen"] };
    check(&case, &federation, &data_dir);
    federation.node_mut("north").up().expect("north starts once its own ports are asked for");
}

#[test]
fn an_api_that_strangers_could_reach_is_refused() {
    let federation = Federation::new().expect("a temporary directory and a binary");
    let fresh = federation.folder().join("fresh");
    let free = free_address();
    let port = free.rsplit(':').next().expect("an address has a port");
    for address in [format!("0.0.0.0:{port}"), format!("[::]:{port}"), format!("192.0.2.1:{port}")] {
        let says = [address.as_str(), "key", "loopback|127.0.0.1"];
        let case = Case { name: &address, args: up(&address, "127.0.0.1:0"), code: REFUSED, says: &says };
        check(&case, &federation, &fresh);
    }
    assert!(!fresh.exists(), "a refused start made a folder");
}

#[test]
fn the_data_directory_of_a_running_node_is_refused() {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation.create(NodeSpec::full("south").memory("64GB")).expect("a federation of its own starts");
    let ticket = federation.invite("south", "full").expect("south invites");
    let ticket = ticket.to_str().expect("paths of this test are UTF-8");
    let north = federation.node("north");
    let pid = north.pid().expect("north runs").to_string();
    let [api, listen] = [free_address(), free_address()];
    let says = [pid.as_str(), "running|process", "--data-dir"];
    let case = Case { name: "up", args: up(&api, &listen), code: REFUSED, says: &says };
    check(&case, &federation, north.data_dir());
    let args = vec!["join", "--ticket-file", ticket, "--api", &api, "--listen", &listen];
    check(&Case { name: "join", args, code: REFUSED, says: &says }, &federation, north.data_dir());
    assert_eq!(north.client().get("/health").expect("north answers").status, 200);
}

#[test]
fn the_data_directory_of_a_newer_version_is_refused() {
    let mut federation = stopped();
    let data_dir = federation.node("north").data_dir().to_owned();
    let version = data_dir.join("version");
    let ours = fs::read(&version).expect("a data directory states its version");
    fs::write(&version, "9999\n").expect("the version can be written");
    let [api, listen] = [free_address(), free_address()];
    let says = &["9999", "newer", "version"];
    check(&Case { name: "up", args: up(&api, &listen), code: REFUSED, says }, &federation, &data_dir);
    fs::write(&version, "what\n").expect("the version can be written");
    let says = &["version"];
    check(&Case { name: "no version", args: up(&api, &listen), code: REFUSED, says }, &federation, &data_dir);
    fs::write(&version, ours).expect("the version can be written");
    federation.node_mut("north").up().expect("north starts from its own data");
}

#[test]
fn a_data_directory_that_is_not_ours_is_refused() {
    let federation = Federation::new().expect("a temporary directory and a binary");
    let [api, listen] = [free_address(), free_address()];
    let file = federation.folder().join("letter");
    fs::write(&file, "Dear aunt").expect("a file is written");
    let says = &["letter", "directory|folder"];
    check(&Case { name: "a file", args: up(&api, &listen), code: REFUSED, says }, &federation, &file);
}

#[test]
fn joining_from_the_data_directory_of_another_federation_is_refused() {
    let mut federation = stopped();
    federation.create(NodeSpec::full("south").memory("64GB")).expect("a federation of its own starts");
    let ticket = federation.invite("south", "full").expect("south invites");
    let [api, listen] = [free_address(), free_address()];
    let ticket_text = ticket.to_str().expect("paths of this test are UTF-8");
    let args = vec!["join", "--ticket-file", ticket_text, "--api", &api, "--listen", &listen];
    let case = Case { name: "join", args, code: REFUSED, says: &["federation", "--data-dir"] };
    check(&case, &federation, federation.node("north").data_dir());
    let newcomer = federation.add(NodeSpec::delegate("newcomer")).expect("a free port");
    newcomer.join(&ticket).expect("the ticket is not used up by the refusal");
}
