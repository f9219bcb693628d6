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
    /// What its person does next: a stream of its own, so that a slower answer to one person changes nothing of another's.
    rng: Rng,
}

/// All people.
#[derive(Clone, Debug)]
pub struct Workload {
    rates: scenario::Workload,
    nodes: usize,
    slots: Vec<(SlotName, Vec<DomainName>)>,
    weights: Vec<u64>,
    seed: u64,
    /// Sessions that were drawn so far.
    drawn: u64,
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
        let mut slots: Vec<_> = run.slots.iter().map(|slot| (slot.name, slot.domains.clone())).collect();
        for last in (1..slots.len()).rev() {
            slots.swap(last, rng.below(last as u64 + 1) as usize);
        }
        let weight = |rank: usize| if run.workload.zipf { 1_000_000 / (rank as u64 + 1) } else { 1 };
        Workload {
            rates: run.workload.clone(),
            nodes: run.machines.len(),
            weights: (0..slots.len()).map(weight).collect(),
            slots,
            seed: run.seed,
            drawn: 0,
            rng,
            sessions: BTreeMap::new(),
            session_next: 0,
        }
    }

    /// Sessions that begin in an hour.
    fn per_hour(&self) -> u64 {
        self.rates.sessions_per_node_hour * self.nodes as u64 + self.rates.sessions_per_hour
    }

    /// Until the next session begins.
    pub fn pause(&mut self) -> Duration {
        let per_hour = self.per_hour().max(1);
        Duration(self.rng.pause(3_600_000_000_000 / per_hour))
    }

    /// Somebody sits down somewhere.
    pub fn begin(&mut self) -> Option<(u64, &Session)> {
        if self.sessions.len() >= SESSIONS_MAX || self.per_hour() == 0 {
            return None;
        }
        let mut rng = Rng::new(self.seed, &format!("session {}", self.drawn));
        let (slot, domains) = &self.slots[rng.weighted(&self.weights)];
        // One question in two to a manager with domains is for one of them.
        let domain = domains.get(rng.below(2 * domains.len() as u64) as usize).cloned();
        let session = Session {
            node: rng.below(self.nodes as u64) as usize,
            slot: *slot,
            domain,
            turns_left: rng.between(1, self.rates.turns_max.max(1)),
            lengths: None,
            rng,
        };
        self.drawn += 1;
        let id = self.add(session);
        self.sessions.get(&id).map(|session| (id, session))
    }

    /// Somebody asks what was recorded.
    pub fn recorded(&mut self, asked: &Recorded) -> u64 {
        self.add(Session {
            node: asked.node,
            slot: asked.slot,
            domain: asked.domain,
            turns_left: 1,
            lengths: Some((asked.prompt_tokens, asked.tokens)),
            rng: Rng::new(self.seed, "recorded"),
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
        let (rng, rates) = (&mut known.rng, &self.rates);
        let (prompt, tokens) = known.lengths.unwrap_or_else(|| {
            let prompt = rng.between(1, rates.prompt_tokens_max.max(1));
            (prompt, rng.between(1, rates.tokens_max.max(1)))
        });
        Some((known.clone(), prompt, tokens))
    }

    /// An answer came: how long the person thinks before the next question, or `None` if that was the last.
    pub fn answered(&mut self, session: u64) -> Option<Duration> {
        match self.sessions.get_mut(&session) {
            Some(known) if known.turns_left > 0 => {
                Some(Duration::from_secs(known.rng.below(self.rates.think_s_max + 1)))
            }
            _ => {
                self.sessions.remove(&session);
                None
            }
        }
    }

    /// Whoever sat there gives up.
    pub fn end(&mut self, session: u64) {
        self.sessions.remove(&session);
    }
}
