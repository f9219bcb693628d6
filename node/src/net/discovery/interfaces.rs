//! The addresses this machine has now, and one multicast socket for each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use if_addrs::{IfAddr, get_if_addrs};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::core::limits;

const MDNS_PORT: u16 = 5353;
const GROUP_4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// One address of one interface.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Interface {
    pub(super) ip: IpAddr,
    pub(super) name: String,
    pub(super) index: u32,
}

/// Every address somebody else could reach, in order. A link-local IPv6 address is none: whoever dials it would have to know
/// the interface.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let outside = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unicast_link_local(),
    };
    let found = get_if_addrs()?.into_iter().map(|one| Interface {
        ip: match &one.addr {
            IfAddr::V4(addr) => IpAddr::V4(addr.ip),
            IfAddr::V6(addr) => IpAddr::V6(addr.ip),
        },
        name: one.name,
        index: one.index.unwrap_or(0),
    });
    let mut found: Vec<Interface> = found.filter(|one| outside(&one.ip)).collect();
    found.sort();
    found.dedup();
    found.truncate(limits::INTERFACES_MAX);
    Ok(found)
}

/// A socket that speaks and hears mDNS on this interface. It shares the port with whoever else does, such as Avahi.
pub(super) fn socket(interface: &Interface) -> io::Result<UdpSocket> {
    let domain = if interface.ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    match interface.ip {
        IpAddr::V4(ip) => {
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT)).into())?;
            socket.join_multicast_v4(&GROUP_4, &ip)?;
            socket.set_multicast_if_v4(&ip)?;
            // Never beyond this link.
            socket.set_multicast_ttl_v4(255)?;
            // Nodes on one machine find each other too.
            socket.set_multicast_loop_v4(true)?;
        }
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, MDNS_PORT)).into())?;
            socket.join_multicast_v6(&GROUP_6, interface.index)?;
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_hops_v6(255)?;
            socket.set_multicast_loop_v6(true)?;
        }
    }
    UdpSocket::from_std(socket.into())
}

/// Where to send on this interface.
pub(super) fn group(interface: &Interface) -> SocketAddr {
    match interface.ip {
        IpAddr::V4(_) => SocketAddr::from((GROUP_4, MDNS_PORT)),
        IpAddr::V6(_) => SocketAddr::V6(SocketAddrV6::new(GROUP_6, MDNS_PORT, 0, interface.index)),
    }
}
