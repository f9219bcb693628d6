//! Wraps a behaviour so that it exists for members only. A guest's connection gets an empty handler and the inner behaviour
//! never hears of it: without this, gossipsub would greet a stranger with our topic and send it every advertisement.
//!
//! A connection keeps the standing it began with. Who joined as a guest comes back as a member over a new connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::derive_prelude::Either;
use libp2p::swarm::{
    CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::core::guard::{Crowd, Source};
use crate::core::limits;
use crate::net::admission::{Admission, Denied, Standing};
use crate::net::door;
use crate::wire::ids;

/// See the top of this file.
pub(super) struct MembersOnly<B> {
    pub(super) inner: B,
    admission: Arc<Admission>,
    guests: HashMap<ConnectionId, (PeerId, Source)>,
    /// The guests that may stay.
    crowd: Crowd<Source, ConnectionId>,
    /// Guests whose place another one took.
    leaving: VecDeque<ConnectionId>,
    members: HashMap<PeerId, Vec<ConnectionId>>,
}

impl<B: NetworkBehaviour> MembersOnly<B> {
    pub(super) fn new(inner: B, admission: Arc<Admission>) -> MembersOnly<B> {
        MembersOnly {
            inner,
            admission,
            guests: HashMap::new(),
            crowd: Crowd::new(limits::GUESTS_MAX, limits::GUESTS_PER_SOURCE_MAX),
            leaving: VecDeque::new(),
            members: HashMap::new(),
        }
    }

    /// Did this connection begin as a stranger's?
    pub(super) fn is_guest(&self, connection: ConnectionId) -> bool {
        self.guests.contains_key(&connection)
    }

    /// The inner behaviour counts connections of a peer; guests must not be among them.
    fn established(&mut self, event: ConnectionEstablished<'_>) {
        if self.is_guest(event.connection_id) {
            return;
        }
        let connections = self.members.entry(event.peer_id).or_default();
        let other_established = connections.len();
        connections.push(event.connection_id);
        let event = ConnectionEstablished { other_established, ..event };
        self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(event));
    }

    fn closed(&mut self, event: ConnectionClosed<'_>) {
        if let Some((_, source)) = self.guests.remove(&event.connection_id) {
            self.crowd.leave(source, event.connection_id);
            return;
        }
        let remaining_established = match self.members.get_mut(&event.peer_id) {
            Some(connections) => {
                connections.retain(|&connection| connection != event.connection_id);
                connections.len()
            }
            None => 0,
        };
        if remaining_established == 0 {
            self.members.remove(&event.peer_id);
        }
        let event = ConnectionClosed { remaining_established, ..event };
        self.inner.on_swarm_event(FromSwarm::ConnectionClosed(event));
    }

    fn learn<'a>(&self, peer: &PeerId, addresses: impl IntoIterator<Item = &'a Multiaddr>) {
        if let Some(node) = ids::node_id(peer).filter(|node| self.admission.is_member(node)) {
            self.admission.door().learn(node, addresses);
        }
    }

    /// "Any connection of this peer" must not be a guest's, whose handler understands nothing.
    fn aim(&self, peer: &PeerId, handler: NotifyHandler) -> Option<NotifyHandler> {
        match handler {
            NotifyHandler::One(connection) => Some(NotifyHandler::One(connection)),
            NotifyHandler::Any => self.members.get(peer)?.first().map(|&connection| NotifyHandler::One(connection)),
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for MembersOnly<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.admission.standing(&peer) == Standing::Member {
            self.learn(&peer, [remote]);
            return self.inner.handle_established_inbound_connection(connection, peer, local, remote).map(Either::Left);
        }
        let source = door::source(remote).ok_or_else(|| ConnectionDenied::new(Denied::Stranger))?;
        self.leaving.extend(self.crowd.enter(source, connection));
        self.guests.insert(connection, (peer, source));
        Ok(Either::Right(dummy::ConnectionHandler))
    }

    /// Where a member is dialled it may also call from.
    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if let Some(peer) = peer {
            self.learn(&peer, addresses);
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Only members are dialled; one revoked meanwhile is a stranger, invitation or not.
        if self.admission.standing(&peer) != Standing::Member {
            return Err(ConnectionDenied::new(Denied::Stranger));
        }
        self.learn(&peer, [address]);
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.established(event),
            FromSwarm::ConnectionClosed(event) => self.closed(event),
            FromSwarm::AddressChange(event) if self.is_guest(event.connection_id) => {}
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, id, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Some(connection) = self.leaving.pop_front() {
            if let Some(&(peer_id, _)) = self.guests.get(&connection) {
                let connection = CloseConnection::One(connection);
                return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
            }
        }
        loop {
            match self.inner.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) => {
                    if let Some(handler) = self.aim(&peer_id, handler) {
                        return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event: Either::Left(event) });
                    }
                }
                Poll::Ready(other) => return Poll::Ready(other.map_in(Either::Left)),
            }
        }
    }
}
