//! Requests: admission, choice of a replica, in-flight accounting, and failover before the first token.
//!
//! A request names a slot (and perhaps a domain). It goes to the least loaded ready replica, this node's own first; if the
//! replica fails before its first token another one is tried; if no replica is ready the request waits, the slot counts as
//! wanted, and the coordinator places it. What nobody verified (`core::external`) answers only while no verified replica is
//! ready, or after all of those failed this very request. Every request ends exactly once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::core::external::Verification;
use crate::core::limits;
use crate::core::types::{DomainName, NodeId, SlotName, Time};

/// A request's number on this node.
pub type RequestId = u64;

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The slot.
    pub slot: SlotName,
    /// One of its adapters.
    pub domain: Option<DomainName>,
    /// It came from another member: serve it here or refuse it, never pass it on.
    pub local_only: bool,
    /// What nobody verified may answer, if it must. A member that meant a verified replica here has others to ask.
    pub unverified: bool,
    /// When waiting for a replica ends.
    pub deadline: Time,
}

/// Why a request ends without an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Refusal {
    /// model_not_found | not_resident | busy | engine_failed | deadline.
    pub code: &'static str,
    /// One sentence: what, why, what to do.
    pub message: String,
}

/// Where a request may be answered: a node's own replica, or the external engine beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Which of the two.
    pub verification: Verification,
}

/// A replica that could answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its holder, and what is known of it.
    pub at: Place,
    /// Requests in flight there, as advertised.
    pub advertised: u32,
    /// How many more it takes, beside those in flight.
    pub places: u32,
}

/// What is known about a slot when a request needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Knowledge {
    /// These can answer now (not empty).
    Ready(Vec<Candidate>),
    /// Nothing can answer now, but waiting may help.
    Waiting,
    /// Every planned replica could not be loaded, and why; one may heal.
    Failing(String),
    /// Waiting cannot help.
    Hopeless(Refusal),
}

/// What routing wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the request to this node (perhaps this very one).
    Dispatch {
        /// Which request.
        request: RequestId,
        /// Whither.
        to: Place,
    },
    /// End the request with an error.
    Reject {
        /// Which request.
        request: RequestId,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Clone, Debug)]
struct Request {
    ask: Ask,
    since: Time,
    at: Option<Place>,
    started: bool,
    attempts: u32,
    /// Places that failed this request, and until when they are left alone: one may be back by then.
    rests: BTreeMap<Place, Time>,
    last_failure: Option<Refusal>,
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Ended well.
    pub done: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Sent to another holder after a failure.
    pub retried: u64,
}

/// All requests of one node.
#[derive(Clone, Debug, Default)]
pub struct Router {
    requests: BTreeMap<RequestId, Request>,
    /// Counters since the start.
    pub counts: Counts,
}

impl Router {
    /// A new request.
    pub fn ask(&mut self, now: Time, request: RequestId, ask: Ask) -> Option<Refusal> {
        if self.requests.len() >= limits::REQUESTS_MAX {
            self.counts.failed += 1;
            let message =
                format!("{} requests are waiting or running here already; try again shortly", limits::REQUESTS_MAX);
            return Some(Refusal { code: "busy", message });
        }
        let fresh = Request {
            ask,
            since: now,
            at: None,
            started: false,
            attempts: 0,
            rests: BTreeMap::new(),
            last_failure: None,
        };
        let known = self.requests.insert(request, fresh);
        assert!(known.is_none(), "the driver numbers requests uniquely");
        None
    }

    /// Sends waiting requests on their way, or ends those for which there is no hope or no time left.
    pub fn schedule(&mut self, now: Time, me: NodeId, knowledge: impl Fn(&Ask) -> Knowledge) -> Vec<Action> {
        let mut loads = self.loads();
        let mut sent: BTreeMap<(Place, SlotName), u32> = BTreeMap::new();
        let mut actions = Vec::new();
        let waiting: Vec<RequestId> =
            self.requests.iter().filter(|(_, request)| request.at.is_none()).map(|(id, _)| *id).collect();
        for id in waiting {
            let Some(request) = self.requests.get_mut(&id) else { continue };
            let taken = |at: Place| sent.get(&(at, request.ask.slot.clone())).copied().unwrap_or(0);
            let mut known = knowledge(&request.ask);
            if let Knowledge::Ready(candidates) = &mut known {
                prefer_verified(candidates, |at| request.rests.contains_key(&at));
                candidates.retain(|candidate| taken(candidate.at) < candidate.places);
            }
            match decide(now, me, request, &loads, &known) {
                Decision::Wait => {}
                Decision::Send(to) => {
                    request.at = Some(to);
                    request.attempts += 1;
                    *loads.entry(to).or_default() += 1;
                    *sent.entry((to, request.ask.slot.clone())).or_default() += 1;
                    actions.push(Action::Dispatch { request: id, to });
                }
                Decision::Refuse(refusal) => {
                    self.requests.remove(&id);
                    self.counts.failed += 1;
                    actions.push(Action::Reject { request: id, refusal });
                }
            }
        }
        actions
    }

    fn loads(&self) -> BTreeMap<Place, u32> {
        let mut loads = BTreeMap::new();
        for at in self.requests.values().filter_map(|request| request.at) {
            *loads.entry(at).or_default() += 1;
        }
        loads
    }

