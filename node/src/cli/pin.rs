//! `fednode pin` and `fednode unpin`: what this machine keeps on its disk whatever the plan says, and with `--on` what must be
//! resident on a machine of the federation.

use std::path::Path;

use clap::Args;
use fednode_proto::v1;
use serde::Deserialize;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::view::short;
use crate::core::pins::Pin;

/// `fednode pin`.
#[derive(Args, Debug)]
pub(super) struct PinArgs {
    /// SLOT, SLOT:DOMAIN or an artifact's digest; if not given, what is pinned is listed
    what: Option<Pin>,
    /// Not on this disk, but resident in the memory of this member (its name or PeerId); SLOT only
    #[arg(long, value_name = "NODE", requires = "what")]
    on: Option<String>,
}

/// `fednode unpin`.
#[derive(Args, Debug)]
pub(super) struct UnpinArgs {
    /// SLOT, SLOT:DOMAIN or an artifact's digest, as `fednode pin` lists it; with --on: everything there if not given
    #[arg(required_unless_present = "on")]
    what: Option<Pin>,
    /// No longer resident on this member whatever happens
    #[arg(long, value_name = "NODE")]
    on: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    pins: Vec<Entry>,
    on: Vec<Machine>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Machine {
    name: String,
    slots: Vec<String>,
    drained: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    pin: String,
    artifacts: Vec<Kept>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Kept {
    artifact: String,
    stored: bool,
}

pub(super) async fn pin(out: Out, data_dir: &Path, args: PinArgs) -> Result<(), Failure> {
    let pin = args.what.map(|pin| pin.to_string()).unwrap_or_default();
    ask(out, data_dir, v1::PinRequest { pin, remove: false, on: args.on.unwrap_or_default() }).await
}

pub(super) async fn unpin(out: Out, data_dir: &Path, args: UnpinArgs) -> Result<(), Failure> {
    let pin = args.what.map(|pin| pin.to_string()).unwrap_or_default();
    ask(out, data_dir, v1::PinRequest { pin, remove: true, on: args.on.unwrap_or_default() }).await
}

async fn ask(out: Out, data_dir: &Path, request: v1::PinRequest) -> Result<(), Failure> {
    let reply = admin::connect(data_dir).await?.pin(request).await?.into_inner();
    let document = admin::json_document(&reply.json)?;
    out.either(&document, || {
        serde_json::from_value(document.clone()).map_or_else(|_| String::new(), |found| list(&found, columns()))
    });
    Ok(())
}

fn list(document: &Document, columns: usize) -> String {
    let here = if document.pins.is_empty() {
        "nothing is pinned on this machine's disk\n".to_owned()
    } else {
        let rows: Vec<Vec<String>> = document.pins.iter().flat_map(rows).collect();
        table_within(&["PIN", "ARTIFACT", "HERE"], &rows, columns)
    };
    if document.on.is_empty() {
        return here;
    }
    let on = |machine: &Machine| {
        let slots = if machine.slots.is_empty() { "-".to_owned() } else { machine.slots.join(", ") };
        let drained = if machine.drained { "drained: holds no replicas" } else { "" };
        vec![machine.name.clone(), slots, drained.to_owned()]
    };
    let rows: Vec<Vec<String>> = document.on.iter().map(on).collect();
    format!("{here}\n{}", table_within(&["MEMBER", "RESIDENT THERE", ""], &rows, columns))
}

fn rows(entry: &Entry) -> Vec<Vec<String>> {
    // An artifact's own digest would not fit beside its short form.
    let name = if entry.pin.len() == 64 { short(&entry.pin).to_owned() } else { entry.pin.clone() };
    if entry.artifacts.is_empty() {
        return vec![vec![name, "-".to_owned(), "nothing published there yet".to_owned()]];
    }
    let here = |kept: &Kept| if kept.stored { "yes" } else { "on its way; see `fednode transfers`" }.to_owned();
    entry.artifacts.iter().map(|kept| vec![name.clone(), short(&kept.artifact).to_owned(), here(kept)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn what_is_pinned_here_and_elsewhere() {
        let kept = |stored| Kept { artifact: "9f8e7d6c".repeat(8), stored };
        let entry = |pin: &str, artifacts| Entry { pin: pin.to_owned(), artifacts };
        let machine = |name: &str, slots: &[&str], drained| Machine {
            name: name.to_owned(),
            slots: slots.iter().map(|slot| (*slot).to_owned()).collect(),
            drained,
        };
        let pins = vec![
            entry("UCM", vec![kept(true)]),
            entry("ULM:personal", vec![kept(false)]),
            entry(&"0a".repeat(32), vec![]),
        ];
        let on = vec![machine("griffith", &["UFM", "UCM"], false), machine("den", &[], true)];
        let nothing = list(&Document::default(), 80);
        assert_eq!(nothing, "nothing is pinned on this machine's disk\n");
        let document = Document { pins, on };
        golden::check("pins", |columns| list(&document, columns));
    }
}
