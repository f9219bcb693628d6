//! `fednode publish`: the node imports a model from this machine's disk; the command line shows how far it is.

use std::path::{Path, PathBuf};

use clap::Args;
use fednode_proto::v1;
use fednode_proto::v1::publish_event::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::exit::Failure;
use super::run::Out;
use super::{admin, parse};
use crate::core::types::{DomainName, SlotName, human_bytes};

/// `fednode publish`.
#[derive(Args, Debug)]
pub(super) struct PublishArgs {
    /// The model: a GGUF file
    path: PathBuf,
    /// The slot to publish into, such as UCM
    #[arg(long = "as", value_name = "SLOT", value_parser = parse::slot_name)]
    slot: SlotName,
    /// Publish an adapter into this domain of the slot
    #[arg(long, value_name = "NAME", value_parser = parse::slot_name)]
    domain: Option<DomainName>,
    /// What people call this version
    #[arg(long, value_name = "V", default_value = "")]
    version: String,
    /// Share the file itself where the file system cannot share blocks, instead of copying it. It becomes read-only, and
    /// must never be changed in place
    #[arg(long)]
    link: bool,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: PublishArgs) -> Result<(), Failure> {
    // The node works in another directory than this command.
    let path = std::fs::canonicalize(&args.path);
    let path = path.map_err(|error| Failure::failed(format!("cannot read {}: {error}", args.path.display())))?;
    let Some(path) = path.to_str() else {
        return Err(Failure::refused(format!("{} is not valid UTF-8; rename it", path.display())));
    };
    let domain = args.domain.as_ref().map(SlotName::as_str).unwrap_or_default();
    let request = v1::PublishRequest {
        path: path.to_owned(),
        slot: args.slot.to_string(),
        domain: domain.to_owned(),
        version: args.version.clone(),
        link: args.link,
    };
    let mut events = admin::connect(data_dir).await?.publish(request).await?.into_inner();
    let bar = progress_bar();
    let done = loop {
        match events.message().await?.map(|event| event.event) {
            Some(Some(Event::Progress(progress))) => {
                bar.set_length(progress.total_bytes);
                bar.set_position(progress.done_bytes);
            }
            Some(Some(Event::Done(done))) => break done,
            Some(None) => {}
            None => {
                let message = "the node ended the import without a result; look at its log and publish again";
                return Err(Failure::failed(message));
            }
        }
    };
    bar.finish_and_clear();
    let document = json!({
        "slot": args.slot, "domain": domain, "version": args.version, "artifact": done.artifact, "bytes": done.bytes,
        "chunks": done.chunks, "precision": done.precision, "placed_by": done.placed_by,
    });
    out.either(&document, || explain(&args.slot, domain, &done));
    Ok(())
}

/// On stderr, and only when that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn explain(slot: &SlotName, domain: &str, done: &v1::PublishDone) -> String {
    let name = if domain.is_empty() { slot.to_string() } else { format!("{slot}:{domain}") };
    let artifact: String = done.artifact.chars().take(8).collect();
    let (size, chunks, precision) = (human_bytes(done.bytes), done.chunks, &done.precision);
    format!("{name} is artifact {artifact}: {size}, {precision}, {chunks} chunks, {}\n", done.placed_by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_one_line() {
        let done = v1::PublishDone {
            artifact: "0123456789abcdef".repeat(4),
            bytes: 13_481_025_536,
            chunks: 3300,
            precision: "F16".to_owned(),
            placed_by: "linked".to_owned(),
            files: 1,
            name: "tuned".to_owned(),
        };
        let slot = SlotName::new("ULM").expect("a name");
        let expect = "ULM:core is artifact 01234567: 12.6 GiB, F16, 3300 chunks, linked\n";
        assert_eq!(explain(&slot, "core", &done), expect);
    }

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(ProgressStyle::with_template("{bar:30} {binary_bytes}/{binary_total_bytes} {eta}").is_ok());
    }
}