    /// The first token went to the client: from here on a failure is final.
    pub fn started(&mut self, request: RequestId) {
        if let Some(request) = self.requests.get_mut(&request) {
            request.started = true;
        }
    }

    /// The answer is complete, or the client went away.
    pub fn ended(&mut self, request: RequestId, well: bool) {
        if self.requests.remove(&request).is_some() {
            if well { self.counts.done += 1 } else { self.counts.failed += 1 }
        }
    }

    /// The replica failed. True: it may be tried elsewhere and waits for [`Router::schedule`]; false: the error is final.
    pub fn failed(&mut self, now: Time, request: RequestId, refusal: Refusal, retryable: bool) -> bool {
        let Some(known) = self.requests.get_mut(&request) else { return false };
        if known.started || !retryable || known.ask.local_only || known.attempts >= limits::ATTEMPTS_MAX {
            self.requests.remove(&request);
            self.counts.failed += 1;
            return false;
        }
        if let Some(failed) = known.at.take() {
            known.rests.insert(failed, now.after(limits::HOLDER_REST));
        }
        known.last_failure = Some(refusal);
        self.counts.retried += 1;
        true
    }

    /// Slots that somebody waits for here.
    pub fn wanted(&self) -> BTreeSet<SlotName> {
        let waiting = self.requests.values().filter(|request| request.at.is_none() && !request.ask.local_only);
        waiting.map(|request| request.ask.slot.clone()).collect()
    }

    /// Requests running on this node's own replicas, by slot.
    pub fn in_flight_here(&self, me: NodeId) -> BTreeMap<SlotName, u32> {
        self.in_flight_at(Place { node: me, verification: Verification::Verified })
    }

    /// Requests running at a place, by slot.
    pub fn in_flight_at(&self, at: Place) -> BTreeMap<SlotName, u32> {
        let mut counts = BTreeMap::new();
        for request in self.requests.values().filter(|request| request.at == Some(at)) {
            *counts.entry(request.ask.slot.clone()).or_default() += 1;
        }
        counts
    }

    /// The slot that an open request asks for.
    pub fn slot_of(&self, request: RequestId) -> Option<&SlotName> {
        self.requests.get(&request).map(|request| &request.ask.slot)
    }

    /// Requests not yet ended.
    pub fn open(&self) -> usize {
        self.requests.len()
    }

    /// When the next waiting request runs out of time, or may try a holder again.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let waiting = self.requests.values().filter(|request| request.at.is_none());
        let times = waiting.flat_map(|request| {
            let patience = request.since.after(limits::FAILED_PATIENCE);
            request.rests.values().copied().chain([request.ask.deadline, patience])
        });
        times.filter(|at| *at > now).min()
    }
}

enum Decision {
    Wait,
    Send(Place),
    Refuse(Refusal),
}

/// Leaves what nobody verified among `candidates` only if there is no verified one, or all of those have failed the request.
fn prefer_verified(candidates: &mut Vec<Candidate>, failed: impl Fn(Place) -> bool) {
    let verified = |candidate: &Candidate| candidate.at.verification == Verification::Verified;
    if candidates.iter().any(|candidate| verified(candidate) && !failed(candidate.at)) {
        candidates.retain(verified);
    }
}

fn decide(now: Time, me: NodeId, request: &Request, loads: &BTreeMap<Place, u32>, known: &Knowledge) -> Decision {
    match known {
        Knowledge::Hopeless(refusal) => return Decision::Refuse(refusal.clone()),
        Knowledge::Ready(candidates) => {
            let load = |candidate: &Candidate| {
                // Our own count is exact for this node, and newer than an advertisement for the others.
                let ours = loads.get(&candidate.at).copied().unwrap_or(0);
                if candidate.at.node == me { ours } else { ours.max(candidate.advertised) }
            };
            let usable = candidates.iter().filter(|candidate| {
                request.rests.get(&candidate.at).is_none_or(|until| now >= *until)
                    && load(candidate) < limits::REQUESTS_PER_REPLICA_MAX
                    && (!request.ask.local_only || candidate.at.node == me)
            });
            let failed = |candidate: &Candidate| request.rests.contains_key(&candidate.at);
            let rank = |c: &&Candidate| (failed(c), c.at.verification, load(c), c.at.node != me, c.at.node);
            if let Some(best) = usable.min_by_key(rank) {
                return Decision::Send(best.at);
            }
        }
        Knowledge::Failing(why) if !request.ask.local_only && now >= request.since.after(limits::FAILED_PATIENCE) => {
            let message = format!("{} cannot be loaded: {why}", request.ask.slot);
            return Decision::Refuse(Refusal { code: "not_resident", message });
        }
        Knowledge::Waiting | Knowledge::Failing(_) => {}
    }
    if request.ask.local_only {
        let message = format!("{} is not resident here", request.ask.slot);
        return Decision::Refuse(Refusal { code: "not_resident", message });
    }
    if now >= request.ask.deadline {
        return Decision::Refuse(out_of_time(request));
    }
    Decision::Wait
}

fn out_of_time(request: &Request) -> Refusal {
    match &request.last_failure {
        Some(failure) => failure.clone(),
        None => Refusal {
            code: "not_resident",
            message: format!("{} did not become resident in time; see `fednode plan --explain`", request.ask.slot),
        },
    }
}

#[cfg(test)]
mod tests;
