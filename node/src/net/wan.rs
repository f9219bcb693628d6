//! What carries a federation beyond one network, all of it opt-in: members that relay for members (circuit relay), hole
//! punching between two that met through a relay, and a port opened at the router (UPnP). Everything here lies inside
//! `members_only`, so no stranger is ever offered a relay, and a relay is asked only if it is a member.

use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::identity::PublicKey;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId, dcutr, identify, relay, upnp};

use crate::core::limits;
use crate::core::types::NodeId;
use crate::net::NetEvent;
use crate::net::dial::dialable;
use crate::net::task::Task;
use crate::wire;

/// What of it the user wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WanConfig {
    /// Be reached through members that relay, and punch holes.
    pub client: bool,
    /// Relay for members.
    pub relays: bool,
    /// Ask the router to open a port.
    pub upnp: bool,
}

/// See the top of this file.
#[derive(NetworkBehaviour)]
pub(super) struct WanBehaviour {
    client: Toggle<relay::client::Behaviour>,
    punch: Toggle<dcutr::Behaviour>,
    relay: Toggle<relay::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
}

impl WanBehaviour {
    /// With the transport that its client dials and listens by.
    pub(super) fn new(config: WanConfig, key: &PublicKey) -> (WanBehaviour, Option<relay::client::Transport>) {
        let me = key.to_peer_id();
        let (transport, client) = match config.client {
            true => {
                let (transport, client) = relay::client::new(me);
                (Some(transport), Some(client))
            }
            false => (None, None),
        };
        let behaviour = WanBehaviour {
            client: client.into(),
            punch: config.client.then(|| dcutr::Behaviour::new(me)).into(),
            relay: config.relays.then(|| relay::Behaviour::new(me, relay_config())).into(),
            upnp: config.upnp.then(upnp::tokio::Behaviour::default).into(),
        };
        (behaviour, transport)
    }
}

/// Members are trusted with each other's weights: what a public relay must bound for strangers is generous here.
fn relay_config() -> relay::Config {
    relay::Config {
        max_reservations: limits::RELAYED_MEMBERS_MAX,
        max_circuits: limits::RELAY_CIRCUITS_MAX,
        max_circuits_per_peer: limits::RELAY_CIRCUITS_PER_MEMBER_MAX,
        max_circuit_duration: Duration::from_nanos(limits::RELAY_CIRCUIT_LIFE.0),
        // No bound: weights are large, and the circuit's ends are members.
        max_circuit_bytes: 0,
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    }
}

/// The member that relays at this address, and how it is dialled; `None` if it is no address through a relay.
pub(super) fn circuit(text: &str) -> Option<(NodeId, Multiaddr)> {
    let address: Multiaddr = text.parse().ok()?;
    let parts: Vec<Part<'_>> = address.iter().collect();
    let (host, port, relay) = match parts.as_slice() {
        [host, port, Part::P2p(relay), Part::P2pCircuit]
        | [host, port, Part::P2p(relay), Part::P2pCircuit, Part::P2p(_)] => (host, port, relay),
        _ => return None,
    };
    let direct: Multiaddr = [host.clone(), port.clone()].into_iter().collect();
    let direct = dialable(&direct.to_string())?;
    Some((wire::ids::node_id(relay)?, through(direct, *relay)))
}

fn through(relay_address: Multiaddr, relay: PeerId) -> Multiaddr {
    relay_address.with(Part::P2p(relay)).with(Part::P2pCircuit)
}

/// Does it lead through a relay?
pub(super) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Part::P2pCircuit)
}

impl Task {
    /// An address of a member, if it may be dialled: directly, or through a member.
    pub(super) fn dialable_here(&self, text: &str) -> Option<Multiaddr> {
        if let Some(address) = dialable(text) {
            return Some(address);
        }
        let (relay, address) = circuit(text)?;
        (self.wan.client && self.is_other_member(&relay)).then_some(address)
    }

