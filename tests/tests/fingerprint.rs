//! Somebody puts another model in the place of a manager's file, behind its node's back: that machine is not asked any more, the
//! reason is told, the other holder answers, and the file is fetched again from there.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use fednode_tests::quantise::{quantised, through_q8_0};
use fednode_tests::{Federation, NodeProcess, NodeSpec, engines_of, managers, until};
use serde_json::Value;

/// Generous: slow machines.
const LIMIT: Duration = Duration::from_secs(90);
/// A slot of which the reference roster wants two replicas.
const SLOT: &str = "UFM";

/// Two machines that both have the manager in memory. The first one coordinates and compares a fingerprint every second; a file
/// is read again only when somebody suspects it.
fn two_holders() -> (Federation, String) {
    let mut federation = Federation::new().expect("a federation");
    let spec = |name: &str| {
        let spec = NodeSpec::full(name).memory("20GB").flag("--scrub-days", "0");
        spec.flag("--check-seconds", "1")
    };
    federation.create(spec("griffith").flag("--priority", "9")).expect("up");
    federation.join(spec("desktop"), "griffith").expect("joined");
    let published = federation.node("griffith").publish(SLOT).expect("published");
    assert_eq!(published["fingerprint"], true, "{published}");
    wait_holders(&federation);
    let artifact = published["artifact"].as_str().expect("an artifact").to_owned();
    (federation, artifact)
}

/// Until both machines are asked, as both see it.
fn wait_holders(federation: &Federation) {
    for name in ["griffith", "desktop"] {
        let looked = until(&format!("{name} knowing two holders"), LIMIT, || {
            let holders = federation.node(name).holders(SLOT).map_err(|error| error.to_string())?;
            if holders.len() == 2 { Ok(()) } else { Err(format!("{holders:?}: {}", replicas(federation.node(name)))) }
        });
        looked.expect("two holders");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn replicas(node: &NodeProcess) -> Value {
    let state = node.state().unwrap_or_default();
    list(&state["slots"]).iter().find(|slot| slot["name"] == SLOT).map_or(Value::Null, |slot| slot["replicas"].clone())
}

fn file_of(node: &NodeProcess, artifact: &str) -> PathBuf {
    node.data_dir().join("artifacts").join(artifact).join("files").join("model.gguf")
}

/// Puts another file in the place of the stored one; who has that open keeps it.
fn replace(node: &NodeProcess, artifact: &str, bytes: &[u8]) {
    let fresh = node.data_dir().join("fresh");
    let replaced = std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, file_of(node, artifact)));
    replaced.expect("replaced");
}

