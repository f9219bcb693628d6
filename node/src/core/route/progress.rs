//! What somebody who waits for a slot is told: how far it is from answering, as the view of this node knows it. Pure, in whole
//! bytes and seconds; `http` says it in comments of a stream and in the body of a 503.

use std::fmt;

use serde::Serialize;

use crate::core::limits;
use crate::core::types::human_bytes;
use crate::core::view::{LoadView, ReplicaView, State};

/// How far a slot is from answering.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Progress {
    /// The slot.
    pub slot: String,
    /// resident | external | loading (into memory) | fetching (onto the disk of the machine that will load it) | stored (nobody
    /// loads it yet) | missing.
    pub state: String,
    /// The machine that is nearest to having it, or empty.
    pub node: String,
    /// Of the load, or of the fetch.
    pub bytes_done: u64,
    /// Of so many; 0: not known.
    pub bytes_total: u64,
    /// 0: not known.
    pub bytes_per_s: u64,
    /// At that rate this step takes so many seconds more; `None`: nobody can tell.
    pub eta_s: Option<u64>,
}

/// Seconds that the rest takes, rounded up; `None` while nothing moves.
pub fn eta_s(bytes_done: u64, bytes_total: u64, bytes_per_s: u64) -> Option<u64> {
    (bytes_per_s > 0).then(|| bytes_total.saturating_sub(bytes_done).div_ceil(bytes_per_s))
}

/// How far `slot` is; `None`: this node knows no slot of that name.
pub fn of(state: &State, slot: &str) -> Option<Progress> {
    let view = state.slots.iter().find(|view| view.name == slot)?;
    let nearest = view.replicas.iter().filter(|replica| step(replica) > 0).max_by_key(|replica| {
        let load = replica.load.unwrap_or_default();
        // Thousandths, for the nearest to its end; of equals the first.
        let done = u128::from(load.read_bytes) * 1000 / u128::from(load.total_bytes.max(1));
        (step(replica), done, std::cmp::Reverse(&replica.node))
    });
    let load = nearest.and_then(|replica| replica.load).unwrap_or_default();
    let LoadView { read_bytes: bytes_done, total_bytes: bytes_total, bytes_per_s } = load;
    // What the whole slot is said to be, unless a replica is on its way.
    let said = match (view.state.as_str(), nearest) {
        ("resident" | "external", _) | (_, None) => view.state.clone(),
        (_, Some(replica)) => replica.state.clone(),
    };
    Some(Progress {
        slot: slot.to_owned(),
        state: said,
        node: nearest.map(|replica| replica.node.clone()).unwrap_or_default(),
        bytes_done,
        bytes_total,
        bytes_per_s,
        eta_s: eta_s(bytes_done, bytes_total, bytes_per_s),
    })
}

/// How near a replica is to answering; 0: it is not on its way.
fn step(replica: &ReplicaView) -> u8 {
    match replica.state.as_str() {
        "ready" => 3,
        "loading" => 2,
        "fetching" => 1,
        _ => 0,
    }
}

impl Progress {
    /// When trying again makes sense, seconds: when this step should be done, and within a person's patience.
    pub fn retry_after_s(&self) -> u32 {
        let eta_s = self.eta_s.and_then(|eta_s| u32::try_from(eta_s).ok()).unwrap_or(limits::RETRY_UNKNOWN_S);
        eta_s.clamp(limits::RETRY_MIN_S, limits::RETRY_MAX_S)
    }
}

