//! `fednode plan`: the plan this node follows, or the plan for an inventory file, which needs no node at all. What would change
//! (`--what-if`) and what another plan is worth (`--evaluate`) is asked of an inventory too: of the file, or of the running
//! node's own.

mod bars;
mod text;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::Args;
use fednode_proto::v1;
use serde::Deserialize;
use serde_json::Value;

use super::exit::{Failure, value};
use super::run::Out;
use super::table::columns;
use super::{admin, parse, up};
use crate::core::limits;
use crate::core::placement::document::PlanDocument;
use crate::core::placement::evaluate::evaluate;
use crate::core::placement::inventory::{Change, Inventory, answer, what_if};
use crate::wire::inventory::{self, ReadError};

/// `fednode plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// Say for every manager which places were refused, and why, and draw the memory of every machine
    #[arg(long)]
    explain: bool,
    /// Plan for this inventory (JSON; `-` for stdin) instead of asking the node
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Say what would change: add:64GB, add:NAME=64GB, remove:NODE, ctx:16384 or ctx:SLOT=16384; may be repeated
    #[arg(long, value_name = "CHANGE", value_parser = parse::change)]
    what_if: Vec<Change>,
    /// Score this plan (JSON; `-` for stdin) by the same objective, and say whether it is feasible; exit code 3 if not
    #[arg(long, value_name = "PLAN", conflicts_with = "explain")]
    evaluate: Option<PathBuf>,
    /// Print what the plan is made from, as JSON for --inventory, instead of the plan
    #[arg(long, conflicts_with_all = ["explain", "evaluate"])]
    as_inventory: bool,
    /// Print the JSON Schema of inventories: every field with its unit
    #[arg(long, conflicts_with_all = ["explain", "inventory", "what_if", "evaluate", "as_inventory"])]
    schema: bool,
}

impl PlanArgs {
    /// Is it the plan of the running node that is asked for, and nothing that is made from an inventory?
    fn is_live_plan(&self) -> bool {
        self.inventory.is_none() && self.what_if.is_empty() && self.evaluate.is_none() && !self.as_inventory
    }
}

pub(super) async fn run(
    out: Out,
    data_dir: impl FnOnce() -> Result<PathBuf, Failure>,
    args: PlanArgs,
) -> Result<(), Failure> {
    if args.schema {
        out.text(inventory::SCHEMA);
        return Ok(());
    }
    if args.is_live_plan() {
        let reply = admin::connect(&data_dir()?).await?.plan(v1::PlanRequest {}).await?.into_inner();
        return show(out, &admin::json_document(&reply.json)?, args.explain);
    }
    let is_stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if is_stdin(&args.inventory) && is_stdin(&args.evaluate) {
        return Err(Failure::wrong_use("standard input can be the inventory or the plan, but not both"));
    }
    let federation = match args.inventory.as_deref() {
        Some(path) => inventory::parse(&read(path)?).map_err(|why| refused("inventory", path, &why))?,
        None => live_inventory(&data_dir()?).await?,
    };
    answered(out, &args, &federation)
}

/// What is asked of an inventory: a pure function from here on, but for printing.
fn answered(out: Out, args: &PlanArgs, federation: &Inventory) -> Result<(), Failure> {
    let changed = || federation.changed(&args.what_if).map_err(|why| Failure::refused(why.to_string()));
    if args.as_inventory {
        out.json(&value(&changed()?)?);
        return Ok(());
    }
    if let Some(path) = args.evaluate.as_deref() {
        let claim = inventory::parse_claim(&read(path)?).map_err(|why| refused("plan", path, &why))?;
        let verdict = evaluate(&changed()?, &claim).map_err(|bug| refused("plan", path, &ReadError::Plan(bug)))?;
        out.either(&value(&verdict)?, || text::evaluation(&verdict, columns()));
        let found = verdict.violations.len();
        return match verdict.feasible {
            true => Ok(()),
            false => {
                let plural = if found == 1 { "" } else { "s" };
                Err(Failure::refused(format!("the plan is not feasible: {found} violation{plural}")).code("found"))
            }
        };
    }
    if !args.what_if.is_empty() {
        let answer = what_if(federation, &args.what_if).map_err(|why| Failure::refused(why.to_string()))?;
        out.either(&value(&answer)?, || text::what_if(&answer, args.explain, columns()));
        return Ok(());
    }
    let plan = answer(federation).map_err(|bug| Failure::failed(ReadError::Plan(bug).to_string()))?;
    show(out, &value(&plan.document)?, args.explain)
}

/// A plan, live or made here. What a newer node says more stays in the JSON.
fn show(out: Out, document: &Value, explain: bool) -> Result<(), Failure> {
    out.either(document, || match PlanDocument::deserialize(document) {
        Ok(plan) => text::plan(&plan, explain, columns()),
        Err(_) => format!("{document:#}\n"),
    });
    Ok(())
}

async fn live_inventory(data_dir: &Path) -> Result<Inventory, Failure> {
    let reply = admin::connect(data_dir).await?.inventory(v1::InventoryRequest {}).await?.into_inner();
    let text = String::from_utf8_lossy(&reply.json);
    let parsed = inventory::parse(&text);
    parsed.map_err(|why| Failure::failed(format!("the node's answer cannot be read; restart it ({why})")))
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes_max = limits::INVENTORY_BYTES_MAX as u64;
    match path == Path::new("-") {
        true => up::read_text(std::io::stdin(), "stdin", bytes_max),
        false => up::read_file(path, bytes_max),
    }
}

fn refused(what: &str, path: &Path, why: &ReadError) -> Failure {
    Failure::refused(format!("{what} {}: {why}", path.display()))
}
