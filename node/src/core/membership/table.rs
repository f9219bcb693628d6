//! The table of members as one node sees them: newest advertisement of each, and whether it is there. Highest incarnation
//! wins, then highest sequence. A closed connection makes a member suspect at once, a refused redial makes it down, and
//! what others still gossip about a member that is down does not bring it back: only a connection or a newer start does.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::membership::advert::{Advert, ReplicaState, ReplicaStatus};
use crate::core::types::{Duration, NodeId, SlotName, Time};

/// Is a member there?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Heard from, and not known to be gone.
    Alive,
    /// Its connection closed; its last words still count for a while.
    Suspect,
    /// Known to be gone, or silent for too long.
    Down,
}

impl Presence {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Presence::Alive => "alive",
            Presence::Suspect => "suspect",
            Presence::Down => "down",
        }
    }
}

/// What is known of one member.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its newest advertisement, if one came.
    pub advert: Option<Advert>,
    /// When that came.
    pub heard: Time,
    /// Is it there?
    pub presence: Presence,
    /// Since when `presence` holds.
    pub since: Time,
    /// A connection to it is open.
    pub connected: bool,
    /// Incarnation and sequence of the newest advertisement that ever came, also when what it said is void by now.
    pub newest: Option<(u64, u64)>,
    /// It went down because its address refused: the process is gone, not merely silent.
    pub refused: bool,
}

/// All members but this one.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: BTreeMap<NodeId, Entry>,
}

impl Table {
    fn entry(&mut self, now: Time, node: NodeId) -> &mut Entry {
        self.entries.entry(node).or_insert(Entry {
            advert: None,
            heard: now,
            presence: Presence::Suspect,
            since: now,
            connected: false,
            newest: None,
            refused: false,
        })
    }

    fn set(entry: &mut Entry, now: Time, presence: Presence) -> bool {
        let changed = entry.presence != presence;
        if changed {
            entry.presence = presence;
            entry.since = now;
        }
        changed
    }

    /// Takes an advertisement; true if it said something new.
    pub fn advert(&mut self, now: Time, advert: Advert) -> bool {
        let entry = self.entry(now, advert.node);
        let version = (advert.incarnation, advert.sequence);
        if entry.newest.is_some_and(|known| known >= version) {
            return false;
        }
        let restarted = entry.newest.is_none_or(|(incarnation, _)| advert.incarnation > incarnation);
        entry.newest = Some(version);
        entry.heard = now;
        if entry.connected || entry.presence != Presence::Down || restarted {
            entry.refused = false;
            Table::set(entry, now, Presence::Alive);
        }
        entry.advert = Some(advert);
        true
    }

    /// A connection to `node` opened.
    pub fn connected(&mut self, now: Time, node: NodeId) -> bool {
        let entry = self.entry(now, node);
        if entry.presence == Presence::Down {
            // What it said before it went says nothing of what it is now.
            entry.advert = None;
        }
        entry.connected = true;
        entry.refused = false;
        entry.heard = now;
        Table::set(entry, now, Presence::Alive)
    }

    /// The last connection to `node` closed.
    pub fn disconnected(&mut self, now: Time, node: NodeId) -> bool {
        let entry = self.entry(now, node);
        entry.connected = false;
        if entry.presence == Presence::Down { false } else { Table::set(entry, now, Presence::Suspect) }
    }

    /// A redial failed; `refused`: nothing listens there any more.
    pub fn dial_failed(&mut self, now: Time, node: NodeId, refused: bool) -> bool {
        let entry = self.entry(now, node);
        if entry.connected || !refused {
            return false;
        }
        entry.refused = true;
        Table::set(entry, now, Presence::Down)
    }

    /// Forgets who is no longer a member.
    pub fn retain(&mut self, is_member: impl Fn(&NodeId) -> bool) {
        self.entries.retain(|node, _| is_member(node));
    }

    /// Lets silence speak; true if a presence changed.
    pub fn expire(&mut self, now: Time) -> bool {
        let mut changed = false;
        for entry in self.entries.values_mut() {
            let silent = now.since(entry.heard) >= Table::life(entry);
            if silent && entry.presence != Presence::Down {
                changed |= Table::set(entry, now, Presence::Down);
            }
        }
        changed
    }

