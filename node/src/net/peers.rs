//! The book of members: where each can be dialled, which connections it has, when it is dialled next. Pure bookkeeping with
//! the time handed in; the network task acts on what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;

use crate::core::limits;
use crate::core::types::NodeId;
use crate::net::dial::Absence;
use crate::net::record::Record;
use crate::net::std_duration;
use crate::net::wan::is_circuit;

/// All members spoken of so far.
#[derive(Default)]
pub(super) struct Book {
    pub(super) peers: BTreeMap<NodeId, Peer>,
}

#[derive(Default)]
pub(super) struct Peer {
    /// Newest first.
    addresses: Vec<Multiaddr>,
    /// Heard on the local network, newest first. Apart: what a stranger repeats must not push the others out.
    found: Vec<Multiaddr>,
    pub(super) record: Record,
    pub(super) links: BTreeMap<ConnectionId, Link>,
    pub(super) round: Option<Round>,
    /// Rounds that failed since a connection last lived.
    failures: u32,
    retry_at: Option<Instant>,
    /// When a direct way is tried again, while there is only a relayed one.
    direct_at: Option<Instant>,
}

#[derive(Clone, Copy)]
pub(super) struct Link {
    since: Instant,
    heard: Instant,
    /// It leads through another member.
    pub(super) relayed: bool,
    /// The network changed under it, and nothing was heard since.
    doubted: Option<Instant>,
}

/// One attempt at all addresses at once, each in a dial of its own: libp2p gives a whole dial up when the first address
/// that answers turns out to be another peer, and 127.0.0.1 in a neighbour's list is always another peer.
pub(super) struct Round {
    pub(super) pending: BTreeMap<ConnectionId, Multiaddr>,
    won: bool,
    /// Some address said that the peer is not there.
    absent: bool,
    /// At some address it may still be.
    possible: bool,
}

/// What a new connection means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// The peer was not connected.
    First,
    /// One more.
    Another,
    /// Another address of the same round was faster: close it.
    Surplus,
}

/// All addresses of a round failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RoundFailed {
    /// Every address that can be reached from here said that the peer is not there.
    pub(super) refused: bool,
}

impl Book {
    /// Takes addresses, the newest first. True when something new makes a dial worth while.
    pub(super) fn know(&mut self, node: NodeId, addresses: Vec<Multiaddr>, now: Instant) -> bool {
        let peer = self.peers.entry(node).or_default();
        let news = addresses.iter().any(|address| !peer.addresses.contains(address));
        let mut merged = Vec::new();
        for address in addresses.into_iter().chain(std::mem::take(&mut peer.addresses)) {
            if merged.len() < limits::ADDRESSES_MAX && !merged.contains(&address) {
                merged.push(address);
            }
        }
        peer.addresses = merged;
        if news {
            peer.retry_at = Some(now);
        }
        news
    }

    /// Heard on the local network; true if that is news, and worth a dial.
    pub(super) fn found(&mut self, node: NodeId, address: Multiaddr, now: Instant) -> bool {
        let peer = self.peers.entry(node).or_default();
        let news = !peer.addresses.contains(&address) && !peer.found.contains(&address);
        peer.found.retain(|known| *known != address);
        peer.found.insert(0, address);
        peer.found.truncate(limits::FOUND_MAX);
        if news {
            peer.retry_at = Some(now);
        }
        news
    }

    /// Dials as soon as possible, whatever the backoff says.
    pub(super) fn hurry(&mut self, node: NodeId, now: Instant) {
        self.peers.entry(node).or_default().retry_at = Some(now);
    }

    /// Forgets every peer that `keep` does not name, and tells the connections they had.
    pub(super) fn retain(&mut self, keep: &BTreeSet<NodeId>) -> Vec<(NodeId, Vec<ConnectionId>)> {
        let gone: Vec<NodeId> = self.peers.keys().filter(|&node| !keep.contains(node)).copied().collect();
        gone.into_iter().map(|node| (node, self.forget(&node))).collect()
    }

    /// Forgets a peer and its addresses, and tells the connections it had.
    pub(super) fn forget(&mut self, node: &NodeId) -> Vec<ConnectionId> {
        self.peers.remove(node).map(|peer| peer.links.into_keys().collect()).unwrap_or_default()
    }

