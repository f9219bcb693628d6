//! `fednode fit`: what a model needs, and where it fits; the storage study done again (`--matrix`); a whole roster over machines
//! (`--roster`). It needs no node and changes nothing: `core::fit` answers, this reads and prints.

pub(super) mod roster;
mod source;
mod study;
pub(super) mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::exit::Failure;
use super::parse;
use super::run::Out;
use super::table::columns;
use crate::core::fit::place::Place;
use crate::core::fit::{Known, Question, fit};
use crate::core::limits;
use crate::wire::fit as tables;

/// What is asked about when nothing is named: the manager that the reference roster is made for.
const MANAGER: &str = "deepseek-coder-6.7b";

/// `fednode fit`.
#[derive(Args, Debug)]
pub(super) struct FitArgs {
    /// A GGUF file, a folder with safetensors, a config.json, or a name of --list; the reference manager if not given
    #[arg(value_name = "MODEL", conflicts_with_all = ["matrix", "list", "roster"])]
    model: Option<String>,
    /// Tokens of context for each sequence
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::CONTEXT_MAX)))]
    ctx: u32,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::PARALLEL_MAX)))]
    parallel: u32,
    /// Weights in this precision; the files' own, else F16, if not given
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// On this GPU or machine of --list, or one of so much memory, such as 24GiB or den=24GiB, or on several of a kind, such as
    /// 4x32GiB; may be repeated
    #[arg(long, value_name = "PLACE")]
    on: Vec<String>,
    /// Do the storage study again: three models, five GPUs, four precisions
    #[arg(long, conflicts_with_all = ["list", "on", "precision"])]
    matrix: bool,
    /// Fit all roles of this roster file (TOML), or of one that comes with the program, over the machines of --on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "matrix"])]
    roster: Option<PathBuf>,
    /// How fast the machines' disks are read, for the waits of a roster
    #[arg(long, value_name = "RATE", default_value = "3GB/s", value_parser = parse::rate, requires = "roster")]
    disk: u64,
    /// List the models, precisions, GPUs and machines that are known by name
    #[arg(long)]
    list: bool,
}

/// Answers.
pub(super) fn run(out: Out, args: &FitArgs) -> Result<(), Failure> {
    let known = tables::known();
    if args.list {
        out.either(&listed(&known), || text::list(&known, columns()));
        return Ok(());
    }
    if args.matrix {
        return study::run(out, &known);
    }
    if let Some(file) = args.roster.as_deref() {
        return roster::run(out, &known, args, file);
    }
    let model = source::model(&known, args.model.as_deref().unwrap_or(MANAGER))?;
    let precision = match args.precision.as_deref() {
        Some(name) => Some(precision(&known, name)?),
        None => known.precision(model.stored.as_deref().unwrap_or("F16")),
    };
    let places = places(&known, &args.on)?;
    let question = Question {
        model: &model,
        precision,
        context: args.ctx,
        parallel: args.parallel,
        places: &places,
        precisions: &known.precisions,
    };
    let document = fit(&question);
    out.either(&value(&document)?, || text::fit(&document, columns()));
    Ok(())
}

fn precision<'a>(known: &'a Known, name: &str) -> Result<&'a crate::core::fit::precision::Stored, Failure> {
    known.precision(name).ok_or_else(|| {
        let names: Vec<&str> = known.precisions.iter().map(|stored| stored.name.as_str()).collect();
        Failure::wrong_use(format!("no precision is called {name:?}; there are {}", names.join(", ")))
    })
}

/// The places that are named, or all.
fn places(known: &Known, named: &[String]) -> Result<Vec<Place>, Failure> {
    let all = known.machines.places();
    if named.is_empty() {
        return Ok(all);
    }
    let mut places: Vec<Place> = Vec::new();
    for text in named {
        let (count, text) = several(text);
        let place = place(&all, text)?;
        if places.len() + count > limits::INVENTORY_NODES_MAX {
            let why = format!("at most {} machines can be asked about at once", limits::INVENTORY_NODES_MAX);
            return Err(Failure::wrong_use(why));
        }
        for _ in 0..count {
            let alike = places.iter().filter(|known| known.name == place.name || known.title == place.title).count();
            let name = if alike == 0 { place.name.clone() } else { format!("{}-{}", place.name, alike + 1) };
            places.push(Place { name, ..place.clone() });
        }
    }
    Ok(places)
}

/// `4x32GiB` is four of them.
fn several(text: &str) -> (usize, &str) {
    let parts = text.split_once('x').and_then(|(count, rest)| Some((count.parse().ok()?, rest)));
    parts.filter(|(count, _)| *count > 0).unwrap_or((1, text))
}

fn place(all: &[Place], text: &str) -> Result<Place, Failure> {
    if let Some(place) = all.iter().find(|place| place.name.eq_ignore_ascii_case(text)) {
        return Ok(place.clone());
    }
    let (name, size) = text.split_once('=').unwrap_or((text, text));
    let unknown = || {
        Failure::wrong_use(format!(
            "no GPU or machine is called {text:?}, and it is no size such as 24GiB or den=24GiB; `fednode fit --list` names them"
        ))
    };
    let bytes = parse::bytes(size).ok().filter(|bytes| (1..=limits::INVENTORY_SIZE_BYTES_MAX).contains(bytes));
    let shown =
        !name.is_empty() && name.len() <= limits::INVENTORY_NAME_CHARS_MAX && !name.chars().any(char::is_control);
    match (bytes, shown) {
        (Some(bytes), true) => Ok(Place::ram(name, bytes)),
        _ => Err(unknown()),
    }
}

fn listed(known: &Known) -> Value {
    let model = |preset: &crate::core::fit::Preset| {
        let parameters = preset.model().map(|model| model.shape.parameters).unwrap_or_default();
        json!({"name": preset.name, "title": preset.title, "aliases": preset.aliases, "parameters": parameters})
    };
    let place = |place: &Place| {
        json!({"name": place.name, "title": place.title, "kind": place.kind.as_str(), "total_bytes": place.total_bytes,
               "usable_bytes": place.usable_bytes(), "spans": place.spans})
    };
    json!({
        "models": known.presets.iter().map(model).collect::<Vec<_>>(),
        "precisions": known.precisions,
        "places": known.machines.places().iter().map(place).collect::<Vec<_>>(),
    })
}

fn value(document: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(document).map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))
}
