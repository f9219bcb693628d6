//! What the bench found, as JSON for scripts and as a table for people.

use serde_json::{Value, json};

use crate::cli::table::table;
use crate::core::types::human_bytes;

/// One side of one transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) name: String,
    /// Processor time.
    pub(super) cpu_seconds: Option<f64>,
    /// The peak of its memory.
    pub(super) peak_bytes: Option<u64>,
    /// The peak of its memory above what it used before.
    pub(super) memory_bytes: Option<u64>,
}

/// One transfer.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) seconds: f64,
    pub(super) receiver: Side,
    pub(super) senders: Vec<Side>,
}

/// One repetition: the nodes, then the limit, or the other way round.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) nodes: Transfer,
    pub(super) limit: Transfer,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) bytes: u64,
    pub(super) sources: u32,
    pub(super) dir: String,
    pub(super) cipher: &'static str,
    pub(super) runs: Vec<Run>,
}

impl Transfer {
    fn sender_cpu(&self) -> Option<f64> {
        self.senders.iter().map(|side| side.cpu_seconds).sum()
    }

    fn sender_peak(&self) -> Option<u64> {
        self.senders.iter().filter_map(|side| side.peak_bytes).max()
    }

    /// The hungriest of them.
    fn sender_memory(&self) -> Option<u64> {
        self.senders.iter().filter_map(|side| side.memory_bytes).max()
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
    }
}

impl Report {
    fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }

    fn rate(&self, transfer: &Transfer) -> f64 {
        self.gigabytes() / transfer.seconds
    }

    fn ratio(&self, run: &Run) -> f64 {
        run.limit.seconds / run.nodes.seconds
    }

    /// The median over all runs of what `pick` finds in each; `None` if some have nothing.
    fn over_runs(&self, pick: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> = self.runs.iter().map(pick).collect();
        median(values?)
    }

    /// For scripts: GB are 10^9 bytes.
    pub(super) fn json(&self) -> Value {
        let per_gb = |seconds: Option<f64>| seconds.map(|seconds| seconds / self.gigabytes());
        let side = |side: &Side| json!({"name": side.name, "cpu_seconds_per_gb": per_gb(side.cpu_seconds), "memory_above_idle_bytes": side.memory_bytes});
        let transfer = |transfer: &Transfer| {
            json!({
                "seconds": transfer.seconds, "gb_per_s": self.rate(transfer), "receiver": side(&transfer.receiver),
                "senders": transfer.senders.iter().map(side).collect::<Vec<_>>(),
            })
        };
        let run =
            |run: &Run| json!({"ratio": self.ratio(run), "nodes": transfer(&run.nodes), "limit": transfer(&run.limit)});
        let rss = |bytes: Option<f64>| bytes.map(|bytes| bytes as u64);
        json!({
            "seconds": self.over_runs(|run| Some(run.nodes.seconds)),
            "gb_per_s": self.over_runs(|run| Some(self.rate(&run.nodes))),
            "limit_gb_per_s": self.over_runs(|run| Some(self.rate(&run.limit))),
            "ratio": self.over_runs(|run| Some(self.ratio(run))),
            "cpu_s_per_gb": {
                "sender": self.over_runs(|run| per_gb(run.nodes.sender_cpu())),
                "receiver": self.over_runs(|run| per_gb(run.nodes.receiver.cpu_seconds)),
            },
            "rss_bytes": {
                "sender": rss(self.over_runs(|run| run.nodes.sender_peak().map(|b| b as f64))),
                "receiver": rss(self.over_runs(|run| run.nodes.receiver.peak_bytes.map(|b| b as f64))),
            },
            "bytes": self.bytes, "sources": self.sources, "dir": self.dir, "cipher": self.cipher,
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
            "above_idle_bytes": {
                "sender": rss(self.over_runs(|run| run.nodes.sender_memory().map(|b| b as f64))),
                "receiver": rss(self.over_runs(|run| run.nodes.receiver.memory_bytes.map(|b| b as f64))),
            },
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let cpu = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.2}", s / self.gigabytes()));
        let memory = |bytes: Option<u64>| bytes.map_or("-".to_owned(), human_bytes);
        let row = |name: String, run: &Run| {
            vec![
                name,
                format!("{:.2}", self.rate(&run.nodes)),
                format!("{:.2}", self.rate(&run.limit)),
                format!("{:.2}", self.ratio(run)),
                cpu(run.nodes.receiver.cpu_seconds),
                cpu(run.nodes.sender_cpu()),
                memory(run.nodes.receiver.memory_bytes),
                memory(run.nodes.sender_memory()),
            ]
        };
        let rows: Vec<Vec<String>> = (1..).zip(&self.runs).map(|(n, run): (u32, _)| row(n.to_string(), run)).collect();
        let headings = ["RUN", "GB/S", "LIMIT", "RATIO", "CPU S/GB IN", "CPU S/GB OUT", "MEMORY IN", "MEMORY OUT"];
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        format!(
            "{} from {} to one receiver in {}, {}\n{}median: {} GB/s of {} GB/s possible, ratio {}\n",
            human_bytes(self.bytes),
            if self.sources == 1 { "one source".to_owned() } else { format!("{} sources", self.sources) },
            self.dir,
            self.cipher,
            table(&headings, &rows),
            shown(self.over_runs(|run| Some(self.rate(&run.nodes)))),
            shown(self.over_runs(|run| Some(self.rate(&run.limit)))),
            shown(self.over_runs(|run| Some(self.ratio(run)))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn medians_are_in_the_middle() {
        let check = |values: &[f64], expect| assert_eq!(median(values.iter().copied()), expect, "{values:?}");
        check(&[3.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0], Some(2.5));
        check(&[], None);
    }

    #[test]
    fn the_ratio_is_of_the_two_of_one_run() {
        let sender = Side { cpu_seconds: Some(0.5), memory_bytes: Some(12 << 20), ..Side::default() };
        let transfer = |seconds| Transfer { seconds, receiver: Side::default(), senders: vec![sender.clone()] };
        let run = |nodes, limit| Run { nodes: transfer(nodes), limit: transfer(limit) };
        let runs = vec![run(2.0, 1.0), run(4.0, 3.0), run(1.0, 0.9)];
        let report = Report { bytes: 2_000_000_000, sources: 1, dir: "/d".into(), cipher: "x", runs };
        golden::check("bench-transfer", |_| report.text());
        let json = report.json();
        assert_eq!(json["ratio"], 0.75);
        assert_eq!(json["gb_per_s"], 1.0);
        assert_eq!(json["cpu_s_per_gb"]["receiver"], Value::Null);
        assert!(report.text().ends_with("median: 1.00 GB/s of 2.00 GB/s possible, ratio 0.75\n"), "{}", report.text());
    }
}
