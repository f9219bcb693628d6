//! `fednode transfers`: once as text or JSON, or live with a bar per transfer until all have ended.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::exit::Failure;
use super::run::Out;
use super::{admin, transfers};
use crate::core::types::human_bytes;
use crate::core::view::{State, TrafficView, TransferView};

/// Between two looks at the node.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tables where no bar can be drawn.
const TABLE: Duration = Duration::from_secs(2);

/// `fednode transfers`.
#[derive(Args, Debug)]
pub(super) struct TransfersArgs {
    /// Keep looking until interrupted, also when nothing is on its way
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: TransfersArgs) -> Result<(), Failure> {
    if args.watch && out.json {
        return Err(Failure::wrong_use("--watch draws for people and --json prints one document; give one of the two"));
    }
    let (value, state) = admin::state(data_dir).await?;
    let bars = std::io::stdout().is_terminal();
    let live = !out.json && (args.watch || (bars && is_active(&state)));
    if !live {
        let document = json!({ "transfers": value["transfers"], "traffic": value["traffic"] });
        out.either(&document, || format!("{}{}", transfers::transfers(&state.transfers), traffic(&state.traffic)));
        return Ok(());
    }
    let mut drawn = Bars::new();
    loop {
        let (_, state) = admin::state(data_dir).await?;
        if bars {
            drawn.draw(&state);
        } else {
            out.text(&format!("{}{}\n", transfers::transfers(&state.transfers), traffic(&state.traffic)));
        }
        if !args.watch && !is_active(&state) {
            return Ok(());
        }
        tokio::time::sleep(if bars { LOOK } else { TABLE }).await;
    }
}

/// Is something still to come? What is paused may wait for a person.
fn is_active(state: &State) -> bool {
    state.transfers.iter().any(|transfer| transfer.state != "done" && transfer.state != "paused")
}

/// What went over the lines, and the limits.
fn traffic(traffic: &TrafficView) -> String {
    let limit = |limit: Option<u64>| limit.map_or(String::new(), |rate| format!(", at most {}/s", human_bytes(rate)));
    let (up, down) = (limit(traffic.limit_up_bytes_per_s), limit(traffic.limit_down_bytes_per_s));
    format!("sent {}{up}; fetched {}{down}\n", human_bytes(traffic.served_bytes), human_bytes(traffic.asked_bytes))
}

/// The bars on the screen: one for each transfer that was seen under way.
struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    last: ProgressBar,
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let last = all.add(ProgressBar::new_spinner().with_style(style("{msg}")));
        Bars { all, bars: BTreeMap::new(), last }
    }

    fn draw(&mut self, state: &State) {
        for transfer in &state.transfers {
            if transfer.state == "done" && !self.bars.contains_key(&transfer.artifact) {
                continue;
            }
            let bar = self.bars.entry(transfer.artifact.clone()).or_insert_with(|| {
                let look = style("{prefix:12} {bar:30} {binary_bytes}/{binary_total_bytes} {msg}");
                self.all.insert_before(&self.last, ProgressBar::new(0).with_style(look))
            });
            bar.set_prefix(transfer.slot.clone());
            bar.set_length(transfer.total_bytes);
            bar.set_position(transfer.done_bytes);
            bar.set_message(progress(transfer));
        }
        self.last.set_message(traffic(&state.traffic).trim_end().to_owned());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What stands behind a bar: rate, time left, who gives how much; or why nothing comes.
fn progress(transfer: &TransferView) -> String {
    if transfer.state != "fetching" || !transfer.reason.is_empty() {
        let reason = if transfer.reason.is_empty() { String::new() } else { format!(": {}", transfer.reason) };
        return format!("{}{reason}", transfer.state);
    }
    let left = transfer.eta_s.map_or(String::new(), |seconds| format!(", {seconds} s left"));
    let all: u64 = transfer.sources.iter().map(|source| source.bytes).sum();
    let share = |bytes: u64| u128::from(bytes) * 100 / u128::from(all.max(1));
    let sources: Vec<String> =
        transfer.sources.iter().map(|source| format!("{} {} %", source.node, share(source.bytes))).collect();
    format!("{}/s{left}  {}", human_bytes(transfer.bytes_per_s), sources.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::SourceView;

    #[test]
    fn a_bar_says_rate_time_left_and_shares_or_why_nothing_comes() {
        let source = |node: &str, bytes| SourceView { node: node.to_owned(), bytes, ..SourceView::default() };
        let mut transfer = TransferView {
            state: "fetching".to_owned(),
            bytes_per_s: 100 << 20,
            eta_s: Some(7),
            sources: vec![source("griffith", 300), source("desktop", 100)],
            ..TransferView::default()
        };
        assert_eq!(progress(&transfer), "100.0 MiB/s, 7 s left  griffith 75 %, desktop 25 %");
        transfer.reason = "no reachable member holds it".to_owned();
        assert_eq!(progress(&transfer), "fetching: no reachable member holds it");
        transfer.state = "finishing".to_owned();
        transfer.reason.clear();
        assert_eq!(progress(&transfer), "finishing");
    }

    #[test]
    fn traffic_names_its_limits() {
        let mut seen = TrafficView { served_bytes: 1 << 20, ..TrafficView::default() };
        assert_eq!(traffic(&seen), "sent 1.0 MiB; fetched 0 B\n");
        seen.limit_up_bytes_per_s = Some(50 << 20);
        assert_eq!(traffic(&seen), "sent 1.0 MiB, at most 50.0 MiB/s; fetched 0 B\n");
    }
}
