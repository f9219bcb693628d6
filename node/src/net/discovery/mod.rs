//! Finds members on the local network by mDNS, and notices when this machine's addresses change. It says and asks only while
//! a member is missing or after such a change, answers members and nobody else, and never makes the network dial whom the
//! roster does not name. What is on the wire: `wire::announcement`.
//!
//! Why not `libp2p-mdns`: it answers every stranger with the PeerId and all addresses, believes every answer, keeps what it
//! heard in lists without a bound, and speaks IPv6 on the first interface only.

mod interfaces;
mod report;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libp2p::Multiaddr;
use libp2p::identity::ed25519;
use libp2p::multiaddr::Protocol as Part;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::core::limits;
use crate::core::types::{FederationId, NodeId};
use crate::net::admission::Admission;
use crate::net::discovery::interfaces::{Interface, group, interfaces, socket};
pub(super) use crate::net::discovery::report::Shared;
use crate::net::listen::Listening;
use crate::net::std_duration;
use crate::net::task::Command;
use crate::wire::announcement::{Announcement, AnnouncementKeys, is_announcement};
use crate::wire::ids;

const TICK: Duration = Duration::from_millis(250);
/// Larger than any packet of ours; a longer one is none.
const PACKET_BYTES_MAX: usize = 1024;
/// Packets read and not yet looked at; more are dropped, for everything is said again.
const HEARD_MAX: usize = 64;

/// What the network task wants of this one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Wish {
    /// Some member is not connected.
    pub(super) missing: bool,
    /// Grows when asking should begin anew: a member was lost, or this machine woke.
    pub(super) turn: u64,
    /// Grows when it should speak though nobody is missing.
    pub(super) speak: u64,
}

/// What it needs.
pub(super) struct Setup {
    pub(super) keypair: ed25519::Keypair,
    pub(super) federation: FederationId,
    pub(super) admission: Arc<Admission>,
    pub(super) listening: Listening,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) shared: Shared,
    /// False: only changes of addresses are noticed.
    pub(super) speaks: bool,
}

/// See the top of this file.
pub(super) struct Discovery {
    setup: Setup,
    me: NodeId,
    keys: AnnouncementKeys,
    network: mpsc::WeakSender<Command>,
    known: Vec<Interface>,
    sockets: BTreeMap<Interface, Speaker>,
    heard: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    asking: Asking,
    looked: Instant,
    said: Option<Instant>,
    answer_due: bool,
    asked_to_speak: bool,
}

struct Speaker {
    socket: Arc<UdpSocket>,
    listener: AbortHandle,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// When to ask next: at once, then ever more rarely.
#[derive(Clone, Copy, Debug)]
struct Asking {
    at: Instant,
    gap: Duration,
}

impl Asking {
    fn now(now: Instant) -> Asking {
        Asking { at: now, gap: std_duration(limits::ASK_FIRST) }
    }

    fn asked(&mut self, now: Instant) {
        self.at = now + self.gap;
        self.gap = (self.gap * 2).min(std_duration(limits::ASK_LONGEST));
    }
}

impl Discovery {
    pub(super) fn new(setup: Setup, network: mpsc::WeakSender<Command>) -> Discovery {
        let now = Instant::now();
        let known = interfaces().unwrap_or_default();
        let mut discovery = Discovery {
            me: ids::node_of_key(&setup.keypair.public()),
            keys: AnnouncementKeys::new(setup.federation),
            setup,
            network,
            known,
            sockets: BTreeMap::new(),
            heard: mpsc::channel(HEARD_MAX),
            asking: Asking::now(now),
            looked: now,
            said: None,
            answer_due: false,
            asked_to_speak: false,
        };
        discovery.open_sockets();
        discovery
    }

    /// Runs until the network ends.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut wish = *self.setup.wish.borrow();
        loop {
            tokio::select! {
                _ = tick.tick() => self.on_tick(wish.missing).await,
                Some(packet) = self.heard.1.recv() => self.on_packet(&packet).await,
                changed = self.setup.wish.changed() => {
                    // Its other end is the network task's.
                    if changed.is_err() {
                        return;
                    }
                    let new = *self.setup.wish.borrow_and_update();
                    if new.missing && new != wish {
                        self.asking = Asking::now(Instant::now());
                    }
                    self.asked_to_speak |= new.speak != wish.speak;
                    wish = new;
                }
            }
        }
    }

