//! What a run found: the JSON that scripts rely on (DESIGN 13), and the same for people. The only place with floating point.

use std::collections::BTreeMap;
use std::fmt;

use fednode::core::types::{Digest, Duration, Time, human_bytes};
use serde::Serialize;

use crate::checkers::{Checkers, Violation};
use crate::schedule::Run;

/// What is counted while a run is played.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Inputs given to machines.
    pub events: u64,
    /// Faults that began.
    pub faults: u64,
    /// Questions asked by people.
    pub asked: u64,
    /// Answered to the end.
    pub answered: u64,
    /// Ended with an error, by its code.
    pub failed: BTreeMap<&'static str, u64>,
    /// Whose node ended before the answer.
    pub lost: u64,
    /// From question to first token.
    pub waits_ms: Vec<u64>,
    /// The same, of questions that were asked while no replica of their manager was ready.
    pub load_waits_ms: Vec<u64>,
    /// How many such questions there were, answered or not.
    pub waited_for_load: u64,
    /// What engines occupied, bytes times seconds.
    pub memory_byte_s: u128,
    /// The most that all engines occupied together.
    pub memory_used_bytes_max: u64,
    /// When the first replica was ready.
    pub first_ready_ms: Option<u64>,
    /// When an artifact was last stored.
    pub last_stored_ms: Option<u64>,
    /// Chunks stored.
    pub chunks: u64,
    /// Chunks refused for their hash.
    pub chunks_corrupt: u64,
    /// Bytes of chunks stored.
    pub bytes_moved: u64,
    /// Replicas loaded.
    pub loads: u64,
    /// Replicas evicted.
    pub unloads: u64,
    /// Artifacts deleted to make room.
    pub discards: u64,
    /// Plans that members were offered.
    pub plans_offered: u64,
    /// The longest encoded plan.
    pub plan_bytes_max: u64,
    /// Seconds from the last fault until all agreed.
    pub settled_s: u64,
    /// The first chunk was asked for.
    pub fetch_first: Option<Time>,
    /// From the end of one replica until the one that takes its place is ready.
    pub swaps_ms: Vec<u64>,
    /// By node: when an engine ended, and whether another was ordered to load since.
    swapping: BTreeMap<usize, (Time, bool)>,
}

impl Stats {
    /// An engine has ended.
    pub fn unloaded(&mut self, now: Time, node: usize) {
        self.swapping.insert(node, (now, false));
    }

    /// An engine is ordered to load. Long after another ended this is no swap.
    pub fn load_ordered(&mut self, now: Time, node: usize) {
        self.swapping.retain(|_, (begun, loads)| *loads || now.since(*begun) <= SWAP_GAP);
        if let Some((_, loads)) = self.swapping.get_mut(&node) {
            *loads = true;
        }
    }

    /// An engine is ready.
    pub fn loaded(&mut self, now: Time, node: usize) {
        if let Some((begun, _)) = self.swapping.remove(&node).filter(|(_, loads)| *loads) {
            self.swaps_ms.push(now.since(begun).as_millis());
        }
    }
}

/// A load that is ordered within this after the end of another replica takes its place.
const SWAP_GAP: Duration = Duration::from_secs(2);

/// Percentiles of a wait, milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Waits {
    /// Half waited no longer.
    pub p50: u64,
    /// 95 of 100 waited no longer.
    pub p95: u64,
    /// 99 of 100 waited no longer.
    pub p99: u64,
}

