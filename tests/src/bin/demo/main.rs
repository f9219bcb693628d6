//! The demo: one person's three machines, as three `fednode` processes on loopback. It publishes the tiny managers, waits
//! until the federation has carried out its plan, asks every manager through the machine that holds none, and prints who
//! holds what. `--chaos` then kills the machine that answers. Called by `scripts/demo`, which documents it.

mod ask;
mod chaos;
mod keep;
mod options;
mod report;
mod setup;
mod table;

use std::process::ExitCode;

use fednode_tests::{Error, Federation};
use options::Options;
use report::Report;
use serde_json::json;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("error: {why}; see --help");
            return ExitCode::from(2);
        }
    };
    let report = Report::new(options.json);
    match run(&options, &report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, report: &Report) -> Result<(), Error> {
    let mut federation = Federation::new()?;
    let started = setup::start(&mut federation, options.keep, report)?;
    setup::publish(&federation, report)?;
    setup::carry_out(&federation, report)?;
    let asked = ask::all(&federation, report)?;
    let rows = table::rows(&federation, &asked)?;
    report.text(&table::render(&rows));
    report.text(&table::totals(&rows, &started, report.elapsed()));
    let chaos = match options.chaos {
        true => Some(chaos::run(&mut federation, report)?),
        false => None,
    };
    let elapsed_s = report.elapsed().as_secs_f64();
    report.json(|| {
        let chaos = chaos.as_ref().map(chaos::Outcome::json);
        json!({"rows": table::json(&rows), "nodes": started.json(), "chaos": chaos, "elapsed_s": elapsed_s})
    });
    report.text(&format!("\nEverything the demo checked is as it should be, after {elapsed_s:.1} s."));
    if options.keep {
        keep::keep(federation, report);
    }
    Ok(())
}