    /// Who has a connection.
    pub(super) fn connected(&self) -> Vec<NodeId> {
        self.peers.iter().filter(|(_, peer)| !peer.links.is_empty()).map(|(&node, _)| node).collect()
    }

    /// Forgets a peer's connections and tells them; its addresses stay known.
    pub(super) fn part(&mut self, node: &NodeId, now: Instant) -> Vec<ConnectionId> {
        let Some(peer) = self.peers.get_mut(node) else { return Vec::new() };
        peer.retry_at.get_or_insert(now);
        std::mem::take(&mut peer.links).into_keys().collect()
    }

    /// Who should be dialled now.
    pub(super) fn due(&self, now: Instant) -> Vec<NodeId> {
        let due = |peer: &Peer| {
            let known = !peer.addresses.is_empty() || !peer.found.is_empty();
            let idle = peer.links.is_empty() && peer.round.is_none() && known;
            idle && peer.retry_at.is_some_and(|at| at <= now)
        };
        self.peers.iter().filter(|(_, peer)| due(peer)).map(|(&node, _)| node).collect()
    }

    /// Where to dial `node`.
    pub(super) fn addresses(&self, node: &NodeId) -> Vec<Multiaddr> {
        let Some(peer) = self.peers.get(node) else { return Vec::new() };
        let found = peer.found.iter().filter(|address| !peer.addresses.contains(address));
        let all: Vec<Multiaddr> = found.chain(&peer.addresses).cloned().collect();
        let direct: Vec<Multiaddr> = all.iter().filter(|address| !is_circuit(address)).cloned().collect();
        // Through a relay only when there is no other way.
        let directly = !direct.is_empty() && (peer.failures == 0 || !peer.links.is_empty());
        if directly { direct } else { all }
    }

    /// Whom to try directly now, because only a relay leads there.
    pub(super) fn due_direct(&mut self, now: Instant) -> Vec<NodeId> {
        let mut due = Vec::new();
        for (&node, peer) in &mut self.peers {
            let relayed = !peer.links.is_empty() && peer.links.values().all(|link| link.relayed);
            let direct = peer.addresses.iter().chain(&peer.found).any(|address| !is_circuit(address));
            if relayed && direct && peer.round.is_none() && peer.direct_at.is_none_or(|at| at <= now) {
                peer.direct_at = Some(now + std_duration(limits::DIRECT_RETRY));
                due.push(node);
            }
        }
        due
    }

    /// Where `node` was reached last.
    pub(super) fn last_good(&self, node: &NodeId) -> Option<Multiaddr> {
        self.peers.get(node)?.record.last_good().cloned()
    }

    /// Dials of these ids have begun.
    pub(super) fn round_began(&mut self, node: NodeId, dials: BTreeMap<ConnectionId, Multiaddr>) {
        let peer = self.peers.entry(node).or_default();
        peer.retry_at = None;
        peer.round = Some(Round { pending: dials, won: false, absent: false, possible: false });
    }

    /// One dial failed. Tells when it was the last of its round and none succeeded.
    pub(super) fn dial_failed(
        &mut self,
        node: &NodeId,
        dial: ConnectionId,
        absence: Absence,
        now: Instant,
    ) -> Option<RoundFailed> {
        let peer = self.peers.get_mut(node)?;
        let round = peer.round.as_mut()?;
        round.pending.remove(&dial)?;
        round.absent |= absence == Absence::Known;
        round.possible |= absence == Absence::Possible;
        if !round.pending.is_empty() {
            return None;
        }
        let (won, refused) = (round.won, round.absent && !round.possible);
        peer.round = None;
        if won || !peer.links.is_empty() {
            return None;
        }
        peer.back_off(now);
        Some(RoundFailed { refused })
    }

