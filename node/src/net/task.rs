//! The one task that owns the swarm: it follows commands, turns what libp2p says into events, keeps members connected.

mod terms;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::mpsc;

use crate::core::limits;
use crate::core::membership::advert::Gossip;
use crate::core::types::{FederationId, NodeId};
use crate::net::admission::{Admission, Members};
use crate::net::behaviour::{Behaviour, BehaviourEvent, MemberBehaviourEvent};
use crate::net::dial::{absence, dial_of, dialable};
use crate::net::gossip::{self, Patience, Talk};
use crate::net::listen::{self, Listening};
use crate::net::outbox::Outbox;
use crate::net::peers::{Arrival, Book};
use crate::net::{NetError, NetEvent, std_duration, streams};
use crate::wire;

/// How often the clock is looked at: redials, silent peers, guests that stayed too long.
const TICK: std::time::Duration = std::time::Duration::from_millis(250);
/// A tick this late means that this process stood still (stopped, or a laptop asleep).
const PAUSE: std::time::Duration = std::time::Duration::from_secs(3);

/// What a handle asks for.
pub(super) enum Command {
    Publish(Vec<u8>),
    Know { node: NodeId, addresses: Vec<String>, hurry: bool },
    SetMembers(Members),
    SetInvitationOpen(bool),
    Disconnect(NodeId),
    Open { node: NodeId, wish: streams::Open },
    Stop,
}

/// See the top of this file.
pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    topic: gossipsub::Sha256Topic,
    admission: Arc<Admission>,
    listening: Listening,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<NetEvent>,
    outbox: Outbox,
    book: Book,
    /// Strangers' connections and when they end.
    guests: BTreeMap<ConnectionId, Instant>,
    talk: Talk,
    last_words: VecDeque<Vec<u8>>,
    ticked: Instant,
}