impl Waits {
    /// Of waits in any order.
    pub fn of(waits_ms: &[u64]) -> Waits {
        let mut waits = waits_ms.to_vec();
        waits.sort_unstable();
        let at = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
        let at = |percent| at(percent).copied().unwrap_or(0);
        Waits { p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// Requests by how they ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Requests {
    /// Asked by people.
    pub asked: u64,
    /// Answered to the end.
    pub ok: u64,
    /// Ended with an error.
    pub failed: u64,
    /// The same, by code.
    pub failed_by_code: BTreeMap<&'static str, u64>,
    /// The asking node itself ended.
    pub lost: u64,
}

/// A run's result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// How many machines.
    pub nodes: usize,
    /// How long questions were asked and faults happened.
    pub simulated_s: u64,
    /// Inputs given to machines.
    pub events: u64,
    /// What must never happen and did.
    pub violations: u64,
    /// Real time.
    pub wall_s: f64,
    /// What this process had in memory after each quarter of the run; empty where the system does not say.
    pub simulator_memory_bytes: Vec<u64>,
    /// Hash over every input, message and fault: equal for equal runs.
    pub trace_hash: String,
    /// Faults that began.
    pub faults: u64,
    /// Seconds from the last fault until all agreed.
    pub settled_s: u64,
    /// Replicas evicted.
    pub swaps: u64,
    /// Replicas loaded.
    pub loads: u64,
    /// Requests of people.
    pub requests: Requests,
    /// From question to first token.
    pub wait_ms: Waits,
    /// Questions that were asked while no replica of their manager was ready.
    pub waited_for_load: u64,
    /// From question to first token, of those that were answered.
    pub load_wait_ms: Waits,
    /// What engines occupied in the mean, and at most.
    pub memory_used_bytes: u64,
    /// The most.
    pub memory_used_bytes_max: u64,
    /// When the first replica was ready.
    pub first_ready_ms: Option<u64>,
    /// When an artifact was last stored.
    pub last_stored_ms: Option<u64>,
    /// From the end of one replica until the one that takes its place is ready.
    pub swap_ms: Waits,
    /// From the first chunk that was asked for until the last artifact was whole.
    pub transfer_ms: u64,
    /// Chunks stored.
    pub chunks: u64,
    /// Chunks refused for their hash.
    pub chunks_corrupt: u64,
    /// Bytes of chunks stored.
    pub bytes_moved: u64,
    /// Artifacts deleted to make room.
    pub discards: u64,
    /// Plans that members were offered.
    pub plans_offered: u64,
    /// The longest encoded plan.
    pub plan_bytes_max: u64,
    /// The first violations, in order.
    pub violation_list: Vec<Violation>,
}

impl Report {
    /// Sums a run up.
    pub fn new(run: &Run, stats: &Stats, checkers: &Checkers, trace_hash: Digest) -> Report {
        let mean = stats.memory_byte_s / u128::from(run.simulated_s.max(1));
        let first = stats.fetch_first.map(|at| at.0 / 1_000_000);
        let transfer = stats.last_stored_ms.zip(first).map(|(last, first)| last.saturating_sub(first));
        Report {
            scenario: run.scenario.clone(),
            seed: run.seed,
            nodes: run.machines.len(),
            simulated_s: run.simulated_s,
            events: stats.events,
            violations: checkers.count,
            wall_s: 0.0,
            simulator_memory_bytes: Vec::new(),
            trace_hash: trace_hash.to_string(),
            faults: stats.faults,
            settled_s: stats.settled_s,
            swaps: stats.unloads,
            loads: stats.loads,
            requests: Requests {
                asked: stats.asked,
                ok: stats.answered,
                failed: stats.failed.values().sum(),
                failed_by_code: stats.failed.clone(),
                lost: stats.lost,
            },
            wait_ms: Waits::of(&stats.waits_ms),
            waited_for_load: stats.waited_for_load,
            load_wait_ms: Waits::of(&stats.load_waits_ms),
            memory_used_bytes: u64::try_from(mean).unwrap_or(u64::MAX),
            memory_used_bytes_max: stats.memory_used_bytes_max,
            first_ready_ms: stats.first_ready_ms,
            last_stored_ms: stats.last_stored_ms,
            swap_ms: Waits::of(&stats.swaps_ms),
            transfer_ms: transfer.unwrap_or(0),
            chunks: stats.chunks,
            chunks_corrupt: stats.chunks_corrupt,
            bytes_moved: stats.bytes_moved,
            discards: stats.discards,
            plans_offered: stats.plans_offered,
            plan_bytes_max: stats.plan_bytes_max,
            violation_list: checkers.kept.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<12}{value}");
        row("scenario", format!("{}, {} machines, seed {}", self.scenario, self.nodes, self.seed))?;
        let per_s = self.events as f64 / self.wall_s.max(0.001);
        row(
            "simulated",
            format!("{} s in {:.1} s, {} events, {per_s:.0} a second", self.simulated_s, self.wall_s, self.events),
        )?;
        let memory: Vec<String> = self.simulator_memory_bytes.iter().map(|bytes| human_bytes(*bytes)).collect();
        if !memory.is_empty() {
            row("memory", format!("{} after each quarter, of the simulator itself", memory.join(", ")))?;
        }
        row("faults", format!("{}; all agreed {} s after the last", self.faults, self.settled_s))?;
        let r = &self.requests;
        let codes: Vec<String> = r.failed_by_code.iter().map(|(code, n)| format!("{code} {n}")).collect();
        let why = if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(", ")) };
        row(
            "requests",
            format!("{} asked, {} answered, {} failed{why}, {} lost with their node", r.asked, r.ok, r.failed, r.lost),
        )?;
        let w = &self.wait_ms;
        row("first token", format!("{} ms half the time, {} ms p95, {} ms p99", w.p50, w.p95, w.p99))?;
        let l = &self.load_wait_ms;
        row(
            "loads",
            format!("{} questions waited for one, {} ms half the time, {} ms p95", self.waited_for_load, l.p50, l.p95),
        )?;
        let (mean, most) = (human_bytes(self.memory_used_bytes), human_bytes(self.memory_used_bytes_max));
        row("replicas", format!("{} loaded, {} evicted; {mean} in the mean, {most} at most", self.loads, self.swaps))?;
        row(
            "weights",
            format!(
                "{} in {} chunks, {} corrupt ones refused",
                human_bytes(self.bytes_moved),
                self.chunks,
                self.chunks_corrupt
            ),
        )?;
        row(
            "plans",
            format!("{} offered to members, the longest {}", self.plans_offered, human_bytes(self.plan_bytes_max)),
        )?;
        row("trace", self.trace_hash.clone())?;
        row("violations", self.violations.to_string())?;
        for violation in &self.violation_list {
            let seconds = violation.at_ms as f64 / 1000.0;
            writeln!(f, "  {seconds:>10.3} s  machine {}  {}: {}", violation.node, violation.checker, violation.what)?;
        }
        Ok(())
    }
}
