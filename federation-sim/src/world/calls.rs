//! Questions between members and their answers, as on a stream each: reliable while the connection lives, failed when it
//! dies. What cannot pass for a moment is sent again a second later, as TCP does.

use fednode::core::artifact::Bitmap;
use fednode::core::limits;
use fednode::core::machine::Input;
use fednode::core::membership::advert::Advert;
use fednode::core::route::{Refusal, RequestId};
use fednode::core::transfer::ChunkOutcome;
use fednode::core::types::{Digest, Duration, Time};
use std::rc::Rc;
use std::sync::Arc;

use crate::codec::{CatalogMessage, PlanMessage};
use crate::world::World;
use crate::world::event::Event;
use crate::world::node::CallId;
use crate::world::serving::{Origin, Question};

/// What one member asks another.
#[derive(Clone)]
pub enum Ask {
    /// Here is my catalog, and what I say of myself; give me yours.
    Sync(Rc<CatalogMessage>, Option<Arc<Advert>>),
    /// Take this plan.
    Plan(PlanMessage),
    /// The lengths of an artifact's chunks.
    Manifest(Digest),
    /// Which chunks of an artifact are there.
    Have(Digest),
    /// A chunk of this number and length.
    Chunk(Digest, u32, u32),
    /// Hold your copy, for I delete mine.
    Hold(Digest),
    /// An answer to a question.
    Generate(Question),
}

/// What the other says.
pub enum Reply {
    /// Its catalog, and what it says of itself.
    Synced(Rc<CatalogMessage>, Option<Arc<Advert>>),
    /// Whether it follows the plan, and the highest epoch it has seen.
    PlanAnswered(bool, u64),
    /// Lengths, or that it has none.
    Manifest(Option<Vec<u32>>),
    /// Its chunks.
    Have(Option<Bitmap>),
    /// A chunk came to its end. Corrupt or whole is found out by the receiver.
    Chunk(ChunkOutcome),
    /// It promises, or does not.
    Hold(bool),
    /// The first token.
    Started,
    /// The last token.
    Ended,
    /// It could not.
    Failed(Refusal),
}

/// What is done with the answer to a question.
#[derive(Clone)]
pub enum Waiting {
    /// Records are taken.
    Sync,
    /// The core goes on with a plan of this epoch and revision.
    Plan(u64, u64),
    /// The core goes on.
    Manifest(Digest),
    /// The core goes on.
    Have(Digest),
    /// The core goes on.
    Chunk(Digest, u32),
    /// The collection goes on.
    Hold(Digest),
    /// A request of this node goes on.
    Generate(RequestId),
}

/// A question that waits for its answer.
#[derive(Clone)]
pub struct Pending {
    /// Who was asked.
    pub peer: usize,
    /// On which connection.
    pub link: u64,
    /// For what.
    pub waiting: Waiting,
}

/// The link of a question on a connection whose other end is gone, which nobody here has noticed yet.
const INTO_THE_VOID: u64 = u64::MAX;

/// What does not get through is sent again after this.
const AGAIN: Duration = Duration::from_secs(1);

impl World {
    /// Asks `peer`. Without a connection the question fails in a moment.
    pub(super) fn call(&mut self, node: usize, peer: usize, ask: Ask, waiting: Waiting) {
        let link = match self.links.link(node, peer) {
            0 if self.links.told(node, peer) => INTO_THE_VOID,
            link => link,
        };
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let (call, life) = (process.call_next, process.life);
        process.call_next += 1;
        let wait = match &ask {
            Ask::Chunk(..) => Some(self.chunk_wait()),
            Ask::Generate(_) => None, // an answer may take its time
            _ => Some(limits::CHUNK_WAIT),
        };
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.pending.insert(call, Pending { peer, link, waiting });
        if matches!(ask, Ask::Chunk(..)) {
            self.check_outstanding(node, peer);
        }
        if link == 0 {
            return self.after(Duration::from_millis(1), Event::CallTimeout { node, life, call });
        }
        if let Some(wait) = wait {
            self.times_out(node, self.now.after(wait), call);
        }
        let latency = self.latency(node, peer);
        self.after(latency, Event::Call { node: peer, from: node, link, call, ask: Box::new(ask) });
    }

