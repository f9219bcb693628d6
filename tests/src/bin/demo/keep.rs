//! `--keep`: the federation runs on; what to do with it is printed.

use fednode_tests::{Federation, binary};

use crate::report::Report;
use crate::setup::LAPTOP;

/// Lets the nodes run and says where they are.
pub(crate) fn keep(federation: Federation, report: &Report) {
    report.heading("The federation runs on:");
    let mut pids = Vec::new();
    for node in federation.nodes() {
        let Some(pid) = node.pid() else {
            report.text(&format!("  {:<10}was killed; its data is in {}", node.name(), node.data_dir().display()));
            continue;
        };
        pids.push(pid.to_string());
        let (api, data) = (node.client().base(), node.data_dir().display());
        report.text(&format!("  {:<10}{api}  data {data}  process {pid}", node.name()));
    }
    let laptop = federation.node(LAPTOP);
    let program = binary::fednode().map_or_else(|_| "fednode".to_owned(), |path| path.display().to_string());
    report.text("\nAsk a manager through the laptop:\n");
    let body = r#"{"model":"UCM","stream":true,"messages":[{"role":"user","content":"Who are you?"}]}"#;
    let base = laptop.client().base().to_owned();
    report.text(&format!("  curl -N {base}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"));
    report.text(&format!("  {program} --data-dir {} chat UCM 'Who are you?'", laptop.data_dir().display()));
    report.text(&format!("  {program} --data-dir {} status", laptop.data_dir().display()));
    let folder = federation.keep();
    report.text("\nStop it and remove everything:\n");
    report.text(&format!("  kill {}; sleep 1; rm -rf {}", pids.join(" "), folder.display()));
}
