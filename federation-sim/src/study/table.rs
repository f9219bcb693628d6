//! The data of a study for other programs: one line of CSV for each run, and everything as JSON.

use std::borrow::Cow;

use serde::Serialize;

use super::Study;
use super::outcome::Outcome;
use super::rules::{Advice, Thresholds};

/// The columns, in order. Times are milliseconds, sizes bytes.
const COLUMNS: [&str; 30] = [
    "question",
    "machines",
    "task",
    "strategy",
    "link",
    "disk",
    "loss",
    "nodes",
    "simulated_s",
    "asked",
    "answered",
    "failed",
    "lost",
    "answered_permille",
    "wait_p50_ms",
    "wait_p95_ms",
    "wait_p99_ms",
    "waited_for_load",
    "waited_permille",
    "load_wait_p50_ms",
    "load_wait_p95_ms",
    "loads",
    "swaps",
    "bytes_moved",
    "memory_used_bytes",
    "memory_used_bytes_max",
    "memory_bytes",
    "first_ready_ms",
    "last_stored_ms",
    "violations",
];

/// All runs as RFC 4180 has it, with a line of names first.
pub fn csv(study: &Study) -> String {
    let mut text = COLUMNS.join(",");
    text.push_str("\r\n");
    for outcome in &study.outcomes {
        let fields: Vec<String> = row(outcome).iter().map(|field| quoted(field).into_owned()).collect();
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

fn row(outcome: &Outcome) -> [String; 30] {
    let labels = &outcome.labels;
    let n = |number: u64| number.to_string();
    let maybe = |number: Option<u64>| number.map(n).unwrap_or_default();
    [
        labels.question.as_str().to_owned(),
        labels.machines.clone(),
        labels.task.clone(),
        labels.way.as_str().to_owned(),
        labels.link.as_str().to_owned(),
        labels.disk.as_str().to_owned(),
        labels.loss.as_str().to_owned(),
        outcome.nodes.to_string(),
        n(outcome.simulated_s),
        n(outcome.asked),
        n(outcome.answered),
        n(outcome.failures()),
        n(outcome.lost),
        n(outcome.answered_permille()),
        n(outcome.wait_ms.p50),
        n(outcome.wait_ms.p95),
        n(outcome.wait_ms.p99),
        n(outcome.waited_for_load),
        n(outcome.waited_permille()),
        n(outcome.load_wait_ms.p50),
        n(outcome.load_wait_ms.p95),
        n(outcome.loads),
        n(outcome.swaps),
        n(outcome.bytes_moved),
        n(outcome.memory_used_bytes),
        n(outcome.memory_used_bytes_max),
        n(outcome.memory_bytes),
        maybe(outcome.first_ready_ms),
        maybe(outcome.last_stored_ms),
        n(outcome.violations),
    ]
}

/// In quotes where it must be.
fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains(['"', ',', '\n', '\r']) {
        return Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")));
    }
    Cow::Borrowed(field)
}

/// Everything, with what was recommended and by which thresholds.
pub fn json(study: &Study) -> String {
    #[derive(Serialize)]
    struct Whole<'a> {
        #[serde(flatten)]
        study: &'a Study,
        thresholds: Thresholds,
        advice: Vec<Advice>,
    }
    let whole = Whole { study, thresholds: Thresholds::default(), advice: study.advice() };
    let mut text = serde_json::to_string_pretty(&whole).expect("a study is plain data with text keys");
    text.push('\n');
    text
}