    /// Nearly every question is answered long before it times out: so many timers are one, for the oldest.
    fn times_out(&mut self, node: usize, due: Time, call: CallId) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let life = process.life;
        if process.timeouts.back().is_some_and(|(last, _)| *last > due) {
            return self.at(due, Event::CallTimeout { node, life, call });
        }
        process.drop_answered();
        process.timeouts.push_back((due, call));
        if !std::mem::replace(&mut process.timeout_set, true) {
            self.at(due, Event::CallsTimeOut { node, life });
        }
    }

    pub(super) fn calls_time_out(&mut self, node: usize, life: u64) {
        while let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.life == life) {
            process.drop_answered();
            let Some(&(due, call)) = process.timeouts.front() else {
                process.timeout_set = false;
                return;
            };
            if due > self.now {
                return self.at(due, Event::CallsTimeOut { node, life });
            }
            process.timeouts.pop_front();
            self.call_timed_out(node, life, call);
        }
    }

    /// How long one chunk may take: fednode's own wait for its own chunk size, in proportion.
    fn chunk_wait(&self) -> Duration {
        let times = u64::from(self.run.options.chunk_bytes / limits::CHUNK_BYTES_MAX).max(1);
        limits::CHUNK_WAIT.times(times)
    }

    fn check_outstanding(&mut self, node: usize, peer: usize) {
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let chunks = process.pending.values().filter(|pending| matches!(pending.waiting, Waiting::Chunk(..)));
        let (mut all, mut from_peer) = (0, 0);
        // What was asked on a connection that is gone fails in this very moment.
        for pending in chunks.filter(|pending| pending.link == self.links.link(node, pending.peer)) {
            all += 1;
            from_peer += usize::from(pending.peer == peer);
        }
        self.checkers.outstanding(self.now, node, all, from_peer);
    }

    /// Answers a question.
    pub(super) fn reply(&mut self, node: usize, to: usize, link: u64, call: CallId, reply: Reply) {
        if link == 0 || self.links.link(node, to) != link {
            return;
        }
        let latency = self.latency(node, to);
        self.after(latency, Event::Reply { node: to, from: node, link, call, reply: Box::new(reply) });
    }

    pub(super) fn called(&mut self, node: usize, from: usize, link: u64, call: CallId, ask: Ask) {
        if self.links.link(node, from) != link || self.nodes[node].process.is_none() {
            return;
        }
        if !self.links.carries(from, node) {
            return self.after(AGAIN, Event::Call { node, from, link, call, ask: Box::new(ask) });
        }
        match ask {
            Ask::Sync(records, greeting) => {
                self.take_records(node, &records, greeting);
                if let Some((mine, greeting)) = self.sync_message(node) {
                    self.reply(node, from, link, call, Reply::Synced(mine, greeting));
                }
            }
            Ask::Plan(message) => self.plan_offered(node, from, link, call, &message),
            Ask::Manifest(artifact) => {
                let known = self.nodes[node].disk.complete.contains(&artifact)
                    || self.nodes[node].disk.partial.contains_key(&artifact);
                let lengths = self.published.chunks.get(&artifact).filter(|_| known).cloned();
                self.reply(node, from, link, call, Reply::Manifest(lengths));
            }
            Ask::Have(artifact) => {
                let have = self.chunks_of(node, &artifact);
                self.reply(node, from, link, call, Reply::Have(have));
            }
            Ask::Chunk(artifact, chunk, bytes) => self.chunk_asked(node, from, link, call, (artifact, chunk, bytes)),
            Ask::Hold(artifact) => self.asked_to_hold(node, from, link, call, artifact),
            Ask::Generate(question) => self.asked_to_generate(node, question, Origin::Peer { from, link, call }),
        }
    }

    pub(super) fn replied(&mut self, node: usize, from: usize, link: u64, call: CallId, reply: Reply) {
        if self.links.link(node, from) != link {
            return;
        }
        if !self.links.carries(from, node) {
            return self.after(AGAIN, Event::Reply { node, from, link, call, reply: Box::new(reply) });
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(pending) = process.pending.get(&call).filter(|pending| pending.link == link).cloned() else { return };
        let goes_on = matches!(reply, Reply::Started);
        if !goes_on {
            process.pending.remove(&call);
        }
        let id = self.nodes[from].id;
        match (pending.waiting, reply) {
            (Waiting::Sync, Reply::Synced(records, greeting)) => self.take_records(node, &records, greeting),
            (Waiting::Plan(epoch, revision), Reply::PlanAnswered(taken, epoch_highest)) => {
                let plan = (epoch, revision);
                self.tell(node, Input::PlanAnswered { from: id, plan, taken, epoch_highest });
            }
            (Waiting::Manifest(artifact), Reply::Manifest(Some(lengths))) => {
                self.tell(node, Input::Manifest(artifact, lengths));
            }
            (Waiting::Manifest(artifact), Reply::Manifest(None)) => {
                self.tell(node, Input::ManifestFailed { artifact, from: id });
            }
            (Waiting::Have(artifact), Reply::Have(have)) => self.tell(node, Input::Has { artifact, from: id, have }),
            (Waiting::Chunk(artifact, chunk), Reply::Chunk(outcome)) => {
                self.chunk_arrived(node, from, artifact, chunk, outcome);
            }
            (Waiting::Hold(artifact), Reply::Hold(promised)) => self.hold_answered(node, from, artifact, promised),
            (Waiting::Generate(request), Reply::Started) => self.request_started(node, request),
            (Waiting::Generate(request), Reply::Ended) => self.request_ended(node, request),
            (Waiting::Generate(request), Reply::Failed(refusal)) => self.request_failed(node, request, refusal),
            _ => self.checkers.nonsense(self.now, node, "an answer to another question"),
        }
    }

    pub(super) fn call_timed_out(&mut self, node: usize, life: u64, call: CallId) {
        let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.life == life) else { return };
        if let Some(pending) = process.pending.remove(&call) {
            self.end_flow_of(node, call);
            self.fail(node, pending);
        }
    }

    /// Every question to `peer` that was asked on a connection that is gone fails.
    pub(super) fn fail_calls_to(&mut self, node: usize, peer: usize) {
        let link = self.links.link(node, peer);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let lost = process.pending.iter().filter(|(_, pending)| pending.peer == peer && pending.link != link);
        let lost: Vec<CallId> = lost.map(|(call, _)| *call).collect();
        for call in lost {
            self.end_flow_of(node, call);
            let pending = self.nodes[node].process.as_mut().and_then(|process| process.pending.remove(&call));
            if let Some(pending) = pending {
                self.fail(node, pending);
            }
        }
    }

    fn fail(&mut self, node: usize, pending: Pending) {
        let from = self.nodes[pending.peer].id;
        match pending.waiting {
            Waiting::Sync => self.tell(node, Input::SyncFailed(from)),
            Waiting::Plan(..) => {}
            Waiting::Manifest(artifact) => self.tell(node, Input::ManifestFailed { artifact, from }),
            Waiting::Have(artifact) => self.tell(node, Input::Has { artifact, from, have: None }),
            Waiting::Chunk(artifact, chunk) => {
                self.tell(node, Input::Chunk { artifact, chunk, from, outcome: ChunkOutcome::Failed });
            }
            Waiting::Hold(artifact) => self.hold_answered(node, pending.peer, artifact, false),
            Waiting::Generate(request) => {
                let message = "the machine that held it is gone".to_owned();
                self.request_failed(node, request, Refusal { code: "engine_failed", message });
            }
        }
    }
}