impl Task {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        federation: &FederationId,
        admission: Arc<Admission>,
        listening: Listening,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<NetEvent>,
    ) -> Task {
        Task {
            swarm,
            topic: gossip::topic(federation),
            admission,
            listening,
            commands,
            events,
            outbox: Outbox::default(),
            book: Book::default(),
            guests: BTreeMap::new(),
            talk: Talk::new(),
            last_words: VecDeque::new(),
            ticked: Instant::now(),
        }
    }

    /// Listens on every address; returns when each has reported at least one address of its own.
    pub(super) async fn listen(&mut self, addresses: &[Multiaddr]) -> Result<(), NetError> {
        let mut waiting: Vec<(ListenerId, &Multiaddr)> = Vec::new();
        for address in addresses {
            listen::check_free(address)?;
            let listener = self.swarm.listen_on(address.clone()).map_err(|error| match error {
                TransportError::Other(error) => listen::listen_error(address, &error),
                TransportError::MultiaddrNotSupported(_) => {
                    NetError::Listen { addr: address.to_string(), why: "not a TCP address".to_owned() }
                }
            })?;
            waiting.push((listener, address));
        }
        let deadline = tokio::time::Instant::now() + std_duration(limits::LISTEN_WAIT);
        while let Some(&(_, address)) = waiting.first() {
            let Ok(event) = tokio::time::timeout_at(deadline, self.swarm.select_next_some()).await else {
                let why = "the system reported no address in time".to_owned();
                return Err(NetError::Listen { addr: address.to_string(), why });
            };
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    waiting.retain(|(waiting, _)| waiting != listener_id);
                }
                SwarmEvent::ListenerError { listener_id, error }
                | SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                    if let Some((_, address)) = waiting.iter().find(|(waiting, _)| waiting == listener_id) {
                        return Err(listen::listen_error(address, error));
                    }
                }
                _ => {}
            }
            self.on_swarm_event(event);
        }
        Ok(())
    }

    /// Runs until told to stop, or until nobody holds a handle or listens to events.
    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(event) = self.outbox.pop() {
                            permit.send(event);
                        }
                    }
                    Err(_) => return,
                },
                command = self.commands.recv() => match command {
                    None | Some(Command::Stop) => return,
                    Some(command) => self.on_command(command),
                },
                event = self.swarm.select_next_some(), if self.outbox.has_room() => self.on_swarm_event(event),
                _ = tick.tick() => self.on_tick(Instant::now()),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish(bytes) => self.publish(bytes),
            Command::Know { node, addresses, hurry } => self.know(node, &addresses, hurry),
            Command::SetMembers(members) => self.set_members(members),
            Command::SetInvitationOpen(open) => self.admission.set_invitation_open(open),
            Command::Disconnect(node) => {
                let connections = self.book.forget(&node);
                self.dismiss(node, connections);
            }
            Command::Open { node, wish } => {
                // Without a connection the wish is dropped, which its owner reads as "not connected".
                if let (Some(peer), Some(link)) = (wire::ids::peer_id(&node), self.book.best_link(&node)) {
                    self.swarm.behaviour_mut().streams.open(peer, link, wish);
                }
            }
            Command::Stop => {}
        }
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        if bytes.len() > limits::GOSSIP_BYTES_MAX {
            tracing::error!(bytes = bytes.len(), max = limits::GOSSIP_BYTES_MAX, "gossip message too long, not sent");
            return;
        }
        self.last_words.push_back(bytes.clone());
        while self.last_words.len() > limits::LAST_WORDS_MAX {
            self.last_words.pop_front();
        }
        self.say(bytes);
    }

    fn say(&mut self, bytes: Vec<u8>) {
        // Nobody listening, or a full queue towards a slow peer: the next message says it all again.
        if let Err(error) = self.swarm.behaviour_mut().members.inner.gossip.publish(self.topic.clone(), bytes) {
            tracing::debug!(%error, "gossip not sent");
        }
    }

    fn know(&mut self, node: NodeId, addresses: &[String], hurry: bool) {
        let me = wire::ids::node_id(self.swarm.local_peer_id());
        if Some(node) == me || !self.admission.is_member(&node) {
            return;
        }
        let mut good = Vec::new();
        for text in addresses.iter().take(limits::ADDRESSES_MAX) {
            match dialable(text) {
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

    fn dial_due(&mut self, now: Instant) {
        // One whose term ended is dialled again when it is renewed.
        for node in self.book.due(now).into_iter().filter(|node| self.admission.is_member(node)).collect::<Vec<_>>() {
            self.dial(node, now);
        }
    }

    fn dial(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = wire::ids::peer_id(&node) else { return };
        let dials: Vec<DialOpts> =
            self.book.addresses(&node).into_iter().map(|address| dial_of(peer, address)).collect();
        self.book.round_began(node, dials.iter().map(DialOpts::connection_id).collect());
        for dial in dials {
            let id = dial.connection_id();
            if let Err(error) = self.swarm.dial(dial) {
                self.on_dial_error(node, id, &error, now);
            }
        }
    }

    fn on_dial_error(&mut self, node: NodeId, dial: ConnectionId, error: &DialError, now: Instant) {
        tracing::debug!(%node, %error, "dial failed");
        if let Some(failed) = self.book.dial_failed(&node, dial, absence(error), now) {
            if self.admission.take_answered(&node) {
                self.outbox.push(NetEvent::TurnedAway { node });
            }
            self.outbox.push(NetEvent::DialFailed { node, refused: failed.refused });
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Members(event)) => self.on_member_event(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, endpoint.get_remote_address(), now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.on_ended(peer_id, connection_id, now);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id: Some(peer), error } => {
                if let Some(node) = wire::ids::node_id(&peer) {
                    self.on_dial_error(node, connection_id, &error, now);
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "connection refused");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.listening.add(address.clone());
                if listen::is_dialable(&address) {
                    self.outbox.push(NetEvent::ListenAddress { address: address.to_string() });
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listening.remove(&address),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "no longer listening");
                addresses.iter().for_each(|address| self.listening.remove(address));
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, address: &Multiaddr, now: Instant) {
        if self.swarm.behaviour().members.is_guest(connection) {
            self.guests.insert(connection, now + std_duration(limits::GUEST_LIFE));
            return;
        }
        let node = wire::ids::node_id(&peer).filter(|node| self.admission.is_member(node));
        let Some(node) = node else {
            // Revoked between the end of the handshake and now.
            self.swarm.close_connection(connection);
            return;
        };
        self.admission.take_answered(&node);
        match self.book.arrived(node, connection, now) {
            Arrival::First => {
                // libp2p appends the peer id to an address it dialled.
                let address = address.iter().filter(|part| !matches!(part, Part::P2p(_))).collect::<Multiaddr>();
                self.outbox.push(NetEvent::Connected { node, address: address.to_string() });
            }
            Arrival::Another => {}
            Arrival::Surplus => {
                self.swarm.close_connection(connection);
            }
        }
    }

    fn on_ended(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        if self.guests.remove(&connection).is_some() {
            return;
        }
        let Some(node) = wire::ids::node_id(&peer) else { return };
        if self.book.ended(&node, connection, now) {
            self.outbox.push(NetEvent::Disconnected { node });
            self.dial_due(now);
        }
    }

    fn on_member_event(&mut self, event: MemberBehaviourEvent, now: Instant) {
        match event {
            MemberBehaviourEvent::Ping(pong) => {
                if let (Ok(_), Some(node)) = (pong.result, wire::ids::node_id(&pong.peer)) {
                    self.book.heard(&node, pong.connection, now);
                }
            }
            MemberBehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                let acceptance = match self.judge(&propagation_source, &message) {
                    Ok((author, gossip)) => {
                        self.outbox.push_gossip(author, gossip);
                        MessageAcceptance::Accept
                    }
                    Err(refusal) => refusal,
                };
                let gossip = &mut self.swarm.behaviour_mut().members.inner.gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            // What was said before a peer listened would reach it only with the next advertisement.
            MemberBehaviourEvent::Gossip(gossipsub::Event::Subscribed { .. }) => {
                self.last_words.clone().into_iter().for_each(|words| self.say(words));
            }
            _ => {}
        }
    }

    /// Is this message, which `bringer` brought, to be believed and passed on? Its signature was checked by gossipsub.
    fn judge(&mut self, bringer: &PeerId, message: &gossipsub::Message) -> Result<(NodeId, Gossip), MessageAcceptance> {
        match self.talk.heard(*bringer, message.data.len()) {
            Patience::Hear => {}
            Patience::Drop => return Err(MessageAcceptance::Ignore),
            Patience::End => {
                tracing::warn!(%bringer, "connection closed: a member says more than anybody has to say");
                // An error says that it has none any more.
                let _ = self.swarm.disconnect_peer_id(*bringer);
                return Err(MessageAcceptance::Ignore);
            }
        }
        let author = message.source.as_ref().and_then(wire::ids::node_id).ok_or(MessageAcceptance::Reject)?;
        if !self.admission.is_member(&author) {
            // Whoever passed it on may have a newer or an older roster than we.
            tracing::debug!(%author, "gossip ignored: its author is no member");
            return Err(MessageAcceptance::Ignore);
        }
        match wire::gossip::decode_from(&author, &message.data) {
            Ok(gossip) => Ok((author, gossip)),
            Err(error) => {
                tracing::warn!(%author, %error, "gossip rejected");
                Err(MessageAcceptance::Reject)
            }
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.end_terms(now);
        let since = now.saturating_duration_since(self.ticked);
        self.ticked = now;
        if since > PAUSE {
            self.book.excuse(since);
        }
        for (node, connection) in self.book.silent(now) {
            tracing::info!(%node, "connection closed: the peer fell silent");
            self.swarm.close_connection(connection);
            // Not left to libp2p's event: closing towards a peer that reads nothing may never end.
            if self.book.ended(&node, connection, now) {
                self.outbox.push(NetEvent::Disconnected { node });
            }
        }
        let overdue: Vec<ConnectionId> =
            self.guests.iter().filter(|(_, ends)| **ends <= now).map(|(&connection, _)| connection).collect();
        for connection in overdue {
            self.swarm.close_connection(connection);
        }
        self.dial_due(now);
    }
}