    /// A member told what it serves: one that relays is asked to do so for this node.
    pub(super) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let Some(node) = wire::ids::node_id(&peer).filter(|_| self.wan.client) else { return };
        let relays = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        if !relays || self.relays.contains_key(&node) || self.relays.len() >= limits::RELAYS_USED_MAX {
            return;
        }
        // A relay that this node cannot dial is on its own side of whatever lies between.
        let Some(address) = self.book.last_good(&node).filter(|address| !is_circuit(address)) else { return };
        let address = through(address, peer);
        match self.swarm.listen_on(address.clone()) {
            Ok(listener) => drop(self.relays.insert(node, (listener, address))),
            Err(error) => tracing::warn!(%node, %error, "a member that relays could not be used"),
        }
    }

    /// This node can be reached through a relay, at the address by which it reaches that itself: what the relay believes of
    /// its own addresses may hold only where it stands.
    pub(super) fn relayed(&mut self, listener: ListenerId) {
        let Some((node, (_, address))) = self.relays.iter().find(|(_, (id, _))| *id == listener) else { return };
        // The relay may name several addresses of its own: told once.
        if self.listening.add(address.clone()) {
            tracing::info!(relay = %node, %address, "reachable through a member that relays");
            self.outbox.push(NetEvent::ListenAddresses);
        }
    }

    /// No longer so; true if this listener was a relay's.
    pub(super) fn no_longer_relayed(&mut self, listener: ListenerId) -> bool {
        let Some(node) = self.relays.iter().find(|(_, (id, _))| *id == listener).map(|(&node, _)| node) else {
            return false;
        };
        if let Some((_, address)) = self.relays.remove(&node) {
            self.listening.remove(&address);
            self.outbox.push(NetEvent::ListenAddresses);
        }
        true
    }

    /// Relays, holes and routers: what they bring is told, or taken as one more address.
    pub(super) fn on_wan_event(&mut self, event: WanBehaviourEvent) {
        match event {
            WanBehaviourEvent::Punch(dcutr::Event { remote_peer_id, result }) => match result {
                Ok(_) => tracing::info!(peer = %remote_peer_id, "a direct connection replaces the relayed one"),
                Err(error) => tracing::debug!(peer = %remote_peer_id, %error, "no direct connection"),
            },
            WanBehaviourEvent::Upnp(upnp::Event::NewExternalAddr { external_addr, .. }) => {
                tracing::info!(address = %external_addr, "the router opened a port");
                self.listening.add(external_addr);
                self.outbox.push(NetEvent::ListenAddresses);
            }
            WanBehaviourEvent::Upnp(upnp::Event::ExpiredExternalAddr { external_addr, .. }) => {
                self.listening.remove(&external_addr);
                self.outbox.push(NetEvent::ListenAddresses);
            }
            WanBehaviourEvent::Upnp(other) => tracing::warn!(?other, "UPnP brings nothing here"),
            WanBehaviourEvent::Client(event) => tracing::debug!(?event, "relayed"),
            WanBehaviourEvent::Relay(event) => tracing::debug!(?event, "relaying"),
        }
    }

    /// A relay names its own addresses to those it serves.
    pub(super) fn tell_relay(&mut self, address: &Multiaddr) {
        if self.wan.relays && !is_circuit(address) && !crate::net::listen::is_loopback(address) {
            self.swarm.add_external_address(address.clone());
        }
    }

    /// When a relayed connection is all there is, the direct addresses are tried now and then.
    pub(super) fn dial_direct(&mut self, now: Instant) {
        for node in self.book.due_direct(now) {
            self.dial(node, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_through_a_relay_names_who_relays() {
        let relay = PeerId::from_public_key(&libp2p::identity::Keypair::generate_ed25519().public());
        let node = wire::ids::node_id(&relay);
        let other = PeerId::random();
        let address = format!("/ip4/10.0.0.1/tcp/7718/p2p/{relay}/p2p-circuit");
        let expect = node.map(|node| (node, address.parse().expect("address")));
        assert_eq!(circuit(&address), expect);
        assert_eq!(circuit(&format!("{address}/p2p/{other}")), expect);
        let bad = [
            format!("/p2p/{relay}/p2p-circuit"),
            format!("/ip4/10.0.0.1/tcp/7718/p2p/{relay}"),
            format!("/ip4/10.0.0.1/udp/7718/p2p/{relay}/p2p-circuit"),
            format!("{address}/p2p/{other}/p2p-circuit"),
            format!("/ip4/10.0.0.1/tcp/7718/p2p/{other}/p2p-circuit"),
        ];
        for text in bad {
            assert_eq!(circuit(&text), None, "{text}");
        }
    }
}
