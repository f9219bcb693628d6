//! Random runs by the thousand, each a function of a seed and a number: what was violated, how often which fault came. And
//! [`shrink`]: what is left of a run that fails.

pub mod cli;
pub mod random;
pub mod shrink;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::checkers::Violation;
use crate::report::Report;
use crate::schedule::Run;
use crate::world::World;

/// The checker's name when a node's code panics.
pub const PANIC: &str = "panic";

/// A run was played.
pub struct Verdict {
    /// What it found, unless a panic ended it.
    pub report: Option<Report>,
    /// The first violations.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Did this checker report anything?
    pub fn has(&self, checker: &str) -> bool {
        self.violations.iter().any(|violation| violation.checker == checker)
    }
}

/// Plays a run until something is violated. A panic is a violation like any other.
pub fn judge(run: &Run) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| World::new(run.clone()).play_hastily())) {
        Ok(report) => Verdict { violations: report.violation_list.clone(), report: Some(report) },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let what = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = what.unwrap_or_else(|| "it panicked".to_owned());
            Verdict { report: None, violations: vec![Violation { at_ms: 0, checker: PANIC, node: 0, what }] }
        }
    }
}

/// How much is to be played.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The seed of all runs.
    pub seed: u64,
    /// The first run's number.
    pub first: u64,
    /// At most so many runs.
    pub runs: u64,
    /// And no new one after this.
    pub time: Option<Duration>,
    /// At once.
    pub jobs: usize,
}

/// What many runs found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Runs played.
    pub runs: u64,
    /// Inputs given to machines.
    pub events: u64,
    /// Faults that began, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests of people: asked, answered.
    pub requests: (u64, u64),
    /// Replicas loaded, evicted; chunks stored, refused; artifacts deleted to make room.
    pub work: [u64; 5],
    /// Runs that failed: their numbers, with the first violation.
    pub failed: BTreeMap<u64, Violation>,
}

impl Findings {
    fn add(&mut self, index: u64, run: &Run, verdict: Verdict) {
        self.runs += 1;
        for fault in &run.faults {
            *self.faults.entry(fault.kind.name()).or_default() += 1;
        }
        if let Some(report) = verdict.report {
            self.events += report.events;
            self.requests.0 += report.requests.asked;
            self.requests.1 += report.requests.ok;
            let work = [report.loads, report.swaps, report.chunks, report.chunks_corrupt, report.discards];
            self.work.iter_mut().zip(work).for_each(|(sum, one)| *sum += one);
        }
        if let Some(first) = verdict.violations.into_iter().next() {
            self.failed.insert(index, first);
        }
    }
}

/// Plays runs, on several threads, and calls `failed` for each that fails, while the others go on.
pub fn play(extent: &Extent, failed: impl Fn(u64, &Run, &Verdict) + Sync) -> Findings {
    let (next, begun) = (AtomicU64::new(extent.first), Instant::now());
    let findings = Mutex::new(Findings::default());
    let work = || {
        while extent.time.is_none_or(|time| begun.elapsed() < time) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= extent.first.saturating_add(extent.runs) {
                return;
            }
            let run = random::run(extent.seed, index);
            let verdict = judge(&run);
            let mut findings = findings.lock().expect("nobody panics with it");
            if !verdict.violations.is_empty() {
                failed(index, &run, &verdict);
            }
            findings.add(index, &run, verdict);
        }
    };
    std::thread::scope(|scope| {
        (0..extent.jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    findings.into_inner().expect("nobody panics with it")
}
