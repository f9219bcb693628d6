//! The libp2p behaviour that opens and accepts streams, and the gate in front of every connection. A peer is offered the
//! protocols its standing allows at that moment, so a stranger negotiates nothing and a revoked member nothing more.
//!
//! Why not `libp2p-stream`: it hands accepted streams on through a channel of one place and drops what comes while that is
//! taken, opens one stream at a time per connection, and offers the same protocols to everyone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{InboundUpgrade, Multiaddr, OutboundUpgrade, PeerId, Stream, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

use crate::core::limits;
use crate::core::types::NodeId;
use crate::net::Protocol;
use crate::net::accepted::{Accepted, Places};
use crate::net::admission::{Admission, Denied, Standing};
use crate::wire::ids;

/// Why a stream was not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OpenError {
    /// The peer does not serve this protocol to us.
    NotServed,
    /// It did not answer in time.
    TimedOut,
    /// The connection broke.
    Broken,
    /// Too many are being opened already.
    Busy,
}

/// A wish for a stream, and whom to tell. If the connection ends first, `reply` is dropped.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) protocol: Protocol,
    pub(super) reply: oneshot::Sender<Result<Stream, OpenError>>,
}

/// Where accepted streams go.
#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) rpc: mpsc::Sender<(NodeId, Accepted)>,
    pub(super) weights: mpsc::Sender<(NodeId, Accepted)>,
    pub(super) join: mpsc::Sender<(NodeId, Accepted)>,
}

impl Inbox {
    fn of(&self, protocol: Protocol) -> &mpsc::Sender<(NodeId, Accepted)> {
        match protocol {
            Protocol::Rpc => &self.rpc,
            Protocol::Weights => &self.weights,
            Protocol::Join => &self.join,
        }
    }
}

/// See the top of this file.
pub(super) struct Behaviour {
    admission: Arc<Admission>,
    /// `None`: opens streams and accepts none.
    inbox: Option<Inbox>,
    places: Places,
    wishes: VecDeque<(PeerId, ConnectionId, Open)>,
}

impl Behaviour {
    pub(super) fn new(admission: Arc<Admission>, inbox: Option<Inbox>) -> Behaviour {
        Behaviour { admission, inbox, places: Places::new(), wishes: VecDeque::new() }
    }

    /// Opens a stream on one connection. The caller polls the swarm next, so nobody needs waking; the queue is emptied
    /// by that poll, and is bounded by the commands that one poll can follow.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId, wish: Open) {
        self.wishes.push_back((peer, connection, wish));
    }

    /// Has this peer proved who it is when we dialled it, whatever came of it?
    pub(super) fn has_answered(&self, peer: &PeerId) -> bool {
        ids::node_id(peer).is_some_and(|node| self.admission.take_answered(&node))
    }

    fn handler(&self, peer: PeerId) -> Result<Handler, ConnectionDenied> {
        if self.admission.standing(&peer) == Standing::Stranger {
            return Err(ConnectionDenied::new(Denied::Stranger));
        }
        // An Ed25519 key is what makes a standing other than Stranger.
        let node = ids::node_id(&peer).ok_or_else(|| ConnectionDenied::new(Denied::Stranger))?;
        let (admission, inbox, places) = (Arc::clone(&self.admission), self.inbox.clone(), self.places.clone());
        Ok(Handler { peer, node, admission, inbox, places, wishes: VecDeque::new(), opening: 0 })
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.wishes.pop_front() {
            Some((peer_id, connection, event)) => {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event })
            }
            None => Poll::Pending,
        }
    }
}

/// One connection's part.
pub(super) struct Handler {
    peer: PeerId,
    node: NodeId,
    admission: Arc<Admission>,
    inbox: Option<Inbox>,
    places: Places,
    wishes: VecDeque<Open>,
    opening: usize,
}

impl Handler {
    fn accepted(&self, stream: Stream, protocol: Protocol) {
        // Asked again: the roster may have changed while the protocol was negotiated.
        if !self.admission.serves(&self.peer, protocol) {
            return;
        }
        let Some(inbox) = &self.inbox else { return };
        let Some(place) = self.places.take(self.node, protocol) else {
            tracing::debug!(node = %self.node, ?protocol, "stream reset: the peer has as many as it may");
            return;
        };
        if inbox.of(protocol).try_send((self.node, Accepted::new(stream, place))).is_err() {
            tracing::debug!(node = %self.node, ?protocol, "stream reset: too many wait to be served");
        }
    }

    fn opened(&mut self, wish: Open, result: Result<Stream, OpenError>) {
        self.opening = self.opening.saturating_sub(1);
        // Whoever asked may have given up.
        let _ = wish.reply.send(result);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Open;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        let serves = |protocol: &Protocol| self.inbox.is_some() && self.admission.serves(&self.peer, *protocol);
        SubstreamProtocol::new(Offer(Protocol::ALL.into_iter().filter(serves).collect()), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, Open, Infallible>> {
        match self.wishes.pop_front() {
            Some(wish) => {
                let protocol = SubstreamProtocol::new(Offer(vec![wish.protocol]), wish);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, wish: Open) {
        if self.opening >= limits::STREAMS_OPENING_MAX {
            let _ = wish.reply.send(Err(OpenError::Busy));
            return;
        }
        self.opening += 1;
        self.wishes.push_back(wish);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Open>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                self.accepted(stream, protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, _), info }) => {
                self.opened(info, Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::NegotiationFailed => OpenError::NotServed,
                    StreamUpgradeError::Io(_) => OpenError::Broken,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                self.opened(info, Err(error));
            }
            _ => {}
        }
    }
}

/// Protocols offered in a negotiation; the stream itself needs no further handshake.
pub(super) struct Offer(Vec<Protocol>);

/// A protocol with its name, as multistream wants it.
#[derive(Clone)]
pub(super) struct Named(Protocol, StreamProtocol);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for Offer {
    type Info = Named;
    type InfoIter = std::vec::IntoIter<Named>;

    fn protocol_info(&self) -> Self::InfoIter {
        let named = |&protocol: &Protocol| Named(protocol, StreamProtocol::new(protocol.name()));
        self.0.iter().map(named).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, agreed: Named) -> Self::Future {
        ready(Ok((stream, agreed.0)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, agreed: Named) -> Self::Future {
        ready(Ok((stream, agreed.0)))
    }
}
