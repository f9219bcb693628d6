//! What must always hold. Checkers look at what nodes do from outside, with the world's own books, and never ask a machine
//! whether it did right. Each says what it does *not* check. Whatever looks at every event costs the same however large
//! the federation is; the rest looks at what changed.

mod copies;
mod memory;
mod plans;
mod requests;

use fednode::core::limits;
use fednode::core::machine::{Input, Output};
use fednode::core::membership::advert::Gossip;
use fednode::core::roster::SlotPolicy;
use fednode::core::types::{SlotName, Time};
use serde::Serialize;

use crate::schedule::Run;
use crate::world::SimNode;
use copies::Copies;
use plans::Plans;
use requests::Questions;

/// Something that must never happen, and did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// When, simulated milliseconds.
    pub at_ms: u64,
    /// Which checker.
    pub checker: &'static str,
    /// At which machine.
    pub node: usize,
    /// What.
    pub what: String,
}

/// Violations kept with their text, each the first time; all are counted.
const KEPT_MAX: usize = 50;
/// Outputs of one input: everything a node may say to every member at once.
const OUTBOX_MAX: usize = 1024;

/// All checkers and what they remember.
pub struct Checkers {
    nodes: usize,
    /// How many violations there were.
    pub count: u64,
    /// The first ones.
    pub kept: Vec<Violation>,
    plans: Plans,
    copies: Copies,
    questions: Questions,
    /// Slots that a plan must place or report.
    pinned: Vec<SlotName>,
}

impl Checkers {
    /// For the machines of `run`.
    pub fn new(run: &Run) -> Checkers {
        let nodes = run.machines.len();
        let pinned = run.slots.iter().filter(|slot| slot.policy == SlotPolicy::Pinned);
        Checkers {
            nodes,
            count: 0,
            kept: Vec::new(),
            plans: Plans::new(nodes),
            copies: Copies::default(),
            questions: Questions::default(),
            pinned: pinned.map(|slot| slot.name).collect(),
        }
    }

    pub(crate) fn violation(&mut self, now: Time, checker: &'static str, node: usize, what: String) {
        self.count += 1;
        let again = self.kept.iter().any(|known| (known.checker, known.node, &known.what) == (checker, node, &what));
        if self.kept.len() < KEPT_MAX && !again {
            self.kept.push(Violation { at_ms: now.0 / 1_000_000, checker, node, what });
        }
    }

    /// Before an input is given to a machine.
    pub(crate) fn input(&mut self, node: usize, life: u64, input: &Input) {
        if let Input::Chunk { artifact, from, outcome, .. } = input {
            self.copies.chunk_came(node, life, *from, artifact, *outcome);
        }
    }

    /// Before something that a machine wants is done.
    pub(crate) fn output(&mut self, now: Time, index: usize, node: &SimNode, output: &Output) {
        match output {
            Output::Gossip(Gossip::Lease(lease)) => self.lease(now, index, node, lease),
            Output::Load(order) => self.load(now, index, node, order),
            Output::Unload(slot) => self.unload(now, index, node, slot),
            Output::Dispatch(request, _) => self.dispatched(now, index, node, *request),
            Output::Begin(artifact) => self.copies.begins(index, artifact),
            Output::Fetch { artifact, from, .. } => self.fetches(now, index, node, artifact, from),
            _ => {}
        }
    }

    /// After every event, at the node it happened to.
    pub(crate) fn after_event(&mut self, now: Time, index: usize, node: &SimNode) {
        self.epochs(now, index, node);
        self.requests(now, index, node);
    }

    /// *Queues*: chunk requests in flight stay within their bounds. Does not check the driver's channels, which do not
    /// exist here.
    pub(crate) fn outstanding(&mut self, now: Time, index: usize, all: usize, from_one: usize) {
        if all > limits::CHUNKS_IN_FLIGHT_MAX || from_one > limits::CHUNKS_IN_FLIGHT_PER_SOURCE {
            self.violation(now, "queues", index, format!("{all} chunks in flight, {from_one} from one source"));
        }
    }

    /// *Queues*: what one input leads to is bounded.
    pub(crate) fn outbox(&mut self, now: Time, index: usize, outputs: usize) {
        if outputs > OUTBOX_MAX + 4 * self.nodes {
            self.violation(now, "queues", index, format!("{outputs} outputs of one input"));
        }
    }

    /// *Progress*: a machine whose deadline stays in the past whatever it does would burn a core.
    pub(crate) fn spins(&mut self, now: Time, index: usize, node: &SimNode) {
        let local = node.process.as_ref().map(|process| process.clock.local(now).0);
        let what = format!("its deadline is in the past and stays there (its clock: {local:?} ns)");
        self.violation(now, "progress", index, what);
    }

    /// *Messages*: what a node says can be read by others.
    pub(crate) fn unreadable(&mut self, now: Time, index: usize, error: &str) {
        self.violation(now, "messages", index, format!("says what nobody can read: {error}"));
    }

    /// *Order*: outputs make sense where they come. Reports ends of what has ended, loads of what is loaded, and the like.
    pub(crate) fn nonsense(&mut self, now: Time, index: usize, what: &str) {
        self.violation(now, "order", index, what.to_owned());
    }

    /// *Liveness*, at the end: see `world::liveness`.
    pub(crate) fn dead(&mut self, now: Time, index: usize, what: String) {
        self.violation(now, "liveness", index, what);
    }
}
