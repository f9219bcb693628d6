//! `fednode load`, `evict` and `drain`: a person's word on what is resident where.

use std::path::Path;

use clap::Args;
use fednode_proto::v1;
use serde::Deserialize;
use serde_json::Value;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use crate::core::types::SlotName;

/// `fednode load`.
#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// The slot
    #[arg(value_parser = SlotName::new)]
    slot: SlotName,
}

/// `fednode evict`.
#[derive(Args, Debug)]
pub(super) struct EvictArgs {
    /// The slot
    #[arg(value_parser = SlotName::new)]
    slot: SlotName,
}

/// `fednode drain`.
#[derive(Args, Debug)]
pub(super) struct DrainArgs {
    /// A member's name or PeerId; this machine if not given
    node: Option<String>,
    /// Let it hold replicas again
    #[arg(long)]
    back: bool,
}

pub(super) async fn load(out: Out, data_dir: &Path, args: LoadArgs) -> Result<(), Failure> {
    let request = v1::LoadSlotRequest { slot: args.slot.to_string() };
    let reply = admin::connect(data_dir).await?.load_slot(request).await?.into_inner();
    say(out, &reply.json, loaded)
}

pub(super) async fn evict(out: Out, data_dir: &Path, args: EvictArgs) -> Result<(), Failure> {
    let request = v1::EvictSlotRequest { slot: args.slot.to_string() };
    let reply = admin::connect(data_dir).await?.evict_slot(request).await?.into_inner();
    say(out, &reply.json, evicted)
}

pub(super) async fn drain(out: Out, data_dir: &Path, args: DrainArgs) -> Result<(), Failure> {
    let request = v1::DrainRequest { node: args.node.unwrap_or_default(), back: args.back };
    let reply = admin::connect(data_dir).await?.drain(request).await?.into_inner();
    say(out, &reply.json, drained)
}

/// What the node says it did.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Done {
    slot: String,
    nodes: Vec<String>,
    name: String,
    drained: bool,
    resident: Vec<String>,
}

fn loaded(done: Done) -> String {
    format!("{} is resident on {}\n", done.slot, done.nodes.join(", "))
}

fn evicted(done: Done) -> String {
    format!("{} ends what it is answering and leaves this memory until it is asked for again\n", done.slot)
}

fn drained(done: Done) -> String {
    match (done.drained, done.resident.is_empty()) {
        (false, _) => format!("{} may hold replicas again\n", done.name),
        (true, true) => format!("{} holds no replicas and will get none\n", done.name),
        (true, false) => format!(
            "{} gives away {}; each stays until it answers elsewhere, if it fits there; `fednode status` shows them go\n",
            done.name,
            done.resident.join(", ")
        ),
    }
}

fn say(out: Out, json: &[u8], text: impl FnOnce(Done) -> String) -> Result<(), Failure> {
    let document: Value = admin::json_document(json)?;
    out.say(&document, || text(serde_json::from_value(document.clone()).unwrap_or_default()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;
    use crate::cli::table::prose;

    #[test]
    fn what_was_loaded_evicted_and_drained_is_said() {
        let done = |drained, resident: &[&str]| Done {
            slot: "ULM".into(),
            nodes: vec!["griffith".into(), "desk".into()],
            name: "den".into(),
            drained,
            resident: resident.iter().map(|slot| (*slot).to_owned()).collect(),
        };
        golden::check("placing", |columns| {
            let drained = [(true, &["UCM", "ULM", "UFM"][..]), (true, &[]), (false, &[])];
            let drained = drained.map(|(now, resident)| self::drained(done(now, resident))).concat();
            prose(&format!("{}{}{drained}", loaded(done(false, &[])), evicted(done(false, &[]))), columns)
        });
    }

    #[test]
    fn what_a_drained_machine_still_holds_is_said() {
        let check = |drained_now, resident: &[&str], says: &str| {
            let resident = resident.iter().map(|slot| (*slot).to_owned()).collect();
            let text = drained(Done { name: "den".into(), drained: drained_now, resident, ..Done::default() });
            assert!(text.starts_with(says), "{text}");
        };
        check(true, &[], "den holds no replicas");
        check(true, &["UCM", "ULM"], "den gives away UCM, ULM; each stays until");
        check(false, &["UCM"], "den may hold replicas again");
    }
}
