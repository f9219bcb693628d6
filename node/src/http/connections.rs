//! Which connections the API keeps when there are too many. Nobody is locked out by a flood: a new one is always let in while
//! some other has not shown that it may be here (no request of it has passed yet), and of those the address that holds most
//! gives its oldest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::core::limits;

/// All open connections of one listener.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    /// By age.
    open: BTreeMap<u64, Open>,
}

struct Open {
    from: IpAddr,
    trusted: Trust,
    cut: CancellationToken,
}

/// Has a request of this connection passed? Then it stays.
#[derive(Clone, Default, Debug)]
pub(super) struct Trust(Arc<AtomicBool>);

impl Trust {
    pub(super) fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection's place; dropping it makes room.
pub(super) struct Place {
    table: Connections,
    number: u64,
    /// To be given once a request has passed.
    pub(super) trusted: Trust,
    /// Fires when another needs the place more.
    pub(super) cut: CancellationToken,
}

/// Whoever has one address of an IPv6 network has them all.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

impl Connections {
    /// A place for a connection from `remote`; `None` when all are taken by connections that may stay.
    pub(super) fn admit(&self, remote: IpAddr) -> Option<Place> {
        let local = remote.to_canonical().is_loopback();
        let from = network(remote);
        let mut table = self.lock();
        let held = table.open.values().filter(|open| open.from == from).count();
        if !local && held >= limits::HTTP_CONNECTIONS_PER_ADDRESS_MAX {
            table.cut_oldest(|open| open.from == from)?;
        } else if table.open.len() >= limits::HTTP_CONNECTIONS_MAX {
            let most = table.holds_most()?;
            table.cut_oldest(|open| open.from == most)?;
        }
        let number = table.next;
        table.next += 1;
        let (trusted, cut) = (Trust::default(), CancellationToken::new());
        table.open.insert(number, Open { from, trusted: trusted.clone(), cut: cut.clone() });
        Some(Place { table: self.clone(), number, trusted, cut })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The address with most connections that may be cut.
    fn holds_most(&self) -> Option<IpAddr> {
        let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for open in self.open.values().filter(|open| !open.trusted.is_given()) {
            *held.entry(open.from).or_default() += 1;
        }
        held.into_iter().max_by_key(|(_, count)| *count).map(|(address, _)| address)
    }

    fn cut_oldest(&mut self, of: impl Fn(&Open) -> bool) -> Option<()> {
        let oldest = self.open.iter().find(|(_, open)| !open.trusted.is_given() && of(open));
        let number = oldest.map(|(number, _)| *number)?;
        let open = self.open.remove(&number)?;
        open.cut.cancel();
        Some(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_displaces_its_own_oldest_and_nobody_else() {
        let table = Connections::default();
        let honest = table.admit(from("192.168.1.9")).unwrap();
        let mut held: Vec<Place> =
            (0..limits::HTTP_CONNECTIONS_PER_ADDRESS_MAX).map(|_| table.admit(from("192.168.1.66")).unwrap()).collect();
        held[0].trusted.give();
        let more = table.admit(from("192.168.1.66")).unwrap();
        let cut: Vec<usize> = (0..held.len()).filter(|number| held[*number].cut.is_cancelled()).collect();
        assert_eq!((cut, more.cut.is_cancelled(), honest.cut.is_cancelled()), (vec![1], false, false));
        held.iter().for_each(|place| place.trusted.give());
        more.trusted.give();
        assert!(table.admit(from("192.168.1.66")).is_none());
        held.clear();
        assert!(table.admit(from("192.168.1.66")).is_some());
    }

    #[test]
    fn a_full_table_takes_from_who_holds_most_and_never_from_the_trusted() {
        let table = Connections::default();
        let few = table.admit(from("10.0.0.1")).unwrap();
        let trusted = table.admit(from("127.0.0.1")).unwrap();
        trusted.trusted.give();
        let flood: Vec<Place> =
            (2..limits::HTTP_CONNECTIONS_MAX).map(|_| table.admit(from("127.0.0.1")).unwrap()).collect();
        let new = table.admit(from("10.0.0.2")).unwrap();
        assert!(flood[0].cut.is_cancelled() && !flood[1].cut.is_cancelled());
        assert!(!few.cut.is_cancelled() && !trusted.cut.is_cancelled() && !new.cut.is_cancelled());
        assert_eq!(table.lock().open.len(), limits::HTTP_CONNECTIONS_MAX);
        drop(flood);
        assert_eq!(table.lock().open.len(), 3);
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_one_is_ipv4() {
        assert_eq!(network(from("2001:db8:1:2:3:4:5:6")), from("2001:db8:1:2::"));
        assert_eq!(network(from("::ffff:10.0.0.1")), from("10.0.0.1"));
    }
}
