//! The door: who may begin a handshake. Before it a peer is an address and nothing else, and a handshake costs a millisecond
//! of arithmetic and some memory; so strangers have few places and few handshakes a second, all together and each address.
//! Addresses at which members are known to be have places and handshakes of their own, which no flood of strangers touches.
//! Nobody is turned away because others wait in silence: see [`Crowd`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::core::guard::{Allowance, Crowd};
use crate::core::limits;
use crate::core::types::Time;

/// Where a connection comes from: an IPv4 address, or the 64 bits of an IPv6 address that name a network. One machine has as
/// many of the others as it likes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Source(u128);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Source {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Source(u128::from(ip.to_ipv6_mapped())),
            IpAddr::V6(ip) => Source(u128::from(ip) & (u128::MAX << 64)),
        }
    }
}

/// A place at the door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    number: u64,
    source: Source,
    known: bool,
}

/// What is said to who knocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It may begin its handshake. The connection of `instead` is closed.
    Enter {
        /// To be handed back when the handshake is over, however it ended.
        place: Place,
        /// Who loses its place.
        instead: Option<Place>,
    },
    /// Its connection is closed now.
    Refuse,
}

/// See the top of this file.
#[derive(Clone, Debug)]
pub struct Door {
    known: BTreeSet<Source>,
    strangers: Crowd<Source, Place>,
    familiar: Crowd<Source, Place>,
    /// Handshakes of all strangers.
    begun: Allowance,
    /// Handshakes of each address that began some lately.
    lately: BTreeMap<Source, Allowance>,
    number: u64,
}

impl Default for Door {
    fn default() -> Door {
        Door {
            known: BTreeSet::new(),
            strangers: Crowd::new(limits::HALF_OPEN_STRANGERS_MAX, limits::HALF_OPEN_PER_STRANGER_MAX),
            familiar: Crowd::new(limits::HALF_OPEN_KNOWN_MAX, limits::HALF_OPEN_PER_KNOWN_MAX),
            begun: Allowance::new(limits::HANDSHAKES_OF_STRANGERS),
            lately: BTreeMap::new(),
            number: 0,
        }
    }
}

impl Door {
    /// Members are at these addresses, and at no others.
    pub fn know(&mut self, known: BTreeSet<Source>) {
        // The rates of an address change with what it is; the places it has are handed back as what they were.
        self.lately.retain(|source, _| known.contains(source) == self.known.contains(source));
        self.known = known;
    }

    /// Somebody at `source` has connected.
    pub fn knock(&mut self, now: Time, source: Source) -> Answer {
        let known = self.known.contains(&source);
        if !self.may_begin(now, source, known) {
            return Answer::Refuse;
        }
        self.number += 1;
        let place = Place { number: self.number, source, known };
        let instead = self.crowd(known).enter(source, place);
        Answer::Enter { place, instead }
    }

    /// The handshake at this place is over.
    pub fn left(&mut self, place: Place) {
        self.crowd(place.known).leave(place.source, place);
    }

    /// Handshakes under way.
    pub fn half_open(&self) -> usize {
        self.strangers.len() + self.familiar.len()
    }

    fn crowd(&mut self, known: bool) -> &mut Crowd<Source, Place> {
        if known { &mut self.familiar } else { &mut self.strangers }
    }

    fn may_begin(&mut self, now: Time, source: Source, known: bool) -> bool {
        if self.lately.len() >= limits::SOURCES_MAX {
            self.lately.retain(|_, allowance| !allowance.is_full(now));
        }
        // Beyond it strangers share what is left for all of them.
        let remembered = known || self.lately.len() < limits::SOURCES_MAX || self.lately.contains_key(&source);
        let rate = if known { limits::HANDSHAKES_OF_KNOWN } else { limits::HANDSHAKES_OF_STRANGER };
        if remembered && !self.lately.entry(source).or_insert_with(|| Allowance::new(rate)).take(now, 1) {
            return false;
        }
        known || self.begun.take(now, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Source {
        Source::from(IpAddr::from(n.to_be_bytes()))
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    const MEMBER: u32 = 0x0a00_0001;

    fn door() -> Door {
        let mut door = Door::default();
        door.know([source(MEMBER)].into());
        door
    }

    /// `count` connections in a second from each of `sources`; none ever finishes its handshake.
    fn flood(door: &mut Door, begin_ms: u64, sources: std::ops::Range<u32>, count: u64) -> usize {
        let mut entered = 0;
        for n in 0..count {
            for one in sources.clone() {
                let answer = door.knock(at(begin_ms + n * 1000 / count), source(one));
                entered += usize::from(answer != Answer::Refuse);
            }
        }
        entered
    }

    #[test]
    fn a_flood_from_one_address_or_from_many_is_bounded_and_leaves_members_alone() {
        for (sources, count) in [(1..2u32, 5000), (1..5000, 1), (1..100, 50)] {
            let mut door = door();
            let entered = flood(&mut door, 1000, sources.clone(), count);
            let rate = limits::HANDSHAKES_OF_STRANGERS;
            assert!(entered as u64 <= rate.burst + rate.per_second, "{entered} began from {sources:?}");
            assert!(door.half_open() <= limits::HALF_OPEN_STRANGERS_MAX, "{sources:?}");
            let answer = door.knock(at(2000), source(MEMBER));
            assert!(matches!(answer, Answer::Enter { instead: None, .. }), "{sources:?}: {answer:?}");
        }
    }

    #[test]
    fn a_stranger_at_another_address_gets_in_while_one_floods() {
        let mut door = door();
        for second in 1..10 {
            flood(&mut door, second * 1000, 1..2, 1000);
            let answer = door.knock(at(second * 1000 + 999), source(2));
            assert!(matches!(answer, Answer::Enter { .. }), "second {second}: {answer:?}");
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_handshake_is_over() {
        let mut door = door();
        for n in 0..1000u64 {
            let Answer::Enter { place, instead } = door.knock(at(n * 1000), source(1)) else {
                panic!("refused at {n}")
            };
            assert_eq!(instead, None);
            door.know([source(MEMBER), source(1)].into());
            door.left(place);
            assert_eq!(door.half_open(), 0, "also when the address has become known meanwhile");
            door.know([source(MEMBER)].into());
        }
    }

    #[test]
    fn one_network_is_one_source() {
        let ip = |text: &str| Source::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_ne!(ip("10.0.0.2"), ip("10.0.0.1"));
    }
}
