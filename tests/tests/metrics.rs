//! `/metrics` of real nodes, read by Prometheus' own client; and that alerts and charts ask for nothing that is not there. The
//! client is installed by `tests/conformance/install`, which `scripts/test` calls.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fednode_tests::{Federation, NodeSpec, managers};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const CASES: usize = 6;

#[test]
fn prometheus_reads_the_figures_and_alerts_and_charts_ask_for_what_is_there() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith").memory("64GB")).expect("up");
    federation.join(NodeSpec::delegate("laptop"), "griffith").expect("joined");
    federation.node("griffith").publish("UCM").expect("published");
    federation.wait_answered("griffith", "UCM", LIMIT).expect("answered");
    let known = managers::first_answer("UCM").expect("a known answer");
    let answer = federation.node("griffith").client().chat("UCM", &known.prompt).expect("a reply");
    assert!(answer.is_complete(), "{}", answer.summary());
    federation.node("griffith").wait_idle(LIMIT).expect("idle");

    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let told = json!({
        "base": federation.node("griffith").client().base(), "alive": 2, "asked": 2, "machine": "laptop",
        "rules": scripts.join("prometheus-rules.yml"), "grafana": scripts.join("grafana-dashboard.json"),
    });
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/metrics.py"));
    let output = command.env("FEDNODE_TOLD", told.to_string()).env("PYTHONDONTWRITEBYTECODE", "1").output();
    let output = output.expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), CASES);
}

fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let python = target.join("conformance/python/bin/python");
    assert!(python.is_file(), "{} is not there; run tests/conformance/install first", python.display());
    python
}
