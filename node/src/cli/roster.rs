//! `fednode roster`: shows the roster of slots as the node has it, or hands it another one, which the node checks.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fednode_proto::v1;

use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::{admin, fit, up};
use crate::core::roster::{RosterSlot, SlotPolicy, SlotRoster};

/// `fednode roster …`; without a word it shows.
#[derive(Subcommand, Debug)]
pub(super) enum RosterCommand {
    /// Show the roster
    Show,
    /// Put the roster of this file (TOML) in its place
    Apply {
        /// The file
        file: PathBuf,
    },
}

pub(super) async fn run(out: Out, data_dir: &Path, command: Option<RosterCommand>) -> Result<(), Failure> {
    let apply_toml = match command {
        None | Some(RosterCommand::Show) => String::new(),
        Some(RosterCommand::Apply { file }) => {
            let text = up::read_file(&file, up::ROSTER_BYTES_MAX)?;
            if text.trim().is_empty() {
                return Err(Failure::refused(format!("{} is empty; a roster has at least one slot", file.display())));
            }
            taken(text)
        }
    };
    let reply = admin::connect(data_dir).await?.roster(v1::RosterRequest { apply_toml }).await?.into_inner();
    let document = admin::json_document(&reply.json)?;
    let roster: Result<SlotRoster, serde_json::Error> = serde_json::from_slice(&reply.json);
    // A newer node's roster may have more in it than this command knows.
    out.either(&document, || roster.map_or_else(|_| format!("{document:#}\n"), |roster| show(&roster, columns())));
    Ok(())
}

/// A roster file as a node takes it: without the models that are meant for its slots, which only `fit` reads. What is no roster is left
/// for the node to refuse.
fn taken(text: String) -> String {
    let read = fit::roster::parse(&text).ok();
    read.and_then(|file| toml::to_string(&file.roster).ok()).unwrap_or(text)
}

fn show(roster: &SlotRoster, columns: usize) -> String {
    let rows: Vec<Vec<String>> = roster.slots.iter().map(row).collect();
    let headers = ["SLOT", "POLICY", "COPIES", "CONTEXT", "PER HOUR", "DOMAINS", "TITLE"];
    format!(
        "roster {}, precision floor {}\n\n{}",
        roster.name,
        roster.precision_floor,
        table_within(&headers, &rows, columns)
    )
}

fn row(slot: &RosterSlot) -> Vec<String> {
    let policy = match slot.policy {
        SlotPolicy::Pinned => "pinned",
        SlotPolicy::Swappable => "swappable",
    };
    let context = match slot.parallel {
        1 => slot.context.to_string(),
        parallel => format!("{} × {parallel}", slot.context),
    };
    let domains: Vec<&str> = slot.domains.iter().map(|domain| domain.as_str()).collect();
    let (copies, context) = match &slot.base {
        Some(base) => (format!("as {base}"), format!("as {base}")),
        None => (slot.replicas.to_string(), context),
    };
    vec![
        slot.name.to_string(),
        policy.to_owned(),
        copies,
        context,
        slot.demand_per_hour.to_string(),
        domains.join("\n"),
        slot.title.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn the_reference_roster_is_shown() {
        let roster: SlotRoster = toml::from_str(include_str!("../../rosters/reference.toml")).expect("the file");
        golden::check("roster", |columns| show(&roster, columns));
    }
}
