//! The network: libp2p and nothing else. Connections between members, gossip, streams, joining, and the weight data plane.
//! The driver starts it once, sends commands through a `NetHandle` and reads `NetEvent`s; `rpc` and the weight plane take
//! streams. It knows `core` and `wire`, and no other room.

mod accepted;
mod admission;
mod behaviour;
mod dial;
mod discovery;
mod door;
pub mod duplex;
mod frame;
mod gossip;
pub mod join;
mod join_serve;
mod listen;
mod members_only;
mod outbox;
mod peers;
mod reach;
mod record;
mod statics;
mod streams;
mod task;
#[cfg(test)]
mod tests;
mod transport;
pub mod wake;
mod wan;
pub mod weights;

use std::sync::Arc;

use libp2p::Multiaddr;
use libp2p::identity::ed25519;
use tokio::sync::{mpsc, oneshot, watch};

use crate::core::checkup::{DiscoveryReport, MemberReach};
use crate::core::limits;
use crate::core::membership::advert::Gossip;
use crate::core::types::{Duration, FederationId, NodeId};
pub use crate::net::accepted::Accepted;
use crate::net::admission::Admission;
pub use crate::net::admission::Members;
use crate::net::behaviour::Behaviour;
use crate::net::discovery::{Discovery, Wish};
pub use crate::net::duplex::{Duplex, Stream};
use crate::net::listen::Listening;
pub(crate) use crate::net::listen::socket_address;
use crate::net::streams::{Inbox, OpenError};
use crate::net::task::{Command, Task};
use crate::net::wan::WanBehaviour;
pub use crate::net::wan::WanConfig;

/// What a node needs to be on the network.
pub struct NetConfig {
    /// This node's identity.
    pub keypair: ed25519::Keypair,
    /// Whose gossip it hears.
    pub federation: FederationId,
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// Finds members on the local network, and is found there.
    pub mdns: bool,
    /// Where members are, as the user said; whoever answers there must be one.
    pub peers: Vec<Multiaddr>,
    /// What carries it beyond one network.
    pub wan: WanConfig,
}

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// gRPC between members.
    Rpc,
    /// Chunks of weights between members.
    Weights,
    /// Joining: the only one strangers reach, and only while an invitation is open.
    Join,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Rpc, Protocol::Weights, Protocol::Join];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Rpc => "/fednode/rpc/1",
            Protocol::Weights => "/fednode/weights/1",
            Protocol::Join => "/fednode/join/1",
        }
    }
}

/// What the network tells the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetEvent {
    /// A member's first connection, in either direction.
    Connected {
        /// Which member.
        node: NodeId,
        /// Where it is, as seen from here.
        address: String,
        /// It was dialled there, so it can be again.
        dialled: bool,
    },
    /// A ping to a member and its answer took so long; the newest alone is kept for a slow driver.
    RoundTrip(NodeId, Duration),
    /// A member's last connection ended. Its addresses are dialled again at once.
    Disconnected {
        /// Which member.
        node: NodeId,
    },
    /// No address of a member could be dialled. It is tried again after a while.
    DialFailed {
        /// Which member.
        node: NodeId,
        /// Every address that can be reached from here answered that this node is not there; false when some did not
        /// answer at all.
        refused: bool,
    },
    /// A member that was dialled proved who it is, and hung up when it heard who we are. A `DialFailed` follows.
    TurnedAway {
        /// Which member.
        node: NodeId,
    },
    /// A member spoke: signed by it, checked, and passed on.
    Gossip {
        /// Who signed.
        author: NodeId,
        /// What it said.
        gossip: Gossip,
    },
    /// Where we can be dialled changed.
    ListenAddresses,
}

/// Why the network could not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetError {
    /// Another process listens there.
    #[error("{addr} is in use by another program; stop it, or choose another port with --listen")]
    PortInUse {
        /// The address.
        addr: String,
    },
    /// Not an address one can listen on.
    #[error("cannot listen on {addr}: {why}; choose another address with --listen")]
    Listen {
        /// The address.
        addr: String,
        /// The system's reason.
        why: String,
    },
    /// Not an address one can dial.
    #[error(
        "--peer {addr} is no address that can be dialled; give HOST:PORT or a multiaddress such as /ip4/10.0.0.1/tcp/7718"
    )]
    Peer {
        /// What was given.
        addr: String,
    },
    /// A part of libp2p refused its settings.
    #[error("cannot set up {what}: {why}")]
    Setup {
        /// Which part.
        what: &'static str,
        /// Its reason.
        why: String,
    },
    /// No connection to this member now.
    #[error("not connected to node {node}")]
    NotConnected {
        /// Which member.
        node: NodeId,
    },
    /// The peer does not serve this protocol to us: we are no member there, or it is another kind of program.
    #[error("node {node} does not serve {} to this node", protocol.name())]
    NotServed {
        /// Which member.
        node: NodeId,
        /// What was asked for.
        protocol: Protocol,
    },
    /// Too many streams are being opened to this member.
    #[error("too many streams are being opened to node {node}; try again")]
    Busy {
        /// Which member.
        node: NodeId,
    },
    /// The peer did not answer in time.
    #[error("node {node} did not answer in time")]
    TimedOut {
        /// Which member.
        node: NodeId,
    },
    /// The network of this node has stopped.
    #[error("the network has stopped")]
    Stopped,
}

