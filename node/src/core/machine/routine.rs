//! What a machine hears all the time and need not think about: that others are as they were. In a federation of a thousand
//! this is nearly everything.

use std::sync::Arc;

use crate::core::machine::advertising::{News, news};
use crate::core::machine::{Input, Machine};
use crate::core::membership::advert::{Advert, Gossip};
use crate::core::membership::table::{Entry, Presence, Repeated};
use crate::core::types::Time;

impl Machine {
    /// The first half of [`Machine::handle`]: takes an input that changes nothing anybody acts on, and leads to nothing. False:
    /// it must be looked at properly, by [`Machine::heed`].
    pub fn take_lightly(&mut self, now: Time, input: &Input) -> bool {
        if self.due.is_some_and(|due| due <= now) && !self.is_put_off(now) {
            return false; // something else is due
        }
        match input {
            Input::Tick => true,
            Input::Gossip(Gossip::Advert(advert)) => self.takes_as_known(now, advert),
            Input::Greeting(advert) => self.table.has_heard(advert) && !self.disagrees(advert),
            Input::Gossip(Gossip::Lease(lease)) => {
                self.coordinator.renews(lease)
                    && self.config.members.member(&lease.coordinator).is_some()
                    && self.coordinator.heard(now, lease).is_empty()
            }
            Input::Hardware { domains, disk_free_bytes, on_battery } => {
                self.residency.is_idle()
                    && self.residency.is_measured_as(domains)
                    && (self.disk_free_bytes, self.on_battery) == (*disk_free_bytes, *on_battery)
            }
            Input::DialFailed { node, refused } => {
                let known = |entry: &Entry| entry.refused && entry.presence == Presence::Down;
                self.table.get(node).is_some_and(|entry| !entry.connected && (!refused || known(entry)))
            }
            Input::Record(record) => self.config.catalog.holds(record),
            _ => false,
        }
    }

    /// Is nothing due after all? Whoever was heard again, and the holder of the lease first of all, moved what was due with it.
    fn is_put_off(&mut self, now: Time) -> bool {
        let Some(settled) = self.settled.filter(|_| self.coordinator.seated().is_none()) else { return false };
        let due = self.find_due(settled);
        let put_off = due.is_none_or(|due| due > now);
        if put_off {
            self.due = due;
        }
        put_off
    }

    /// Before an input is taken: what may it change of what is fetched here, waited for anywhere, and asked of others?
    pub(super) fn note_subject(&mut self, input: &Input) {
        let Some((node, says)) = input.subject() else {
            let own = !input.is_of_others();
            self.wants_changed |= own;
            self.routes_changed |= own;
            if matches!(input, Input::Members(_)) {
                self.transfers.holders_changed();
            }
            return;
        };
        let entry = self.table.get(node);
        let Some(said) = entry.and_then(|entry| entry.advert()) else {
            // Nothing was known of it, and whoever waits for weights may have hoped that it has them.
            self.routes_changed = true;
            if says.is_some_and(|says| !says.holdings.is_empty()) {
                self.transfers.holders_changed();
            }
            return;
        };
        let stays = says.is_some() && entry.is_some_and(|entry| entry.presence == Presence::Alive);
        let says = says.unwrap_or(said);
        let holds = !(said.holdings.is_empty() && says.holdings.is_empty());
        let holds_otherwise = holds && !(stays && said.holds_as(says));
        let answers = [said, says].iter().any(|advert| !(advert.replicas.is_empty() && advert.externals.is_empty()));
        if holds_otherwise {
            self.transfers.holders_changed();
        }
        self.routes_changed |= holds_otherwise || answers;
    }

    /// An advertisement that was heard before, or says again what its author said before, or only how busy and how far it is.
    fn takes_as_known(&mut self, now: Time, advert: &Arc<Advert>) -> bool {
        if self.disagrees(advert) {
            return false;
        }
        if advert.epoch_highest > self.coordinator.epoch_highest() {
            return self.table.has_heard(advert);
        }
        let sits = self.coordinator.seated().is_some();
        let alike = |known: &Advert| {
            known.ttl_ms == advert.ttl_ms
                && (known.role, known.priority, known.on_battery) == (advert.role, advert.priority, advert.on_battery)
                && news(known, advert) != News::Prompt
                && (!sits || plans_alike(known, advert))
        };
        match self.table.repeated(now, advert, alike) {
            Repeated::Old => return true,
            Repeated::Otherwise => return false,
            // Where nothing answers, nothing of this node's is in flight.
            Repeated::Again if advert.replicas.is_empty() && advert.externals.is_empty() => {}
            Repeated::Again => self.router.heard(advert.node),
        }
        if !sits {
            self.plan_dirty(now); // should it sit one day
        }
        !self.table.has_new_wants() // that it waits too, or no longer, is nothing new if somebody else does
    }

    /// Does a member know another roster of members or another catalog? In either direction: which of two counts is seen by
    /// whoever holds both.
    pub(super) fn disagrees(&self, advert: &Advert) -> bool {
        let catalog = &self.config.catalog;
        advert.member_roster_mark != self.config.members.mark()
            || advert.catalog_digest != catalog.digest()
            || advert.wishes_digest.is_some_and(|theirs| theirs != catalog.wishes_digest())
    }
}

/// Would a plan made with one be the plan made with the other, and be brought to its author alike? (What [`news`] looks at
/// is the same.)
fn plans_alike(known: &Advert, next: &Advert) -> bool {
    let bytes = known.replicas.iter().map(|replica| replica.bytes);
    let follows = |advert: &Advert| (advert.plan_epoch, advert.plan_revision, advert.plan_author);
    known.domains == next.domains
        && follows(known) == follows(next)
        && known.disk_free_bytes == next.disk_free_bytes
        && known.demand == next.demand
        && known.name == next.name
        && bytes.eq(next.replicas.iter().map(|replica| replica.bytes))
}
