//! Whose turn it is. Requests that need the same wait in one line; in it each client has a queue of its own, and clients take
//! turns (deficit round robin). A turn gives a client one share; a request costs one share and one more for each
//! `SHARE_TOKENS` tokens it may take, so that a client whose head request is long saves up for it over some turns. So one
//! client's five hundred requests keep nobody else's waiting for more than a few.

use std::collections::{BTreeMap, VecDeque};

use crate::core::limits;
use crate::core::route::{ClientId, RequestId, Want};
use crate::core::types::SlotName;

/// What a request costs of its client's turns.
pub(super) fn shares(tokens: u32) -> u32 {
    (1 + tokens / limits::SHARE_TOKENS).min(limits::SHARES_MAX)
}

/// What became of an offer to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// It is on its way.
    Sent,
    /// This one cannot go now; others of the line may.
    NotNow,
    /// Nobody of the line can go now.
    Full,
}

/// All that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    lines: BTreeMap<Want, Line>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    /// Clients that wait, each once; the first has its turn.
    ring: VecDeque<ClientId>,
    queues: BTreeMap<ClientId, Queue>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// In the order they came, with what they cost.
    requests: VecDeque<(RequestId, u32)>,
    /// Shares saved up, at most `SHARES_MAX`.
    credit: u32,
    /// This turn's share was given.
    granted: bool,
}

enum Turn {
    Sent,
    Saved,
    Nothing,
    Full,
}

impl Turns {
    /// A new request, last of its client's.
    pub(super) fn join(&mut self, want: Want, client: ClientId, request: RequestId, shares: u32) {
        self.queue(want, client).requests.push_back((request, shares.clamp(1, limits::SHARES_MAX)));
    }

    /// One that was sent and failed: first of its client's, and paid for.
    pub(super) fn rejoin(&mut self, want: Want, client: ClientId, request: RequestId) {
        self.queue(want, client).requests.push_front((request, 0));
    }

    fn queue(&mut self, want: Want, client: ClientId) -> &mut Queue {
        let line = self.lines.entry(want).or_default();
        if !line.queues.contains_key(&client) {
            line.ring.push_back(client);
        }
        line.queues.entry(client).or_default()
    }

    /// It waits no longer, whatever became of it.
    pub(super) fn leave(&mut self, want: &Want, client: ClientId, request: RequestId) {
        let Some(line) = self.lines.get_mut(want) else { return };
        if let Some(queue) = line.queues.get_mut(&client) {
            queue.requests.retain(|(known, _)| *known != request);
        }
        line.forget_if_done(client);
        if line.ring.is_empty() {
            self.lines.remove(want);
        }
    }

    /// How many wait for `slot`.
    pub(super) fn waiting(&self, slot: &SlotName) -> usize {
        let lines = self.lines.iter().filter(|(want, _)| &want.slot == slot);
        lines.flat_map(|(_, line)| line.queues.values()).map(|queue| queue.requests.len()).sum()
    }

    /// What is waited for.
    pub(super) fn wants(&self) -> impl Iterator<Item = &Want> {
        self.lines.keys()
    }

    /// Who waits for it.
    pub(super) fn of(&self, want: &Want) -> Vec<RequestId> {
        let queues = self.lines.get(want).into_iter().flat_map(|line| line.queues.values());
        queues.flat_map(|queue| queue.requests.iter().map(|(request, _)| *request)).collect()
    }

    /// Offers to go, in turns, until nobody can. Whose turn it was when the line was full has it still the next time.
    pub(super) fn serve(&mut self, want: &Want, mut send: impl FnMut(RequestId) -> Attempt) {
        let Some(line) = self.lines.get_mut(want) else { return };
        // Ends: between two that are sent each client saves up at most `SHARES_MAX` times.
        let mut idle = 0;
        while idle < line.ring.len() {
            let Some(&client) = line.ring.front() else { break };
            let Some(queue) = line.queues.get_mut(&client) else { break };
            match queue.turn(&mut send) {
                Turn::Full => break,
                Turn::Sent => {
                    idle = 0;
                    line.forget_if_done(client);
                }
                Turn::Saved => {
                    idle = 0;
                    line.ring.rotate_left(1);
                }
                Turn::Nothing => {
                    idle += 1;
                    line.ring.rotate_left(1);
                }
            }
        }
        if line.ring.is_empty() {
            self.lines.remove(want);
        }
    }
}

impl Line {
    fn forget_if_done(&mut self, client: ClientId) {
        if self.queues.get(&client).is_some_and(|queue| queue.requests.is_empty()) {
            self.queues.remove(&client);
            self.ring.retain(|known| *known != client);
        }
    }
}

impl Queue {
    fn turn(&mut self, send: &mut impl FnMut(RequestId) -> Attempt) -> Turn {
        if !self.granted {
            self.credit = (self.credit + 1).min(limits::SHARES_MAX);
            self.granted = true;
        }
        for at in 0..self.requests.len() {
            let (request, shares) = self.requests[at];
            if shares > self.credit {
                self.granted = false;
                return Turn::Saved;
            }
            match send(request) {
                Attempt::Sent => {
                    self.credit -= shares;
                    self.requests.remove(at);
                    return Turn::Sent;
                }
                Attempt::NotNow => {}
                Attempt::Full => return Turn::Full,
            }
        }
        self.granted = false;
        Turn::Nothing
    }
}