/// One line for a person who waits, whatever a machine is called.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { slot, state, bytes_done, bytes_total, bytes_per_s, .. } = self;
        write!(f, "waiting for {slot}: {state}")?;
        if !self.node.is_empty() {
            write!(f, " on {}", self.node.replace(char::is_control, " "))?;
        }
        if *bytes_total > 0 {
            let percent = u128::from(*bytes_done) * 100 / u128::from(*bytes_total);
            write!(f, ", {percent} % ({} of {})", human_bytes(*bytes_done), human_bytes(*bytes_total))?;
        }
        if *bytes_per_s > 0 {
            write!(f, ", {}/s", human_bytes(*bytes_per_s))?;
        }
        match self.eta_s {
            Some(eta_s) => write!(f, ", {eta_s} s left"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::SlotView;

    const GIB: u64 = 1 << 30;

    fn replica(node: &str, state: &str, load: Option<(u64, u64, u64)>) -> ReplicaView {
        let load = load.map(|(read_bytes, total_bytes, bytes_per_s)| LoadView { read_bytes, total_bytes, bytes_per_s });
        ReplicaView { node: node.into(), state: state.into(), load, ..ReplicaView::default() }
    }

    fn view(state: &str, replicas: Vec<ReplicaView>) -> State {
        let slot = SlotView { name: "UCM".into(), state: state.into(), replicas, ..SlotView::default() };
        State { slots: vec![slot], ..State::default() }
    }

    fn check(state: &str, replicas: Vec<ReplicaView>, line: &str, retry_after_s: u32) {
        let progress = of(&view(state, replicas), "UCM").expect("a slot");
        assert_eq!((progress.to_string().as_str(), progress.retry_after_s()), (line, retry_after_s));
    }

    #[test]
    fn the_replica_nearest_to_answering_is_told_with_its_bytes_and_what_is_left() {
        check("missing", vec![], "waiting for UCM: missing", limits::RETRY_UNKNOWN_S);
        check("stored", vec![replica("a", "failed", None)], "waiting for UCM: stored", limits::RETRY_UNKNOWN_S);
        let fetching = || replica("attic", "fetching", Some((9 * GIB, 10 * GIB, GIB)));
        check(
            "loading",
            vec![fetching()],
            "waiting for UCM: fetching on attic, 90 % (9.0 GiB of 10.0 GiB), 1.0 GiB/s, 1 s left",
            1,
        );
        let loading = || replica("desk", "loading", Some((GIB, 13 * GIB, GIB / 2)));
        check(
            "loading",
            vec![fetching(), loading(), replica("b", "loading", None)],
            "waiting for UCM: loading on desk, 7 % (1.0 GiB of 13.0 GiB), 512.0 MiB/s, 24 s left",
            24,
        );
        check("loading", vec![replica("b", "loading", None)], "waiting for UCM: loading on b", limits::RETRY_UNKNOWN_S);
        check(
            "resident",
            vec![loading(), replica("c", "ready", None)],
            "waiting for UCM: resident on c",
            limits::RETRY_UNKNOWN_S,
        );
    }

    #[test]
    fn a_line_is_one_line_and_a_name_that_is_none_is_none() {
        let progress = of(&view("loading", vec![replica("a\r\nevent: x", "loading", None)]), "UCM").expect("a slot");
        assert!(!progress.to_string().contains(['\r', '\n']));
        assert_eq!(of(&view("loading", vec![]), "UAM"), None);
    }

    #[test]
    fn what_is_left_is_whole_seconds_and_never_more_than_patience() {
        assert_eq!(
            [(0, 10, 3), (10, 10, 3), (12, 10, 3), (0, 10, 0)].map(|(d, t, r)| eta_s(d, t, r)),
            [Some(4), Some(0), Some(0), None]
        );
        let slow = of(&view("loading", vec![replica("a", "loading", Some((0, u64::MAX, 1)))]), "UCM").expect("a slot");
        assert_eq!(slow.retry_after_s(), limits::RETRY_UNKNOWN_S, "beyond what can be said");
        let slow = of(&view("loading", vec![replica("a", "fetching", Some((0, 90_000, 1)))]), "UCM").expect("a slot");
        assert_eq!((slow.eta_s, slow.retry_after_s()), (Some(90_000), limits::RETRY_MAX_S));
    }
}
