//! `fednode scrub`: how the background check of stored weights stands; with `--now`, everything (or what is named) is read and
//! hashed at once, and repaired from other members.

use std::path::Path;

use clap::Args;
use fednode_proto::v1;
use fednode_proto::v1::scrub_event::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::view::short;
use crate::core::pins::Pin;
use crate::core::types::human_bytes;
use crate::core::view::{ScrubView, StoreView};

/// `fednode scrub`.
#[derive(Args, Debug)]
pub(super) struct ScrubArgs {
    /// Read and hash now, at full speed, and repair what is damaged
    #[arg(long)]
    now: bool,
    /// SLOT, SLOT:DOMAIN or an artifact's digest; everything on this machine if not given
    #[arg(requires = "now")]
    what: Option<Pin>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Report {
    bytes: u64,
    seconds: f64,
    damaged_chunks: usize,
    artifacts: Vec<Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    artifact: String,
    name: String,
    bytes: u64,
    damaged: Vec<u32>,
    state: String,
    reason: String,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: ScrubArgs) -> Result<(), Failure> {
    if !args.now {
        let (value, state) = admin::state(data_dir).await?;
        let store = state.store.ok_or_else(|| Failure::refused("this node delegates: it stores nothing"))?;
        out.either(
            &serde_json::json!({"scrub": value["store"]["scrub"], "damaged": value["store"]["damaged"]}),
            || stands(&store),
        );
        return Ok(());
    }
    let what = args.what.map(|what| what.to_string()).unwrap_or_default();
    let events = admin::connect(data_dir).await?.scrub(v1::ScrubRequest { what }).await?.into_inner();
    let document = reported(events, "scrub", |event| match event.event {
        Some(Event::Progress(progress)) => Heard::Progress(progress.done_bytes, progress.total_bytes),
        Some(Event::Json(document)) => Heard::Report(document),
        None => Heard::Nothing,
    });
    let document = document.await?;
    let report: Report = serde_json::from_value(document.clone()).unwrap_or_default();
    out.either(&document, || text(&report, columns()));
    match report.artifacts.iter().filter(|entry| entry.state == "damaged").count() {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} artifacts are still damaged; `fednode status` says what they wait for"
        ))),
    }
}

/// What a node tells while it reads weights.
pub(super) enum Heard {
    /// Bytes done, of so many.
    Progress(u64, u64),
    /// The last word, as JSON.
    Report(Vec<u8>),
    /// Something of a later version.
    Nothing,
}

/// Shows how far the node is, and returns what it found. `what`: what it was asked to do, should it end without a report.
pub(super) async fn reported<E>(
    mut events: tonic::Streaming<E>,
    what: &str,
    heard: impl Fn(E) -> Heard,
) -> Result<serde_json::Value, Failure> {
    let bar = progress_bar();
    let document = loop {
        match events.message().await?.map(&heard) {
            Some(Heard::Progress(done_bytes, total_bytes)) => {
                bar.set_length(total_bytes);
                bar.set_position(done_bytes);
            }
            Some(Heard::Report(document)) => break document,
            Some(Heard::Nothing) => {}
            None => {
                let silent = format!("the node ended the {what} without a report; look at its log");
                return Err(Failure::failed(silent));
            }
        }
    };
    bar.finish_and_clear();
    admin::json_document(&document)
}

/// On stderr, and only when that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn text(report: &Report, columns: usize) -> String {
    let row = |entry: &Entry| {
        let found = match (entry.damaged.len(), entry.reason.as_str()) {
            (0, _) => String::new(),
            (count, "") => chunks(count),
            (count, reason) => format!("{}; {reason}", chunks(count)),
        };
        let size = human_bytes(entry.bytes);
        vec![short(&entry.artifact).to_owned(), entry.name.clone(), size, entry.state.clone(), found]
    };
    let rows: Vec<Vec<String>> = report.artifacts.iter().map(row).collect();
    let sum = format!("{} read and hashed in {:.1} s", human_bytes(report.bytes), report.seconds);
    let damaged = match report.damaged_chunks {
        0 => "all sound".to_owned(),
        count => chunks(count),
    };
    format!("{}\n{sum}: {damaged}\n", table_within(&["ARTIFACT", "NAME", "SIZE", "STATE", "FOUND"], &rows, columns))
}

fn chunks(count: usize) -> String {
    if count == 1 { "1 damaged chunk".to_owned() } else { format!("{count} damaged chunks") }
}

fn stands(store: &StoreView) -> String {
    let mut out = format!("{}\n", line(&store.scrub));
    for damage in &store.damaged {
        out.push_str(&format!("{} ({}) is damaged: {}\n", damage.slot, short(&damage.artifact), damage.reason));
    }
    out
}

/// How the background scrub stands, in one line.
pub(super) fn line(scrub: &ScrubView) -> String {
    let done = || format!("{} of {}", human_bytes(scrub.done_bytes), human_bytes(scrub.total_bytes));
    match scrub.state.as_str() {
        "off" => "scrub is off (--scrub-days 0)".to_owned(),
        "scrubbing" => format!("scrubbing, {} in this pass of at most {} days", done(), scrub.days),
        "yielding" => "scrub waits for a transfer or a load".to_owned(),
        _ if scrub.passed_unix_s == 0 => format!("nothing scrubbed yet; a full pass each {} days", scrub.days),
        _ => format!("all was scrubbed in the last pass; the next one follows {} days after it", scrub.days),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn the_report_says_what_was_damaged_and_what_became_of_it() {
        let entry = |state: &str, damaged: Vec<u32>, reason: &str| Entry {
            artifact: "ab".repeat(32),
            name: "UCM".to_owned(),
            bytes: 1 << 20,
            damaged,
            state: state.to_owned(),
            reason: reason.to_owned(),
        };
        let artifacts = vec![
            entry("sound", vec![], ""),
            entry("repaired", vec![7], ""),
            entry("damaged", vec![1, 2], "nobody has it"),
        ];
        let report = Report { bytes: 3 << 20, seconds: 0.25, damaged_chunks: 3, artifacts };
        golden::check("scrub", |columns| text(&report, columns));
    }
}
