//! The machine's lookout: what the election asks about the others, from the table and the roster of members.

use std::cmp::Reverse;

use crate::core::coordinator::{self, Around, Coordinator};
use crate::core::machine::{Config, Machine};
use crate::core::membership::roster::{Member, Role};
use crate::core::membership::table::{Entry, Presence, Table};
use crate::core::types::{NodeId, Time};

/// What can be seen from this node.
pub(super) struct Lookout<'a> {
    config: &'a Config,
    table: &'a Table,
    /// Who holds the lease, as far as this node knows.
    holder: Option<NodeId>,
    on_battery: bool,
    leaving: bool,
}

impl<'a> Lookout<'a> {
    fn new(config: &'a Config, table: &'a Table, seat: &Coordinator, on_battery: bool, leaving: bool) -> Lookout<'a> {
        let holder = seat.coordinator().map(|(holder, _)| holder);
        Lookout { config, table, holder, on_battery, leaving }
    }

    /// The other members that could sit, with what is known of them.
    fn others(&self) -> impl Iterator<Item = (&Member, Option<&Entry>)> {
        let entries = self.table.entries();
        let members = self.config.members.members.iter().zip(entries);
        members.filter(|(member, _)| member.node != self.config.me && member.role == Role::Full)
    }
}

fn speaks(entry: &Entry) -> bool {
    entry.connected && entry.advert().is_some()
}

impl Around for Lookout<'_> {
    fn rank(&self, enough: u64) -> u64 {
        // Whom its owner has drained is on its way out: it sits only if nobody else can.
        let drained = |node: &NodeId| self.config.catalog.is_drained(node);
        let claim = |priority: u32, on_battery: bool, node: NodeId| {
            (drained(&node), Reverse(priority), on_battery, self.holder != Some(node), node)
        };
        let mine = claim(self.config.priority, self.on_battery, self.config.me);
        let candidates = self.table.alive().filter(|advert| advert.role == Role::Full);
        let before = candidates.filter(|a| claim(a.priority, a.on_battery, a.node) < mine);
        before.take(usize::try_from(enough).unwrap_or(usize::MAX)).count() as u64
    }

    fn eligible(&self) -> bool {
        self.config.role == Role::Full && !self.leaving
    }

    fn holder_gone_since(&self) -> Option<Time> {
        let holder = self.holder.filter(|holder| *holder != self.config.me)?;
        let gone = self.table.get(&holder).filter(|entry| entry.presence == Presence::Down && entry.refused);
        gone.map(|entry| entry.since)
    }

    fn all_accounted(&self) -> bool {
        let accounted = |entry: &Entry| speaks(entry) || entry.presence == Presence::Down;
        self.others().all(|(_, entry)| entry.is_some_and(accounted))
    }

    fn alone(&self) -> bool {
        self.others().next().is_none()
    }

    fn company(&self) -> bool {
        self.others().any(|(_, entry)| entry.is_some_and(speaks))
    }
}

impl Machine {
    pub(super) fn lookout(&self) -> Lookout<'_> {
        Lookout::new(&self.config, &self.table, &self.coordinator, self.on_battery, self.leaving)
    }

    /// Lets the seat see what changed, and what time it is.
    pub(super) fn tick_seat(&mut self, now: Time) -> Vec<coordinator::Action> {
        // Of its parts, for the seat itself is changed.
        let lookout = Lookout::new(&self.config, &self.table, &self.coordinator, self.on_battery, self.leaving);
        self.coordinator.tick(now, &lookout)
    }

    /// When the seat must be looked at again, or sooner.
    pub(super) fn next_seat(&self, now: Time) -> Option<Time> {
        self.coordinator.next_deadline(now, &self.lookout())
    }
}
