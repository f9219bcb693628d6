//! The router: all requests of one node, from their arrival to their one end.

use std::collections::BTreeMap;

use crate::core::chance::mix;
use crate::core::external::Verification;
use crate::core::limits;
use crate::core::route::affinity::Affinity;
use crate::core::route::choose::{Offer, choose, wait_us};
use crate::core::route::request::{Request, Sent};
use crate::core::route::speed::{Speeds, Tokens, micros};
use crate::core::route::turns::{Attempt, Turns, shares};
use crate::core::route::{Action, Ask, Candidate, Knowledge, Place, Refusal, RequestId, Want};
use crate::core::types::{Duration, NodeId, SlotName, Time};

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

/// What follows from a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    /// It may be tried elsewhere and waits for [`Router::schedule`].
    Retry,
    /// The error is final.
    Final,
    /// The request had ended already: nothing follows.
    Ended,
}

/// Requests in flight, by place and slot; no zeros.
type Flying = BTreeMap<Place, BTreeMap<SlotName, u32>>;

/// All requests of one node.
#[derive(Clone, Debug, Default)]
pub struct Router {
    seed: u64,
    requests: BTreeMap<RequestId, Request>,
    turns: Turns,
    flying: Flying,
    /// Of what members say is in flight at them, this was ours when they said it.
    ours_said: Flying,
    speeds: Speeds,
    affinity: Affinity,
    round_trips: BTreeMap<NodeId, Duration>,
    /// How long a replica is left alone that was full; at least [`limits::HOLDER_REST`].
    busy_rest: Duration,
    /// Counters since the start.
    pub counts: Counts,
}

impl Router {
    /// No requests yet. Nodes of different seeds draw differently.
    pub fn new(seed: u64) -> Router {
        Router { seed, ..Router::default() }
    }

    /// There are so many members.
    pub fn crowd(&mut self, members: usize) {
        self.busy_rest = limits::BUSY_SHARE.times(members as u64);
    }

    /// A new request.
    pub fn ask(&mut self, now: Time, request: RequestId, ask: Ask) -> Option<Refusal> {
        if let Some(message) = self.full(&ask) {
            self.counts.failed += 1;
            return Some(Refusal { code: "busy", message });
        }
        self.turns.join(ask.want(), ask.client, request, shares(ask.tokens));
        let (rests, last_failure) = (BTreeMap::new(), None);
        let fresh = Request { ask, since: now, sent: None, started: None, attempts: 0, rests, last_failure };
        let known = self.requests.insert(request, fresh);
        assert!(known.is_none(), "the driver numbers requests uniquely");
        None
    }

    /// Which bound keeps a request out, in a sentence.
    fn full(&self, ask: &Ask) -> Option<String> {
        let bound = |what: String, max: usize| Some(format!("{max} requests {what} already; try again shortly"));
        if self.requests.len() >= limits::REQUESTS_MAX {
            return bound("are waiting or running here".into(), limits::REQUESTS_MAX);
        }
        if ask.local_only {
            return None; // served or refused at once; its client waits at another node, which counts it
        }
        if self.turns.waiting(&ask.slot) >= limits::WAITING_PER_SLOT_MAX {
            return bound(format!("wait for {}", ask.slot), limits::WAITING_PER_SLOT_MAX);
        }
        let own = self.requests.values().filter(|known| known.ask.client == ask.client && !known.ask.local_only);
        (own.count() >= limits::REQUESTS_PER_CLIENT_MAX)
            .then(|| bound("of this client are waiting or running here".into(), limits::REQUESTS_PER_CLIENT_MAX))
            .flatten()
    }

