//! What a node does on its connections: the gate and streams for everyone it lets in; gossip, pings and identification for
//! members.

use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{connection_limits, identify, ping};

use crate::core::limits;
use crate::core::types::FederationId;
use crate::net::admission::Admission;
use crate::net::gossip::{self, Gossip};
use crate::net::members_only::MembersOnly;
use crate::net::streams::{self, Inbox};
use crate::net::wan::WanBehaviour;
use crate::net::{NetError, std_duration};

/// The whole. The order matters: each part is asked in turn whether it takes a connection, and `members` remembers the
/// guests it took, so nobody may refuse after it.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) streams: streams::Behaviour,
    pub(super) members: MembersOnly<MemberBehaviour>,
}

/// What members see.
#[derive(NetworkBehaviour)]
pub(super) struct MemberBehaviour {
    pub(super) gossip: Gossip,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    wan: WanBehaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &Keypair,
        federation: &FederationId,
        admission: Arc<Admission>,
        inbox: Inbox,
        wan: WanBehaviour,
    ) -> Result<Behaviour, NetError> {
        let inner = MemberBehaviour {
            gossip: gossip::build(keypair, federation, Arc::clone(&admission))?,
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(std_duration(limits::PING_PERIOD))
                    .with_timeout(std_duration(limits::PONG_WAIT)),
            ),
            identify: identify::Behaviour::new(
                identify::Config::new("/fednode/1".to_owned(), keypair.public())
                    .with_agent_version(concat!("fednode/", env!("CARGO_PKG_VERSION")).to_owned())
                    // Addresses come from the roster, tickets and adverts only; nothing learnt here is ever dialled.
                    .with_cache_size(0)
                    .with_hide_listen_addrs(true),
            ),
            wan,
        };
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(connection_limits()),
            streams: streams::Behaviour::new(Arc::clone(&admission), Some(inbox)),
            members: MembersOnly::new(inner, admission),
        })
    }
}

/// How many may wait to be let in is the door's to say: it tells members from strangers.
fn connection_limits() -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_outgoing(Some(limits::DIALS_PENDING_MAX))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER_MAX))
        .with_max_established(Some(limits::CONNECTIONS_MAX))
}
