//! The door between the sockets and the handshakes (see `core::guard`): it knows at which addresses members are, asks the
//! rules, and closes who has to leave. Shared by the transport, which lets connections in, and the network task, which learns
//! where members are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::future::{AbortHandle, AbortRegistration};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol as Part;

use crate::core::guard::{self, Answer, Source};
use crate::core::limits;
use crate::core::types::{NodeId, Time};

/// See the top of this file. Clones are one door.
#[derive(Clone)]
pub(super) struct Door {
    state: Arc<Mutex<State>>,
    start: Instant,
}

#[derive(Default)]
struct State {
    rules: guard::Door,
    /// How each handshake that is under way can be ended.
    handshakes: BTreeMap<guard::Place, AbortHandle>,
    /// Where each member was said or seen to be, the newest first.
    hosts: BTreeMap<NodeId, VecDeque<Source>>,
}

/// A handshake that may begin. Dropping it frees its place.
pub(super) struct Pass {
    door: Door,
    place: guard::Place,
}

impl Door {
    pub(super) fn new() -> Door {
        Door { state: Arc::default(), start: Instant::now() }
    }

    /// Somebody at `address` has connected; `None`: close it at once. The handshake must end when the registration says so.
    pub(super) fn knock(&self, address: &Multiaddr) -> Option<(Pass, AbortRegistration)> {
        let now = Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let mut state = self.lock();
        match state.rules.knock(now, source(address)?) {
            Answer::Refuse => None,
            Answer::Enter { place, instead } => {
                if let Some(handshake) = instead.and_then(|instead| state.handshakes.remove(&instead)) {
                    handshake.abort();
                }
                let (handle, registration) = AbortHandle::new_pair();
                state.handshakes.insert(place, handle);
                Some((Pass { door: self.clone(), place }, registration))
            }
        }
    }

    /// A member is at these addresses, as somebody said or as was seen.
    pub(super) fn learn<'a>(&self, node: NodeId, addresses: impl IntoIterator<Item = &'a Multiaddr>) {
        let mut state = self.lock();
        let held = state.hosts.entry(node).or_default();
        let mut news = false;
        for source in addresses.into_iter().filter_map(source) {
            if !held.contains(&source) {
                held.push_front(source);
                held.truncate(limits::SEEN_ADDRESSES_MAX);
                news = true;
            }
        }
        if news {
            state.tell();
        }
    }

    /// Only these are members now.
    pub(super) fn retain(&self, members: &BTreeSet<NodeId>) {
        let mut state = self.lock();
        state.hosts.retain(|node, _| members.contains(node));
        state.tell();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self) {
        self.rules.know(self.hosts.values().flatten().copied().collect());
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.door.lock();
        state.handshakes.remove(&self.place);
        state.rules.left(self.place);
    }
}

/// The address a connection comes from, or leads to. Of a name nothing is known before it is dialled.
pub(super) fn source(address: &Multiaddr) -> Option<Source> {
    match address.iter().next()? {
        Part::Ip4(ip) => Some(Source::from(IpAddr::V4(ip))),
        Part::Ip6(ip) => Some(Source::from(IpAddr::V6(ip))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_waits_too_long_among_many_is_told_to_leave() {
        let door = Door::new();
        let hostile = address("/ip4/10.0.0.9/tcp/1");
        let mut held = Vec::new();
        for n in 0..=limits::HALF_OPEN_PER_STRANGER_MAX {
            // Slower than handshakes may begin, so that none is refused for coming too fast.
            std::thread::sleep(std::time::Duration::from_millis(2000 / limits::HANDSHAKES_OF_STRANGERS.per_second));
            held.push(door.knock(&hostile).unwrap_or_else(|| panic!("refused at {n}")));
        }
        let aborted = |at: usize| {
            let (_, registration): &(Pass, AbortRegistration) = &held[at];
            registration.handle().is_aborted()
        };
        assert!(aborted(0) && (1..held.len()).all(|at| !aborted(at)), "the first, and no other");
        drop(held);
        assert_eq!(door.lock().rules.half_open(), 0);
        assert!(door.lock().handshakes.is_empty());
    }

    #[test]
    fn an_address_is_known_while_its_member_is_one() {
        let (door, member) = (Door::new(), NodeId([1; 32]));
        let at = address("/ip4/10.0.0.1/tcp/7718");
        let strangers = limits::HANDSHAKES_OF_STRANGERS.burst as usize;
        for n in 0..strangers {
            assert!(door.knock(&address(&format!("/ip4/10.0.1.{n}/tcp/1"))).is_some());
        }
        door.learn(member, [&at, &address("/dns4/den.local/tcp/7718")]);
        assert!(door.knock(&at).is_some());
        door.retain(&BTreeSet::new());
        assert!(door.knock(&at).is_none(), "strangers have had their share");
    }
}