    /// Sends waiting requests on their way, or ends those for which there is no hope or no time left.
    pub fn schedule(&mut self, now: Time, me: NodeId, knowledge: impl Fn(&Want) -> Knowledge) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut taken = Flying::new();
        for want in self.turns.wants().cloned().collect::<Vec<_>>() {
            let known = knowledge(&want);
            if let Knowledge::Ready(candidates) = &known {
                self.serve(now, me, &want, candidates, &mut taken, &mut actions);
            }
            for request in self.turns.of(&want) {
                let Some(refusal) = self.requests.get(&request).and_then(|waiting| waiting.gives_up(now, &known))
                else {
                    continue;
                };
                self.end(request);
                self.counts.failed += 1;
                actions.push(Action::Reject { request, refusal });
            }
        }
        actions
    }

    /// Sends those of one line whose turn it is, as long as there is room.
    fn serve(
        &mut self,
        now: Time,
        me: NodeId,
        want: &Want,
        candidates: &[Candidate],
        taken: &mut Flying,
        actions: &mut Vec<Action>,
    ) {
        let mut turns = std::mem::take(&mut self.turns);
        turns.serve(want, |request| {
            let room: Vec<&Candidate> = candidates.iter().filter(|one| self.has_room(me, want, one, taken)).collect();
            if room.is_empty() {
                return Attempt::Full;
            }
            let Some(to) = self.choose(now, me, request, candidates, &room) else { return Attempt::NotNow };
            let at_once = room.iter().find(|one| one.at == to).is_some_and(|one| self.load(want, one) < one.parallel);
            self.send(now, request, to, at_once);
            *taken.entry(to).or_default().entry(want.slot).or_default() += 1;
            actions.push(Action::Dispatch { request, to });
            Attempt::Sent
        });
        self.turns = turns;
    }

    fn count(flying: &Flying, at: Place, slot: &SlotName) -> u32 {
        flying.get(&at).and_then(|slots| slots.get(slot)).copied().unwrap_or(0)
    }

    /// Requests there: our own as they are now, and those of others as they were when it last spoke.
    fn load(&self, want: &Want, candidate: &Candidate) -> u32 {
        let count = |flying| Router::count(flying, candidate.at, &want.slot);
        let others = candidate.advertised.saturating_sub(count(&self.ours_said));
        count(&self.flying).saturating_add(others)
    }

    /// May one more request of this node go there?
    fn has_room(&self, me: NodeId, want: &Want, candidate: &Candidate, taken: &Flying) -> bool {
        if want.local_only && candidate.at.node != me {
            return false;
        }
        // Only one's own requests are held back here: what others have there is known too late. What another member sent
        // has waited for its turn there.
        let ahead = candidate.parallel.saturating_add(limits::REQUESTS_AHEAD).min(limits::REQUESTS_PER_REPLICA_MAX);
        let most = if want.local_only { limits::REQUESTS_PER_REPLICA_MAX } else { ahead };
        Router::count(taken, candidate.at, &want.slot) < candidate.places
            && Router::count(&self.flying, candidate.at, &want.slot) < most
            && self.load(want, candidate) < limits::REQUESTS_PER_REPLICA_MAX
    }

    /// Where `request` goes; `None`: nowhere yet.
    fn choose(
        &self,
        now: Time,
        me: NodeId,
        request: RequestId,
        candidates: &[Candidate],
        room: &[&Candidate],
    ) -> Option<Place> {
        let waiting = self.requests.get(&request)?;
        let failed = |at: Place| waiting.rests.contains_key(&at);
        let verified = |at: Place| at.verification == Verification::Verified;
        // While a verified replica has not failed it, it is waited for.
        let only_verified = candidates.iter().any(|one| verified(one.at) && !failed(one.at));
        let rested = |at: Place| waiting.rests.get(&at).is_none_or(|until| now >= *until);
        let usable = room.iter().filter(|one| rested(one.at) && (verified(one.at) || !only_verified));
        let want = waiting.ask.want();
        let offers: Vec<Offer> = usable
            .map(|one| {
                let (load, pace) = (self.load(&want, one), self.speeds.pace(now, &want.slot, one.at));
                let wait_us = wait_us(&pace, micros(self.round_trip_to(one.at.node)), load, one.parallel);
                Offer { at: one.at, failed: failed(one.at), load, wait_us, first_us: pace.first_us }
            })
            .collect();
        let affine = waiting.ask.conversation.and_then(|conversation| self.affinity.of(now, conversation));
        choose(&offers, me, affine, mix(self.seed ^ mix(request)))
    }

    fn send(&mut self, now: Time, request: RequestId, to: Place, at_once: bool) {
        let round_trip = self.round_trip_to(to.node);
        let Some(known) = self.requests.get_mut(&request) else { return };
        known.sent = Some(Sent { to, at: now, round_trip, at_once });
        known.attempts += 1;
        *self.flying.entry(to).or_default().entry(known.ask.slot).or_default() += 1;
    }

    /// It is no longer in flight at `from`.
    fn landed(flying: &mut Flying, from: Place, slot: &SlotName) {
        let Some(slots) = flying.get_mut(&from) else { return };
        if let Some(count) = slots.get_mut(slot) {
            *count -= 1;
        }
        slots.retain(|_, count| *count > 0);
        if slots.is_empty() {
            flying.remove(&from);
        }
    }

    /// Forgets a request, wherever it was.
    fn end(&mut self, request: RequestId) -> Option<Request> {
        let known = self.requests.remove(&request)?;
        match known.sent {
            Some(sent) => Router::landed(&mut self.flying, sent.to, &known.ask.slot),
            None => self.turns.leave(&known.ask.want(), known.ask.client, request),
        }
        Some(known)
    }

    /// The first token went to the client: from here on a failure is final.
    pub fn started(&mut self, now: Time, request: RequestId) {
        let Some(known) = self.requests.get_mut(&request) else { return };
        let Some(sent) = known.sent.filter(|_| known.started.is_none()) else { return };
        known.started = Some(now);
        if let Some(conversation) = known.ask.conversation {
            self.affinity.answers(now, conversation, sent.to);
        }
    }

    /// The answer is complete, with so many tokens.
    pub fn answered(&mut self, now: Time, request: RequestId, tokens: Tokens) {
        let known = self.requests.get(&request);
        if let Some((known, sent, started)) = known.and_then(|known| Some((known, known.sent?, known.started?))) {
            // What makes few tokens or none (embeddings) says nothing of answers.
            if tokens.answer >= limits::SPEED_TOKENS_MIN {
                let first = Duration(started.since(sent.at).0.saturating_sub(sent.round_trip.0));
                let first = Some(first).filter(|_| sent.at_once);
                self.speeds.answered(now, &known.ask.slot, sent.to, first, now.since(started), tokens.answer);
            }
        }
        self.ended(request, true);
    }

    /// The answer is complete, or the client went away. A second time says nothing.
    pub fn ended(&mut self, request: RequestId, well: bool) {
        if self.end(request).is_some() {
            if well { self.counts.done += 1 } else { self.counts.failed += 1 }
        }
    }

    /// The replica failed.
    pub fn failed(&mut self, now: Time, request: RequestId, refusal: Refusal, retryable: bool) -> Failed {
        let Some(known) = self.requests.get_mut(&request) else { return Failed::Ended };
        // A full queue elsewhere is no fault of this request: it is tried until its deadline.
        let busy = refusal.code == "busy";
        if busy {
            known.attempts = known.attempts.saturating_sub(1);
        }
        if known.started.is_some() || !retryable || known.ask.local_only || known.attempts >= limits::ATTEMPTS_MAX {
            self.end(request);
            self.counts.failed += 1;
            return Failed::Final;
        }
        if let Some(sent) = known.sent.take() {
            let rest = if busy { self.busy_rest.max(limits::HOLDER_REST) } else { limits::HOLDER_REST };
            known.rests.insert(sent.to, now.after(rest));
            Router::landed(&mut self.flying, sent.to, &known.ask.slot);
            self.turns.rejoin(known.ask.want(), known.ask.client, request);
        }
        known.last_failure = Some(refusal);
        self.counts.retried += 1;
        Failed::Retry
    }

    /// `node` said anew what is in flight at it.
    pub fn heard(&mut self, node: NodeId) {
        if self.flying.is_empty() && self.ours_said.is_empty() {
            return;
        }
        for verification in [Verification::Verified, Verification::Unverified] {
            let at = Place { node, verification };
            self.ours_said.remove(&at);
            self.ours_said.extend(self.flying.get(&at).map(|slots| (at, slots.clone())));
        }
    }

    /// A ping to `node` and its answer took so long.
    pub fn pinged(&mut self, node: NodeId, round_trip: Duration) {
        self.round_trips.insert(node, round_trip);
    }

    /// `node` is connected no more.
    pub fn parted(&mut self, node: &NodeId) {
        self.round_trips.remove(node);
        self.ours_said.retain(|at, _| &at.node != node);
    }

    /// To a member that was never pinged it counts as none: the first request tells.
    fn round_trip_to(&self, node: NodeId) -> Duration {
        self.round_trips.get(&node).copied().unwrap_or_default()
    }

    /// Slots that somebody waits for here.
    pub fn wanted(&self) -> impl Iterator<Item = SlotName> + '_ {
        self.turns.wants().filter(|want| !want.local_only).map(|want| want.slot)
    }

    /// Requests running on this node's own replicas, by slot.
    pub fn in_flight_here(&self, me: NodeId) -> BTreeMap<SlotName, u32> {
        self.in_flight_at(Place { node: me, verification: Verification::Verified })
    }

    /// Requests running at a place, by slot.
    pub fn in_flight_at(&self, at: Place) -> BTreeMap<SlotName, u32> {
        self.flying.get(&at).cloned().unwrap_or_default()
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
        let waiting = self.requests.values().filter(|request| request.sent.is_none());
        let times = waiting.flat_map(|request| {
            let patience = request.since.after(limits::FAILED_PATIENCE);
            request.rests.values().copied().chain([request.ask.deadline, patience])
        });
        times.filter(|at| *at > now).min()
    }
}
