//! What a node does on its connections: the gate and streams for everyone it lets in; gossip, pings and identification for
//! members.

use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{connection_limits, gossipsub, identify, ping};

use crate::core::limits;
use crate::core::types::FederationId;
use crate::net::admission::Admission;
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
    pub(super) gossip: gossipsub::Behaviour,
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
            gossip: gossip(keypair, federation)?,
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

/// The one topic of a federation. Its name is hashed: an eavesdropping relay learns nothing from it.
pub(super) fn topic(federation: &FederationId) -> gossipsub::Sha256Topic {
    gossipsub::Sha256Topic::new(format!("fednode/1/{federation}"))
}

fn gossip(keypair: &Keypair, federation: &FederationId) -> Result<gossipsub::Behaviour, NetError> {
    let setup = |why: String| NetError::Setup { what: "gossip", why };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(limits::GOSSIP_BYTES_MAX + limits::GOSSIP_FRAME_BYTES)
        .heartbeat_interval(std::time::Duration::from_secs(1))
        // Every member we are connected to hears us at once; the mesh only carries messages on to those we cannot reach.
        .flood_publish(true)
        // A federation has a handful of members: two already make a mesh.
        .mesh_n(4)
        .mesh_n_low(2)
        .mesh_n_high(8)
        .mesh_outbound_min(1)
        .build()
        .map_err(|error| setup(error.to_string()))?;
    let signed = gossipsub::MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new(signed, config).map_err(|error| setup(error.to_owned()))?;
    gossip.subscribe(&topic(federation)).map_err(|error| setup(error.to_string()))?;
    Ok(gossip)
}

fn connection_limits() -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits::CONNECTIONS_PENDING_MAX))
        .with_max_pending_outgoing(Some(limits::CONNECTIONS_PENDING_MAX))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER_MAX))
        .with_max_established(Some(limits::CONNECTIONS_MAX))
}
