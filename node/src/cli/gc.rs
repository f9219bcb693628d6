//! `fednode gc`: what may be deleted from this machine's disk, why, and why the rest stays. Nothing is deleted without a yes.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use fednode_proto::v1;
use serde_json::Value;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::view::short;
use crate::core::reports::{GcEntry, GcReport};
use crate::core::types::{Digest, human_bytes};

/// `fednode gc`.
#[derive(Args, Debug)]
pub(super) struct GcArgs {
    /// Delete what may go, without asking
    #[arg(long)]
    yes: bool,
    /// Let go of this artifact even if it is the last copy in the federation; only of what no slot names any more
    #[arg(long, value_name = "ARTIFACT", value_parser = artifact)]
    forget: Vec<Digest>,
}

fn artifact(text: &str) -> Result<Digest, String> {
    text.parse()
        .map_err(|_| "expected an artifact's 64 hexadecimal digits, as `fednode gc --json` shows them".to_owned())
}

pub(super) async fn run(out: Out, data_dir: &Path, args: GcArgs) -> Result<(), Failure> {
    let (explained, report) = ask(data_dir, &args, args.yes).await?;
    if args.yes || report.delete.is_empty() || out.json || !confirmed(out, &report) {
        out.either(&explained, || if args.yes { done(&report, columns()) } else { explain(&report, true, columns()) });
        return Ok(());
    }
    let (_, report) = ask(data_dir, &args, true).await?;
    out.text(&done(&report, columns()));
    Ok(())
}

async fn ask(data_dir: &Path, args: &GcArgs, yes: bool) -> Result<(Value, GcReport), Failure> {
    let forget = args.forget.iter().map(ToString::to_string).collect();
    let reply = admin::connect(data_dir).await?.gc(v1::GcRequest { yes, forget }).await?.into_inner();
    let document = admin::json_document(&reply.json)?;
    let report = serde_json::from_value(document.clone()).unwrap_or_default();
    Ok((document, report))
}

/// Asks at a terminal; without one nobody can have said yes.
fn confirmed(out: Out, report: &GcReport) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return false;
    }
    out.text(&explain(report, false, columns()));
    print!("delete? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && matches!(line.trim(), "y" | "yes")
}

fn explain(report: &GcReport, hint: bool, columns: usize) -> String {
    let mut out = used(report);
    if !report.delete.is_empty() {
        out.push_str(&format!("\nmay go, {} in all:\n", human_bytes(report.would_free_bytes)));
        out.push_str(&rows(&report.delete, "HELD BY", columns));
    }
    if !report.keep.is_empty() {
        out.push_str("\nstays:\n");
        out.push_str(&rows(&report.keep, "", columns));
    }
    out.push_str(match (report.delete.is_empty(), hint) {
        (true, _) => "\nnothing may go\n",
        (false, true) => "\nnothing was deleted; `fednode gc --yes` deletes what may go\n",
        (false, false) => "\n",
    });
    out
}

fn done(report: &GcReport, columns: usize) -> String {
    let mut out = String::new();
    if !report.deleted.is_empty() {
        out.push_str("deleted:\n");
        out.push_str(&rows(&report.deleted, "HELD BY", columns));
        out.push('\n');
    }
    if !report.keep.is_empty() {
        out.push_str("stays:\n");
        out.push_str(&rows(&report.keep, "", columns));
        out.push('\n');
    }
    out.push_str(&format!("{} freed\n", human_bytes(report.freed_bytes)));
    out
}

fn used(report: &GcReport) -> String {
    let used = human_bytes(report.used_bytes);
    match report.budget_bytes {
        Some(budget) => format!("stored: {used} of a budget of {}\n", human_bytes(budget)),
        None => format!("stored: {used}, no budget set\n"),
    }
}

fn rows(entries: &[GcEntry], holders: &str, columns: usize) -> String {
    let row = |entry: &GcEntry| {
        let mut row =
            vec![short(&entry.artifact).to_owned(), entry.name.clone(), human_bytes(entry.bytes), entry.why.clone()];
        if !holders.is_empty() {
            row.push(entry.holders.join(", "));
        }
        row
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let mut head = vec!["ARTIFACT", "NAME", "SIZE", "WHY"];
    head.extend(Some(holders).filter(|holders| !holders.is_empty()));
    table_within(&head, &rows, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn what_goes_and_what_stays_is_said_with_its_reason() {
        let entry = |n: u8, why: &str, holders: &[&str]| GcEntry {
            artifact: format!("{n:02x}").repeat(32),
            name: "manager 1".to_owned(),
            bytes: 3 << 30,
            why: why.to_owned(),
            holders: holders.iter().map(|&name| name.to_owned()).collect(),
        };
        let report = GcReport {
            used_bytes: 6 << 30,
            budget_bytes: Some(8 << 30),
            delete: vec![entry(1, "no slot names it any more", &["griffith"])],
            keep: vec![
                entry(2, "pinned on this node", &[]),
                entry(
                    3,
                    "its slot names it, and no other member that can be reached now holds a whole copy of it",
                    &[],
                ),
            ],
            would_free_bytes: 3 << 30,
            ..GcReport::default()
        };
        golden::check("gc", |columns| explain(&report, true, columns));
        let done_now = GcReport { deleted: report.delete.clone(), freed_bytes: 3 << 30, ..report };
        golden::check("gc-done", |columns| done(&done_now, columns));
        let nothing = explain(&GcReport::default(), true, 80);
        assert!(nothing.ends_with("nothing may go\n"), "{nothing}");
    }
}
