//! Where this node listens: the check that a port is really free, and the addresses others can dial.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use socket2::{Domain, Socket, Type};

use crate::core::limits;
use crate::net::NetError;
use crate::net::wan::is_circuit;

/// The addresses we listen on now, shared with every handle.
#[derive(Clone, Default)]
pub(super) struct Listening {
    addresses: Arc<RwLock<Vec<Multiaddr>>>,
}

impl Listening {
    /// True if it is news.
    pub(super) fn add(&self, address: Multiaddr) -> bool {
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        let news = !addresses.contains(&address);
        if news {
            addresses.push(address);
        }
        news
    }

    pub(super) fn remove(&self, gone: &Multiaddr) {
        self.addresses.write().unwrap_or_else(PoisonError::into_inner).retain(|address| address != gone);
    }

    /// The port at `ip`, if we listen there.
    pub(super) fn port_at(&self, ip: &IpAddr) -> Option<u16> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        addresses.iter().filter_map(socket_address).find(|socket| socket.ip() == *ip).map(|socket| socket.port())
    }

    /// The best first, loopback last and always among them.
    pub(super) fn dialable(&self) -> Vec<String> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let mut ranked: Vec<(u8, &Multiaddr)> = addresses.iter().filter_map(|one| Some((rank(one)?, one))).collect();
        ranked.sort();
        let loopback = ranked.iter().filter(|(rank, _)| *rank == LOOPBACK).count().min(2);
        let others = ranked.len() - ranked.iter().filter(|(rank, _)| *rank == LOOPBACK).count();
        let outside = ranked.iter().take(others).take(limits::ADDRESSES_MAX - loopback);
        outside.chain(ranked.iter().skip(others).take(loopback)).map(|(_, address)| address.to_string()).collect()
    }
}

/// Can anybody dial this address as it is?
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    rank(address).is_some()
}

/// Does it lead back to the machine it is dialled on?
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    rank(address) == Some(LOOPBACK)
}

const LOOPBACK: u8 = 3;

/// Lower is better; `None`: nobody else can dial it as it is.
fn rank(address: &Multiaddr) -> Option<u8> {
    match address.iter().next()? {
        _ if is_circuit(address) => Some(2),
        Protocol::Ip4(ip) if ip.is_loopback() => Some(LOOPBACK),
        Protocol::Ip6(ip) if ip.is_loopback() => Some(LOOPBACK),
        Protocol::Ip4(ip) if ip.is_link_local() => Some(2),
        // A link-local IPv6 address means nothing without the interface it is on.
        Protocol::Ip6(ip) if ip.is_unicast_link_local() => None,
        Protocol::Ip4(_) => Some(0),
        _ => Some(1),
    }
}

/// Is the port free? libp2p listens with SO_REUSEPORT, so a second process of the same user would silently share the port
/// and take half of the connections; a plain bind tells the truth.
pub(super) fn check_free(address: &Multiaddr) -> Result<(), NetError> {
    let Some(socket) = socket_address(address) else { return Ok(()) };
    if socket.port() == 0 {
        return Ok(());
    }
    bind(socket).map_err(|error| listen_error(address, &error))
}

/// As the standard library binds a listener, but IPv6 alone: the same port is wanted for IPv4 too.
fn bind(socket: SocketAddr) -> io::Result<()> {
    let listener = Socket::new(Domain::for_address(socket), Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    if socket.is_ipv6() {
        listener.set_only_v6(true)?;
    }
    listener.bind(&socket.into())?;
    listener.listen(1)
}

/// Says why an address cannot be listened on.
pub(super) fn listen_error(address: &Multiaddr, error: &io::Error) -> NetError {
    let addr = socket_address(address).map_or_else(|| address.to_string(), |socket| socket.to_string());
    match error.kind() {
        io::ErrorKind::AddrInUse => NetError::PortInUse { addr },
        _ => NetError::Listen { addr, why: error.to_string() },
    }
}

/// The IP address and TCP port that an address begins with.
pub(crate) fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn loopback_comes_last_and_link_local_not_at_all() {
        let listening = Listening::default();
        for text in ["/ip4/127.0.0.1/tcp/7", "/ip6/fe80::1/tcp/7", "/ip6/2001:db8::1/tcp/7", "/ip4/192.168.1.2/tcp/7"] {
            listening.add(text.parse().expect("address"));
        }
        let expect = ["/ip4/192.168.1.2/tcp/7", "/ip6/2001:db8::1/tcp/7", "/ip4/127.0.0.1/tcp/7"];
        assert_eq!(listening.dialable(), expect);
    }

    #[test]
    fn a_taken_port_is_told_with_its_address() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let socket = taken.local_addr().expect("bound");
        let address = format!("/ip4/127.0.0.1/tcp/{}", socket.port()).parse().expect("address");
        assert_eq!(check_free(&address), Err(NetError::PortInUse { addr: socket.to_string() }));
    }
}
