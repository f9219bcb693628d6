//! An adversary of a federation: a real libp2p client with a key of its own that speaks TCP, TLS, Noise, yamux and QUIC and
//! keeps to no rule. It tries what a stranger, a former member or a hostile member may try, and counts what is answered;
//! whether that is too much, the test says that calls it. `flood` is a thousand of them at once.
//!
//! Nothing here links the node's network: what is on the wire is written down a second time.

mod encrypted;
pub mod flood;
pub mod forge;
mod member;
mod quic;
mod streams;
mod swarm;

use std::net::{IpAddr, SocketAddr};

use fednode::core::types::NodeId;
use fednode::wire::ids;
use fednode::wire::join::Ticket;
use fednode_proto::v1;
use libp2p::identity::{Keypair, ed25519};
use prost::Message;

pub use encrypted::Heard;
pub use member::Synced;
pub use streams::Answer;

/// How a connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// TLS 1.3 with libp2p's certificates.
    Tls,
    /// Noise XX.
    Noise,
}

impl Security {
    /// Both.
    pub const ALL: [Security; 2] = [Security::Tls, Security::Noise];

    fn name(self) -> &'static str {
        match self {
            Security::Tls => "/tls/1.0.0",
            Security::Noise => "/noise",
        }
    }
}

/// One adversary. Its methods block, for tests read from top to bottom.
pub struct Adversary {
    keypair: Keypair,
    runtime: tokio::runtime::Runtime,
    /// The address it comes from; any if not given.
    from: Option<IpAddr>,
}

impl Adversary {
    /// With a new key, which nobody has admitted.
    pub fn new() -> std::io::Result<Adversary> {
        Adversary::with_keypair(Keypair::generate_ed25519())
    }

    /// With the key of a node, whose file `identity` this is the content of: a version byte and a checksum, then the key.
    pub fn with_identity(file: &[u8]) -> std::io::Result<Adversary> {
        let key = file.last_chunk::<32>().ok_or_else(|| std::io::Error::other("no key in this file"))?;
        let secret = ed25519::SecretKey::try_from_bytes(*key).map_err(std::io::Error::other)?;
        Adversary::with_keypair(ed25519::Keypair::from(secret).into())
    }

    fn with_keypair(keypair: Keypair) -> std::io::Result<Adversary> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Adversary { keypair, runtime, from: None })
    }

    /// The same, from this address of the machine.
    pub fn from(mut self, from: IpAddr) -> Adversary {
        self.from = Some(from);
        self
    }

    /// What it is called in rosters.
    pub fn node(&self) -> NodeId {
        let key = self.keypair.clone().try_into_ed25519().map(|key| ids::node_of_key(&key.public()));
        key.expect("every key of this file is an Ed25519 key")
    }

    /// Encrypts a connection and then says `words`; what is heard until the other side closes, or nothing more comes.
    pub fn knock(&self, at: SocketAddr, security: Security, words: &[u8]) -> Heard {
        self.runtime.block_on(encrypted::knock(&self.keypair, at, self.from, security, words))
    }

    /// Opens a stream of `protocol` on a connection of its own and says `words` before it is asked.
    pub fn speak(&self, at: SocketAddr, security: Security, protocol: &str, words: &[u8]) -> Answer {
        self.runtime.block_on(streams::speak(&self.keypair, at, self.from, security, protocol, words))
    }

    /// Comes with a ticket (its text) and shows which one it is; what is answered before anything was proved.
    pub fn redeem(&self, at: SocketAddr, security: Security, ticket: &str) -> Answer {
        let ticket = Ticket::from_text(ticket).expect("a ticket that was good once");
        let request =
            v1::JoinRequest { ticket_id: ticket.id().to_vec(), nonce: vec![7; 32], name: "adversary".to_owned() };
        self.speak(at, security, "/fednode/join/1", &request.encode_length_delimited_to_vec())
    }

    /// Runs a whole libp2p node with gossip on `topic`, identification and pings; what it heard within a few seconds.
    pub fn listen_in(&self, at: SocketAddr, topic: &str) -> Vec<String> {
        self.runtime.block_on(swarm::listen_in(&self.keypair, at, topic))
    }

    /// Dials with QUIC, and asks any UDP socket at that port for its QUIC versions; what was answered.
    pub fn quic(&self, at: SocketAddr) -> Vec<String> {
        self.runtime.block_on(quic::dial(&self.keypair, at))
    }

    /// Pushes a roster of members (an encoded `SignedMemberRoster`), and hears which one the node has.
    pub fn push_roster(&self, at: SocketAddr, roster: Option<&[u8]>) -> Result<Synced, String> {
        self.runtime.block_on(member::sync(&self.keypair, at, self.from, roster))
    }
}
