//! The dashboard in a real headless Chromium, against real nodes: it loads, it lives (a node joins, a manager is swapped in), it
//! chats, it invites and revokes for its owner and for nobody else, and axe-core finds nothing. Screenshots stay in the folder
//! `dashboard` of cargo's target folder. Chromium comes with `scripts/setup`, the rest with `tests/conformance/install`;
//! `FEDNODE_CHROMIUM` names another browser.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fednode_tests::{Federation, NodeSpec, managers, until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const CASES_MIN: usize = 13;
/// Room for two tiny managers on griffith, so that the third is swapped in for one of them.
const MEMORY: &str = "80MiB";

#[test]
fn the_dashboard_shows_what_happens_and_obeys_its_owner_alone() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith").memory(MEMORY)).expect("up");
    for slot in ["UFM", "UCM", "URM"] {
        federation.node("griffith").publish(slot).expect("published");
    }
    federation.wait_answered("griffith", "UCM", LIMIT).expect("answered");
    let told = told(&federation);
    let mut browser = Command::new("node")
        .arg(target().join("conformance/node/dashboard.mjs"))
        .env("FEDNODE_TOLD", told.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut answers = browser.stdin.take().expect("a pipe");
    let said = BufReader::new(browser.stdout.take().expect("a pipe"));
    let (mut passed, mut failures) = (0, Vec::new());
    for line in said.lines() {
        let line = line.expect("text");
        println!("{line}");
        match line.split_once(' ') {
            Some(("ok", _)) => passed += 1,
            Some(("FAIL", _)) => failures.push(line),
            Some(("want", what)) => {
                act(&mut federation, what);
                writeln!(answers, "done").expect("it listens");
            }
            _ => {}
        }
    }
    let ended = browser.wait().expect("it ended");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ended.success() && passed >= CASES_MIN, "{passed} cases passed, {ended}");
}

/// What the page is to see.
fn act(federation: &mut Federation, what: &str) {
    match what {
        "join" => drop(federation.join(NodeSpec::full("desktop").memory(MEMORY), "griffith").expect("joined")),
        "stop" => drop(federation.node_mut("griffith").stop().expect("stopped")),
        "start" => federation.node_mut("griffith").up().expect("up again"),
        other => panic!("nobody knows what {other} is"),
    }
}

fn told(federation: &Federation) -> serde_json::Value {
    let griffith = federation.node("griffith");
    let url = griffith.command(&["dashboard", "--json"]).expect("a session").json()["url"].clone();
    let known = managers::first_answer("UCM").expect("a known answer");
    let begins = known.answer.split(',').next();
    let stored = until("one of three managers having no room", LIMIT, || {
        let state = griffith.state().map_err(|error| error.to_string())?;
        let slots = state["slots"].as_array().into_iter().flatten();
        let stored = slots.filter(|slot| slot["state"] == "stored").map(|slot| slot["name"].clone()).next();
        stored.ok_or_else(|| state["slots"].to_string())
    });
    json!({
        "base": griffith.client().base(), "url": url, "chromium": chromium(), "shots": target().join("dashboard"),
        "model": "UCM", "prompt": known.prompt, "answer": begins,
        "swapped": stored.expect("two fit"),
    })
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

fn chromium() -> PathBuf {
    if let Some(named) = std::env::var_os("FEDNODE_CHROMIUM") {
        return named.into();
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found
        .into_iter()
        .find(|path| path.is_file())
        .expect("scripts/setup installs Chromium; FEDNODE_CHROMIUM names another")
}
