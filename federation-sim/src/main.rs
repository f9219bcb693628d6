//! The command line: `run` a scenario, `replay` a saved run, `study` an owner's questions, `list` the scenarios, `fuzz` random
//! ones, `shrink` one that fails. Exit codes: 0 nothing was violated,
//! 1 something was, 2 wrong use.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use federation_sim::fuzz::cli::{self, FuzzArgs, FuzzError, ShrinkArgs};
use federation_sim::recording::{self, RecordingError};
use federation_sim::report::Report;
use federation_sim::scenario::{self, ScenarioError};
use federation_sim::schedule::{MACHINES_MAX, Run};
use federation_sim::study::{self, StudyError};
use federation_sim::world::World;

/// Plays a whole federation, with fednode's own decisions and wire code, from one seed.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Expand a scenario by a seed and play it.
    Run(RunArgs),
    /// Play a run that was saved with `run --save`.
    Replay {
        /// The file.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Play random short runs until time is over; each that fails is saved.
    Fuzz(FuzzArgs),
    /// Make a saved run that fails smaller: fewer faults, machines, seconds and questions.
    Shrink(ShrinkArgs),
    /// Answer what an owner asks before buying hardware: many runs, and a report with recommendations.
    Study(study::command::StudyArgs),
    /// Name the scenarios.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct RunArgs {
    /// A named scenario, or a file of TOML.
    #[arg(long)]
    scenario: String,
    /// Machines; the scenario's pattern is repeated or cut to fit.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MACHINES_MAX as i64))]
    nodes: Option<u16>,
    /// Simulated hours, such as 0.5.
    #[arg(long)]
    hours: Option<f64>,
    /// What decides every particular.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Ask the questions of this recording (JSON lines, see `federation_sim::recording`) instead of drawing sessions; without
    /// --hours until a minute after the last.
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// With --workload: draw the scenario's sessions too.
    #[arg(long, requires = "workload")]
    with_sessions: bool,
    /// Leave out the faults.
    #[arg(long)]
    no_faults: bool,
    /// Write the expanded run to this file before playing it.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Fuzz(#[from] FuzzError),
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Study(#[from] StudyError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("--hours must be more than 0 and at most 100000")]
    Hours,
    #[error("{path}: {why}")]
    File { path: String, why: String },
}

/// Longest run: eleven years of simulated time.
const HOURS_MAX: f64 = 100_000.0;

/// In a large federation each event finds its machine somewhere else in memory, and much of the time would go into finding out
/// where that is. Huge pages spare some of it; glibc asks for them if it is told so before it starts. Where this program cannot be
/// started anew, it goes on as it is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn begin_with_huge_pages() {
    use std::os::unix::process::CommandExt;
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut anew = std::process::Command::new(program);
        let _error = anew.args(std::env::args_os().skip(1)).env(TUNABLES, "glibc.malloc.hugetlb=1").exec();
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn begin_with_huge_pages() {}

fn main() -> ExitCode {
    begin_with_huge_pages();
    // clap itself exits with 2 on wrong use.
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Replay { file, json } => cli::read(&file).map(|run| play(run, json)).map_err(CliError::from),
        Command::Fuzz(args) => cli::fuzz(&args).map(ended).map_err(CliError::from),
        Command::Shrink(args) => cli::shrink_file(&args).map(|()| ExitCode::SUCCESS).map_err(CliError::from),
        Command::Study(args) => study::command::run(&args).map_err(CliError::from),
        Command::List { json } => {
            list(json);
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("federation-sim: {error}");
        ExitCode::from(2)
    })
}

fn run(args: &RunArgs) -> Result<ExitCode, CliError> {
    let scenario = scenario::load(&args.scenario)?;
    let recorded = args.workload.as_deref().map(recording::read).transpose()?;
    let simulated_s = match args.hours {
        None => recorded.as_ref().and_then(|all| all.last()).map_or(scenario.minutes * 60, |q| q.at_ms / 1000 + 60),
        Some(hours) if hours > 0.0 && hours <= HOURS_MAX => (hours * 3600.0).ceil() as u64,
        Some(_) => return Err(CliError::Hours),
    };
    let nodes = args.nodes.map_or(scenario.nodes, usize::from);
    let mut run = Run::expand(&scenario, nodes, simulated_s, args.seed, !args.no_faults);
    if let Some(questions) = recorded {
        run.questions = questions;
        if !args.with_sessions {
            run.workload.sessions_per_node_hour = 0;
        }
    }
    if let Some(path) = &args.save {
        let refused = |why: String| CliError::File { path: path.display().to_string(), why };
        let text = toml::to_string(&run).map_err(|error| refused(error.to_string()))?;
        std::fs::write(path, text).map_err(|error| refused(error.to_string()))?;
    }
    run.check().map_err(|why| CliError::File { path: args.scenario.clone(), why })?;
    Ok(play(run, args.json))
}

fn ended(clean: bool) -> ExitCode {
    if clean { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn play(run: Run, json: bool) -> ExitCode {
    let begun = Instant::now();
    let mut memory = Vec::new();
    let (simulated_s, watched) = (run.simulated_s, std::io::stderr().is_terminal());
    let mut report: Report = World::new(run).play_watched(|percent| {
        if percent % 25 == 0 {
            memory.extend(resident_bytes());
        }
        if watched {
            let took = begun.elapsed().as_secs();
            eprint!("\r{percent:>3} % of {simulated_s} simulated seconds after {took} s\x1b[K");
        }
    });
    if watched {
        eprint!("\r\x1b[K");
    }
    report.wall_s = begun.elapsed().as_secs_f64();
    report.simulator_memory_bytes = memory;
    match json {
        true => println!("{}", serde_json::to_string(&report).expect("a report is plain data with text keys")),
        false => print!("{report}"),
    }
    ended(report.violations == 0)
}

/// What this process has in memory, where the system says so as Linux does.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn list(json: bool) {
    let scenarios = scenario::list();
    if json {
        let rows: Vec<_> =
            scenarios.iter().map(|(name, about)| serde_json::json!({"name": name, "about": about})).collect();
        println!("{}", serde_json::Value::Array(rows));
        return;
    }
    for (name, about) in scenarios {
        println!("{name:<12}{about}");
    }
}