    /// A connection was made, in either direction.
    pub(super) fn arrived(&mut self, node: NodeId, connection: ConnectionId, now: Instant) -> Arrival {
        let peer = self.peers.entry(node).or_default();
        if let Some(round) = peer.round.as_mut()
            && let Some(address) = round.pending.remove(&connection)
        {
            peer.record.reached(address);
            let surplus = std::mem::replace(&mut round.won, true);
            if round.pending.is_empty() {
                peer.round = None;
            }
            if surplus {
                return Arrival::Surplus;
            }
        }
        let first = peer.links.is_empty();
        peer.links.insert(connection, Link { since: now, heard: now, relayed: false, doubted: None });
        if first { Arrival::First } else { Arrival::Another }
    }

    /// A connection ended. True when it was the peer's last; the next dial is planned then.
    pub(super) fn ended(&mut self, node: &NodeId, connection: ConnectionId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(node) else { return false };
        let Some(link) = peer.links.remove(&connection) else { return false };
        if !peer.links.is_empty() {
            return false;
        }
        if now.saturating_duration_since(link.since) >= std_duration(limits::CONNECTION_LIVED) {
            peer.failures = 0;
            peer.retry_at = Some(now);
        } else {
            peer.back_off(now);
        }
        true
    }

    /// A pong came.
    pub(super) fn heard(&mut self, node: &NodeId, connection: ConnectionId, now: Instant) {
        if let Some(link) = self.peers.get_mut(node).and_then(|peer| peer.links.get_mut(&connection)) {
            (link.heard, link.doubted) = (now, None);
        }
    }

    /// Connections on which no pong came for a ping period and the wait for a pong.
    ///
    /// libp2p's ping reports only the second failure in a row, half a minute after the peer fell silent.
    pub(super) fn silent(&self, now: Instant) -> Vec<(NodeId, ConnectionId)> {
        let patience = std_duration(limits::PING_PERIOD) + std_duration(limits::PONG_WAIT);
        // Long enough for a ping that went the new way; the one under way may have gone the old one.
        let doubt = std_duration(limits::PING_PERIOD) + std_duration(limits::DOUBT);
        let silent = |link: &Link| {
            let doubted = link.doubted.is_some_and(|since| now.saturating_duration_since(since) > doubt);
            doubted || now.saturating_duration_since(link.heard) > patience
        };
        let links =
            self.peers.iter().flat_map(|(&node, peer)| peer.links.iter().map(move |(&id, link)| (node, id, link)));
        links.filter(|(_, _, link)| silent(link)).map(|(node, id, _)| (node, id)).collect()
    }

    /// The network changed: a connection must show soon that it lives.
    pub(super) fn doubt(&mut self, now: Instant) {
        for link in self.peers.values_mut().flat_map(|peer| peer.links.values_mut()) {
            link.doubted.get_or_insert(now);
        }
    }

    /// Who is not connected is dialled now, whatever failed before; dials under way are waited for no longer.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.failures = 0;
            peer.retry_at = Some(now);
            peer.round = None;
        }
    }

    /// Connections made before `instant`.
    pub(super) fn older_than(&self, instant: Instant) -> Vec<(NodeId, ConnectionId)> {
        let links =
            self.peers.iter().flat_map(|(&node, peer)| peer.links.iter().map(move |(&id, link)| (node, id, link)));
        links.filter(|(_, _, link)| link.since <= instant).map(|(node, id, _)| (node, id)).collect()
    }

    /// We ourselves stood still for `pause`: nobody could be heard meanwhile.
    pub(super) fn excuse(&mut self, pause: Duration) {
        for link in self.peers.values_mut().flat_map(|peer| peer.links.values_mut()) {
            link.heard += pause;
            link.doubted = link.doubted.map(|since| since + pause);
        }
    }

    /// The connection to `node` that was heard from last, a direct one if there is one.
    pub(super) fn best_link(&self, node: &NodeId) -> Option<ConnectionId> {
        let links = &self.peers.get(node)?.links;
        links.iter().max_by_key(|(id, link)| (!link.relayed, link.heard, **id)).map(|(&id, _)| id)
    }
}

impl Peer {
    fn back_off(&mut self, now: Instant) {
        let doubled = std_duration(limits::REDIAL_FIRST) * (1 << self.failures.min(10));
        self.retry_at = Some(now + doubled.min(std_duration(limits::REDIAL_LONGEST)));
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