fn kill(engine: u32) {
    let pid = i32::try_from(engine).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

fn original() -> Vec<u8> {
    std::fs::read(managers::file(SLOT)).expect("the published file")
}

/// Until the file is again what was published.
fn wait_healed(node: &NodeProcess, artifact: &str) {
    let original = original();
    let healed = until("the file being fetched again", LIMIT, || match std::fs::read(file_of(node, artifact)) {
        Ok(bytes) if bytes == original => Ok(()),
        Ok(bytes) => Err(format!("{} bytes of something else", bytes.len())),
        Err(error) => Err(error.to_string()),
    });
    healed.expect("healed");
}

/// The manager's own answer, asked on `node`, from the machine called `from`. `question`: one of those that are known, for a
/// conversation goes on where it was answered before.
fn check_answer(node: &NodeProcess, from: &str, question: usize) {
    let known = managers::answers(SLOT).expect("known").swap_remove(question);
    let answer = node.client().chat(SLOT, &known.prompt).expect("a reply");
    assert_eq!((answer.text.as_str(), answer.node.as_deref()), (known.answer.as_str(), Some(from)));
}

#[test]
fn a_substituted_file_is_not_loaded_and_is_fetched_again() {
    let (federation, artifact) = two_holders();
    let cases = [
        ("its Q8_0 copy", quantised(&original()), "Q8_0"),
        (
            "weights that went through Q8_0",
            through_q8_0(&original()),
            "nats from those recorded at publication, more than",
        ),
    ];
    for (what, bytes, why) in cases {
        let desktop = federation.node("desktop");
        replace(desktop, &artifact, &bytes);
        // The replica goes on with the old file until it has to be loaded again.
        engines_of(desktop.pid().expect("it runs")).into_iter().for_each(kill);
        let told = until(&format!("{what} being refused"), LIMIT, || {
            let replicas = replicas(desktop);
            let mine = list(&replicas).iter().find(|replica| replica["node"] == "desktop").cloned().unwrap_or_default();
            let reason = mine["reason"].as_str().unwrap_or_default();
            if mine["state"] == "failed" && reason.contains(why) { Ok(()) } else { Err(replicas.to_string()) }
        });
        told.expect("the reason is told");
        check_answer(desktop, "griffith", 1);
        wait_healed(desktop, &artifact);
        wait_holders(&federation);
    }
    check_answer(federation.node("desktop"), "desktop", 2);
}

#[test]
fn a_file_overwritten_under_a_living_replica_costs_it_its_requests_until_it_is_healed() {
    let (federation, artifact) = two_holders();
    let (griffith, desktop) = (federation.node("griffith"), federation.node("desktop"));
    let file = OpenOptions::new().write(true).open(file_of(desktop, &artifact)).expect("the stored file");
    file.write_all_at(&through_q8_0(&original()), 0).expect("overwritten in place");
    let distrust = until("the coordinator finding out", LIMIT, || {
        let plan = griffith.command(&["plan", "--json"]).map_err(|error| error.to_string())?.json();
        list(&plan["distrusted"]).first().cloned().ok_or_else(|| replicas(griffith).to_string())
    });
    let distrust = distrust.expect("found out");
    assert_eq!((&distrust["node"], &distrust["slot"]), (&"desktop".into(), &SLOT.into()), "{distrust}");
    let why = distrust["why"].as_str().expect("a reason");
    assert!(why.contains("nats from those recorded at publication, more than"), "{why}");
    check_answer(griffith, "griffith", 3);
    wait_healed(desktop, &artifact);
    let trusted = until("it being trusted again", LIMIT, || {
        let plan = griffith.command(&["plan", "--json"]).map_err(|error| error.to_string())?.json();
        if list(&plan["distrusted"]).is_empty() { Ok(()) } else { Err(plan["distrusted"].to_string()) }
    });
    trusted.expect("trusted again");
    wait_holders(&federation);
    check_answer(desktop, "desktop", 4);
}

#[test]
fn verify_names_the_machine_whose_file_was_replaced() {
    let (federation, artifact) = two_holders();
    let (griffith, desktop) = (federation.node("griffith"), federation.node("desktop"));
    let sound = until("a verification of both", LIMIT, || {
        let output = griffith.cli(&["verify", SLOT, "--json"]).map_err(|error| error.to_string())?;
        // A plan may arrive before what was published does.
        if output.code == 0 { Ok(output.json()) } else { Err(output.stdout) }
    });
    let sound = sound.expect("all sound");
    assert_eq!((&sound["ok"], list(&sound["nodes"]).len()), (&true.into(), 2), "{sound}");
    for node in list(&sound["nodes"]) {
        let found = &node["artifacts"][0];
        let expect = ("ok", "F16", "ok");
        let words = ["file", "dtype", "fingerprint"].map(|field| found[field].as_str().unwrap_or_default());
        assert_eq!((words[0], words[1], words[2]), expect, "{node}");
    }

    replace(desktop, &artifact, &quantised(&original()));
    let output = griffith.cli(&["verify", SLOT, "--json"]).expect("it runs");
    let report = output.json();
    assert_eq!((output.code, &report["ok"]), (1, &false.into()), "{report}");
    let of = |name: &str| list(&report["nodes"]).iter().find(|node| node["node"] == name).cloned().unwrap_or_default();
    let (theirs, ours) = (of("desktop")["artifacts"][0].clone(), of("griffith")["artifacts"][0].clone());
    assert_eq!((&theirs["file"], &theirs["dtype"]), (&"damaged".into(), &"Q8_0".into()), "{report}");
    assert_eq!((&ours["file"], &ours["dtype"]), (&"ok".into(), &"F16".into()), "{report}");
    wait_healed(desktop, &artifact);
    wait_holders(&federation);
    let text = desktop.command(&["verify", SLOT]).expect("sound again").stdout;
    assert!(text.contains("griffith") && text.contains("ok: 0.000"), "{text}");
}
