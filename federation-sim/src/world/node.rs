//! One simulated machine: its disk, which survives, and its process, which does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fednode::core::artifact::Bitmap;
use fednode::core::catalog::Catalog;
use fednode::core::keeping::holds::{Holds, Promise};
use fednode::core::machine::Machine;
use fednode::core::membership::advert::{Advert, DomainKind, MemoryDomain};
use fednode::core::placement::plan::PlannedReplica;
use fednode::core::route::RequestId;
use fednode::core::types::{Digest, NodeId, SlotName, Time};

use crate::schedule;
use crate::world::calls::Pending;
use crate::world::clock::LocalClock;
use crate::world::costs::Staged;
use crate::world::event::Event;
use crate::world::keeping::Collection;
use crate::world::serving::{Job, OpenRequest};
use crate::world::strain::Strain;

/// A question's number at the node that asked it.
pub type CallId = u64;

/// A machine.
pub struct SimNode {
    /// What it is.
    pub spec: schedule::Machine,
    /// Who it is.
    pub id: NodeId,
    /// What survives.
    pub disk: Disk,
    /// What does not.
    pub process: Option<Process>,
    /// Counts its starts and ends, so that what was meant for one process never reaches the next.
    pub lives: u64,
    /// Sleeps until then.
    pub asleep_until: Option<Time>,
    /// Its timers and sockets wait while it sleeps: what came in meanwhile is read when it wakes.
    pub missed: Vec<Event>,
    /// What its process last said of itself, as others read it.
    pub said: Option<Arc<Advert>>,
    /// What faults do to it now.
    pub strain: Strain,
    /// What its machine last answered to a plan that was offered.
    pub answer: Option<bool>,
}

/// What is durable.
#[derive(Default)]
pub struct Disk {
    /// Highest epoch.
    pub epoch: u64,
    /// Starts so far.
    pub incarnation: u64,
    /// Published records.
    pub catalog: Catalog,
    /// Artifacts that are whole and verified.
    pub complete: BTreeSet<Digest>,
    /// Artifacts on their way.
    pub partial: BTreeMap<Digest, Partial>,
    /// A chunk of a whole artifact that has rotted, which nobody has noticed yet.
    pub rotten: BTreeMap<Digest, u32>,
    /// Copies that are held for other members.
    pub promises: Vec<Promise>,
}

/// An artifact on its way.
pub struct Partial {
    /// Chunks that were written.
    pub have: Bitmap,
    /// Chunks that the durable bitmap speaks of.
    pub durable: Bitmap,
    /// Chunks since the bitmap was made durable.
    pub since: u32,
    /// Chunks that were written although they are not what their hash says.
    pub unsound: BTreeSet<u32>,
    /// Begun by an earlier process.
    pub resumed: bool,
}

/// What a crash loses.
pub struct Process {
    /// Which life.
    pub life: u64,
    /// The decisions.
    pub machine: Machine,
    /// Its clock.
    pub clock: LocalClock,
    /// When the timer fires.
    pub tick_due: Time,
    /// Ticks in a row that left the deadline in the past.
    pub spins: u32,
    /// Engine processes.
    pub engines: BTreeMap<SlotName, Engine>,
    /// Questions that wait for an answer.
    pub pending: BTreeMap<CallId, Pending>,
    /// The next question's number.
    pub call_next: CallId,
    /// When questions time out that all wait alike, the oldest first.
    pub timeouts: VecDeque<(Time, CallId)>,
    /// A look at them is due.
    pub timeout_set: bool,
    /// Requests, with who asked.
    pub requests: BTreeMap<RequestId, OpenRequest>,
    /// The next request's number.
    pub request_next: RequestId,
    /// Requests that engines of this node work on or will, by memory domain; the first of each is being computed.
    pub jobs: BTreeMap<String, VecDeque<Job>>,
    /// The next job's number.
    pub job_next: u64,
    /// Promises given and asked for.
    pub holds: Holds,
    /// What is being deleted, and for how much room.
    pub collection: Collection,
    /// What other programs took of host memory when it was last measured.
    pub taken_seen: u64,
    /// What is read ahead of a load.
    pub staged: Option<Staged>,
}

/// One engine process.
pub struct Engine {
    /// What was to be loaded: where it lives, what it occupies, its base.
    pub order: PlannedReplica,
    /// Of its bytes, mapped weights, which a system counts as available in host memory.
    pub mapped_bytes: u64,
    /// Answers.
    pub ready: bool,
}

impl Process {
    /// Forgets when the oldest questions would have timed out, if they were answered.
    pub fn drop_answered(&mut self) {
        while self.timeouts.front().is_some_and(|(_, call)| !self.pending.contains_key(call)) {
            self.timeouts.pop_front();
        }
    }
}

impl SimNode {
    /// The life of the process that runs now.
    pub fn life(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.life)
    }

    /// Runs and is awake.
    pub fn is_up(&self) -> bool {
        self.process.is_some() && self.asleep_until.is_none()
    }

    /// Hosts managers.
    pub fn is_full(&self) -> bool {
        self.spec.what.role == "full"
    }

    /// Engines on a domain.
    pub fn engines<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a Engine> {
        let engines = self.process.iter().flat_map(|process| process.engines.values());
        engines.filter(move |engine| engine.order.memory_domain == domain)
    }

    /// Bytes that engines occupy on all domains.
    pub fn engines_bytes(&self) -> u64 {
        self.process.iter().flat_map(|process| process.engines.values()).map(|engine| engine.order.bytes).sum()
    }

    /// What a system counts as used by engines: they fill their memory as they load, and the pages of weights mapped
    /// into host memory stay available.
    fn seen(&self, domain: &str) -> u64 {
        let ready = self.engines(domain).filter(|engine| engine.ready);
        ready.map(|engine| engine.order.bytes.saturating_sub(engine.mapped_bytes)).sum()
    }

    /// Bytes that other programs take of host memory: what they want, if engines leave so much. Pages of mapped weights
    /// make way.
    pub fn taken(&self) -> u64 {
        self.strain.memory_taken.min(self.spec.what.ram_bytes.saturating_sub(self.seen("ram")))
    }

    /// Memory domains with what a system says is free now.
    pub fn domains(&self) -> Vec<MemoryDomain> {
        let what = &self.spec.what;
        let free = |name: &str, total_bytes: u64| {
            let others = if name == "ram" { self.taken() } else { 0 };
            total_bytes.saturating_sub(others + self.seen(name))
        };
        let domain = |name: String, kind, total_bytes: u64, reserve_bytes: u64| MemoryDomain {
            free_bytes: free(&name, total_bytes).min(total_bytes - reserve_bytes),
            name,
            kind,
            total_bytes,
            reserve_bytes,
            ours_bytes: 0,
            hosts: self.is_full(),
        };
        let ram = domain("ram".to_owned(), DomainKind::Ram, what.ram_bytes, what.reserve_bytes.min(what.ram_bytes));
        let gpus = (0..)
            .zip(&what.vram_bytes)
            .map(|(index, &bytes): (u32, &u64)| domain(format!("gpu{index}"), DomainKind::Vram, bytes, 0));
        std::iter::once(ram).chain(gpus).collect()
    }
}