/// Accepted streams, already filtered by membership: strangers reach `join` only, and only while an invitation is open.
pub struct IncomingStreams {
    /// For the gRPC server.
    pub rpc: mpsc::Receiver<(NodeId, Accepted)>,
    /// For `weights::WeightsServer`.
    pub weights: mpsc::Receiver<(NodeId, Accepted)>,
    /// For `join::serve_join`.
    pub join: mpsc::Receiver<(NodeId, Accepted)>,
}

/// Commands to the network. Cheap to clone; the network ends when the last one is dropped, or on `stop`.
#[derive(Clone)]
pub struct NetHandle {
    commands: mpsc::Sender<Command>,
    listening: Listening,
    discovery: discovery::Shared,
}

/// Could this node listen on all of `addresses` now? For refusing a start before anything was written.
pub fn check_free(addresses: &[Multiaddr]) -> Result<(), NetError> {
    addresses.iter().try_for_each(listen::check_free)
}

/// Addresses of members that the user gave.
pub fn static_peers(texts: &[String]) -> Result<Vec<Multiaddr>, NetError> {
    texts.iter().map(|text| dial::dialable(text).ok_or_else(|| NetError::Peer { addr: text.clone() })).collect()
}

/// Starts the network. Returns once it listens on every address asked for, or says why it cannot.
pub async fn start(
    config: NetConfig,
    members: impl Into<Members>,
) -> Result<(NetHandle, mpsc::Receiver<NetEvent>, IncomingStreams), NetError> {
    let keypair = libp2p::identity::Keypair::from(config.keypair.clone());
    let admission = Arc::new(Admission::new(members.into()));
    let (rpc_in, rpc) = mpsc::channel(limits::STREAMS_WAITING_MAX);
    let (weights_in, weights) = mpsc::channel(limits::STREAMS_WAITING_MAX);
    let (join_in, join) = mpsc::channel(limits::STREAMS_WAITING_MAX);
    let inbox = Inbox { rpc: rpc_in, weights: weights_in, join: join_in };
    let (wan, relayed) = WanBehaviour::new(config.wan, &keypair.public());
    let behaviour = Behaviour::new(&keypair, &config.federation, Arc::clone(&admission), inbox, wan)?;
    let swarm_config = libp2p::swarm::Config::with_tokio_executor()
        // Members stay connected however quiet they are; silence is noticed by pings, guests by their own limit.
        .with_idle_connection_timeout(std::time::Duration::MAX);
    let transport = transport::build(&keypair, Arc::clone(&admission), relayed)?;
    let swarm = libp2p::Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm_config);

    let (commands, commands_out) = mpsc::channel(limits::NET_COMMANDS_MAX);
    let (events_in, events) = mpsc::channel(limits::NET_EVENTS_MAX);
    let listening = Listening::default();
    let (wish, wished) = watch::channel(Wish::default());
    let shared = discovery::Shared::new(config.mdns);
    let ends = (commands_out, events_in);
    let mut task = Task::new(swarm, &config, Arc::clone(&admission), listening.clone(), ends, wish);
    task.listen(&config.listen).await?;
    tokio::spawn(task.run());
    let setup = discovery::Setup {
        keypair: config.keypair,
        federation: config.federation,
        admission,
        listening: listening.clone(),
        wish: wished,
        shared: shared.clone(),
        speaks: config.mdns,
    };
    // It holds a way in for commands, which does not keep the network running: only handles do, by `stop`.
    tokio::spawn(Discovery::new(setup, commands.downgrade()).run());
    Ok((NetHandle { commands, listening, discovery: shared }, events, IncomingStreams { rpc, weights, join }))
}

impl NetHandle {
    /// Says something to all members (an encoded gossip message). That nobody hears it is no error.
    pub async fn publish(&self, bytes: Vec<u8>) {
        self.send(Command::Publish(bytes)).await;
    }

    /// Learns where a member can be dialled; the newest addresses come first. A member that is not connected is dialled
    /// when there is something new, and from then on until it is reached.
    pub async fn know(&self, node: NodeId, addresses: Vec<String>) {
        self.send(Command::Know { node, addresses, hurry: false }).await;
    }

