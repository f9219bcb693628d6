//! Garbage collection: explained, never the last copy, never by two machines at once, and by itself when a budget asks for it.

use std::time::Duration;

use fednode_tests::{Federation, until};

use super::{LIMIT, entry, full, list, publish_as, stores, two, wait_known, wait_stored};

/// A superseded version, on the disks of both machines.
fn superseded_on_both() -> (Federation, String, String) {
    let federation = two(full("griffith"), full("desktop"));
    let old = publish_as(federation.node("griffith"), "UCM", "UCM", "1");
    wait_stored(federation.node("desktop"), &old);
    let new = publish_as(federation.node("griffith"), "UAM", "UCM", "2");
    wait_stored(federation.node("desktop"), &new);
    federation.wait_carried_out(LIMIT, |_| {}).expect("carried out"); // the old replicas are gone
    for (node, other) in [("griffith", "desktop"), ("desktop", "griffith")] {
        wait_known(federation.node(node), other, &old, true);
        wait_known(federation.node(node), other, &new, true);
    }
    (federation, old, new)
}

#[test]
fn garbage_is_explained_then_deleted_but_never_pinned_and_never_the_last_copy() {
    let (federation, old, new) = superseded_on_both();
    let (griffith, desktop) = (federation.node("griffith"), federation.node("desktop"));
    let explained = griffith.command(&["gc", "--json"]).expect("explained").json();
    assert_eq!(explained["carried_out"], false);
    let goes = entry(&explained["delete"], &old);
    assert_eq!(
        (&goes["why"], &goes["holders"][0]),
        (&"no slot names it any more".into(), &"desktop".into()),
        "{explained}"
    );
    assert_eq!(explained["would_free_bytes"], goes["bytes"]);
    let stays = entry(&explained["keep"], &new)["why"].as_str().expect("a reason").to_owned();
    assert!(["resident on this node", "wanted here by the plan"].contains(&stays.as_str()), "{stays}");
    assert!(stores(griffith, &old), "explaining deletes nothing");

    griffith.command(&["pin", &old]).expect("pinned");
    let pinned = griffith.command(&["gc", "--yes", "--json"]).expect("nothing may go").json();
    assert_eq!(entry(&pinned["keep"], &old)["why"], "pinned on this node");
    assert_eq!(list(&pinned["deleted"]).len(), 0);
    griffith.command(&["unpin", &old]).expect("unpinned");

    let done = griffith.command(&["gc", "--yes", "--json"]).expect("collected").json();
    assert_eq!(entry(&done["deleted"], &old)["holders"][0], "desktop", "{done}");
    assert!(!griffith.data_dir().join("artifacts").join(&old).exists());
    wait_known(desktop, "griffith", &old, false);
    let refused = desktop.command(&["gc", "--yes", "--json"]).expect("it explains").json();
    let why = entry(&refused["keep"], &old)["why"].as_str().expect("a reason").to_owned();
    assert!(why.starts_with("held for griffith"), "{why}");
    assert!(stores(desktop, &old));

    // Its owner may let go of what no slot names, never of what one does.
    let forget = ["gc", "--yes", "--json", "--forget", &new, "--forget"];
    let kept = desktop.command(&[&forget[..], &[&old]].concat()).expect("it explains").json();
    assert_eq!(list(&kept["deleted"]).len(), 0, "a promise is a promise: {kept}");
    let text = desktop.command(&["gc"]).expect("explained").stdout;
    assert!(text.contains("stays:") && text.contains("nothing may go"), "{text}");
}

