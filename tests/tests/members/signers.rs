//! Names, admins, and a lost owner's machine.

use std::os::unix::fs::PermissionsExt;

use fednode_tests::{NodeProcess, until};
use serde_json::json;

use crate::{LIMIT, federation, member, refused, shelf, wait_alive};

/// Waits until `node` sees `name` with `field` as `expect`.
fn wait_field(node: &NodeProcess, name: &str, field: &str, expect: &serde_json::Value) {
    until(&format!("{name}'s {field} at {}", node.name()), LIMIT, || {
        let seen = member(node, name);
        if seen[field] == *expect { Ok(()) } else { Err(seen.to_string()) }
    })
    .expect("it comes");
}

#[test]
fn an_admin_signs_for_the_owner_and_a_lost_owner_is_replaced_by_the_recovery_file() {
    let mut federation = federation(shelf("desk"), &["den", "nas"]);
    let desk = member(federation.node("nas"), "desk");
    assert_eq!((&desk["owner"], &desk["admin"], &desk["expires_unix_s"]), (&true.into(), &true.into(), &0.into()));
    assert!(member(federation.node("desk"), "den")["expires_unix_s"].as_u64().is_some_and(|at| at > 1_700_000_000));

    // A name is unique, and a rename reaches everybody.
    refused(federation.node("desk"), &["members", "rename", "den", "nas"], "another machine is called nas");
    refused(federation.node("den"), &["members", "rename", "den", "attic"], "only the owner's machine and admins");
    federation.node("desk").command(&["members", "rename", "den", "attic"]).expect("renamed");
    wait_alive(&federation, &["desk", "den", "nas"], &["desk", "attic", "nas"]);

    // An admin invites and revokes, and can neither make admins nor turn out who may sign.
    refused(federation.node("den"), &["invite"], "only the owner's machine and admins");
    federation.node("desk").command(&["members", "grant-admin", "attic"]).expect("granted");
    wait_field(federation.node("den"), "attic", "admin", &json!(true));
    federation.join(shelf("shed"), "den").expect("an admin's ticket");
    wait_alive(&federation, &["desk", "den", "nas", "shed"], &["desk", "attic", "nas", "shed"]);
    for (args, says) in [
        (["members", "grant-admin", "nas"].as_slice(), "only the owner's machine"),
        (&["members", "revoke", "desk", "--yes"], "only the owner can revoke a machine that may sign"),
        (&["members", "revoke", "attic", "--yes"], "cannot revoke itself"),
        (&["members", "revoke", "nobody", "--yes"], "no member is called nobody"),
    ] {
        refused(federation.node("den"), args, says);
    }
    assert_eq!(federation.node("den").cli(&["members", "revoke", "shed"]).expect("runs").code, 2, "nobody said yes");
    federation.node("den").command(&["members", "revoke", "shed", "--yes"]).expect("revoked by an admin");
    federation.node_mut("shed").kill9();
    wait_alive(&federation, &["desk", "den", "nas"], &["desk", "attic", "nas"]);
    federation.node("desk").command(&["members", "revoke-admin", "attic"]).expect("taken back");
    wait_field(federation.node("den"), "attic", "admin", &json!(false));
    refused(federation.node("den"), &["members", "revoke", "nas", "--yes"], "only the owner's machine and admins");

    lost_owner(&mut federation);
}

fn lost_owner(federation: &mut fednode_tests::Federation) {
    let file = federation.folder().join("recovery");
    let path = file.to_string_lossy().into_owned();
    refused(federation.node("nas"), &["owner", "export", &path], "does not have the owner's key");
    federation.node("desk").command(&["owner", "export", &path]).expect("exported");
    refused(federation.node("desk"), &["owner", "export", &path], "exists");
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(text.starts_with("# WHOEVER HAS THIS FILE OWNS THE FEDERATION"), "{text}");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let damaged = federation.folder().join("damaged");
    std::fs::write(&damaged, &text[..text.len() - 3]).expect("written");
    refused(federation.node("nas"), &["owner", "import", &damaged.to_string_lossy()], "use another copy");

    // The owner's machine is lost for good. A member takes its place; one that is off meanwhile hears of it later.
    federation.node_mut("desk").kill9();
    federation.node_mut("den").kill9();
    let imported = federation.node("nas").command(&["owner", "import", &path, "--json"]).expect("imported").json();
    assert_eq!(imported["known_before"], false, "{imported}");
    federation.node("nas").command(&["members", "revoke", "desk", "--yes"]).expect("the lost one is turned out");
    federation.join(shelf("barn"), "nas").expect("it invites");
    federation.node_mut("den").up().expect("up");
    wait_alive(federation, &["den", "nas", "barn"], &["attic", "nas", "barn"]);
    let nas = member(federation.node("barn"), "nas");
    assert_eq!((&nas["owner"], &nas["admin"]), (&true.into(), &true.into()), "{nas}");
    // What was lost and is found again has the key, and is out all the same: nobody takes it in.
    drop(federation.node_mut("desk").up());
    wait_alive(federation, &["den", "nas", "barn"], &["attic", "nas", "barn"]);
}
