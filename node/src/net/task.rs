//! The one task that owns the swarm: it follows commands, turns what libp2p says into events, keeps members connected.

mod terms;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use tokio::sync::{mpsc, oneshot, watch};

use crate::core::checkup::MemberReach;
use crate::core::limits;
use crate::core::membership::advert::Gossip;
use crate::core::types::NodeId;
use crate::net::admission::{Admission, Members};
use crate::net::behaviour::{Behaviour, BehaviourEvent, MemberBehaviourEvent};
use crate::net::dial::whereabouts;
use crate::net::discovery::Wish;
use crate::net::gossip::{self, Patience, Talk};
use crate::net::listen::{self, Listening};
use crate::net::outbox::Outbox;
use crate::net::peers::{Arrival, Book};
use crate::net::statics::Statics;
use crate::net::wan::{WanConfig, is_circuit};
use crate::net::{NetConfig, NetError, NetEvent, std_duration, streams, wake};
use crate::wire;

/// How often the clock is looked at: redials, silent peers, guests that stayed too long.
const TICK: std::time::Duration = std::time::Duration::from_millis(250);
/// A tick this late means that this process stood still (stopped, or a laptop asleep).
const PAUSE: std::time::Duration = std::time::Duration::from_secs(3);

/// What a handle asks for.
pub(super) enum Command {
    Publish(Vec<u8>),
    Know {
        node: NodeId,
        addresses: Vec<String>,
        hurry: bool,
    },
    /// Heard on the local network.
    Found {
        node: NodeId,
        address: Multiaddr,
    },
    /// This machine's addresses are others now.
    NetworkChanged,
    /// Say something on the local network now, to see what comes of it.
    Speak,
    /// Whom we tried to reach and what came of it.
    Reach(oneshot::Sender<Vec<MemberReach>>),
    SetMembers(Members),
    SetInvitationOpen(bool),
    Disconnect(NodeId),
    Reconnect(NodeId),
    Open {
        node: NodeId,
        wish: streams::Open,
    },
    Stop,
}

/// See the top of this file.
pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    topic: gossipsub::Sha256Topic,
    pub(super) admission: Arc<Admission>,
    pub(super) listening: Listening,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<NetEvent>,
    pub(super) outbox: Outbox,
    pub(super) book: Book,
    pub(super) statics: Statics,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) wan: WanConfig,
    /// Members that relay for this one, the listener of each and the address it gives.
    pub(super) relays: BTreeMap<NodeId, (ListenerId, Multiaddr)>,
    /// Strangers' connections and when they end.
    guests: BTreeMap<ConnectionId, Instant>,
    talk: Talk,
    last_words: VecDeque<Vec<u8>>,
    clocks: wake::Watch,
}

impl Task {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        config: &NetConfig,
        admission: Arc<Admission>,
        listening: Listening,
        (commands, events): (mpsc::Receiver<Command>, mpsc::Sender<NetEvent>),
        wish: watch::Sender<Wish>,
    ) -> Task {
        Task {
            swarm,
            topic: gossip::topic(&config.federation),
            admission,
            listening,
            commands,
            events,
            outbox: Outbox::default(),
            book: Book::default(),
            statics: Statics::new(config.peers.clone(), Instant::now()),
            wish,
            wan: config.wan,
            relays: BTreeMap::new(),
            guests: BTreeMap::new(),
            talk: Talk::new(),
            last_words: VecDeque::new(),
            clocks: wake::Watch::new(Instant::now()),
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
            Command::Found { node, address } => self.found(node, address),
            Command::NetworkChanged => self.network_changed(),
            Command::Speak => self.wish.send_modify(|wish| wish.speak += 1),
            Command::Reach(answer) => drop(answer.send(self.reach())),
            Command::SetMembers(members) => self.set_members(members),
            Command::SetInvitationOpen(open) => self.admission.set_invitation_open(open),
            Command::Disconnect(node) => {
                let connections = self.book.forget(&node);
                self.dismiss(node, connections);
            }
            Command::Reconnect(node) => {
                let connections = self.book.part(&node, Instant::now());
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

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Members(event)) => self.on_member_event(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.on_ended(peer_id, connection_id, now);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_outgoing_error(peer_id, connection_id, &error, now);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "connection refused");
            }
            SwarmEvent::NewListenAddr { listener_id, address } if is_circuit(&address) => self.relayed(listener_id),
            SwarmEvent::NewListenAddr { address, .. } => {
                self.tell_relay(&address);
                self.listening.add(address.clone());
                if listen::is_dialable(&address) {
                    self.outbox.push(NetEvent::ListenAddresses);
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.remove(&address);
                self.outbox.push(NetEvent::ListenAddresses);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if self.no_longer_relayed(listener_id) => {
                tracing::info!(?reason, "a relay no longer leads to this node");
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "no longer listening");
                addresses.iter().for_each(|address| self.listening.remove(address));
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, now: Instant) {
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
        if let Some(address) = self.statics.reached(connection, node) {
            self.book.know(node, vec![address], now);
        }
        let arrival = self.book.arrived(node, connection, now);
        self.book.note_way(&node, connection, endpoint);
        match arrival {
            Arrival::First => {
                let address = whereabouts(endpoint.get_remote_address());
                let dialled = endpoint.is_dialer();
                self.outbox.push(NetEvent::Connected { node, address, dialled });
                self.tell_wish();
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
            self.tell_wish();
            self.dial_due(now);
        }
    }

    fn on_member_event(&mut self, event: MemberBehaviourEvent, now: Instant) {
        match event {
            MemberBehaviourEvent::Ping(pong) => {
                if let (Ok(round_trip), Some(node)) = (pong.result, wire::ids::node_id(&pong.peer)) {
                    self.book.heard(&node, pong.connection, now);
                    self.outbox.push_round_trip(node, round_trip);
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
            MemberBehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, &info);
            }
            MemberBehaviourEvent::Wan(event) => self.on_wan_event(event),
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
        let pause = self.clocks.look(now);
        if pause.length > PAUSE {
            self.stood_still(pause, now);
        }
        for (node, connection) in self.book.silent(now) {
            tracing::info!(%node, "connection closed: the peer fell silent");
            self.give_up(node, connection, now);
        }
        let overdue: Vec<ConnectionId> =
            self.guests.iter().filter(|(_, ends)| **ends <= now).map(|(&connection, _)| connection).collect();
        for connection in overdue {
            self.swarm.close_connection(connection);
        }
        self.dial_due(now);
        self.dial_statics(now);
        self.dial_direct(now);
        self.tell_wish();
    }
}