    async fn on_tick(&mut self, missing: bool) {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) >= std_duration(limits::INTERFACES_PERIOD) {
            self.looked = now;
            self.look_at_interfaces(now).await;
        }
        let rested =
            self.said.is_none_or(|said| now.saturating_duration_since(said) >= std_duration(limits::ANNOUNCE_REST));
        let asks = (missing && self.asking.at <= now) || self.asked_to_speak;
        if !rested || !(asks || self.answer_due) {
            return;
        }
        if asks {
            self.asking.asked(now);
        }
        self.said = Some(now);
        self.answer_due = false;
        self.asked_to_speak = false;
        self.say(asks).await;
    }

    async fn look_at_interfaces(&mut self, now: Instant) {
        let Ok(found) = interfaces() else { return };
        if found != self.known {
            tracing::info!(addresses = ?found.iter().map(|one| one.ip).collect::<Vec<_>>(), "this machine's addresses changed");
            self.known = found;
            self.asking = Asking::now(now);
            // Whoever looks for this node learns where it is now, and says where it is: when a router gives out addresses anew,
            // all move, and what the others said meanwhile went to sockets that were on their way out.
            self.asked_to_speak = true;
            self.tell(Command::NetworkChanged).await;
        }
        // Also without a change: what could not be opened may be by now.
        self.open_sockets();
    }

    /// Nothing when the network has ended: the loop then ends too.
    async fn tell(&self, command: Command) {
        if let Some(network) = self.network.upgrade() {
            let _ = network.send(command).await;
        }
    }

    fn open_sockets(&mut self) {
        if !self.setup.speaks {
            return;
        }
        self.sockets.retain(|interface, _| self.known.contains(interface));
        let mut reports = Vec::new();
        for interface in &self.known {
            let opened = match self.sockets.contains_key(interface) {
                true => Ok(()),
                false => open(interface, &self.heard.0).map(|speaker| {
                    self.sockets.insert(interface.clone(), speaker);
                }),
            };
            reports.push((interface.clone(), opened.err().map(|error| error.to_string())));
        }
        self.setup.shared.interfaces(reports);
    }

    async fn say(&mut self, asks: bool) {
        for (interface, speaker) in &self.sockets {
            // Whoever listens on loopback alone wants no word about it on the network.
            let Some(port) = self.setup.listening.port_at(&interface.ip) else { continue };
            let sent_unix_ms = unix_ms();
            let said = Announcement { node: self.me, ip: interface.ip, port, asks, sent_unix_ms };
            let packet = self.keys.seal(&said, &self.setup.keypair, &rand::random());
            let sent = speaker.socket.send_to(&packet, group(interface)).await;
            tracing::trace!(interface = interface.name, ip = %interface.ip, asks, ?sent, "announced");
            self.setup.shared.sent(interface, sent.err().map(|error| error.to_string()));
        }
    }

    async fn on_packet(&mut self, packet: &[u8]) {
        let said = match self.keys.open(packet) {
            Ok(Some(said)) => said,
            Ok(None) => return self.setup.shared.heard_stranger(),
            Err(error) => return tracing::debug!(%error, "announcement ignored"),
        };
        if said.node == self.me {
            return self.setup.shared.heard_myself(&said.ip);
        }
        if !self.setup.admission.is_member(&said.node) {
            // Revoked, or joined where the news has not come from yet.
            return tracing::debug!(node = %said.node, "announcement ignored: no member");
        }
        self.answer_due |= said.asks;
        self.setup.shared.heard_member(said.node, said.ip, said.sent_unix_ms, unix_ms());
        if let Some(address) = address(&said) {
            self.tell(Command::Found { node: said.node, address }).await;
        }
    }
}

/// Where an announcement says its author can be dialled.
fn address(said: &Announcement) -> Option<Multiaddr> {
    let ip = match said.ip {
        IpAddr::V4(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() => None,
        IpAddr::V6(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() => None,
        ip => Some(ip),
    };
    let (ip, port) = (ip?, (said.port != 0).then_some(said.port)?);
    Some([Part::from(ip), Part::Tcp(port)].into_iter().collect())
}

/// Opens the socket of one interface and reads it until the speaker is dropped.
fn open(interface: &Interface, heard: &mpsc::Sender<Vec<u8>>) -> std::io::Result<Speaker> {
    let socket = Arc::new(socket(interface)?);
    let (reader, heard) = (Arc::clone(&socket), heard.clone());
    let listener = tokio::spawn(async move {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            match reader.recv_from(&mut packet).await {
                // Full: everything is said again.
                Ok((bytes, _)) if is_announcement(&packet[..bytes]) => drop(heard.try_send(packet[..bytes].to_vec())),
                Ok(_) => {}
                // Such as an interface that went down; it is opened again when it is back.
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    });
    Ok(Speaker { socket, listener: listener.abort_handle() })
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_grows_rare_and_begins_anew_when_wished() {
        let mut now = Instant::now();
        let mut asking = Asking::now(now);
        for gap in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(asking.at <= now);
            asking.asked(now);
            now += Duration::from_secs(gap);
            assert_eq!(asking.at, now);
        }
    }

    #[test]
    fn only_addresses_of_machines_are_dialled() {
        let check = |ip: &str, port, expect: Option<&str>| {
            let node = NodeId([1; 32]);
            let said = Announcement { node, ip: ip.parse().expect("ip"), port, asks: false, sent_unix_ms: 0 };
            assert_eq!(address(&said).map(|address| address.to_string()).as_deref(), expect, "{ip}:{port}");
        };
        check("192.168.1.9", 7718, Some("/ip4/192.168.1.9/tcp/7718"));
        check("fd00::9", 1, Some("/ip6/fd00::9/tcp/1"));
        for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.251", "127.0.0.1", "::", "::1", "ff02::fb"] {
            check(ip, 7718, None);
        }
        check("192.168.1.9", 0, None);
    }
}
