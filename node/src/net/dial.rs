//! What to dial, and what a failed dial says of the peer.

use std::io;

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
    let mut parts = address.iter();
    let host = parts
        .next()
        .filter(|part| matches!(part, Part::Ip4(_) | Part::Ip6(_) | Part::Dns(_) | Part::Dns4(_) | Part::Dns6(_)))?;
    let port = parts.next().filter(|part| matches!(part, Part::Tcp(1..)))?;
    match (parts.next(), parts.next()) {
        (None | Some(Part::P2p(_)), None) => Some([host, port].into_iter().collect()),
        _ => None,
    }
}

/// A peer's address as it can be dialled again: libp2p appends the peer id to what it dialled, and knows nothing but that of
/// who came through a relay.
pub(super) fn whereabouts(address: &Multiaddr) -> String {
    let mut address = address.clone();
    if let Some(last) = address.pop()
        && !matches!(last, Part::P2p(_))
    {
        address.push(last);
    }
    if address.is_empty() { "through a relay".to_owned() } else { address.to_string() }
}

/// What a failed dial of one address says of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Absence {
    /// It is not there: the machine refused, the local network does not find it, or somebody else lives there now.
    Known,
    /// Nothing: from here no way leads to this address, such as IPv6 on a machine without it.
    NoWay,
    /// Nobody answered, or not to the end; it may be there.
    Possible,
}

/// Does another machine live at the one address of this dial?
pub(super) fn is_other(error: &DialError) -> bool {
    match error {
        DialError::WrongPeerId { .. } => true,
        DialError::Transport(errors) => errors.iter().any(|(_, error)| match error {
            TransportError::Other(error) => transport::is_stranger(error),
            TransportError::MultiaddrNotSupported(_) => false,
        }),
        _ => false,
    }
}

/// Reads a failed dial. Every dial of ours has one address.
pub(super) fn absence(error: &DialError) -> Absence {
    match error {
        other if is_other(other) => Absence::Known,
        DialError::Transport(errors) => match errors.first() {
            Some((_, TransportError::Other(error))) => {
                transport::io_kind(error).map_or(Absence::Possible, absence_by_kind)
            }
            _ => Absence::NoWay,
        },
        // The last: libp2p drops an address that we listen on ourselves.
        DialError::LocalPeerId { .. } | DialError::NoAddresses => Absence::Known,
        _ => Absence::Possible,
    }
}

/// A failed dial in words for people.
pub(super) fn reason(error: &DialError) -> String {
    let words = match error {
        DialError::WrongPeerId { .. } => "another machine answers there",
        DialError::LocalPeerId { .. } => "this is this node's own address",
        DialError::Denied { .. } => "who answers there is no member, or too many connections are open",
        DialError::Aborted => "given up",
        DialError::NoAddresses => "no address to dial",
        DialError::Transport(errors) => match errors.first() {
            Some((_, TransportError::Other(error))) => return transport_reason(error),
            _ => "not an address this node can dial",
        },
        _ => "not dialled",
    };
    words.to_owned()
}

fn transport_reason(error: &io::Error) -> String {
    let words = match transport::io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => "nothing listens there, or a firewall rejects it",
        Some(io::ErrorKind::HostUnreachable) => "the local network does not find this machine",
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable) => "this machine has no way there",
        Some(io::ErrorKind::TimedOut) => "no answer: switched off, or a firewall drops packets",
        Some(io::ErrorKind::PermissionDenied) => "a firewall on this machine forbids it",
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => "it answered and hung up",
        // The end of our own patience carries no kind.
        _ if error.to_string().contains("imeout") => "no answer: switched off, or a firewall drops packets",
        _ => return error.to_string(),
    };
    words.to_owned()
}

fn absence_by_kind(kind: io::ErrorKind) -> Absence {
    match kind {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable => Absence::Known,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => {
            Absence::NoWay
        }
        _ => Absence::Possible,
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

    #[test]
    fn an_address_is_noted_without_the_peer_it_leads_to() {
        let (peer, relay) = (PeerId::random(), PeerId::random());
        let direct = "/ip4/10.0.0.1/tcp/7718".to_owned();
        let circuit = format!("{direct}/p2p/{relay}/p2p-circuit");
        for (address, expect) in [
            (direct.clone(), &direct),
            (format!("{direct}/p2p/{peer}"), &direct),
            (format!("{circuit}/p2p/{peer}"), &circuit),
            (format!("/p2p/{peer}"), &"through a relay".to_owned()),
        ] {
            assert_eq!(whereabouts(&address.parse().expect("address")), *expect);
        }
    }

    #[test]
    fn only_a_refusal_or_another_peer_says_that_the_peer_is_gone() {
        let check = |kind: io::ErrorKind, expect| {
            let error = TransportError::Other(io::Error::other(io::Error::from(kind)));
            let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().expect("address");
            assert_eq!(absence(&DialError::Transport(vec![(address, error)])), expect, "{kind:?}");
        };
        check(io::ErrorKind::ConnectionRefused, Absence::Known);
        check(io::ErrorKind::HostUnreachable, Absence::Known);
        check(io::ErrorKind::NetworkUnreachable, Absence::NoWay);
        check(io::ErrorKind::ConnectionReset, Absence::Possible);
        check(io::ErrorKind::TimedOut, Absence::Possible);
        assert_eq!(absence(&DialError::Aborted), Absence::Possible);
    }
}
