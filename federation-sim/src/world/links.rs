//! What lies between nodes: connections, and what a cut does to them. A pair has one connection or none. A process that is
//! killed closes its connections at once and its machine refuses new ones; a machine without power, asleep or cut off
//! falls silent, which its peers notice when a ping is not answered. Redials back off as fednode's own network room does.
//!
//! Not modelled: several connections of one pair, handshakes that fail half way, a refusal that says "no such host" for
//! a machine on the same network whose cable is out.

use std::collections::BTreeSet;

use fednode::core::limits;
use fednode::core::machine::Input;
use fednode::core::types::Duration;

use crate::world::World;
use crate::world::event::Event;

/// One side of a pair: what `node` has of `peer`.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// The connection's number, on both sides the same; 0: none.
    link: u32,
    /// Dials in a row that failed; more than a handful make no difference.
    failures: u8,
    /// Its machine was told that it is connected.
    told: bool,
    /// A dial or a wait for one is on its way.
    dialling: bool,
}

/// All pairs, and what cuts them.
pub(super) struct Links {
    nodes: usize,
    /// Where each machine is.
    sites: Vec<u32>,
    /// By node, then by peer: whoever speaks to all walks along its row.
    sides: Vec<Side>,
    /// Connections of each machine.
    degrees: Vec<u32>,
    link_next: u32,
    /// From, to: carries nothing. How many faults say so.
    cut: std::collections::BTreeMap<(usize, usize), u32>,
}

impl Links {
    /// Nobody is connected.
    pub(super) fn new(sites: Vec<u32>) -> Links {
        let nodes = sites.len();
        let (sides, degrees) = (vec![Side::default(); nodes * nodes], vec![0; nodes]);
        Links { nodes, sites, sides, degrees, link_next: 1, cut: Default::default() }
    }

    fn side(&self, node: usize, peer: usize) -> &Side {
        &self.sides[node * self.nodes + peer]
    }

    fn side_mut(&mut self, node: usize, peer: usize) -> &mut Side {
        &mut self.sides[node * self.nodes + peer]
    }

    /// The connection between two nodes; 0: none.
    pub(super) fn link(&self, a: usize, b: usize) -> u64 {
        u64::from(self.side(a, b).link)
    }

    /// They are connected anew.
    fn open(&mut self, a: usize, b: usize) {
        let link = self.link_next;
        self.link_next = link.checked_add(1).expect("no run opens so many connections");
        for (node, peer) in [(a, b), (b, a)] {
            let side = self.side_mut(node, peer);
            let first = side.link == 0;
            (side.link, side.failures) = (link, 0);
            self.degrees[node] += u32::from(first);
        }
    }

    /// They are connected no longer.
    fn close(&mut self, a: usize, b: usize) {
        for (node, peer) in [(a, b), (b, a)] {
            let was = std::mem::take(&mut self.side_mut(node, peer).link);
            self.degrees[node] -= u32::from(was != 0);
        }
    }

    /// Is it connected to nobody?
    pub(super) fn is_alone(&self, node: usize) -> bool {
        self.degrees[node] == 0
    }

    /// Does anything sent by `from` reach `to`?
    pub(super) fn carries(&self, from: usize, to: usize) -> bool {
        self.cut.is_empty() || !self.cut.contains_key(&(from, to))
    }

    /// Does what `from` sends now reach `to`, over a connection of theirs?
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        self.side(from, to).link != 0 && self.carries(from, to)
    }

    /// Was this side's machine told that it is connected?
    pub(super) fn told(&self, node: usize, peer: usize) -> bool {
        self.side(node, peer).told
    }

    /// Begins or ends one more reason why nothing passes from `from` to `to`.
    pub(super) fn cut(&mut self, from: usize, to: usize, begins: bool) {
        let reasons = self.cut.entry((from, to)).or_default();
        *reasons = if begins { *reasons + 1 } else { reasons.saturating_sub(1) };
        if *reasons == 0 {
            self.cut.remove(&(from, to));
        }
    }

    /// Ends every cut.
    pub(super) fn mend(&mut self) {
        self.cut.clear();
    }

    /// The members that `node` has a connection to.
    pub(super) fn peers(&self, node: usize) -> BTreeSet<usize> {
        (0..self.nodes).filter(|&peer| self.link(node, peer) != 0).collect()
    }
}

impl World {
    /// One way, with this message's share of jitter.
    pub(super) fn latency(&mut self, from: usize, to: usize) -> Duration {
        let options = &self.run.options;
        let near = self.links.sites[from] == self.links.sites[to];
        let base_us = if near { options.lan_latency_us } else { options.wan_latency_us };
        let jitter_us = self.link_rng.below(base_us * options.jitter_percent / 100 + 1);
        Duration((base_us + jitter_us) * 1000).times(self.slow_links.times(from, to))
    }

