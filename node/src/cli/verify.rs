//! `fednode verify SLOT`: is what lies and answers on every machine what was published?

use std::path::Path;

use clap::Args;
use fednode_proto::v1;
use fednode_proto::v1::verify_slot_event::Event;
use serde::Deserialize;

use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::view::short;
use super::{admin, parse, scrub};
use crate::core::types::SlotName;

/// `fednode verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The slot, such as UCM
    #[arg(value_parser = parse::slot_name)]
    slot: SlotName,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Report {
    slot: String,
    ok: bool,
    nodes: Vec<NodeReport>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeReport {
    node: String,
    error: String,
    artifacts: Vec<ArtifactReport>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ArtifactReport {
    domain: String,
    artifact: String,
    file: String,
    chunks_damaged: u32,
    dtype: String,
    fingerprint: String,
    distance: Option<f64>,
    threshold: Option<f64>,
    why_not: String,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: VerifyArgs) -> Result<(), Failure> {
    let request = v1::VerifySlotRequest { slot: args.slot.to_string() };
    let events = admin::connect(data_dir).await?.verify_slot(request).await?.into_inner();
    let document = scrub::reported(events, "verification", |event| match event.event {
        Some(Event::Progress(progress)) => scrub::Heard::Progress(progress.done_bytes, progress.total_bytes),
        Some(Event::Json(document)) => scrub::Heard::Report(document),
        None => scrub::Heard::Nothing,
    });
    let document = document.await?;
    let report: Report = serde_json::from_value(document.clone()).unwrap_or_default();
    out.either(&document, || text(&report, columns()));
    match report.ok {
        true => Ok(()),
        false => Err(Failure::found(format!(
            "not everything of {} is what was published; what is damaged is fetched again from other members",
            report.slot
        ))),
    }
}

fn text(report: &Report, columns: usize) -> String {
    let mut rows = Vec::new();
    for node in &report.nodes {
        if !node.error.is_empty() {
            let cells = [node.node.as_str(), "", "", "", &format!("not verified: {}", node.error)];
            rows.push(cells.map(str::to_owned).to_vec());
        }
        rows.extend(node.artifacts.iter().map(|one| row(&report.slot, &node.node, one)));
    }
    table_within(&["NODE", "MODEL", "FILE", "DTYPE", "FINGERPRINT"], &rows, columns)
}

fn row(slot: &str, node: &str, one: &ArtifactReport) -> Vec<String> {
    let model = if one.domain.is_empty() { slot.to_owned() } else { format!("{slot}:{}", one.domain) };
    let file = match one.chunks_damaged {
        0 => one.file.clone(),
        1 => "1 damaged chunk".to_owned(),
        count => format!("{count} damaged chunks"),
    };
    let fingerprint = match (one.distance, one.threshold) {
        (Some(distance), Some(threshold)) => format!("{}: {distance:.5} of {threshold:.5} nats", one.fingerprint),
        _ => one.why_not.clone(),
    };
    let dtype = if one.dtype.is_empty() { "-".to_owned() } else { one.dtype.clone() };
    vec![node.to_owned(), format!("{model} {}", short(&one.artifact)), file, dtype, fingerprint]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn the_table_has_a_line_for_each_artifact_on_each_machine() {
        let one = |file: &str, damaged: u32, fingerprint: &str, distance: Option<f64>, why_not: &str| ArtifactReport {
            domain: String::new(),
            artifact: "ab".repeat(32),
            file: file.to_owned(),
            chunks_damaged: damaged,
            dtype: "F16".to_owned(),
            fingerprint: fingerprint.to_owned(),
            distance,
            threshold: distance.map(|_| 0.001),
            why_not: why_not.to_owned(),
        };
        let node = |node: &str, error: &str, artifacts| NodeReport {
            node: node.to_owned(),
            error: error.to_owned(),
            artifacts,
        };
        let report = Report {
            slot: "UCM".to_owned(),
            ok: false,
            nodes: vec![
                node("griffith", "", vec![one("ok", 0, "ok", Some(0.000_04), "")]),
                node("desktop", "", vec![one("damaged", 3, "differs", Some(0.0383), "")]),
                node("den", "", vec![one("ok", 0, "not compared", None, "not resident here")]),
                node("attic", "no answer", Vec::new()),
            ],
        };
        golden::check("verify", |columns| text(&report, columns));
    }
}
