//! The part of the network task that keeps members reached: what is dialled when, what a changed network or a pause of this
//! machine means for connections, and the record of it for `fednode doctor`.

use std::collections::BTreeSet;
use std::time::Instant;

use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};

use crate::core::checkup::MemberReach;
use crate::core::limits;
use crate::core::types::NodeId;
use crate::net::dial::{absence, dial_of, reason};
use crate::net::discovery::Wish;
use crate::net::task::Task;
use crate::net::wake::Pause;
use crate::net::{NetEvent, std_duration};
use crate::wire;

impl Task {
    /// Members' addresses as they or the user told them.
    pub(super) fn know(&mut self, node: NodeId, addresses: &[String], hurry: bool) {
        if !self.is_other_member(&node) {
            return;
        }
        let mut good = Vec::new();
        for text in addresses.iter().take(limits::ADDRESSES_MAX) {
            match self.dialable_here(text) {
                Some(address) => good.push(address),
                None => tracing::debug!(%node, address = %text, "address ignored: not one that can be dialled"),
            }
        }
        let now = Instant::now();
        self.book.know(node, good, now);
        if hurry {
            self.book.hurry(node, now);
        }
        self.dial_due(now);
    }

    pub(super) fn is_other_member(&self, node: &NodeId) -> bool {
        Some(*node) != wire::ids::node_id(self.swarm.local_peer_id()) && self.admission.is_member(node)
    }

    /// A member announced itself on the local network.
    pub(super) fn found(&mut self, node: NodeId, address: Multiaddr) {
        if !self.is_other_member(&node) {
            return;
        }
        let now = Instant::now();
        if self.book.found(node, address.clone(), now) {
            tracing::info!(%node, %address, "member found on the local network");
        }
        self.dial_due(now);
    }

    /// This machine's addresses changed: connections may be dead without a word, and dials under way lead nowhere.
    pub(super) fn network_changed(&mut self) {
        let now = Instant::now();
        self.book.doubt(now);
        self.begin_anew(now);
    }

    /// This process stood still. After a short while others still wait for its pongs; after a long one they gave it up, and
    /// what is left of its connections only looks alive.
    pub(super) fn stood_still(&mut self, pause: Pause, now: Instant) {
        tracing::info!(seconds = pause.length.as_secs(), "this node stood still; members are dialled again");
        self.book.excuse(pause.awake);
        if pause.length > std_duration(limits::PING_PERIOD) + std_duration(limits::PONG_WAIT) {
            for (node, connection) in self.book.older_than(pause.since) {
                self.give_up(node, connection, now);
            }
        }
        self.begin_anew(now);
    }

    fn begin_anew(&mut self, now: Instant) {
        self.book.begin_anew(now);
        self.statics.begin_anew(now);
        self.wish.send_modify(|wish| wish.turn += 1);
        self.dial_due(now);
    }

    /// Closes a connection that is of no use, and counts it as ended at once: closing towards a peer that reads nothing may
    /// never end.
    pub(super) fn give_up(&mut self, node: NodeId, connection: ConnectionId, now: Instant) {
        self.swarm.close_connection(connection);
        if self.book.ended(&node, connection, now) {
            self.outbox.push(NetEvent::Disconnected { node });
        }
    }

    pub(super) fn dial_due(&mut self, now: Instant) {
        // One whose term ended is dialled again when it is renewed.
        for node in self.book.due(now).into_iter().filter(|node| self.admission.is_member(node)).collect::<Vec<_>>() {
            self.dial(node, now);
        }
    }

    pub(super) fn dial(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = wire::ids::peer_id(&node) else { return };
        let addresses = self.book.addresses(&node);
        let dials: Vec<(DialOpts, Multiaddr)> =
            addresses.into_iter().map(|address| (dial_of(peer, address.clone()), address)).collect();
        let pending = dials.iter().map(|(dial, address)| (dial.connection_id(), address.clone())).collect();
        self.book.round_began(node, pending);
        for (dial, _) in dials {
            let id = dial.connection_id();
            if let Err(error) = self.swarm.dial(dial) {
                self.on_dial_error(node, id, &error, now);
            }
        }
    }

    /// Dials what the user gave and nobody is known to live at.
    pub(super) fn dial_statics(&mut self, now: Instant) {
        for address in self.statics.due(now) {
            let dial = DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build();
            let id = dial.connection_id();
            self.statics.began(&address, id);
            if let Err(error) = self.swarm.dial(dial) {
                self.statics.failed(id, &error, now);
            }
        }
    }

    pub(super) fn on_outgoing_error(
        &mut self,
        peer: Option<PeerId>,
        id: ConnectionId,
        error: &DialError,
        now: Instant,
    ) {
        if self.statics.failed(id, error, now) {
            tracing::debug!(%error, "a given address could not be reached");
        } else if let Some(node) = peer.as_ref().and_then(wire::ids::node_id) {
            self.on_dial_error(node, id, error, now);
        }
    }

    fn on_dial_error(&mut self, node: NodeId, dial: ConnectionId, error: &DialError, now: Instant) {
        tracing::debug!(%node, %error, "dial failed");
        let absence = absence(error);
        self.book.note_error(&node, dial, reason(error), absence);
        if let Some(failed) = self.book.dial_failed(&node, dial, absence, now) {
            if self.admission.take_answered(&node) {
                self.outbox.push(NetEvent::TurnedAway { node });
            }
            self.outbox.push(NetEvent::DialFailed { node, refused: failed.refused });
        }
    }

    /// Tells discovery whether anybody is missing.
    pub(super) fn tell_wish(&mut self) {
        let others = self.admission.members();
        let missing = others.iter().any(|node| self.is_other_member(node) && self.book.best_link(node).is_none());
        self.wish.send_if_modified(|wish| {
            let before = std::mem::replace(wish, Wish { missing, ..*wish });
            *wish != before
        });
    }

    /// For `fednode doctor`.
    pub(super) fn reach(&self) -> Vec<MemberReach> {
        let members: BTreeSet<NodeId> = self.admission.members();
        let members = members.iter().filter(|node| self.is_other_member(node)).map(|node| self.book.reach(node));
        members.chain(self.statics.reach()).collect()
    }
}
