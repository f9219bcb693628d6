//! What is heard and passed on. Every message is signed (gossipsub checks that first); before it is remembered it must be on
//! the federation's topic, within its size, and of a member; before it is passed on, the network task reads it (`wire`)
//! and sees that its author speaks for itself. Whoever talks too much is not heard, and then not kept.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::{
    self, DataTransform, MaxCountSubscriptionFilter, Message, RawMessage, TopicHash, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;

use crate::core::guard::Allowance;
use crate::core::limits;
use crate::core::types::{FederationId, Time};
use crate::net::NetError;
use crate::net::admission::Admission;
use crate::wire::ids;

/// Gossip of one federation: members may subscribe to its one topic, and what is on another is not remembered.
pub(super) type Gossip = gossipsub::Behaviour<OnlyMembers, MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>>;

/// The one topic of a federation. Its name is hashed: an eavesdropping relay learns nothing from it.
pub(super) fn topic(federation: &FederationId) -> gossipsub::Sha256Topic {
    gossipsub::Sha256Topic::new(format!("fednode/1/{federation}"))
}

/// Gossip signed with `keypair`.
pub(super) fn build(
    keypair: &Keypair,
    federation: &FederationId,
    admission: Arc<Admission>,
) -> Result<Gossip, NetError> {
    let setup = |why: String| NetError::Setup { what: "gossip", why };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(limits::GOSSIP_FRAME_BYTES_MAX)
        // What was heard lately is announced, and asked for, in messages of that size too.
        .max_control_messages_sent(limits::GOSSIP_ANNOUNCED_MAX)
        // Towards a peer that reads slowly; beyond it the oldest said is not worth hearing.
        .connection_handler_queue_len(limits::GOSSIP_WAITING_MAX)
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
    let topic = topic(federation);
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(HashSet::from([topic.hash()])),
        max_subscribed_topics: 1,
        max_subscriptions_per_request: limits::SUBSCRIPTIONS_PER_MESSAGE_MAX,
    };
    let signed = gossipsub::MessageAuthenticity::Signed(keypair.clone());
    let ears = OnlyMembers { topic: topic.hash(), admission };
    let gossip = gossipsub::Behaviour::new_with_subscription_filter_and_transform(signed, config, filter, ears);
    let mut gossip = gossip.map_err(|error| setup(error.to_owned()))?;
    gossip.subscribe(&topic).map_err(|error| setup(error.to_string()))?;
    Ok(gossip)
}

/// Looks at every message whose signature holds before gossipsub remembers it. One that is turned away here is as if it had
/// never come: it may come again when its author has been admitted.
pub(super) struct OnlyMembers {
    topic: TopicHash,
    admission: Arc<Admission>,
}

/// Why a message was turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Unheard {
    #[error("it is not on the federation's topic")]
    Topic,
    #[error("it is too long")]
    TooLong,
    #[error("its author is no member")]
    Author,
}

impl OnlyMembers {
    fn judge(&self, message: &RawMessage) -> Result<(), Unheard> {
        if message.topic != self.topic {
            return Err(Unheard::Topic);
        }
        if message.data.len() > limits::GOSSIP_BYTES_MAX {
            return Err(Unheard::TooLong);
        }
        let author = message.source.as_ref().and_then(ids::node_id).ok_or(Unheard::Author)?;
        if self.admission.is_member(&author) { Ok(()) } else { Err(Unheard::Author) }
    }
}

impl DataTransform for OnlyMembers {
    fn inbound_transform(&self, message: RawMessage) -> Result<Message, io::Error> {
        self.judge(&message).map_err(io::Error::other)?;
        let RawMessage { source, data, sequence_number, topic, .. } = message;
        Ok(Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, io::Error> {
        Ok(data)
    }
}

/// What to do with a message, by how much its bringer has said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// Hear it.
    Hear,
    /// Drop it.
    Drop,
    /// Drop it, and the connection: it has gone on for as long again.
    End,
}

/// How much each peer has brought lately, its own messages and others'. Counted by who brings, not by who wrote: nobody can
/// use up another's share by repeating what the other said long ago.
pub(super) struct Talk {
    peers: BTreeMap<PeerId, Peer>,
    start: Instant,
}

struct Peer {
    messages: Allowance,
    bytes: Allowance,
    dropped: u64,
}

impl Talk {
    pub(super) fn new() -> Talk {
        Talk { peers: BTreeMap::new(), start: Instant::now() }
    }

