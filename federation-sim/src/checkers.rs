//! What must always hold. Checkers look at what nodes do from outside, with the world's own books, and never ask a machine
//! whether it did right. Each says what it does *not* check.

use std::collections::{BTreeMap, BTreeSet};

use fednode::core::limits;
use fednode::core::membership::advert::{Advert, ReplicaState};
use fednode::core::placement::plan::Plan;
use fednode::core::types::{Digest, NodeId, SlotName, Time, human_bytes};
use serde::Serialize;

use crate::world::SimNode;

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
/// Plans whose content is remembered.
const PLANS_MAX: usize = 10_000;
/// Outputs of one input: everything a node may say to every member at once.
const OUTBOX_MAX: usize = 1024;

/// All checkers and what they remember.
pub struct Checkers {
    nodes: usize,
    /// How many violations there were.
    pub count: u64,
    /// The first ones.
    pub kept: Vec<Violation>,
    plans: BTreeMap<(u64, NodeId, u64), Digest>,
    followed: Vec<Option<(u64, u64, NodeId)>>,
    over_budget: BTreeSet<usize>,
}

impl Checkers {
    /// For so many nodes.
    pub fn new(nodes: usize) -> Checkers {
        Checkers {
            nodes,
            count: 0,
            kept: Vec::new(),
            plans: BTreeMap::new(),
            followed: vec![None; nodes],
            over_budget: BTreeSet::new(),
        }
    }

    pub(crate) fn violation(&mut self, now: Time, checker: &'static str, node: usize, what: String) {
        self.count += 1;
        let again = self.kept.iter().any(|known| (known.checker, known.node, &known.what) == (checker, node, &what));
        if self.kept.len() < KEPT_MAX && !again {
            self.kept.push(Violation { at_ms: now.0 / 1_000_000, checker, node, what });
        }
    }

    /// After every event, at the node it happened to.
    pub(crate) fn after_event(&mut self, now: Time, index: usize, node: &SimNode) {
        self.memory(now, index, node);
        self.epochs(now, index, node);
        self.requests(now, index, node);
    }

    /// *Memory*: what engines occupy on a domain, from their loads to their ends, is never more than the domain has
    /// beside its reserve. Does not check an engine that takes more than it was promised, other programs, or base
    /// weights that engines share (each is counted whole).
    fn memory(&mut self, now: Time, index: usize, node: &SimNode) {
        let over = node.domains().into_iter().find_map(|domain| {
            let (used, allowed) = (node.occupied(&domain.name), domain.total_bytes - domain.reserve_bytes);
            (used > allowed).then_some((domain.name, used, allowed))
        });
        match over {
            Some((domain, used, allowed)) if self.over_budget.insert(index) => {
                let what = format!("{domain}: engines occupy {}, allowed {}", human_bytes(used), human_bytes(allowed));
                self.violation(now, "memory", index, what);
            }
            Some(_) => {}
            None => {
                self.over_budget.remove(&index);
            }
        }
    }

    /// *Epochs*: a node never begins to follow a plan of an epoch below the highest one on its disk. Does not check what a
    /// node does between accepting a plan and making its epoch durable, nor leases.
    fn epochs(&mut self, now: Time, index: usize, node: &SimNode) {
        let Some(process) = node.process.as_ref() else { return };
        let follows = process.machine.plan().map(|plan| (plan.epoch, plan.revision, plan.author));
        if follows == self.followed[index] {
            return;
        }
        self.followed[index] = follows;
        if let Some((epoch, revision, _)) = follows.filter(|(epoch, ..)| *epoch < node.disk.epoch) {
            let what = format!("follows plan {epoch}.{revision} although epoch {} is on its disk", node.disk.epoch);
            self.violation(now, "epochs", index, what);
        }
    }

    /// *Requests*: the machine's book and the world's agree on how many requests are open, and the bound holds. That each
    /// ends exactly once follows: an end of a request that is not open is reported where it happens. Does not check
    /// whether the answer came from the right manager, nor who is served first.
    fn requests(&mut self, now: Time, index: usize, node: &SimNode) {
        let Some(process) = node.process.as_ref() else { return };
        let (open, known) = (process.machine.requests().0, process.requests.len());
        if open != known {
            self.violation(now, "requests", index, format!("{open} open in the machine, {known} in the world"));
        }
        if open > limits::REQUESTS_MAX {
            self.violation(now, "queues", index, format!("{open} requests open"));
        }
    }

    /// *Plans*: one content per (epoch, author, revision), and every pinned slot that is published where the plan was
    /// made is placed or named as a shortfall. Does not check whether the plan is good, nor whether it fits (the memory
    /// checker sees what is carried out).
    pub(crate) fn plan(
        &mut self,
        now: Time,
        index: usize,
        plan: &Plan,
        digest: Digest,
        pinned: &[SlotName],
        node: &SimNode,
    ) {
        let known = *self.plans.entry((plan.epoch, plan.author, plan.revision)).or_insert(digest);
        if known != digest {
            let what = format!("two plans are called {}.{}", plan.epoch, plan.revision);
            self.violation(now, "plans", index, what);
        }
        if self.plans.len() > PLANS_MAX {
            self.plans.pop_first();
        }
        let Some(process) = node.process.as_ref() else { return };
        let published = |slot: &&SlotName| process.machine.config().catalog.publication(slot, None).is_some();
        for slot in pinned.iter().filter(published) {
            let placed = plan.replicas.iter().any(|replica| &replica.slot == slot);
            if !placed && !plan.shortfalls.iter().any(|shortfall| &shortfall.slot == slot) {
                let what = format!("{slot} is pinned, and plan {}.{} drops it silently", plan.epoch, plan.revision);
                self.violation(now, "plans", index, what);
            }
        }
    }

    /// *Verified*: a node says that it has an artifact whole only if it was verified there, and that a replica is ready
    /// only if its engine is. Does not check the chunks of partial holders.
    pub(crate) fn advert(&mut self, now: Time, index: usize, node: &SimNode, advert: &Advert) {
        let Some(process) = node.process.as_ref() else { return };
        let false_claim =
            advert.holdings.iter().find(|held| held.complete && !node.disk.complete.contains(&held.artifact));
        if let Some(held) = false_claim {
            self.unverified(now, index, &format!("claims to hold {} whole", held.artifact.short()));
        }
        let ready = advert.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready);
        for replica in ready {
            let engine = process.engines.get(&replica.slot);
            if engine.is_none_or(|engine| !engine.ready || engine.artifact != replica.artifact) {
                self.unverified(now, index, &format!("claims that {} is ready", replica.slot));
            }
        }
    }

    pub(crate) fn unverified(&mut self, now: Time, index: usize, what: &str) {
        self.violation(now, "verified", index, what.to_owned());
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