    /// Both ends run, are awake, and both directions carry.
    pub(super) fn reachable(&self, a: usize, b: usize) -> bool {
        let passes = self.links.carries(a, b) && self.links.carries(b, a);
        passes && self.nodes[a].is_up() && self.nodes[b].is_up()
    }

    pub(super) fn dial_all(&mut self, node: usize, life: u64) {
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            self.dial(node, peer, life);
        }
    }

    pub(super) fn dial(&mut self, node: usize, peer: usize, life: u64) {
        if self.nodes[node].life() != Some(life) {
            return;
        }
        let side = self.links.side_mut(node, peer);
        side.dialling = !side.told;
        if side.told {
            return; // the other side was faster
        }
        let round_trip = self.latency(node, peer).times(2);
        if self.reachable(node, peer) {
            let lives = [self.nodes[node].lives, self.nodes[peer].lives];
            return self.after(round_trip, Event::LinkOpens { a: node, b: peer, lives });
        }
        let silent = !self.links.carries(node, peer) || !self.links.carries(peer, node);
        let there = &self.nodes[peer];
        let (wait, refused) = if silent || there.strain.dark || there.asleep_until.is_some() {
            (limits::HANDSHAKE, false)
        } else {
            (round_trip, true)
        };
        self.after(wait, Event::DialFailed { node, peer, life, refused });
    }

    pub(super) fn dial_failed(&mut self, node: usize, peer: usize, life: u64, refused: bool) {
        if self.nodes[node].life() != Some(life) {
            return;
        }
        let side = self.links.side_mut(node, peer);
        side.dialling = !side.told;
        if side.told {
            return;
        }
        let pause = limits::REDIAL_FIRST.times(1 << side.failures.min(10)).min(limits::REDIAL_LONGEST);
        side.failures = side.failures.saturating_add(1);
        self.after(pause, Event::Dial { node, peer, life });
        let peer = self.nodes[peer].id;
        self.tell(node, Input::DialFailed { node: peer, refused });
    }

    pub(super) fn link_opens(&mut self, a: usize, b: usize, lives: [u64; 2]) {
        if self.nodes[a].lives != lives[0] {
            return;
        }
        let holds = self.nodes[b].lives == lives[1] && self.reachable(a, b);
        self.links.side_mut(a, b).dialling = !holds;
        if !holds {
            let life = lives[0];
            return self.after(limits::HANDSHAKE, Event::DialFailed { node: a, peer: b, life, refused: false });
        }
        if self.links.told(a, b) && self.links.told(b, a) && self.links.link(a, b) != 0 {
            return;
        }
        self.links.open(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            let known = std::mem::replace(&mut self.links.side_mut(node, peer).told, true);
            if known {
                // Whoever had not noticed yet that the last connection died only loses what was on it.
                self.fail_calls_to(node, peer);
                self.forget_callers(node, peer);
            } else {
                let peer = self.nodes[peer].id;
                self.tell(node, Input::Connected(peer));
            }
        }
    }

    /// How long silence lasts before it is noticed: until the next ping, and then for its pong.
    pub(super) fn silence(&mut self) -> Duration {
        Duration(limits::PONG_WAIT.0 + self.link_rng.below(limits::PING_PERIOD.0))
    }

    /// Something between `a` and `b` stopped to carry: if it lasts, their connection is given up.
    pub(super) fn falls_silent(&mut self, a: usize, b: usize) {
        let link = self.links.link(a, b);
        if link == 0 {
            return;
        }
        let wait = self.silence();
        self.after(wait, Event::LinkSilent { a, b, link });
    }

    pub(super) fn link_silent(&mut self, a: usize, b: usize, link: u64) {
        if self.links.link(a, b) == link && !self.reachable(a, b) {
            self.break_link(a, b, Duration(0));
        }
    }

    /// A connection is gone; whoever lives notices after `notice`.
    pub(super) fn break_link(&mut self, a: usize, b: usize, notice: Duration) {
        self.links.close(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            if let Some(life) = self.nodes[node].life().filter(|_| self.links.told(node, peer)) {
                self.after(notice, Event::LinkLost { node, peer, life });
            }
        }
    }

    pub(super) fn link_lost(&mut self, node: usize, peer: usize, life: u64) {
        if self.nodes[node].life() != Some(life) || !self.links.told(node, peer) || self.links.link(node, peer) != 0 {
            return;
        }
        let side = self.links.side_mut(node, peer);
        (side.told, side.failures) = (false, 0);
        let id = self.nodes[peer].id;
        self.tell(node, Input::Disconnected(id));
        self.fail_calls_to(node, peer);
        self.forget_callers(node, peer);
        if !std::mem::replace(&mut self.links.side_mut(node, peer).dialling, true) {
            self.after(Duration(0), Event::Dial { node, peer, life });
        }
    }

    /// A process is gone: nothing of its side remains.
    pub(super) fn forget_links_of(&mut self, node: usize) {
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let side = self.links.side_mut(node, peer);
            *side = Side { link: side.link, ..Side::default() };
        }
    }
}
