//! Sees every packet on the bridge of a test network, by a packet socket of our own, and says which of them a closed
//! federation should not send.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fednode_tests::lan;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, sockopt};

const ALL_PROTOCOLS: u32 = (0x0003u16).to_be() as u32;
const PACKETS_MAX: usize = 2_000_000;

/// What one packet is, as far as these tests ask.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Packet {
    /// IP, with ports where the protocol has them.
    Ip {
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        port: u16,
        /// The first packet of a TCP connection.
        opens: bool,
        /// Of UDP.
        payload: Vec<u8>,
    },
    /// Anything else, by its Ethernet type.
    Other(u16),
}

/// A capture under way.
pub struct Capture {
    seen: Arc<Mutex<Vec<Packet>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Begins on every interface of this namespace.
    pub fn new(namespace: PathBuf) -> Capture {
        let (seen, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, end) = (Arc::clone(&seen), Arc::clone(&ends));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            lan::enter(&namespace).expect("the bridge's namespace");
            let protocol = Some(Protocol::from_raw(NonZeroU32::new(ALL_PROTOCOLS).expect("not zero")));
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol);
            let socket = socket.expect("a packet socket needs root");
            sockopt::set_socket_recv_buffer_size(&socket, 16 << 20).expect("a buffer");
            let wait = Some(Duration::from_millis(100));
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, wait).expect("a limit");
            ready.send(()).expect("somebody waits");
            let mut frame = vec![0u8; 128 << 10];
            while !end.load(Ordering::Relaxed) {
                let Ok((bytes, _)) = rustix::net::recv(&socket, &mut frame[..], RecvFlags::empty()) else { continue };
                let mut seen = into.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(packet), true) = (packet(&frame[..bytes]), seen.len() < PACKETS_MAX) {
                    seen.push(packet);
                }
            }
        });
        is_ready.recv().expect("the capture began");
        Capture { seen, ends, thread: Some(thread) }
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Packet> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.len() < PACKETS_MAX, "more packets than this capture holds");
        seen.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let ip = frame.get(14..)?;
    let (from, to, protocol, rest): (IpAddr, IpAddr, u8, &[u8]) = match kind {
        0x0800 => {
            let header = usize::from(ip.first()? & 15) * 4;
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
            (address(12)?.into(), address(16)?.into(), *ip.get(9)?, ip.get(header..)?)
        }
        0x86dd => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?));
            (address(8)?.into(), address(24)?.into(), *ip.get(6)?, ip.get(40..)?)
        }
        other => return Some(Packet::Other(other)),
    };
    let has_ports = matches!(protocol, 6 | 17);
    let port = if has_ports { u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?) } else { 0 };
    // SYN without ACK.
    let opens = protocol == 6 && rest.get(13)? & 0x12 == 0x02;
    let payload = if protocol == 17 { rest.get(8..)?.to_vec() } else { Vec::new() };
    Some(Packet::Ip { from, to, protocol, port, opens, payload })
}

/// What the packets of a capture are for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verdict {
    /// Of each kind, how often. The bridge shows each packet more than once.
    pub kinds: BTreeMap<String, u64>,
    /// What nobody should have sent.
    pub stray: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.kinds {
            writeln!(f, "{count:>8}  {kind}")?;
        }
        writeln!(f, "{:>8}  stray", self.stray.len())
    }
}

/// Sorts packets: between members, mDNS, what the kernel itself does to keep a network (ARP, neighbour and router discovery,
/// group membership: no program asks for it, and none is routed beyond the link), and the rest.
pub fn judge(packets: &[Packet], members: &[IpAddr]) -> Verdict {
    let mut verdict = Verdict::default();
    for packet in packets {
        match kind(packet, members) {
            Some(kind) => *verdict.kinds.entry(kind.to_owned()).or_default() += 1,
            None => verdict.stray.push(describe(packet)),
        }
    }
    verdict
}

fn kind(packet: &Packet, members: &[IpAddr]) -> Option<&'static str> {
    const MDNS_4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
    const MDNS_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));
    match packet {
        Packet::Other(0x0806) => Some("ARP, by the kernel"),
        Packet::Other(_) => None,
        Packet::Ip { to, protocol: 17, port: 5353, .. } if *to == MDNS_4 => Some("mDNS over IPv4"),
        Packet::Ip { to, protocol: 17, port: 5353, .. } if *to == MDNS_6 => Some("mDNS over IPv6"),
        Packet::Ip { from, to, protocol: 6, port, opens, .. } if members.contains(from) && members.contains(to) => {
            let _ = (port, opens);
            Some("TCP between members")
        }
        Packet::Ip { to: IpAddr::V4(to), protocol: 2, .. } if to.is_multicast() => Some("IGMP, by the kernel"),
        // 0: an extension header, which only group membership reports have here.
        Packet::Ip { to: IpAddr::V6(_), protocol: 58 | 0, .. } => {
            Some("ICMPv6 (neighbours, routers, groups), by the kernel")
        }
        Packet::Ip { .. } => None,
    }
}

fn describe(packet: &Packet) -> String {
    match packet {
        Packet::Ip { from, to, protocol, port, .. } => format!("{from} to {to}, protocol {protocol}, port {port}"),
        Packet::Other(kind) => format!("Ethernet type {kind:#06x}"),
    }
}
