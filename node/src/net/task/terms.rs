//! Who is admitted, and until when: connections of all others end, also while nothing else happens.

use std::time::Instant;

use libp2p::swarm::ConnectionId;

use crate::core::types::NodeId;
use crate::net::NetEvent;
use crate::net::admission::Members;
use crate::net::task::Task;

impl Task {
    pub(super) fn set_members(&mut self, members: Members) {
        let nodes = members.nodes();
        self.admission.set_members(members);
        for (node, connections) in self.book.retain(&nodes) {
            self.dismiss(node, connections);
        }
    }

    /// Closes what a peer had and says so at once; libp2p may take long to close towards one that is not there.
    pub(super) fn dismiss(&mut self, node: NodeId, connections: Vec<ConnectionId>) {
        if connections.is_empty() {
            return;
        }
        for connection in connections {
            self.swarm.close_connection(connection);
        }
        self.outbox.push(NetEvent::Disconnected { node });
    }

    /// A term may end while nothing else happens.
    pub(super) fn end_terms(&mut self, now: Instant) {
        for node in self.book.connected() {
            if !self.admission.is_member(&node) {
                tracing::info!(%node, "connections closed: the member's certificate has expired");
                let connections = self.book.part(&node, now);
                self.dismiss(node, connections);
            }
        }
    }
}
