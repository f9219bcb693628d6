//! What one run of a study found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::labels::Labels;
use crate::report::{Report, Waits};

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What tells the run apart.
    #[serde(flatten)]
    pub labels: Labels,
    /// Machines.
    pub nodes: usize,
    /// Simulated seconds.
    pub simulated_s: u64,
    /// Questions asked by people.
    pub asked: u64,
    /// Answered to the end.
    pub answered: u64,
    /// Ended with an error, by its code.
    pub failed: BTreeMap<String, u64>,
    /// The machine of whoever asked went down before the answer.
    pub lost: u64,
    /// From question to first token, of what was answered.
    pub wait_ms: Waits,
    /// Asked while no replica of the manager was ready.
    pub waited_for_load: u64,
    /// From question to first token, of these.
    pub load_wait_ms: Waits,
    /// Replicas loaded.
    pub loads: u64,
    /// Replicas evicted.
    pub swaps: u64,
    /// Bytes that came from other machines.
    pub bytes_moved: u64,
    /// What managers occupied in the mean, bytes.
    pub memory_used_bytes: u64,
    /// And at most.
    pub memory_used_bytes_max: u64,
    /// What they might use, bytes.
    pub memory_bytes: u64,
    /// When the first replica was ready, milliseconds.
    pub first_ready_ms: Option<u64>,
    /// When the last artifact was stored, milliseconds.
    pub last_stored_ms: Option<u64>,
    /// What must never happen and did.
    pub violations: u64,
    /// Hash over every input, message and fault.
    pub trace_hash: String,
}

impl Outcome {
    /// Takes from `report` what the study is about.
    pub fn new(labels: &Labels, memory_bytes: u64, report: &Report) -> Outcome {
        let failed = report.requests.failed_by_code.iter().map(|(code, n)| (String::from(*code), *n));
        Outcome {
            labels: labels.clone(),
            nodes: report.nodes,
            simulated_s: report.simulated_s,
            asked: report.requests.asked,
            answered: report.requests.ok,
            failed: failed.collect(),
            lost: report.requests.lost,
            wait_ms: report.wait_ms.clone(),
            waited_for_load: report.waited_for_load,
            load_wait_ms: report.load_wait_ms.clone(),
            loads: report.loads,
            swaps: report.swaps,
            bytes_moved: report.bytes_moved,
            memory_used_bytes: report.memory_used_bytes,
            memory_used_bytes_max: report.memory_used_bytes_max,
            memory_bytes,
            first_ready_ms: report.first_ready_ms,
            last_stored_ms: report.last_stored_ms,
            violations: report.violations,
            trace_hash: report.trace_hash.clone(),
        }
    }

    /// Of a thousand questions so many were answered; all of none.
    pub fn answered_permille(&self) -> u64 {
        (self.answered * 1000).checked_div(self.asked).unwrap_or(1000)
    }

    /// Of a thousand questions so many were asked while no replica of the manager was ready.
    pub fn waited_permille(&self) -> u64 {
        (self.waited_for_load * 1000).checked_div(self.asked).unwrap_or(0)
    }

    /// Replicas evicted in an hour, in hundredths.
    pub fn swaps_per_100_h(&self) -> u64 {
        self.swaps * 360_000 / self.simulated_s.max(1)
    }

    /// Questions that ended with an error.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}