    /// `peer` brought a message of so many bytes.
    pub(super) fn heard(&mut self, peer: PeerId, bytes: usize) -> Patience {
        let now = Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.heard_at(now, peer, bytes)
    }

    fn heard_at(&mut self, now: Time, peer: PeerId, bytes: usize) -> Patience {
        if !self.peers.contains_key(&peer) {
            self.peers.retain(|_, peer| !(peer.messages.is_full(now) && peer.bytes.is_full(now)));
        }
        let new = || Peer {
            messages: Allowance::new(limits::GOSSIP_MESSAGES),
            bytes: Allowance::new(limits::GOSSIP_BYTES),
            dropped: 0,
        };
        let said = self.peers.entry(peer).or_insert_with(new);
        if said.messages.take(now, 1) && said.bytes.take(now, bytes as u64) {
            said.dropped = 0;
            return Patience::Hear;
        }
        said.dropped += 1;
        if said.dropped < limits::GOSSIP_MESSAGES.burst {
            return Patience::Drop;
        }
        said.dropped = 0;
        Patience::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::types::NodeId;

    const FEDERATION: FederationId = FederationId([7; 32]);

    fn peer(seed: u8) -> (PeerId, NodeId) {
        let secret = libp2p::identity::ed25519::SecretKey::try_from_bytes([seed; 32]).expect("32 bytes");
        let node = ids::node_of_key(&libp2p::identity::ed25519::Keypair::from(secret).public());
        (ids::peer_id(&node).expect("a key"), node)
    }

    #[test]
    fn only_a_members_message_on_the_topic_is_remembered() {
        let (member, node) = peer(1);
        let ears = OnlyMembers {
            topic: topic(&FEDERATION).hash(),
            admission: Arc::new(Admission::new(std::collections::BTreeSet::from([node]).into())),
        };
        let message = RawMessage {
            source: Some(member),
            data: vec![0; limits::GOSSIP_BYTES_MAX],
            sequence_number: Some(1),
            topic: topic(&FEDERATION).hash(),
            signature: None,
            key: None,
            validated: false,
        };
        assert_eq!(ears.judge(&message), Ok(()));
        let check = |message: RawMessage, expect| assert_eq!(ears.judge(&message), Err(expect));
        check(RawMessage { data: vec![0; limits::GOSSIP_BYTES_MAX + 1], ..message.clone() }, Unheard::TooLong);
        check(RawMessage { topic: topic(&FederationId([8; 32])).hash(), ..message.clone() }, Unheard::Topic);
        check(RawMessage { source: Some(peer(2).0), ..message.clone() }, Unheard::Author);
        check(RawMessage { source: None, ..message.clone() }, Unheard::Author);
        ears.admission.set_members(Default::default());
        check(message, Unheard::Author);
    }

    #[test]
    fn who_talks_too_much_is_dropped_then_closed_and_others_are_heard() {
        let (mut talk, (loud, _), (quiet, _)) = (Talk::new(), peer(1), peer(2));
        let burst = limits::GOSSIP_MESSAGES.burst;
        let said: Vec<Patience> = (0..2 * burst).map(|_| talk.heard_at(Time(1), loud, 100)).collect();
        let count = |patience| said.iter().filter(|one| **one == patience).count() as u64;
        assert_eq!((count(Patience::Hear), count(Patience::Drop), count(Patience::End)), (burst, burst - 1, 1));
        assert_eq!(said.last(), Some(&Patience::End));
        assert_eq!(talk.heard_at(Time(1), quiet, 100), Patience::Hear);
        assert_eq!(talk.heard_at(Time(2_000_000_000), loud, 100), Patience::Hear, "and again when it has calmed down");
    }

    #[test]
    fn bytes_count_too() {
        let (mut talk, (loud, _)) = (Talk::new(), peer(1));
        let heard = (0..1000).filter(|_| talk.heard_at(Time(1), loud, 16 << 10) == Patience::Hear).count() as u64;
        assert_eq!(heard, limits::GOSSIP_BYTES.burst / (16 << 10));
    }
}
