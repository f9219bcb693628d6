//! The demo's table: for every manager and adapter where it is resident, what the desktop fetched of it and from whom,
//! whether that was verified, and how long the first token took through the delegate.

use std::time::Duration;

use fednode_tests::{Error, Federation, managers};
use serde_json::{Value, json};

use crate::ask::Asked;
use crate::report::{bytes, ms};
use crate::setup::{DESKTOP, LAPTOP, Started};

/// One manager or adapter.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    model: String,
    resident: Vec<String>,
    /// Into the desktop.
    fetched_bytes: u64,
    /// Who gave how many bytes.
    sources: Vec<(String, u64)>,
    /// The whole file's hash; None if the desktop does not store it.
    verified: Option<bool>,
    first_token_after: Duration,
}

/// From the desktop's transfers and the laptop's view. What is stored and not verified is an error.
pub(crate) fn rows(federation: &Federation, asked: &Asked) -> Result<Vec<Row>, Error> {
    let transfers = federation.node(DESKTOP).state()?["transfers"].clone();
    let mut rows = Vec::new();
    for model in managers::models() {
        let slot = model.split(':').next().unwrap_or(&model);
        let resident = federation.node(LAPTOP).holders(slot)?;
        let transfer = transfers.as_array().into_iter().flatten().find(|transfer| transfer["slot"] == model.as_str());
        let answer = asked.get(&model);
        let sources: Vec<(String, u64)> = transfer.map(sources).unwrap_or_default();
        let row = Row {
            resident,
            fetched_bytes: sources.iter().map(|(_, bytes)| bytes).sum(),
            sources,
            verified: transfer.map(|transfer| transfer["state"] == "done" && transfer["verified"] == true),
            first_token_after: answer.and_then(|answer| answer.first_text_after).unwrap_or_default(),
            model,
        };
        if row.verified == Some(false) {
            return Err(Error::Wrong(format!("the desktop's copy of {} is not verified", row.model)));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn sources(transfer: &Value) -> Vec<(String, u64)> {
    let one = |source: &Value| (text(&source["node"]), source["bytes"].as_u64().unwrap_or(0));
    transfer["sources"].as_array().into_iter().flatten().map(one).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// As text.
pub(crate) fn render(rows: &[Row]) -> String {
    let heads = ["MANAGER", "RESIDENT ON", "FETCHED BY DESKTOP", "FROM", "VERIFIED", "FIRST TOKEN"];
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::from("\n");
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn cells(row: &Row) -> [String; 6] {
    let from: Vec<&str> = row.sources.iter().map(|(node, _)| node.as_str()).collect();
    let verified = match row.verified {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let fetched = match row.verified {
        Some(_) => bytes(row.fetched_bytes),
        None => "-".to_owned(),
    };
    let from = if from.is_empty() { "-".to_owned() } else { from.join(", ") };
    let resident = row.resident.join(", ");
    [row.model.clone(), resident, fetched, from, verified.to_owned(), ms(row.first_token_after)]
}

/// The sums below the table.
pub(crate) fn totals(rows: &[Row], started: &Started, elapsed: Duration) -> String {
    let fetched: u64 = rows.iter().map(|row| row.fetched_bytes).sum();
    let copies = rows.iter().filter(|row| row.verified == Some(true)).count();
    let slots = rows.iter().filter(|row| !row.model.contains(':')).count();
    let worst = rows.iter().map(|row| row.first_token_after).max().unwrap_or_default();
    format!(
        "{slots} managers and {} adapters; the desktop fetched {} in {copies} files, all verified; the laptop stored nothing.\n\
         Slowest first token through the laptop: {}. From start to the first answer of the API: {}.\n\
         Elapsed: {:.1} s.",
        rows.len() - slots,
        bytes(fetched),
        ms(worst),
        started.sentence(),
        elapsed.as_secs_f64(),
    )
}

/// For scripts.
pub(crate) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let sources: Vec<Value> =
            row.sources.iter().map(|(node, bytes)| json!({"node": node, "bytes": bytes})).collect();
        json!({
            "model": row.model, "resident": row.resident, "fetched_bytes": row.fetched_bytes, "sources": sources,
            "verified": row.verified, "ttft_ms": row.first_token_after.as_secs_f64() * 1000.0,
        })
    };
    rows.iter().map(row).collect()
}
