//! `fednode service`: makes the node a service of this machine, takes it out again, and says how it stands. What is done is a list
//! of steps, made beforehand, which `--dry-run` prints; `unit` is the text that the service manager is given.

mod system;
#[cfg(test)]
mod tests;
mod unit;

use std::path::{Path, PathBuf};

use clap::{Args, Parser as _, Subcommand};
use serde_json::json;

use super::exit::Failure;
use super::run::Out;
use super::{Cli, Command};
use crate::core::checkup::ServiceFacts;
pub(super) use system::look;
use system::{Manager, Step};
use unit::{STATE_DIR, Unit};

/// `fednode service`.
#[derive(Subcommand, Debug)]
pub(super) enum ServiceCommand {
    /// Write the unit of systemd (or the property list of launchd), enable it and start it; repeat it to change it
    Install(InstallArgs),
    /// Stop the service and take it out; its data and its user stay
    #[command(alias = "remove")]
    Uninstall(DryArgs),
    /// Show whether it is installed, starts with the machine, and runs
    Status,
}

/// `fednode service install`.
#[derive(Args, Debug)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    dry: DryArgs,
    /// Flags for `fednode up`, after `--`: such as `-- --memory 24GiB --api 0.0.0.0:7717`
    #[arg(last = true, value_name = "UP-FLAGS")]
    up: Vec<String>,
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct DryArgs {
    /// Print what would be written and run, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// `data_dir`: what the command line says, if it does.
pub(super) fn run(out: Out, data_dir: Option<PathBuf>, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::Status => {
            status(out);
            Ok(())
        }
        ServiceCommand::Install(args) => {
            let manager = manager(args.dry.dry_run)?;
            let unit = unit(data_dir, args.up)?;
            let steps = system::install(manager, &unit);
            carry_out(out, &steps, args.dry.dry_run)?;
            if !args.dry.dry_run {
                started(out, &unit)?;
            }
            Ok(())
        }
        ServiceCommand::Uninstall(args) => {
            let manager = manager(args.dry_run)?;
            if !args.dry_run && !look().installed {
                return Err(Failure::refused("fednode is no service of this machine"));
            }
            carry_out(out, &system::uninstall(manager), args.dry_run)?;
            if !args.dry_run {
                let text = "fednode is no service of this machine any more; its data and its user are still there\n";
                out.either(&json!({"removed": true}), || text.to_owned());
            }
            Ok(())
        }
    }
}

/// Where nothing is done, nothing has to run.
fn manager(dry_run: bool) -> Result<Manager, Failure> {
    match Manager::here() {
        Some(manager) => Ok(manager),
        None if dry_run => Ok(Manager::of_this_system()),
        None => Err(Failure::refused(
            "neither systemd nor launchd runs here; let whatever starts programs on this machine run `fednode up`",
        )),
    }
}

fn unit(data_dir: Option<PathBuf>, args: Vec<String>) -> Result<Unit, Failure> {
    check_flags(&args)?;
    let data_dir = data_dir.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from(STATE_DIR));
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::wrong_use(format!("{}: {error}", path.display())))
    };
    let data_dir = absolute(&data_dir)?;
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    let program = program.map_err(|error| Failure::failed(format!("this program's own file is not known: {error}")))?;
    for path in [&program, &data_dir] {
        if path.to_str().is_none_or(|text| text.chars().any(char::is_control)) {
            return Err(Failure::refused(format!("{} cannot stand in a service's file", path.display())));
        }
    }
    system::unit_here(program, data_dir, args)
}

/// What the service would refuse at each start is refused now.
fn check_flags(args: &[String]) -> Result<(), Failure> {
    if args.iter().flat_map(|word| word.chars()).any(char::is_control) {
        return Err(Failure::wrong_use("flags of a service may have no line breaks or other control characters"));
    }
    let line = ["fednode", "up"].into_iter().chain(args.iter().map(String::as_str));
    match Cli::try_parse_from(line) {
        Ok(Cli { command: Command::Up(_), .. }) => Ok(()),
        Ok(_) => Err(Failure::wrong_use("only flags of `fednode up` can follow --")),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(Failure::wrong_use(format!("`fednode up` would not take these flags: {first}")))
        }
    }
}

/// Prints the steps, or takes them one after the other.
fn carry_out(out: Out, steps: &[Step], dry_run: bool) -> Result<(), Failure> {
    if dry_run {
        out.either(&json!({"steps": steps.iter().map(Step::document).collect::<Vec<_>>()}), || told(steps));
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::refused(
            "only root may change services; repeat it with sudo, or look first with --dry-run",
        ));
    }
    steps.iter().try_for_each(Step::take)
}

fn told(steps: &[Step]) -> String {
    steps.iter().map(Step::told).collect::<Vec<_>>().join("\n")
}

/// It runs, or why not.
fn started(out: Out, unit: &Unit) -> Result<(), Failure> {
    let facts = system::wait_active();
    if !facts.active {
        let message = format!("the service was installed and does not run ({}); {}", facts.state, system::LOG_HINT);
        return Err(Failure::failed(message));
    }
    let data = unit.data_dir.display();
    out.either(&json!({"service": facts}), || {
        format!(
            "fednode runs as a service and starts with this machine. Its data are in {data}; to command it, type\n\n  \
             sudo fednode --data-dir {data} status\n"
        )
    });
    Ok(())
}

fn status(out: Out) {
    let facts = look();
    out.either(&json!({"service": facts}), || status_text(&facts));
}

fn status_text(facts: &ServiceFacts) -> String {
    let manager = &facts.manager;
    if manager.is_empty() {
        return "neither systemd nor launchd runs here\n".to_owned();
    }
    if !facts.installed {
        return format!("fednode is no service of {manager}; `sudo fednode service install` makes it one\n");
    }
    let start = if facts.enabled { "starts with this machine" } else { "does not start with this machine" };
    let runs = if facts.active { "runs".to_owned() } else { format!("does not run ({})", facts.state) };
    format!("fednode is a service of {manager}, {start} and {runs}\n")
}