    /// As `know`, and dials at once whatever the backoff says, unless a dial is under way or the member is connected.
    pub async fn dial(&self, node: NodeId, addresses: Vec<String>) {
        self.send(Command::Know { node, addresses, hurry: true }).await;
    }

    /// Admits these, each within its term, and nobody else. Connections of nodes no longer among them are closed at once, and
    /// those of a member whose term ends, when it does.
    pub async fn set_members(&self, members: impl Into<Members>) {
        self.send(Command::SetMembers(members.into())).await;
    }

    /// While open, strangers may connect and reach the joining protocol. Those connected when it closes keep the stream
    /// they have until their time is up, so that a refusal can still be read.
    pub async fn set_invitation_open(&self, open: bool) {
        self.send(Command::SetInvitationOpen(open)).await;
    }

    /// Closes a member's connections and forgets its addresses, so that it is not dialled until it is known again. It may
    /// still dial us: only `set_members` keeps it out.
    pub async fn disconnect(&self, node: NodeId) {
        self.send(Command::Disconnect(node)).await;
    }

    /// Closes a member's connections and dials it again at once.
    pub async fn reconnect(&self, node: NodeId) {
        self.send(Command::Reconnect(node)).await;
    }

    /// Opens a stream to a connected member.
    pub async fn open_stream(&self, node: NodeId, protocol: Protocol) -> Result<Stream, NetError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Open { node, wish: streams::Open { protocol, reply } };
        self.commands.send(command).await.map_err(|_| NetError::Stopped)?;
        match answer.await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(OpenError::NotServed)) => Err(NetError::NotServed { node, protocol }),
            Ok(Err(OpenError::TimedOut)) => Err(NetError::TimedOut { node }),
            Ok(Err(OpenError::Busy)) => Err(NetError::Busy { node }),
            // Dropped unanswered: there was no connection, or it ended meanwhile.
            Ok(Err(OpenError::Broken)) | Err(_) => Err(NetError::NotConnected { node }),
        }
    }

    /// Where others can dial this node, the best first, loopback last.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.listening.dialable()
    }

    /// How reaching members goes, for `fednode doctor`.
    pub async fn reach(&self) -> Vec<MemberReach> {
        let (answer, reach) = oneshot::channel();
        self.send(Command::Reach(answer)).await;
        reach.await.unwrap_or_default()
    }

    /// Announces this node on the local network and asks who is there, whether or not anybody is missing.
    pub async fn speak(&self) {
        self.send(Command::Speak).await;
    }

    /// What was seen on the local network, for `fednode doctor`.
    pub fn discovery(&self) -> DiscoveryReport {
        self.discovery.report()
    }

    /// Ends the network: connections close and the port is free again.
    pub async fn stop(&self) {
        self.send(Command::Stop).await;
        self.commands.closed().await;
    }

    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::debug!("network command after its end");
        }
    }
}

/// The core's duration as the standard library's.
fn std_duration(duration: Duration) -> std::time::Duration {
    std::time::Duration::from_nanos(duration.0)
}

/// See `fuzzing`.
#[cfg(fuzzing)]
pub(crate) fn fuzz_streams(bytes: &[u8]) {
    transport::fuzz_streams(bytes);
}

/// See `fuzzing`.
#[cfg(fuzzing)]
pub(crate) async fn fuzz_frames(bytes: &[u8]) {
    use fednode_proto::v1;
    let bound = limits::JOIN_MESSAGE_BYTES_MAX;
    let _ = frame::read::<v1::JoinRequest, _>(&mut &bytes[..], bound).await;
    let _ = frame::read::<v1::JoinChallenge, _>(&mut &bytes[..], bound).await;
    let _ = frame::read::<v1::JoinProof, _>(&mut &bytes[..], bound).await;
    let _ = frame::read::<v1::JoinReply, _>(&mut &bytes[..], bound).await;
    let header = limits::CHUNK_HEADER_BYTES_MAX;
    let _ = frame::read::<v1::ChunkRequest, _>(&mut &bytes[..], header).await;
    let _ = frame::read::<v1::ChunkReply, _>(&mut &bytes[..], header).await;
}

/// The TLS of a node whose identity is `keypair`, for the side that is dialled and the side that dials. For `fednode bench`,
/// which measures it without the rest.
pub(crate) fn tls_configs(
    keypair: &libp2p::identity::Keypair,
) -> Result<(Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>), NetError> {
    transport::tls_configs(keypair)
}

/// The cipher that this machine prefers.
pub(crate) fn preferred_cipher() -> &'static str {
    transport::preferred_cipher()
}
