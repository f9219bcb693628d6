//! `fuzz` and `shrink` on the command line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::fuzz::{self, Extent, Findings, judge, shrink};
use crate::schedule::Run;

/// What `fuzz` is told.
#[derive(Args)]
pub struct FuzzArgs {
    /// Stop after so many minutes.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// What decides every run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Play so many runs, however long it takes; the same runs each time.
    #[arg(long)]
    runs: Option<u64>,
    /// The first run's number.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where runs that fail are saved.
    #[arg(long, value_name = "FOLDER", default_value = "fuzz-failures")]
    save: PathBuf,
}

/// What `shrink` is told.
#[derive(Args)]
pub struct ShrinkArgs {
    /// A run that fails.
    file: PathBuf,
    /// Where what is left goes; otherwise beside the file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum FuzzError {
    /// A file could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// Nothing to make smaller.
    #[error("{0}: nothing is violated when it is played")]
    Passes(String),
}

fn file_error(path: &Path, why: impl ToString) -> FuzzError {
    FuzzError::File { path: path.display().to_string(), why: why.to_string() }
}

/// Reads a run that was saved.
pub fn read(path: &Path) -> Result<Run, FuzzError> {
    let text = std::fs::read_to_string(path).map_err(|error| file_error(path, error))?;
    let run: Run = toml::from_str(&text).map_err(|error| file_error(path, error))?;
    run.check().map_err(|why| file_error(path, why))?;
    Ok(run)
}

fn write(path: &Path, run: &Run) -> Result<(), FuzzError> {
    let text = toml::to_string(run).map_err(|error| file_error(path, error))?;
    std::fs::write(path, text).map_err(|error| file_error(path, error))
}

/// Plays random runs; true if nothing was violated.
pub fn fuzz(args: &FuzzArgs) -> Result<bool, FuzzError> {
    std::fs::create_dir_all(&args.save).map_err(|error| file_error(&args.save, error))?;
    // A panic is reported with its run.
    std::panic::set_hook(Box::new(|_| {}));
    let time = Some(Duration::from_secs_f64(args.minutes.clamp(0.0, 100_000.0) * 60.0));
    let extent = Extent {
        seed: args.seed,
        first: args.first,
        runs: args.runs.unwrap_or(u64::MAX),
        time: time.filter(|_| args.runs.is_none()),
        jobs: args.jobs,
    };
    let begun = Instant::now();
    let findings = fuzz::play(&extent, |index, run, verdict| {
        let path = args.save.join(format!("{}-{index}.toml", args.seed));
        let saved = write(&path, run);
        for violation in verdict.violations.iter().take(3) {
            println!("run {index}: {} at machine {}: {}", violation.checker, violation.node, violation.what);
        }
        match saved {
            Ok(()) => println!("  federation-sim replay {}", path.display()),
            Err(error) => println!("  not saved: {error}"),
        }
    });
    let _ = std::panic::take_hook();
    summary(args, &findings, begun.elapsed());
    Ok(findings.failed.is_empty())
}

fn summary(args: &FuzzArgs, found: &Findings, took: Duration) {
    let per_s = found.runs as f64 / took.as_secs_f64().max(0.001);
    println!("seed        {}, runs {} to {}", args.seed, args.first, (args.first + found.runs).saturating_sub(1));
    println!("runs        {} in {:.1} s, {per_s:.1} a second, {} events", found.runs, took.as_secs_f64(), found.events);
    println!("requests    {} asked, {} answered", found.requests.0, found.requests.1);
    let [loads, evictions, chunks, corrupt, discards] = found.work;
    println!("replicas    {loads} loaded, {evictions} evicted");
    println!(
        "weights     {chunks} chunks stored, {corrupt} corrupt ones refused, {discards} artifacts deleted for room"
    );
    let faults: Vec<String> = found.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("faults      {}", faults.join(", "));
    println!("violations  in {} runs", found.failed.len());
}

/// Makes a run that fails smaller.
pub fn shrink_file(args: &ShrinkArgs) -> Result<(), FuzzError> {
    let run = read(&args.file)?;
    std::panic::set_hook(Box::new(|_| {}));
    let verdict = judge(&run);
    let first = verdict.violations.first();
    let checker = first.ok_or_else(|| FuzzError::Passes(args.file.display().to_string()))?.checker;
    eprintln!("{checker}: {}", shrink::size(&run));
    let small = shrink::shrink(&run, checker, |step| eprintln!("{step}"));
    let _ = std::panic::take_hook();
    let out = args.out.clone().unwrap_or_else(|| args.file.with_extension("small.toml"));
    write(&out, &small)?;
    println!("federation-sim replay {}", out.display());
    Ok(())
}
