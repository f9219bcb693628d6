//! How fast iroh-blobs brings a file from one process to another on this machine: what fednode's transfers are compared with.
//! A provider imports random bytes into a file store; receivers, each a new process with an empty file store, fetch them
//! over loopback one after the other. No relay, no discovery. Started by `scripts/bench iroh`; no part of the workspace.
//!
//! iroh-blobs does not sync what it received to the disk, and its clock stops without that. On a tmpfs this does not matter;
//! on a disk it flatters iroh-blobs.

mod sides;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// What is measured, for the report; Cargo.toml pins it.
const SUBJECT: &str = "iroh-blobs 0.104.0";

/// Measure iroh-blobs 0.104 between two processes on this machine, file store to file store, without relay
#[derive(Parser, Debug)]
#[command(bin_name = "scripts/bench iroh", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    side: Option<Side>,
    /// How large the file is, such as 4GiB
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = bytes)]
    size: u64,
    /// Repetitions; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Where the stores are during the bench, with room for two copies of the file; the system's folder for temporary files
    /// if not given
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Side {
    /// Imports a file into a new store, prints its ticket, and serves it until standard input ends
    #[command(hide = true)]
    Provide { folder: PathBuf, size: u64 },
    /// Fetches what the ticket names into a new store and prints the seconds
    #[command(hide = true)]
    Receive { folder: PathBuf, ticket: String, size: u64 },
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.side {
        Some(Side::Provide { folder, size }) => sides::provide(folder, *size).await,
        Some(Side::Receive { folder, ticket, size }) => sides::receive(folder, ticket, *size).await,
        None => bench(&args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The bench itself. It cleans up also when it fails or is told to stop.
async fn bench(args: &Args) -> Result<()> {
    let parent = std::path::absolute(args.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let folder = tempfile::Builder::new().prefix("bench-iroh-").tempdir_in(&parent);
    let folder = folder.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let mut children = Vec::new();
    let measured = tokio::select! {
        measured = measure(args, folder.path(), &mut children) => measured,
        stopped = told_to_stop() => stopped.and_then(|()| bail!("stopped; nothing of the bench is left")),
    };
    // The dead write no more: what they left can be removed.
    for child in &mut children {
        child.kill().await.context("cannot stop a side of the bench")?;
    }
    let path = folder.path().to_owned();
    let cleaned = folder.close();
    let seconds = measured?;
    cleaned.with_context(|| format!("cannot remove {}; remove it yourself", path.display()))?;
    report(args, &parent, &seconds);
    Ok(())
}

/// The seconds of each run.
async fn measure(args: &Args, folder: &Path, children: &mut Vec<Child>) -> Result<Vec<f64>> {
    let size = args.size.to_string();
    let ticket = answer(children, "provide", &folder.join("provider"), &[&size]).await?;
    let mut seconds = Vec::new();
    for _ in 0..args.runs {
        let store = folder.join("receiver");
        let took = answer(children, "receive", &store, &[&ticket, &size]).await?;
        seconds.push(took.parse().with_context(|| format!("the receiver said {took:?}"))?);
        // Its answer was its last word, but it may still close its files.
        let mut receiver = children.pop().context("the receiver was started")?;
        receiver.wait().await?;
        std::fs::remove_dir_all(&store).with_context(|| format!("cannot remove {}", store.display()))?;
    }
    Ok(seconds)
}

/// Starts a side of the bench and waits for the line that it prints.
async fn answer(children: &mut Vec<Child>, side: &str, folder: &Path, more: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(side).arg(folder).args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start the side {side:?}"))?;
    let output = child.stdout.take().context("its output is piped")?;
    children.push(child);
    match BufReader::new(output).lines().next_line().await? {
        Some(line) => Ok(line),
        None => bail!("the side {side:?} ended without an answer"),
    }
}

async fn told_to_stop() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

/// For scripts or for people; GB are 10^9 bytes.
fn report(args: &Args, dir: &Path, seconds: &[f64]) {
    let rates: Vec<f64> = seconds.iter().map(|seconds| args.size as f64 / 1e9 / seconds).collect();
    let median = median(&rates);
    if args.json {
        let run = |(seconds, rate): (&f64, &f64)| json!({"seconds": seconds, "gb_per_s": rate});
        let runs: Vec<_> = seconds.iter().zip(&rates).map(run).collect();
        let median = json!({"gb_per_s": median});
        println!("{}", json!({"subject": SUBJECT, "bytes": args.size, "dir": dir, "runs": runs, "median": median}));
    } else {
        println!("{SUBJECT}: {} bytes from one file store to another in {}", args.size, dir.display());
        for (number, (seconds, rate)) in (1..).zip(seconds.iter().zip(&rates)) {
            println!("run {number}: {seconds:.2} s, {rate:.3} GB/s");
        }
        println!("median: {median:.3} GB/s");
    }
}

/// The middle one, or the mean of the two in the middle; there is at least one.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// `4GiB`, `512MiB`, `13.48GB` or plain bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let units =
        [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1e9 as u64)];
    let found = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (number, scale) = found.unwrap_or((text, 1));
    let number: Option<f64> = number.parse().ok();
    // A float is exact enough for any size that fits a disk.
    let size = number.map(|number| number * scale as f64).filter(|size| (1.0..1e15).contains(size));
    size.map(|size| size as u64).ok_or_else(|| "expected a size such as 4GiB or 512MiB".to_owned())
}
