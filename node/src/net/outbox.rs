//! Events on their way to the driver. What happened to a connection is never lost; of gossip only the newest of each kind
//! from each author is worth keeping when the driver is slow.

use std::collections::{BTreeMap, VecDeque};

use crate::core::limits;
use crate::core::membership::advert::Gossip;
use crate::core::types::{Duration, NodeId};
use crate::net::NetEvent;

/// See the top of this file. Gossip is bounded by two messages per member, round trips by one.
#[derive(Default)]
pub(super) struct Outbox {
    connections: VecDeque<NetEvent>,
    gossip: BTreeMap<(NodeId, bool), Gossip>,
    round_trips: BTreeMap<NodeId, Duration>,
}

impl Outbox {
    pub(super) fn push(&mut self, event: NetEvent) {
        self.connections.push_back(event);
    }

    pub(super) fn push_gossip(&mut self, author: NodeId, gossip: Gossip) {
        let is_lease = matches!(gossip, Gossip::Lease(_));
        // An older one by another way must not replace a newer one.
        if let (Some(Gossip::Advert(held)), Gossip::Advert(new)) = (self.gossip.get(&(author, is_lease)), &gossip)
            && (held.incarnation, held.sequence) > (new.incarnation, new.sequence)
        {
            return;
        }
        self.gossip.insert((author, is_lease), gossip);
    }

    pub(super) fn push_round_trip(&mut self, node: NodeId, round_trip: std::time::Duration) {
        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.round_trips.insert(node, Duration(nanos));
    }

    /// The next event; connections first, so that nobody is heard before it is seen.
    pub(super) fn pop(&mut self) -> Option<NetEvent> {
        if let Some(event) = self.connections.pop_front() {
            return Some(event);
        }
        if let Some(((author, _), gossip)) = self.gossip.pop_first() {
            return Some(NetEvent::Gossip { author, gossip });
        }
        self.round_trips.pop_first().map(|(node, span)| NetEvent::RoundTrip(node, span))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.gossip.is_empty() && self.round_trips.is_empty()
    }

    /// While false, the network must wait for the driver.
    pub(super) fn has_room(&self) -> bool {
        self.connections.len() < limits::NET_EVENTS_HELD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::membership::advert::Lease;

    #[test]
    fn a_slow_driver_loses_old_gossip_and_no_connection() {
        let node = NodeId([1; 32]);
        let lease = |epoch| Gossip::Lease(Lease { coordinator: node, epoch, plan_revision: 0, resigns: false });
        let mut outbox = Outbox::default();
        outbox.push_round_trip(node, std::time::Duration::from_millis(9));
        outbox.push_round_trip(node, std::time::Duration::from_millis(2));
        outbox.push_gossip(node, lease(1));
        outbox.push_gossip(node, lease(2));
        outbox.push(NetEvent::Disconnected { node });
        outbox.push(NetEvent::Disconnected { node });
        assert_eq!(outbox.pop(), Some(NetEvent::Disconnected { node }));
        assert_eq!(outbox.pop(), Some(NetEvent::Disconnected { node }));
        assert_eq!(outbox.pop(), Some(NetEvent::Gossip { author: node, gossip: lease(2) }));
        assert!(!outbox.is_empty());
        assert_eq!(outbox.pop(), Some(NetEvent::RoundTrip(node, Duration::from_millis(2))));
        assert!(outbox.is_empty());
    }
}
