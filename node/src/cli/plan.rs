//! `fednode plan`: the plan this node follows, or the plan for an inventory file, which needs no node at all. The text says
//! what is where; `--explain` adds every refusal with its arithmetic.

use std::path::{Path, PathBuf};

use clap::Args;
use fednode_proto::v1;
use serde::Deserialize;
use serde_json::Value;

use super::exit::Failure;
use super::run::Out;
use super::table::{COLUMNS, table, wrap};
use super::view::short;
use super::{admin, up};
use crate::core::types::human_bytes;

const INVENTORY_BYTES_MAX: u64 = 64 << 20;

/// `fednode plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// Say for every manager which places were refused, and why
    #[arg(long)]
    explain: bool,
    /// Plan for this inventory (JSON; `-` for stdin) instead of asking the node
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
}

pub(super) async fn run(
    out: Out,
    data_dir: impl FnOnce() -> Result<PathBuf, Failure>,
    args: PlanArgs,
) -> Result<(), Failure> {
    let document = match args.inventory.as_deref() {
        Some(path) => {
            let text = match path == Path::new("-") {
                true => up::read_text(std::io::stdin(), "stdin", INVENTORY_BYTES_MAX)?,
                false => up::read_file(path, INVENTORY_BYTES_MAX)?,
            };
            plan_inventory(&text).map_err(|why| Failure::refused(format!("inventory {}: {why}", path.display())))?
        }
        None => {
            let reply = admin::connect(&data_dir()?).await?.plan(v1::PlanRequest {}).await?.into_inner();
            admin::json_document(&reply.json)?
        }
    };
    out.either(&document, || explain(&document, args.explain));
    Ok(())
}

/// The plan for an inventory: a pure function of its text.
fn plan_inventory(text: &str) -> Result<Value, String> {
    let document = crate::wire::inventory::plan_text(text).map_err(|error| error.to_string())?;
    serde_json::to_value(document).map_err(|error| error.to_string())
}

/// What the text needs of the plan's JSON (DESIGN 13).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Plan {
    digest: String,
    strategy: String,
    replicas: Vec<Replica>,
    stored: Vec<Stored>,
    shortfalls: Vec<Shortfall>,
    moves: Vec<Move>,
    refused: Vec<Refused>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Replica {
    slot: String,
    node: String,
    domain: String,
    bytes: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Stored {
    artifact: String,
    node: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Shortfall {
    slot: String,
    bytes_short: u64,
    why: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Move {
    slot: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refused {
    slot: String,
    node: String,
    domain: String,
    why: String,
    bytes_short: u64,
}

fn explain(document: &Value, refusals: bool) -> String {
    let Ok(plan) = Plan::deserialize(document) else { return format!("{document:#}\n") };
    if plan.digest.is_empty() && plan.replicas.is_empty() {
        return "there is no plan yet; the coordinator makes one when it knows the members\n".to_owned();
    }
    let mut out = format!("plan {}, strategy {}\n\n", short(&plan.digest), plan.strategy);
    let row = |replica: &Replica| {
        vec![replica.slot.clone(), replica.node.clone(), replica.domain.clone(), human_bytes(replica.bytes)]
    };
    let rows: Vec<Vec<String>> = plan.replicas.iter().map(row).collect();
    out.push_str(&table(&["SLOT", "NODE", "DOMAIN", "MEMORY"], &rows));
    section(&mut out, "Short:", plan.shortfalls.iter().map(shortfall));
    section(&mut out, "Moves:", plan.moves.iter().map(movement));
    if refusals {
        section(&mut out, "Stored:", plan.stored.iter().map(|it| format!("{} on {}", short(&it.artifact), it.node)));
        section(&mut out, "Refused:", plan.refused.iter().map(refused));
        if plan.refused.is_empty() {
            out.push_str("\nNo place was refused.\n");
        }
    }
    out
}

fn section(out: &mut String, title: &str, sentences: impl Iterator<Item = String>) {
    let lines: Vec<String> = sentences.flat_map(|sentence| bullet(&sentence)).collect();
    if !lines.is_empty() {
        out.push_str(&format!("\n{title}\n{}\n", lines.join("\n")));
    }
}

fn bullet(sentence: &str) -> Vec<String> {
    let lines = wrap(sentence, COLUMNS - 4).into_iter().enumerate();
    lines.map(|(index, line)| format!("{}{line}", if index == 0 { "  - " } else { "    " })).collect()
}

fn shortfall(shortfall: &Shortfall) -> String {
    format!("{} fits nowhere: {}", shortfall.slot, arithmetic(&shortfall.why, shortfall.bytes_short))
}

fn refused(refused: &Refused) -> String {
    let why = arithmetic(&refused.why, refused.bytes_short);
    format!("{} not on {} in {}: {why}", refused.slot, refused.node, refused.domain)
}

/// The reason, with the missing bytes unless it already speaks of them.
fn arithmetic(why: &str, bytes_short: u64) -> String {
    match bytes_short == 0 || why.contains("short") {
        true => why.to_owned(),
        false => format!("{why}, short {}", human_bytes(bytes_short)),
    }
}

fn movement(movement: &Move) -> String {
    match (movement.from.as_deref(), movement.to.as_deref()) {
        (Some(from), Some(to)) => format!("{} from {from} to {to}", movement.slot),
        (None, Some(to)) => format!("{} to {to}", movement.slot),
        (Some(from), None) => format!("{} leaves {from}", movement.slot),
        (None, None) => movement.slot.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_explained_in_sentences() {
        let document = json!({
            "digest": "0011223344556677", "score": 5, "strategy": "mixed",
            "replicas": [{"slot": "UFM", "node": "desk", "domain": "ram", "bytes": 16428035538u64}],
            "stored": [{"artifact": "9f8e7d6c00", "node": "desk"}], "roles": {"desk": "mixed"},
            "shortfalls": [{"slot": "UCM", "bytes_short": 1288490189, "why": "no place has room for 15.3 GiB"}],
            "moves": [{"slot": "UFM", "from": null, "to": "desk"}],
            "refused": [{"slot": "UCM", "node": "laptop", "domain": "ram", "bytes_short": 1288490189,
                         "why": "needs 15.3 GiB, 14.1 GiB free after reserve, short 1.2 GiB"}],
        });
        let expect = "\
plan 00112233, strategy mixed

SLOT  NODE  DOMAIN  MEMORY
UFM   desk  ram     15.3 GiB

Short:
  - UCM fits nowhere: no place has room for 15.3 GiB, short 1.2 GiB

Moves:
  - UFM to desk

Stored:
  - 9f8e7d6c on desk

Refused:
  - UCM not on laptop in ram: needs 15.3 GiB, 14.1 GiB free after reserve, short
    1.2 GiB
";
        let text = explain(&document, true);
        assert_eq!(text, expect, "\n{text}");
        assert!(!explain(&document, false).contains("Refused"));
    }

    #[test]
    fn no_plan_and_plans_of_other_versions_are_said_so() {
        assert!(explain(&json!({}), false).contains("no plan yet"));
        assert!(explain(&json!({"digest": 5}), false).contains("\"digest\": 5"));
    }
}
