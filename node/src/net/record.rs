//! What trying to reach one member has brought, for `fednode doctor`.

use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::ConnectionId;

use crate::core::checkup::{DialReport, MemberReach};
use crate::core::limits;
use crate::core::types::NodeId;
use crate::net::dial::Absence;
use crate::net::peers::Book;

/// See the top of this file.
#[derive(Default)]
pub(super) struct Record {
    last_good: Option<Multiaddr>,
    came_in: bool,
    errors: Vec<DialReport>,
}

impl Record {
    /// A dial succeeded.
    pub(super) fn reached(&mut self, address: Multiaddr) {
        let text = address.to_string();
        self.errors.retain(|known| known.address != text);
        self.last_good = Some(address);
    }

    pub(super) fn last_good(&self) -> Option<&Multiaddr> {
        self.last_good.as_ref()
    }

    fn failed(&mut self, report: DialReport) {
        self.errors.retain(|known| known.address != report.address);
        self.errors.insert(0, report);
        self.errors.truncate(limits::ADDRESSES_MAX);
    }
}

impl Book {
    /// Call before [`Book::dial_failed`], which forgets which address it was.
    pub(super) fn note_error(&mut self, node: &NodeId, dial: ConnectionId, why: String, absence: Absence) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let Some(address) = peer.round.as_ref().and_then(|round| round.pending.get(&dial)) else { return };
        let silent = absence == Absence::Possible;
        peer.record.failed(DialReport { address: address.to_string(), why, silent });
    }

    /// Which way a connection came: one from another machine shows that nothing keeps them out.
    pub(super) fn note_way(&mut self, node: &NodeId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let loopback = match endpoint.get_remote_address().iter().next() {
            Some(Part::Ip4(ip)) => ip.is_loopback(),
            Some(Part::Ip6(ip)) => ip.is_loopback(),
            _ => true,
        };
        let relayed = endpoint.is_relayed();
        let Some(peer) = self.peers.get_mut(node) else { return };
        peer.record.came_in |= endpoint.is_listener() && !loopback && !relayed;
        if let Some(link) = peer.links.get_mut(&connection) {
            link.relayed = relayed;
        }
    }

    /// How reaching `node` goes.
    pub(super) fn reach(&self, node: &NodeId) -> MemberReach {
        let reach = MemberReach { node: node.to_string(), ..MemberReach::default() };
        let Some(peer) = self.peers.get(node) else { return reach };
        MemberReach {
            connected: !peer.links.is_empty(),
            came_in: peer.record.came_in,
            last_good: peer.record.last_good.as_ref().map(Multiaddr::to_string),
            addresses: self.addresses(node).iter().map(Multiaddr::to_string).collect(),
            errors: peer.record.errors.clone(),
            ..reach
        }
    }
}
