//! What to dial, and what a failed dial says of the peer.

use libp2p::core::transport::TransportError;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use crate::net::transport;

/// One address of one peer. The dial takes a port of its own: from the listening port two nodes that dial each other at the
/// same time would meet in one TCP connection with two dialers, and a redial would hit the old connection's TIME_WAIT.
pub(super) fn dial_of(peer: PeerId, address: Multiaddr) -> DialOpts {
    DialOpts::peer_id(peer).addresses(vec![address]).condition(PeerCondition::Always).allocate_new_port().build()
}

/// An address from outside: an IP address or a host name, and a TCP port. A trailing peer id is dropped: whose address it is
/// was said by whoever gave it.
pub(super) fn dialable(text: &str) -> Option<Multiaddr> {
    let address: Multiaddr = text.parse().ok()?;
    let parts: Vec<Part<'_>> = address.iter().collect();
    match parts.as_slice() {
        [
            host @ (Part::Ip4(_) | Part::Ip6(_) | Part::Dns(_) | Part::Dns4(_) | Part::Dns6(_)),
            port @ Part::Tcp(1..),
            rest @ ..,
        ] if matches!(rest, [] | [Part::P2p(_)]) => Some([host.clone(), port.clone()].into_iter().collect()),
        _ => None,
    }
}

/// Is the peer known not to be at this address? Refused; or somebody else lives there now, perhaps ourselves.
pub(super) fn nobody_there(error: &DialError) -> bool {
    match error {
        DialError::Transport(errors) => {
            !errors.is_empty()
                && errors.iter().all(|(_, error)| match error {
                    TransportError::Other(error) => transport::says_gone(error),
                    TransportError::MultiaddrNotSupported(_) => false,
                })
        }
        DialError::WrongPeerId { .. } | DialError::LocalPeerId { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_tcp_port_are_dialled() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(dialable(text).map(|address| address.to_string()).as_deref(), expect, "{text}");
        };
        check("/ip4/10.0.0.1/tcp/7718", Some("/ip4/10.0.0.1/tcp/7718"));
        check("/dns4/den.local/tcp/7718", Some("/dns4/den.local/tcp/7718"));
        let peer = PeerId::random();
        check(&format!("/ip4/10.0.0.1/tcp/7718/p2p/{peer}"), Some("/ip4/10.0.0.1/tcp/7718"));
        check(&format!("/ip4/10.0.0.1/tcp/7718/p2p/{peer}/p2p-circuit"), None);
        for bad in ["", "10.0.0.1:7718", "/ip4/10.0.0.1", "/ip4/10.0.0.1/tcp/0", "/ip4/10.0.0.1/udp/1", "/unix/tmp/x"] {
            check(bad, None);
        }
    }
}
