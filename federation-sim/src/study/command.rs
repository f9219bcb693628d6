//! The command: what it takes, what it writes, and what it tells while it works. Everything that is found goes to files; on
//! the terminal stand the recommendations.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Args;

use super::cases::{Case, Extent};
use super::labels::Question;
use super::{HOURS_MAX, Study, StudyError, page, play, table};

/// Simulated seconds of a run, unless told otherwise.
const SIMULATED_S: u64 = 3600;
/// And of a quick one.
const QUICK_S: u64 = 600;

/// What `federation-sim study` takes.
#[derive(Args)]
pub struct StudyArgs {
    /// Where study.html, study.csv and study.json go.
    #[arg(long, value_name = "DIR", default_value = "study")]
    out: PathBuf,
    /// Only this question: strategy, loss, minimum, storage or griffith; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = question)]
    question: Vec<Question>,
    /// Simulated hours of each run, such as 0.5; 1 when it does not say.
    #[arg(long)]
    hours: Option<f64>,
    /// What decides every particular of all runs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Fewer and shorter runs of each question: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Runs played at the same time; as many as the machine has cores when it does not say. Changes nothing that is found.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Print study.json instead of the recommendations.
    #[arg(long)]
    json: bool,
}

fn question(text: &str) -> Result<Question, String> {
    let names: Vec<&str> = Question::ALL.into_iter().map(Question::as_str).collect();
    Question::parse(text).ok_or_else(|| format!("not one of {}", names.join(", ")))
}

impl StudyArgs {
    fn extent(&self) -> Result<Extent, StudyError> {
        let mut questions = if self.question.is_empty() { Question::ALL.to_vec() } else { self.question.clone() };
        questions.sort_unstable();
        questions.dedup();
        let simulated_s = match self.hours {
            None if self.quick => QUICK_S,
            None => SIMULATED_S,
            Some(hours) if hours > 0.0 && hours <= HOURS_MAX => (hours * 3600.0).ceil() as u64,
            Some(_) => return Err(StudyError::Hours),
        };
        Ok(Extent { questions, seed: self.seed, simulated_s, quick: self.quick })
    }
}

/// Plays a study, writes its files, and says what it recommends. 1: a run violated what must always hold.
pub fn run(args: &StudyArgs) -> Result<ExitCode, StudyError> {
    let extent = args.extent()?;
    let threads = args.jobs.map(usize::from).unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    let study = play(&extent, threads, &|ended, all, case: &Case| {
        let labels = &case.labels;
        let on = [labels.link.as_str(), labels.disk.as_str(), labels.loss.as_str()];
        let words = [&[&labels.machines, &labels.task, labels.way.as_str()][..], &on[..]].concat();
        eprintln!("{ended:>4} of {all}  {}: {}", labels.question.as_str(), words.join(", "));
    })?;
    let written = write(&args.out, &study)?;
    if args.json {
        print!("{}", table::json(&study));
    } else {
        for advice in study.advice() {
            println!("{}\n  {}\n", advice.topic, advice.says);
        }
        println!("written: {}", written.join(", "));
    }
    let violations: u64 = study.outcomes.iter().map(|outcome| outcome.violations).sum();
    if violations > 0 {
        eprintln!("federation-sim: {violations} violations; study.csv names the runs");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// The three files; their paths.
fn write(folder: &Path, study: &Study) -> Result<Vec<String>, StudyError> {
    let refused = |path: &Path, source| StudyError::Write { path: path.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(|source| refused(folder, source))?;
    let files =
        [("study.html", page::html(study)), ("study.csv", table::csv(study)), ("study.json", table::json(study))];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| refused(&path, source))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}
