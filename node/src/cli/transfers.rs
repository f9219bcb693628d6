//! `fednode transfers`: how far, and who gives what; once as text or JSON, or watched until all have ended.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::view::short;
use super::watch::{self, What};
use crate::core::types::human_bytes;
use crate::core::view::{SourceView, State, TrafficView, TransferView};

/// `fednode transfers`.
#[derive(Args, Debug)]
pub(super) struct TransfersArgs {
    /// Keep looking until q, Esc or Ctrl-C, also when nothing is on its way
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: TransfersArgs) -> Result<(), Failure> {
    if args.watch {
        return watch::run(out, data_dir, What::Transfers, false).await;
    }
    let (mut value, mut state) = admin::state(data_dir).await?;
    if !out.json && watch::can_draw() && watch::is_active(&state) {
        watch::run(out, data_dir, What::Transfers, true).await?;
        (value, state) = admin::state(data_dir).await?;
    }
    let document = json!({ "transfers": value["transfers"], "traffic": value["traffic"] });
    out.either(&document, || all(&state, columns()));
    Ok(())
}

/// The transfers and what went over the lines.
pub(super) fn all(state: &State, columns: usize) -> String {
    format!("{}{}", transfers(&state.transfers, columns), traffic(&state.traffic))
}

/// What went over the lines, and the limits.
fn traffic(traffic: &TrafficView) -> String {
    let limit = |limit: Option<u64>| limit.map_or(String::new(), |rate| format!(", at most {}/s", human_bytes(rate)));
    let (up, down) = (limit(traffic.limit_up_bytes_per_s), limit(traffic.limit_down_bytes_per_s));
    format!("sent {}{up}; fetched {}{down}\n", human_bytes(traffic.served_bytes), human_bytes(traffic.asked_bytes))
}

/// The table of transfers, also at the end of `status` while any are active.
pub(super) fn transfers(transfers: &[TransferView], columns: usize) -> String {
    if transfers.is_empty() {
        return "no transfers into this node since it started\n".to_owned();
    }
    let rows: Vec<Vec<String>> = transfers.iter().map(row).collect();
    table_within(&["TRANSFER", "ARTIFACT", "STATE", "DONE", "CHUNKS", "FROM"], &rows, columns)
}

fn row(transfer: &TransferView) -> Vec<String> {
    let percent = u128::from(transfer.done_bytes) * 100 / u128::from(transfer.total_bytes.max(1));
    let done = match transfer.total_bytes {
        // Its manifest has not come yet.
        0 => "-".to_owned(),
        total => format!("{percent} % of {}", human_bytes(total)),
    };
    vec![
        transfer.slot.clone(),
        short(&transfer.artifact).to_owned(),
        if transfer.verified { format!("{}, verified", transfer.state) } else { transfer.state.clone() },
        done,
        format!("{}/{}", transfer.chunks_done, transfer.chunks),
        origin(transfer),
    ]
}

/// Who gave what, and why no more comes.
pub(super) fn origin(transfer: &TransferView) -> String {
    let local = (transfer.chunks_local > 0).then(|| format!("own disk {} chunks", transfer.chunks_local));
    let corrupt = (transfer.chunks_corrupt > 0).then(|| format!("{} corrupt chunks refused", transfer.chunks_corrupt));
    let reason = Some(transfer.reason.clone()).filter(|reason| !reason.is_empty());
    let facts: Vec<String> = transfer.sources.iter().map(source).chain(local).chain(corrupt).chain(reason).collect();
    facts.join(", ")
}

fn source(source: &SourceView) -> String {
    let strikes = match source.strikes {
        0 => String::new(),
        1 => " (1 strike)".to_owned(),
        strikes => format!(" ({strikes} strikes)"),
    };
    format!("{} {}{strikes}", source.node, human_bytes(source.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_names_its_limits() {
        let mut seen = TrafficView { served_bytes: 1 << 20, ..TrafficView::default() };
        assert_eq!(traffic(&seen), "sent 1.0 MiB; fetched 0 B\n");
        seen.limit_up_bytes_per_s = Some(50 << 20);
        assert_eq!(traffic(&seen), "sent 1.0 MiB, at most 50.0 MiB/s; fetched 0 B\n");
    }
}
