//! Two and three real nodes on loopback. What is awaited is an event, never a time; the deadline only ends a test that failed.

use std::collections::BTreeSet;
use std::time::Duration;

use libp2p::identity::ed25519;
use tokio::sync::mpsc;

use super::*;
use crate::core::membership::advert::Lease;
use crate::wire::ids;

mod joining;
mod members;
mod weighing;

pub(super) fn key(seed: u8) -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([seed; 32]).expect("any 32 bytes are a secret key").into()
}

pub(super) fn node(seed: u8) -> NodeId {
    ids::node_of_key(&key(seed).public())
}

pub(super) const FEDERATION: FederationId = FederationId([7; 32]);

/// One running node.
pub(super) struct Running {
    pub(super) id: NodeId,
    pub(super) net: NetHandle,
    pub(super) events: mpsc::Receiver<NetEvent>,
    pub(super) incoming: IncomingStreams,
}

/// Starts the node of key `seed` that admits the nodes of keys `members`.
pub(super) async fn running(seed: u8, members: &[u8]) -> Running {
    running_on(seed, members, "/ip4/127.0.0.1/tcp/0").await.expect("a free port")
}

pub(super) async fn running_on(seed: u8, members: &[u8], listen: &str) -> Result<Running, NetError> {
    let listen = vec![listen.parse().expect("address")];
    let members: BTreeSet<NodeId> = members.iter().map(|&seed| node(seed)).collect();
    let config = NetConfig {
        keypair: key(seed),
        federation: FEDERATION,
        listen,
        mdns: false,
        peers: Vec::new(),
        wan: WanConfig::default(),
    };
    let (net, events, incoming) = start(config, members).await?;
    Ok(Running { id: node(seed), net, events, incoming })
}

impl Running {
    /// The next event of which `pick` makes something; others pass.
    pub(super) async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("waited for {what}"))
    }

    pub(super) async fn connected(&mut self, other: NodeId) {
        self.wait("connection", |event| {
            matches!(event, NetEvent::Connected { node, .. } if node == other).then_some(())
        })
        .await;
    }

    pub(super) async fn disconnected(&mut self, other: NodeId) {
        self.wait("its end", |event| (event == NetEvent::Disconnected { node: other }).then_some(())).await;
    }

    pub(super) async fn dial(&self, other: &Running) {
        self.net.dial(other.id, other.net.listen_addresses()).await;
    }
}

/// Two members that know each other and are connected.
pub(super) async fn pair() -> (Running, Running) {
    let (mut one, mut two) = (running(1, &[1, 2]).await, running(2, &[1, 2]).await);
    one.dial(&two).await;
    one.connected(two.id).await;
    two.connected(one.id).await;
    (one, two)
}

pub(super) fn lease(coordinator: NodeId, epoch: u64) -> Vec<u8> {
    crate::wire::gossip::encode(&Gossip::Lease(Lease { coordinator, epoch, plan_revision: 0, resigns: false }))
}
