//! `fednode bench load`: what it costs to load a model of which nothing is in memory, one that is in the page cache, and to swap
//! one for another, beside a plain sequential read of the same file. All in one run: absolute figures move with the machine.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::engine_tools::{median, spec, start};
use crate::cli::exit::Failure;
use crate::cli::run::Out;
use crate::cli::table::table;
use crate::core::types::human_bytes;

/// What a plain read asks for at once.
const READ_BYTES: usize = 4 << 20;

/// `fednode bench load`.
#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// A GGUF file; it is read several times, and pushed out of the page cache
    #[arg(value_name = "GGUF")]
    model: PathBuf,
    /// Another one, which is resident when the first is swapped in; the first itself, under another name, if not given
    #[arg(long, value_name = "GGUF")]
    resident: Option<PathBuf>,
    /// Tokens of context
    #[arg(long, default_value_t = 512)]
    context: u32,
    /// Compute threads
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Repetitions; the medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

#[derive(Default)]
struct Times {
    raw_read: Vec<Duration>,
    cold: Vec<Duration>,
    staged: Vec<Duration>,
    swap: Vec<Duration>,
}

/// Measures, and prints.
pub(super) async fn run(out: Out, args: &LoadArgs) -> Result<(), Failure> {
    let mut times = Times::default();
    let bytes = std::fs::metadata(&args.model).map_err(|error| cannot("read", &args.model, &error))?.len();
    for run in 1..=args.runs {
        eprintln!("run {run} of {}", args.runs);
        times.raw_read.push(raw_read(&args.model)?);
        times.cold.push(load(args, true).await?);
        times.staged.push(load(args, false).await?);
        times.swap.push(swap(args).await?);
    }
    let report = Report {
        bytes,
        raw_read: median(times.raw_read),
        cold: median(times.cold),
        staged: median(times.staged),
        swap: median(times.swap),
    };
    out.either(&report.json(), || report.text());
    Ok(())
}

struct Report {
    bytes: u64,
    raw_read: Duration,
    cold: Duration,
    staged: Duration,
    swap: Duration,
}

impl Report {
    fn ratio(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.raw_read.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn json(&self) -> Value {
        json!({
            "bytes": self.bytes, "raw_read_s": self.raw_read.as_secs_f64(), "cold_s": self.cold.as_secs_f64(),
            "staged_s": self.staged.as_secs_f64(), "swap_s": self.swap.as_secs_f64(), "ratio": self.ratio(self.cold),
        })
    }

    fn text(&self) -> String {
        let row = |what: &str, time: Duration| {
            vec![what.to_owned(), format!("{:.2} s", time.as_secs_f64()), format!("{:.2}", self.ratio(time))]
        };
        let rows = [
            row("raw read", self.raw_read),
            row("cold load", self.cold),
            row("load from the page cache", self.staged),
            row("swap", self.swap),
        ];
        let head = ["", "time", "of the raw read"];
        format!("{}\n{}", human_bytes(self.bytes), table(&head, &rows))
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

/// Reads the file from its disk, in order, with a plain loop.
pub(in crate::cli) fn raw_read(path: &Path) -> Result<Duration, Failure> {
    forget(path)?;
    let begun = Instant::now();
    let mut file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let mut buffer = vec![0u8; READ_BYTES];
    while file.read(&mut buffer).map_err(|error| cannot("read", path, &error))? > 0 {}
    Ok(begun.elapsed())
}

/// From no process to a model that answers.
async fn load(args: &LoadArgs, cold: bool) -> Result<Duration, Failure> {
    if cold {
        forget(&args.model)?;
    }
    let begun = Instant::now();
    let (engine, _) = start(&spec(&args.model, args.context, 1, args.threads)).await?;
    let took = begun.elapsed();
    engine.stop().await;
    Ok(took)
}

/// From the order to end one replica to another one, of which nothing is in memory, that answers.
async fn swap(args: &LoadArgs) -> Result<Duration, Failure> {
    let resident = args.resident.as_ref().unwrap_or(&args.model);
    let (before, _) = start(&spec(resident, args.context, 1, args.threads)).await?;
    let same = args.resident.is_none();
    if !same {
        forget(&args.model)?;
    }
    let begun = Instant::now();
    before.stop().await;
    if same {
        forget(&args.model)?;
    }
    let (after, _) = start(&spec(&args.model, args.context, 1, args.threads)).await?;
    let took = begun.elapsed();
    after.stop().await;
    Ok(took)
}

/// Pushes the file out of the page cache.
fn forget(path: &Path) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    #[cfg(target_os = "linux")]
    {
        // Only what is on the disk can go.
        file.sync_all().map_err(|error| cannot("sync", path, &error))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
            .map_err(|error| cannot("push out of the page cache", path, &error.into()))?;
    }
    drop(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn loads_and_swaps_stand_beside_a_plain_read() {
        let seconds = Duration::from_millis;
        let report = Report {
            bytes: 13_481_025_536,
            raw_read: seconds(5_400),
            cold: seconds(6_100),
            staged: seconds(1_250),
            swap: seconds(7_015),
        };
        golden::check("bench-load", |_| report.text());
    }
}
