//! `federation-sim study`: the questions that an owner asks before buying hardware, answered with figures. Many runs of the
//! same people on other machines, strategies, lines and disks; what fednode's own arithmetic says of each size of machine;
//! recommendations that rules with stated thresholds draw from both. The command writes the report, a table and the data.
//!
//! The same seed gives the same files byte for byte: no wall time is in them, and runs do not depend on how many threads
//! play them.

pub mod cases;
pub mod command;
pub mod ground;
pub mod labels;
pub mod outcome;
pub mod page;
pub mod rules;
pub mod sizes;
pub mod table;
pub mod words;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::scenario::{self, Scenario, ScenarioError};
use crate::schedule::Run;
use crate::world::World;
use cases::{Case, Extent};
use labels::Labels;
use outcome::Outcome;
use sizes::Size;

/// Longest run: a week.
const HOURS_MAX: f64 = 168.0;

/// Why there is no study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// A scenario it stands on.
    #[error(transparent)]
    Scenario(ScenarioError),
    /// An inventory that is part of the program cannot be read.
    #[error("an inventory of the study cannot be read: {0}")]
    Inventory(String),
    /// A kind of machine that `scenarios/study.toml` lacks.
    #[error("scenarios/study.toml has no machine of the kind {0:?}")]
    Kind(String),
    /// A length that cannot be.
    #[error("--hours must be more than 0 and at most {HOURS_MAX}")]
    Hours,
    /// A file of the report could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A plan that breaks its own rules.
    #[error("the plan for one machine breaks its own rules: {0}")]
    Plan(String),
}

/// Everything a study found.
#[derive(Clone, Debug, Serialize)]
pub struct Study {
    /// Of all runs.
    pub seed: u64,
    /// Simulated seconds of most runs.
    pub simulated_s: u64,
    /// One line for each run.
    pub outcomes: Vec<Outcome>,
    /// What fednode says of each size of machine.
    pub sizes: Vec<Size>,
}

/// Plays a study on so many threads, and tells `progress` of each run that ended: how many have, of how many, and which.
pub fn play(
    extent: &Extent,
    threads: usize,
    progress: &(dyn Fn(usize, usize, &Case) + Sync),
) -> Result<Study, StudyError> {
    let base: Scenario = scenario::load("study").map_err(StudyError::Scenario)?;
    let cases = cases::all(&base, extent)?;
    let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found: Vec<Mutex<Vec<Outcome>>> = cases.iter().map(|_| Mutex::new(Vec::new())).collect();
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(case), Some(place)) = (cases.get(index), found.get(index)) else { return };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = outcomes(case);
            progress(ended.fetch_add(1, Ordering::Relaxed) + 1, cases.len(), case);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, cases.len().max(1)) {
            scope.spawn(work);
        }
    });
    let outcomes = found.into_iter().flat_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner));
    let (seed, simulated_s) = (extent.seed, extent.simulated_s);
    Ok(Study { seed, simulated_s, outcomes: outcomes.collect(), sizes: sizes::all(&base.model)? })
}

/// Plays a case, and the same over faster lines if a byte crossed one.
fn outcomes(case: &Case) -> Vec<Outcome> {
    let played = |labels: &Labels, run: &Run| Outcome::new(labels, case.memory_bytes, &World::new(run.clone()).play());
    let first = played(&case.labels, &case.run);
    let faster = case.faster.iter().map(|(labels, run)| match first.bytes_moved {
        0 => Outcome { labels: labels.clone(), ..first.clone() },
        _ => played(labels, run),
    });
    let faster: Vec<Outcome> = faster.collect();
    std::iter::once(first).chain(faster).collect()
}
