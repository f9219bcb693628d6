//! Addresses that the user gave with `--peer` and whose owner is not known yet. Each is dialled until a member answers there;
//! from then on it is one more address of that member.

use std::time::Instant;

use libp2p::Multiaddr;
use libp2p::swarm::{ConnectionId, DialError};

use crate::core::checkup::{DialReport, MemberReach};
use crate::core::limits;
use crate::core::types::NodeId;
use crate::net::dial::{Absence, absence, reason};
use crate::net::std_duration;

/// See the top of this file.
#[derive(Default)]
pub(super) struct Statics(Vec<Static>);

struct Static {
    address: Multiaddr,
    /// Who answered there.
    node: Option<NodeId>,
    dial: Option<ConnectionId>,
    retry_at: Option<Instant>,
    failures: u32,
    error: Option<DialReport>,
}

impl Statics {
    pub(super) fn new(addresses: Vec<Multiaddr>, now: Instant) -> Statics {
        let one = |address| Static { address, node: None, dial: None, retry_at: Some(now), failures: 0, error: None };
        Statics(addresses.into_iter().take(limits::STATIC_PEERS_MAX).map(one).collect())
    }

    /// What to dial now.
    pub(super) fn due(&self, now: Instant) -> Vec<Multiaddr> {
        let due = |one: &&Static| one.node.is_none() && one.dial.is_none() && one.retry_at.is_some_and(|at| at <= now);
        self.0.iter().filter(due).map(|one| one.address.clone()).collect()
    }

    pub(super) fn began(&mut self, address: &Multiaddr, dial: ConnectionId) {
        if let Some(one) = self.0.iter_mut().find(|one| &one.address == address) {
            one.dial = Some(dial);
        }
    }

    /// True if `dial` was one of these.
    pub(super) fn failed(&mut self, dial: ConnectionId, error: &DialError, now: Instant) -> bool {
        let Some(one) = self.0.iter_mut().find(|one| one.dial == Some(dial)) else { return false };
        one.dial = None;
        let pause = std_duration(limits::REDIAL_FIRST) * (1 << one.failures.min(10));
        one.retry_at = Some(now + pause.min(std_duration(limits::REDIAL_LONGEST)));
        one.failures = one.failures.saturating_add(1);
        let silent = absence(error) == Absence::Possible;
        one.error = Some(DialReport { address: one.address.to_string(), why: reason(error), silent });
        true
    }

    /// `node` answered; its address, if `dial` was one of these.
    pub(super) fn reached(&mut self, dial: ConnectionId, node: NodeId) -> Option<Multiaddr> {
        let one = self.0.iter_mut().find(|one| one.dial == Some(dial))?;
        (one.dial, one.node, one.error) = (None, Some(node), None);
        Some(one.address.clone())
    }

    /// Tries at once what failed before.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        for one in &mut self.0 {
            (one.retry_at, one.failures) = (Some(now), 0);
        }
    }

    pub(super) fn reach(&self) -> impl Iterator<Item = MemberReach> + '_ {
        self.0.iter().filter(|one| one.node.is_none()).map(|one| MemberReach {
            addresses: vec![one.address.to_string()],
            errors: one.error.clone().into_iter().collect(),
            ..MemberReach::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_address_is_tried_until_a_member_answers_there() {
        let (now, dial) = (Instant::now(), ConnectionId::new_unchecked(1));
        let address: Multiaddr = "/dns/den.local/tcp/7718".parse().expect("address");
        let mut statics = Statics::new(vec![address.clone()], now);
        assert_eq!(statics.due(now), vec![address.clone()]);
        statics.began(&address, dial);
        assert_eq!(statics.due(now), vec![], "one dial at a time");
        assert!(statics.failed(dial, &DialError::Aborted, now));
        assert_eq!(statics.due(now), vec![]);
        let later = now + std_duration(limits::REDIAL_FIRST);
        assert_eq!(statics.due(later), vec![address.clone()]);
        assert_eq!(statics.reach().count(), 1);
        statics.began(&address, dial);
        assert_eq!(statics.reached(dial, NodeId([1; 32])), Some(address));
        statics.begin_anew(later);
        assert_eq!((statics.due(later), statics.reach().count()), (vec![], 0), "its owner's book has it now");
    }
}