#[test]
fn a_holder_that_is_away_keeps_the_copy_here() {
    let (mut federation, old, _) = superseded_on_both();
    federation.node_mut("desktop").kill9();
    let griffith = federation.node("griffith");
    let looked = until("griffith noticing", LIMIT, || {
        let report = griffith.command(&["gc", "--yes", "--json"]).map_err(|error| error.to_string())?.json();
        assert_eq!(list(&report["deleted"]).len(), 0, "{report}");
        match entry(&report["keep"], &old)["why"].as_str() {
            Some("the only other holder, desktop, is not connected") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    looked.expect("the reason is said");
    assert!(stores(griffith, &old));
}

#[test]
fn two_machines_that_collect_at_the_same_moment_keep_one_copy() {
    let (federation, old, _) = superseded_on_both();
    let nodes = [federation.node("griffith"), federation.node("desktop")];
    let barrier = std::sync::Barrier::new(nodes.len());
    let reports: Vec<_> = std::thread::scope(|scope| {
        let collect = |node| {
            barrier.wait();
            fednode_tests::NodeProcess::command(node, &["gc", "--yes", "--json"]).expect("it explains").json()
        };
        let threads: Vec<_> = nodes.iter().map(|&node| scope.spawn(move || collect(node))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let deleted = reports.iter().filter(|report| !entry(&report["deleted"], &old).is_null()).count();
    assert!(deleted <= 1, "{reports:?}");
    let here = |node: &fednode_tests::NodeProcess| node.data_dir().join("artifacts").join(&old).exists();
    assert_eq!(nodes.iter().filter(|node| here(node)).count(), 2 - deleted);
    assert!(deleted == 1, "and one of them could: {reports:?}");
}

#[test]
fn a_budget_refuses_with_its_arithmetic_and_makes_room_by_itself() {
    let federation = two(full("griffith"), full("desktop").flag("--disk-budget", "1MB"));
    let (griffith, desktop) = (federation.node("griffith"), federation.node("desktop"));
    // The plan stores nothing on so small a disk; a pin does.
    desktop.command(&["pin", "UCM"]).expect("pinned");
    let old = publish_as(griffith, "UCM", "UCM", "1");
    wait_stored(desktop, &old);
    let status = desktop.state().expect("state");
    assert_eq!(status["store"]["budget_bytes"], 1_000_000);
    assert_eq!(status["store"]["used_bytes"], 561_664);

    let file = fednode_tests::managers::file("UDM");
    let refused = desktop.cli(&["publish", &file.to_string_lossy(), "--as", "UDM", "--json"]).expect("it runs");
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    let why = refused.json()["error"]["message"].as_str().expect("a reason").to_owned();
    assert!(why.contains("548.5 KiB are used and 548.5 KiB needed, together 1.1 MiB of 976.6 KiB, short"), "{why}");
    assert_eq!(std::fs::read_dir(desktop.data_dir().join("incoming")).expect("a folder").count(), 0);

    // The next version of what is pinned: the old one makes room for it, for griffith holds that too.
    let new = publish_as(griffith, "UAM", "UCM", "2");
    wait_stored(desktop, &new);
    let looked = until("the old version leaving", Duration::from_secs(30), || match stores(desktop, &old) {
        false => Ok(()),
        true => Err("still there".to_owned()),
    });
    looked.expect("it made room");
    assert!(stores(griffith, &old), "the last copy stays");
    assert!(desktop.state().expect("state")["store"]["used_bytes"].as_u64() <= Some(1_000_000));
}

#[test]
fn a_budget_that_was_lowered_lets_spare_copies_go_and_they_do_not_come_back() {
    // No manager fits into the desktop's memory: all that lies on its disk are spare copies.
    let mut federation = two(full("griffith"), fednode_tests::NodeSpec::full("desktop").memory("1MiB"));
    let models = ["UCM", "UAM", "UDM"];
    let artifacts: Vec<String> =
        models.iter().map(|model| publish_as(federation.node("griffith"), model, model, "1")).collect();
    artifacts.iter().for_each(|artifact| wait_stored(federation.node("desktop"), artifact));
    federation.node_mut("desktop").stop().expect("stopped");
    federation.node_mut("desktop").start(&["up", "--disk-budget", "1200KB"]).expect("up with a budget");
    let desktop = federation.node("desktop");
    let under = until("the store coming under its budget", LIMIT, || {
        let state = desktop.state().map_err(|error| error.to_string())?;
        match state["store"]["used_bytes"].as_u64() {
            Some(1_123_328) => Ok(()),
            used => Err(format!("{used:?} bytes used")),
        }
    });
    under.expect("one of three goes, and no more");
    let griffith = federation.node("griffith");
    assert!(artifacts.iter().all(|artifact| stores(griffith, artifact)));
    federation.wait_carried_out(LIMIT, |_| {}).expect("the plan asks for no more than the budget has room for");
    assert_eq!(desktop.state().expect("state")["store"]["used_bytes"], 1_123_328);
    // The node hears of what its store let go a moment after the bytes are free.
    let left =
        until("two that stay", LIMIT, || match artifacts.iter().filter(|artifact| stores(desktop, artifact)).count() {
            2 => Ok(()),
            count => Err(format!("{count} are stored")),
        });
    left.expect("one went");
}
