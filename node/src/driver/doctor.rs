//! What this node knows of its network, for `fednode doctor`, and what it does for a member that asks the same: say its time,
//! and try to reach it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fednode_proto::v1;
use libp2p::Multiaddr;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::core::checkup::{DialReport, MemberFacts, MemberReach, NodeFacts};
use crate::core::limits;
use crate::core::types::NodeId;
use crate::driver::clock::unix_milliseconds;
use crate::driver::node::Node;
use crate::net;

/// Announcements come back, and answers come in, within this.
const LISTEN: Duration = Duration::from_millis(2500);
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A member's version is shown as far as this.
const VERSION_CHARS_MAX: usize = 64;

static EXAMINATIONS: Semaphore = Semaphore::const_new(limits::EXAMINATIONS_MAX);

impl Node {
    /// Looks at the network: speaks on it, asks members, and waits for what comes.
    pub(super) async fn examine(&self) -> NodeFacts {
        self.net.speak().await;
        let reach = self.net.reach().await;
        let asking = reach.into_iter().enumerate().map(|(place, reach)| self.examined(place, reach));
        let (members, ()) = tokio::join!(futures::future::join_all(asking), tokio::time::sleep(LISTEN));
        NodeFacts { listen: self.net.listen_addresses(), members, discovery: self.net.discovery() }
    }

    async fn examined(&self, place: usize, reach: MemberReach) -> MemberFacts {
        let Ok(node) = reach.node.parse::<NodeId>() else { return MemberFacts { reach, ..MemberFacts::default() } };
        let name = self.registry.roster().name_of(&node);
        let unasked = MemberFacts { name, reach, ..MemberFacts::default() };
        if !unasked.reach.connected || place >= limits::EXAMINED_MAX {
            return unasked;
        }
        let (sent, begin) = (unix_milliseconds(), Instant::now());
        let Ok(reply) = self.peers.examine(node).await else { return unasked };
        // Its clock was read when the request came, half a round trip after ours; the dials come after that.
        let trip = u64::try_from(begin.elapsed().as_millis()).unwrap_or(0).saturating_sub(reply.took_ms);
        let clock = i128::from(reply.unix_ms) - i128::from(sent) - i128::from(trip / 2);
        let tried = reply.tried.into_iter().take(limits::ADDRESSES_MAX);
        // It is shown to a person.
        let version: String = reply.version.chars().filter(|sign| !sign.is_control()).take(VERSION_CHARS_MAX).collect();
        let report = |one: v1::ExamineDial| DialReport { silent: one.silent, address: one.address, why: one.why };
        MemberFacts {
            clock_ahead_ms: i64::try_from(clock).ok(),
            // Nothing tried says nothing.
            reaches_us: Some(tried.map(report).collect::<Vec<_>>()).filter(|tried| !tried.is_empty()),
            version,
            ..unasked
        }
    }

    /// A member wants to know the time here, and whether it can be reached at the addresses it told.
    pub(super) async fn examine_for(&self, from: NodeId) -> v1::ExamineReply {
        let (unix_ms, begin) = (unix_milliseconds(), Instant::now());
        let Ok(_permit) = EXAMINATIONS.try_acquire() else {
            return v1::ExamineReply { unix_ms, tried: Vec::new(), took_ms: 0, version: VERSION.to_owned() };
        };
        let reach = self.net.reach().await.into_iter().find(|reach| reach.node == from.to_string());
        let addresses: Vec<String> = reach.map(|reach| reach.addresses).unwrap_or_default();
        let dials = addresses.into_iter().filter_map(|address| Some(try_dial(socket(&address)?, address)));
        let tried = futures::future::join_all(dials).await;
        let took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(0);
        v1::ExamineReply { unix_ms, tried, took_ms, version: VERSION.to_owned() }
    }
}

/// An IP address beyond this machine, and a TCP port.
fn socket(address: &str) -> Option<SocketAddr> {
    let address: Multiaddr = address.parse().ok()?;
    net::socket_address(&address).filter(|socket| !socket.ip().is_loopback())
}

async fn try_dial(socket: SocketAddr, address: String) -> v1::ExamineDial {
    let dial = TcpStream::connect(socket);
    let limit = Duration::from_nanos(limits::EXAMINE_DIAL.0);
    let (why, silent) = match tokio::time::timeout(limit, dial).await {
        Ok(Ok(_)) => (String::new(), false),
        Ok(Err(error)) => (error.to_string(), false),
        Err(_) => ("no answer; a firewall may drop packets".to_owned(), true),
    };
    v1::ExamineDial { address, why, silent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_beyond_this_machine_are_tried() {
        let check = |address: &str, expect: Option<&str>| {
            assert_eq!(socket(address).map(|socket| socket.to_string()).as_deref(), expect, "{address}");
        };
        check("/ip4/10.0.0.1/tcp/7718", Some("10.0.0.1:7718"));
        check("/ip6/fd77::1/tcp/7718", Some("[fd77::1]:7718"));
        for address in ["/ip4/127.0.0.1/tcp/7718", "/ip6/::1/tcp/1", "/dns/den/tcp/1", "/ip4/10.0.0.1/udp/1", "x"] {
            check(address, None);
        }
    }
}
