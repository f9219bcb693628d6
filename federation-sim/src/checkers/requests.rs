//! Requests: each ends exactly once, at its node and across nodes.

use std::collections::BTreeMap;

use fednode::core::limits;
use fednode::core::route::RequestId;
use fednode::core::types::Time;

use super::Checkers;
use crate::world::SimNode;

/// Questions of people that have not ended, by session.
#[derive(Default)]
pub(super) struct Questions {
    open: BTreeMap<u64, (usize, Time)>,
}

impl Checkers {
    /// *Requests*: the machine's book and the world's agree on how many requests are open, and the bound holds. Does not
    /// check whether the answer came from the right manager, nor who is served first.
    pub(super) fn requests(&mut self, now: Time, index: usize, node: &SimNode) {
        let Some(process) = node.process.as_ref() else { return };
        let (open, known) = (process.machine.requests().0, process.requests.len());
        if open != known {
            self.violation(now, "requests", index, format!("{open} open in the machine, {known} in the world"));
        }
        if open > limits::REQUESTS_MAX {
            self.violation(now, "queues", index, format!("{open} requests open"));
        }
    }

    /// *Requests*: nothing is sent anywhere while an attempt is under way.
    pub(super) fn dispatched(&mut self, now: Time, index: usize, node: &SimNode, request: RequestId) {
        let open = node.process.as_ref().and_then(|process| process.requests.get(&request));
        if open.is_some_and(|open| open.attempt) {
            self.violation(now, "requests", index, format!("request {request} is dispatched twice at once"));
        }
    }

    /// *Requests*, across nodes: a person asked, ...
    pub(crate) fn person_asks(&mut self, now: Time, index: usize, session: u64) {
        if self.questions.open.insert(session, (index, now)).is_some() {
            self.violation(now, "requests", index, format!("session {session} asks before it was answered"));
        }
    }

    /// ... and hears of the end, once. Does not check that it comes in time: a machine may sleep meanwhile.
    pub(crate) fn person_hears(&mut self, now: Time, index: usize, session: u64) {
        if self.questions.open.remove(&session).is_none_or(|(at, _)| at != index) {
            self.violation(now, "requests", index, format!("session {session} hears of an end twice"));
        }
    }

    /// At the end of a run: everybody has heard. Does not tell a request that is late from one that is lost: by then
    /// everything had time to end.
    pub(crate) fn all_heard(&mut self, now: Time) {
        if let Some((session, (index, asked))) = self.questions.open.pop_first() {
            let what = format!("session {session} never hears of what it asked at {} ms", asked.0 / 1_000_000);
            self.violation(now, "requests", index, what);
        }
    }
}
