//! People: chat sessions that begin as a Poisson process over the whole federation, each with a manager and a machine,
//! a few questions, and pauses for reading and thinking. Popular managers are drawn by Zipf's law. A recorded question is
//! a session of its own, with one question whose lengths are known.

use std::collections::BTreeMap;

use fednode::core::types::{DomainName, Duration, SlotName};

use crate::rng::Rng;
use crate::scenario;
use crate::schedule::{Recorded, Run};

/// A chat session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The machine its person sits at.
    pub node: usize,
    /// The manager.
    pub slot: SlotName,
    /// Its adapter.
    pub domain: Option<DomainName>,
    /// Questions still to be asked.
    pub turns_left: u64,
    /// Prompt tokens and answer tokens, if they are known and not drawn.
    pub lengths: Option<(u64, u64)>,
}

/// All people.
#[derive(Clone, Debug)]
pub struct Workload {
    rates: scenario::Workload,
    nodes: usize,
    slots: Vec<(SlotName, Vec<DomainName>)>,
    weights: Vec<u64>,
    rng: Rng,
    sessions: BTreeMap<u64, Session>,
    session_next: u64,
}

/// Sessions at once: beyond it nobody else begins, so that a slow federation does not fill the simulator's memory.
const SESSIONS_MAX: usize = 100_000;

impl Workload {
    /// The people of `run`.
    pub fn new(run: &Run) -> Workload {
        let mut rng = Rng::new(run.seed, "people");
        let mut slots: Vec<_> = run.slots.iter().map(|slot| (slot.name.clone(), slot.domains.clone())).collect();
        for last in (1..slots.len()).rev() {
            slots.swap(last, rng.below(last as u64 + 1) as usize);
        }
        let weight = |rank: usize| if run.workload.zipf { 1_000_000 / (rank as u64 + 1) } else { 1 };
        Workload {
            rates: run.workload.clone(),
            nodes: run.machines.len(),
            weights: (0..slots.len()).map(weight).collect(),
            slots,
            rng,
            sessions: BTreeMap::new(),
            session_next: 0,
        }
    }

    /// Until the next session begins.
    pub fn pause(&mut self) -> Duration {
        let per_hour = (self.rates.sessions_per_node_hour * self.nodes as u64).max(1);
        Duration(self.rng.pause(3_600_000_000_000 / per_hour))
    }

    /// Somebody sits down somewhere.
    pub fn begin(&mut self) -> Option<(u64, &Session)> {
        if self.sessions.len() >= SESSIONS_MAX || self.rates.sessions_per_node_hour == 0 {
            return None;
        }
        let (slot, domains) = &self.slots[self.rng.weighted(&self.weights)];
        // One question in two to a manager with domains is for one of them.
        let domain = domains.get(self.rng.below(2 * domains.len() as u64) as usize).cloned();
        let session = Session {
            node: self.rng.below(self.nodes as u64) as usize,
            slot: slot.clone(),
            domain,
            turns_left: self.rng.between(1, self.rates.turns_max.max(1)),
            lengths: None,
        };
        let id = self.add(session);
        self.sessions.get(&id).map(|session| (id, session))
    }

    /// Somebody asks what was recorded.
    pub fn recorded(&mut self, asked: &Recorded) -> u64 {
        self.add(Session {
            node: asked.node,
            slot: asked.slot.clone(),
            domain: asked.domain.clone(),
            turns_left: 1,
            lengths: Some((asked.prompt_tokens, asked.tokens)),
        })
    }

    fn add(&mut self, session: Session) -> u64 {
        let id = self.session_next;
        self.session_next += 1;
        self.sessions.insert(id, session);
        id
    }

    /// The next question of a session: the session, prompt tokens, answer tokens. `None` when it is over.
    pub fn question(&mut self, session: u64) -> Option<(Session, u64, u64)> {
        let known = self.sessions.get_mut(&session)?;
        known.turns_left = known.turns_left.checked_sub(1)?;
        let (prompt, tokens) = known.lengths.unwrap_or_else(|| {
            let prompt = self.rng.between(1, self.rates.prompt_tokens_max.max(1));
            (prompt, self.rng.between(1, self.rates.tokens_max.max(1)))
        });
        Some((known.clone(), prompt, tokens))
    }

    /// An answer came: how long the person thinks before the next question, or `None` if that was the last.
    pub fn answered(&mut self, session: u64) -> Option<Duration> {
        if self.sessions.get(&session).is_none_or(|known| known.turns_left == 0) {
            self.sessions.remove(&session);
            return None;
        }
        Some(Duration::from_secs(self.rng.below(self.rates.think_s_max + 1)))
    }

    /// Whoever sat there gives up.
    pub fn end(&mut self, session: u64) {
        self.sessions.remove(&session);
    }
}
