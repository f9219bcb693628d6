//! `fednode bench`. `bench load` and `bench engine` have files of their own; the rest is `bench transfer`: how fast real nodes bring a model from one to another, and how fast this machine could: one
//! encrypted TCP connection, a hash per chunk and positioned writes, nothing else. Both are measured in one run on one
//! payload, because absolute figures move with the machine, the kernel and the hour; the ratio of the two is what counts.

mod engine;
mod fingerprint;
mod limit;
mod load;
mod measure;
mod nodes;
mod payload;
mod proc;
mod report;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub(super) use engine::ask;
pub(super) use load::raw_read;

use super::exit::Failure;
use super::parse;
use super::run::Out;

/// `fednode bench …`.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand, Debug)]
enum Bench {
    /// Measure a transfer of weights between nodes on this machine, beside the most that this machine could do
    Transfer(TransferArgs),
    /// Measure loading a model, cold and staged, and swapping it for another, beside a raw read of its file
    Load(load::LoadArgs),
    /// Measure the engine beside a bare loop over the same library
    Engine(engine::EngineArgs),
    /// Measure how far honest ways of running a model are apart, beside its quantised copy
    Fingerprint(fingerprint::FingerprintArgs),
    /// The bare loop; started by `bench engine`
    #[command(hide = true)]
    BareLoop(engine::BareArgs),
    /// One side of the practical limit; started by `bench transfer`
    #[command(hide = true)]
    LimitSend {
        /// What to send
        file: PathBuf,
    },
    /// The other side
    #[command(hide = true)]
    LimitReceive {
        /// Where the sender listens
        from: SocketAddr,
        /// The file to write
        file: PathBuf,
    },
}

/// `fednode bench transfer`.
#[derive(Args, Debug)]
struct TransferArgs {
    /// About how large the model is, such as 4GiB; at least 16MiB
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = parse::bytes)]
    size: u64,
    /// Nodes that hold the model
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    sources: u32,
    /// Repetitions; the medians count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Where the nodes keep their data during the bench; the system's folder for temporary files if not given
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

/// Carries out what needs the runtime: the bench itself. It ends early, and cleans up, when told to stop.
pub(super) async fn run(out: Out, args: BenchArgs) -> Result<(), Failure> {
    let args = match args.bench {
        Bench::Transfer(args) => args,
        Bench::Load(args) => return load::run(out, &args).await,
        Bench::Engine(args) => return engine::run(out, &args).await,
        Bench::Fingerprint(args) => return fingerprint::run(out, &args).await,
        Bench::BareLoop(_) | Bench::LimitSend { .. } | Bench::LimitReceive { .. } => {
            unreachable!("carried out without a runtime")
        }
    };
    let folder = folder(args.dir.as_deref())?;
    let mut nodes = nodes::Nodes::default();
    let measured = tokio::select! {
        measured = measure::transfer(&args, folder.path(), &mut nodes) => measured,
        () = told_to_stop() => Err(Failure::failed("stopped; nothing of the bench is left")),
    };
    nodes.stop().await;
    let path = folder.path().to_owned();
    let cleaned = folder.close();
    let report = measured?;
    cleaned
        .map_err(|error| Failure::failed(format!("cannot remove {}: {error}; remove it yourself", path.display())))?;
    out.either(&report.json(), || report.text());
    Ok(())
}

/// The sides of the practical limit are plain processes with one thread; `None`: not one of them.
pub(super) fn without_runtime(args: &BenchArgs) -> Option<Result<(), Failure>> {
    let done = match &args.bench {
        Bench::Transfer(_) | Bench::Load(_) | Bench::Engine(_) | Bench::Fingerprint(_) => return None,
        Bench::BareLoop(args) => return Some(engine::bare(args)),
        Bench::LimitSend { file } => limit::send(file),
        Bench::LimitReceive { from, file } => limit::receive(*from, file),
    };
    Some(done.map_err(|error| Failure::failed(format!("measuring the practical limit failed: {error}"))))
}

/// A new folder; it vanishes with the bench.
fn folder(parent: Option<&Path>) -> Result<tempfile::TempDir, Failure> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let folder =
        std::path::absolute(&parent).and_then(|parent| tempfile::Builder::new().prefix("fb-").tempdir_in(parent));
    folder.map_err(|error| Failure::failed(format!("cannot make a folder in {}: {error}", parent.display())))
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}
