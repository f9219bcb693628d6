//! Transfers as text: how far, and who gives what.

use super::table::table;
use super::view::short;
use crate::core::types::human_bytes;
use crate::core::view::{SourceView, TransferView};

/// `fednode transfers`, and the end of `status` while any are active.
pub(super) fn transfers(transfers: &[TransferView]) -> String {
    if transfers.is_empty() {
        return "no transfers into this node since it started\n".to_owned();
    }
    let rows: Vec<Vec<String>> = transfers.iter().map(row).collect();
    table(&["TRANSFER", "ARTIFACT", "STATE", "DONE", "CHUNKS", "FROM"], &rows)
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

fn origin(transfer: &TransferView) -> String {
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
