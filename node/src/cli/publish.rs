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
    /// A GGUF file, one part of a split one, or a folder from Hugging Face (model or LoRA adapter)
    #[arg(
        long_help = "The model or adapter: a GGUF file; any part of a split GGUF model, the others then are beside it; \
        or a folder from Hugging Face with safetensors files, of a llama model or of a PEFT LoRA adapter, which is converted to \
        GGUF without quantising"
    )]
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
    // The node works in another directory than this command. Links are left as they are: a part of a split model is known
    // by its own name, not by that of the file it leads to.
    let unreadable = |error| Failure::failed(format!("cannot read {}: {error}", args.path.display()));
    std::fs::metadata(&args.path).map_err(unreadable)?;
    let path = std::path::absolute(&args.path).map_err(unreadable)?;
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
            Some(Some(Event::Doing(doing))) => bar.set_message(doing),
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
        "chunks": done.chunks, "files": done.files, "name": done.name, "precision": done.precision,
        "placed_by": done.placed_by, "fingerprint": done.no_fingerprint.is_empty(),
        "no_fingerprint": done.no_fingerprint,
    });
    out.say(&document, || explain(&args.slot, domain, &done));
    Ok(())
}

/// On stderr, and only when that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn explain(slot: &SlotName, domain: &str, done: &v1::PublishDone) -> String {
    let name = if domain.is_empty() { slot.to_string() } else { format!("{slot}:{domain}") };
    let artifact: String = done.artifact.chars().take(8).collect();
    let (size, chunks, precision) = (human_bytes(done.bytes), done.chunks, &done.precision);
    let files = if done.files > 1 { format!(" in {} files", done.files) } else { String::new() };
    let how = match done.placed_by.as_str() {
        "linked" => "linked: the file is now read-only and must never be changed in place",
        "reflinked" => "reflinked: it takes no room until the file is changed",
        "converted" => "converted to GGUF",
        "already stored" => "already stored: nothing was written",
        other => other,
    };
    let without = match done.no_fingerprint.as_str() {
        "" => String::new(),
        why => format!("no fingerprint, so a substituted copy is found by its hashes alone: {why}\n"),
    };
    format!("{name} is artifact {artifact}: {size}{files}, {precision}, {chunks} chunks, {how}\n{without}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;
    use crate::cli::table::prose;

    fn done(files: u32, placed_by: &str, no_fingerprint: &str) -> v1::PublishDone {
        v1::PublishDone {
            artifact: "0123456789abcdef".repeat(4),
            bytes: 13_481_025_536,
            chunks: 3300,
            precision: "F16".to_owned(),
            placed_by: placed_by.to_owned(),
            files,
            name: "tuned".to_owned(),
            no_fingerprint: no_fingerprint.to_owned(),
        }
    }

    #[test]
    fn a_publication_is_one_line() {
        let check = |files: u32, placed_by: &str, expected: &str| {
            let slot = SlotName::new("ULM").expect("a name");
            let found = explain(&slot, "core", &done(files, placed_by, ""));
            assert_eq!(found, format!("ULM:core is artifact 01234567: {expected}\n"));
        };
        check(1, "converted", "12.6 GiB, F16, 3300 chunks, converted to GGUF");
        check(3, "already stored", "12.6 GiB in 3 files, F16, 3300 chunks, already stored: nothing was written");
        check(1, "reflinked", "12.6 GiB, F16, 3300 chunks, reflinked: it takes no room until the file is changed");
    }

    #[test]
    fn what_was_published_is_said_as_it_was() {
        let slot = SlotName::new("ULM").expect("a name");
        let done = [done(2, "linked", ""), done(2, "copied", "the model gives no probabilities")];
        let text: String = done.iter().map(|done| explain(&slot, "", done)).collect();
        golden::check("publish", |columns| prose(&text, columns));
    }

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(ProgressStyle::with_template("{bar:30} {binary_bytes}/{binary_total_bytes} {eta}").is_ok());
    }
}