    /// Members whose connection is open and who have said nothing for the life of an advertisement: it carries pings perhaps,
    /// and nothing else.
    pub fn mute(&self) -> impl Iterator<Item = NodeId> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.connected && entry.presence == Presence::Down)
            .map(|(node, _)| *node)
    }

    fn life(entry: &Entry) -> Duration {
        entry.advert.as_ref().map_or(limits::ADVERT_LIFE, |advert| Duration::from_millis(u64::from(advert.ttl_ms)))
    }

    /// Has `node` missed an advertisement? It may be stopped, or cut off, although its connection looks open still.
    pub fn is_quiet(&self, now: Time, node: &NodeId) -> bool {
        self.get(node).is_none_or(|entry| now.since(entry.heard) >= limits::QUIET)
    }

    /// When silence will next speak.
    pub fn next_deadline(&self) -> Option<Time> {
        let waiting = self.entries.values().filter(|entry| entry.presence != Presence::Down);
        waiting.map(|entry| entry.heard.after(Table::life(entry))).min()
    }

    /// What is known of `node`.
    pub fn get(&self, node: &NodeId) -> Option<&Entry> {
        self.entries.get(node)
    }

    /// All entries, by node.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Entry)> {
        self.entries.iter()
    }

    /// Advertisements of members that are alive.
    pub fn alive(&self) -> impl Iterator<Item = &Advert> {
        let alive = self.entries.values().filter(|entry| entry.presence == Presence::Alive);
        alive.filter_map(|entry| entry.advert.as_ref())
    }

    /// Replicas of `slot` that are ready on members that are alive.
    pub fn ready<'a>(&'a self, slot: &'a SlotName) -> impl Iterator<Item = (NodeId, &'a ReplicaStatus)> {
        self.alive().flat_map(move |advert| {
            let ready = advert
                .replicas
                .iter()
                .filter(move |replica| &replica.slot == slot && replica.state == ReplicaState::Ready);
            ready.map(|replica| (advert.node, replica))
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::core::membership::roster::Role;
    use crate::core::types::Digest;

    pub(crate) fn advert(node: u8, incarnation: u64, sequence: u64) -> Advert {
        Advert {
            node: NodeId([node; 32]),
            incarnation,
            sequence,
            ttl_ms: 15_000,
            name: format!("n{node}"),
            role: Role::Full,
            on_battery: false,
            priority: 0,
            domains: Vec::new(),
            disk_free_bytes: 0,
            holdings: Vec::new(),
            replicas: Vec::new(),
            member_roster_mark: 0,
            catalog_digest: Digest::default(),
            plan_epoch: 0,
            plan_revision: 0,
            epoch_highest: 0,
            addresses: Vec::new(),
            wanted: Vec::new(),
            demand: Vec::new(),
            plan_author: None,
            wishes_digest: None,
            externals: Vec::new(),
        }
    }

    fn seconds(n: u64) -> Time {
        Time::default().after(Duration::from_secs(n))
    }

    fn check(table: &Table, node: u8, presence: Presence) {
        assert_eq!(table.get(&NodeId([node; 32])).map(|entry| entry.presence), Some(presence));
    }

    #[test]
    fn old_news_changes_nothing() {
        let mut table = Table::default();
        assert!(table.advert(seconds(0), advert(1, 2, 5)));
        assert!(!table.advert(seconds(1), advert(1, 2, 5)));
        assert!(!table.advert(seconds(1), advert(1, 1, 99)));
        assert!(table.advert(seconds(1), advert(1, 3, 1)));
    }

    #[test]
    fn what_others_still_say_of_a_dead_member_does_not_resurrect_it() {
        let mut table = Table::default();
        table.connected(seconds(0), NodeId([1; 32]));
        table.advert(seconds(0), advert(1, 1, 1));
        table.disconnected(seconds(1), NodeId([1; 32]));
        check(&table, 1, Presence::Suspect);
        table.dial_failed(seconds(1), NodeId([1; 32]), true);
        check(&table, 1, Presence::Down);
        table.advert(seconds(2), advert(1, 1, 2));
        check(&table, 1, Presence::Down);
        table.advert(seconds(3), advert(1, 2, 1));
        check(&table, 1, Presence::Alive);
    }

    #[test]
    fn who_misses_an_advertisement_is_quiet_long_before_it_is_down() {
        let mut table = Table::default();
        let node = NodeId([1; 32]);
        assert!(table.is_quiet(seconds(0), &node), "nobody has heard of it");
        for second in [0, 2, 4] {
            table.advert(seconds(second), advert(1, 1, second + 1));
            assert!(!table.is_quiet(seconds(second + 2), &node));
        }
        assert!(table.is_quiet(seconds(7), &node));
        check(&table, 1, Presence::Alive);
    }

    #[test]
    fn a_life_that_ended_is_not_believed_again_after_a_connection_that_said_nothing() {
        let (mut table, node) = (Table::default(), NodeId([1; 32]));
        table.connected(seconds(0), node);
        table.advert(seconds(0), advert(1, 5, 9));
        let dies = |table: &mut Table, at: u64| {
            table.disconnected(seconds(at), node);
            table.dial_failed(seconds(at), node, true);
        };
        dies(&mut table, 1);
        // It starts again, is met, and dies before it speaks; what it said in its life before is still on its way.
        table.connected(seconds(2), node);
        assert!(!table.advert(seconds(2), advert(1, 5, 9)), "nor is it what it is now");
        assert!(table.get(&node).is_some_and(|entry| entry.advert.is_none()));
        dies(&mut table, 3);
        table.advert(seconds(4), advert(1, 5, 10));
        check(&table, 1, Presence::Down);
        table.advert(seconds(5), advert(1, 6, 1));
        check(&table, 1, Presence::Alive);
    }

    #[test]
    fn who_fell_silent_comes_back_by_a_connection_or_a_new_start_and_not_by_hearsay() {
        let (mut table, node) = (Table::default(), NodeId([1; 32]));
        table.advert(seconds(0), advert(1, 1, 1));
        assert!(table.expire(seconds(15)));
        table.advert(seconds(16), advert(1, 1, 2));
        check(&table, 1, Presence::Down);
        table.connected(seconds(17), node);
        check(&table, 1, Presence::Alive);
        table.advert(seconds(17), advert(1, 1, 3));
        assert_eq!(table.alive().count(), 1);
        // A closed connection makes it suspect at once; a dial that only times out changes nothing.
        table.disconnected(seconds(18), node);
        check(&table, 1, Presence::Suspect);
        assert!(!table.dial_failed(seconds(18), node, false));
        check(&table, 1, Presence::Suspect);
        assert_eq!(table.alive().count(), 0, "and no route leads there");
    }

    #[test]
    fn silence_ends_in_down() {
        let mut table = Table::default();
        table.advert(seconds(0), advert(1, 1, 1));
        assert_eq!(table.next_deadline(), Some(seconds(15)));
        assert!(!table.expire(seconds(14)));
        assert!(table.expire(seconds(15)));
        check(&table, 1, Presence::Down);
    }
}
