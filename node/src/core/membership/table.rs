//! The table of members as one node sees them: newest advertisement of each, and whether it is there. Highest incarnation
//! wins, then highest sequence. A closed connection makes a member suspect at once, a refused redial makes it down, and
//! what others still gossip about a member that is down does not bring it back: only a connection or a newer start does.

mod entry;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::limits;
use crate::core::membership::advert::{Advert, ReplicaState, ReplicaStatus};
use crate::core::membership::roster::MemberRoster;
pub use crate::core::membership::table::entry::{Entry, Presence};
use crate::core::types::{Duration, NodeId, SlotName, Time};

/// What an advertisement is that may say nothing new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeated {
    /// It, or something newer, was heard before.
    Old,
    /// The same again, a little newer.
    Again,
    /// Something else: nothing was taken.
    Otherwise,
}

/// All members but this one. Who is no member has no place in it.
#[derive(Clone, Debug)]
pub struct Table {
    members: Arc<MemberRoster>,
    /// As the roster has them; `None`: nothing is known.
    entries: Vec<Option<Entry>>,
    /// No silence speaks before this. Whoever is heard again is silent later, and this is not moved: it is found anew when it
    /// has passed.
    silence: Option<Time>,
    /// Places of members that are alive and answer for some slot, or will: a few of a thousand, and looked at for every request.
    answering: BTreeSet<usize>,
    /// For which slots somebody waits, at how many members that are alive, by slot.
    waiting: Vec<(SlotName, u32)>,
    /// Was there a slot that nobody waited for before, or is nobody left who waits for one?
    wants_changed: bool,
}

impl Table {
    /// Nothing is known of these members yet.
    pub fn new(members: Arc<MemberRoster>) -> Table {
        let entries = vec![None; members.members.len()];
        Table { entries, members, silence: None, answering: BTreeSet::new(), waiting: Vec::new(), wants_changed: false }
    }

    /// Other members: who stays keeps what is known of it. Returns who went.
    pub fn enrol(&mut self, members: Arc<MemberRoster>) -> Vec<NodeId> {
        let mut next = Table::new(members);
        let mut gone = Vec::new();
        for (place, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            let (node, Some(entry)) = (self.members.members[place].node, entry) else { continue };
            match next.members.place(&node) {
                Some(place) => {
                    next.recount(&[], wanted(entry.wants().as_ref()));
                    if entry.answers() {
                        next.answering.insert(place);
                    }
                    next.entries[place] = Some(entry);
                }
                None => gone.push(node),
            }
        }
        next.silence = self.silence;
        next.wants_changed = true;
        *self = next;
        gone
    }

    /// Changes what is known of one member, and whose waiting counts with it.
    fn change<R>(&mut self, now: Time, place: usize, how: impl FnOnce(&mut Entry, &mut Option<Time>) -> R) -> R {
        let entry = self.entries[place].get_or_insert(Entry::new(now));
        let (before, answered) = (entry.wants(), entry.answers());
        let result = how(entry, &mut self.silence);
        let (after, answering) = (entry.wants(), entry.answers());
        match (answered, answering) {
            (false, true) => drop(self.answering.insert(place)),
            (true, false) => drop(self.answering.remove(&place)),
            _ => {}
        }
        self.recount(wanted(before.as_ref()), wanted(after.as_ref()));
        result
    }

    /// One member more waits for these slots, or one less.
    fn count<'a>(&mut self, slots: impl IntoIterator<Item = &'a SlotName>, members: i32) {
        for slot in slots {
            let place = match self.waiting_place(slot) {
                Ok(place) => place,
                Err(place) => {
                    self.waiting.insert(place, (*slot, 0));
                    place
                }
            };
            let waiting = &mut self.waiting[place].1;
            let before = *waiting;
            *waiting = before.saturating_add_signed(members);
            let none = *waiting == 0;
            self.wants_changed |= none || before == 0;
            if none {
                self.waiting.remove(place);
            }
        }
    }

    /// A member that is alive waits for other slots than before.
    fn recount(&mut self, before: &[SlotName], after: &[SlotName]) {
        self.count(after.iter().filter(|slot| !before.contains(slot)), 1);
        self.count(before.iter().filter(|slot| !after.contains(slot)), -1);
    }

    /// This entry's silence may be the next to speak.
    fn watch(entry: &Entry, silence: &mut Option<Time>) {
        let silent = entry.heard.after(entry.life());
        *silence = Some(silence.map_or(silent, |at| at.min(silent)));
    }

    /// Takes an advertisement; true if it said something new. `itself`: its author said it on its own connection just now, so that
    /// what became void meanwhile is news again; from anybody else it may be of a life that has ended.
    pub fn advert(&mut self, now: Time, advert: Arc<Advert>, itself: bool) -> bool {
        let Some(place) = self.members.place(&advert.node) else { return false };
        self.change(now, place, |entry, silence| {
            let (version, newest) = (entry::version(&advert), entry.newest());
            let void = itself && entry.advert().is_none();
            if newest.is_some_and(|known| known > version || (known == version && !void)) {
                return false;
            }
            let restarted = newest.is_none_or(|(incarnation, _)| advert.incarnation > incarnation);
            entry.heard = now;
            if entry.connected || entry.presence != Presence::Down || restarted {
                entry.refused = false;
                entry.set(now, Presence::Alive);
            }
            entry.take(advert);
            Table::watch(entry, silence);
            true
        })
    }

    /// Slots that somebody waits for at a member that is alive, as far as they say.
    pub fn wanted(&self) -> impl Iterator<Item = &SlotName> {
        self.waiting.iter().map(|(slot, _)| slot)
    }

    /// Does somebody wait for `slot` at a member that is alive, as far as they say?
    pub fn waits_for(&self, slot: &SlotName) -> bool {
        self.waiting_place(slot).is_ok()
    }

    /// Where `slot` is in `waiting`, or would be.
    fn waiting_place(&self, slot: &SlotName) -> Result<usize, usize> {
        self.waiting.binary_search_by(|(waiting, _)| waiting.cmp(slot))
    }

    /// Are [`Table::wanted`] others than when this was asked last?
    pub fn wants_changed(&mut self) -> bool {
        std::mem::take(&mut self.wants_changed)
    }

    /// Will [`Table::wants_changed`] say so?
    pub fn has_new_wants(&self) -> bool {
        self.wants_changed
    }

    /// Was this or something newer heard of the same start before, and does it still count?
    pub fn has_heard(&self, advert: &Advert) -> bool {
        self.get(&advert.node).is_some_and(|entry| entry.has_heard(advert))
    }

    /// Takes an advertisement that says nothing new, as far as `alike` says: its author lives, and nothing else is to be learned
    /// from it but what it waits for.
    pub fn repeated(&mut self, now: Time, advert: &Arc<Advert>, alike: impl Fn(&Advert) -> bool) -> Repeated {
        let Some(entry) = self.members.place(&advert.node).and_then(|place| self.entries[place].as_mut()) else {
            return Repeated::Otherwise;
        };
        if entry.has_heard(advert) {
            return Repeated::Old;
        }
        let alike = |known: &Advert| known.incarnation == advert.incarnation && alike(known);
        if entry.presence != Presence::Alive || !entry.advert().is_some_and(alike) {
            return Repeated::Otherwise;
        }
        entry.heard = now;
        if let Some(known) = entry.take(Arc::clone(advert))
            && known.wanted != advert.wanted
        {
            self.recount(&known.wanted, &advert.wanted);
        }
        Repeated::Again
    }

    /// A connection to `node` opened.
    pub fn connected(&mut self, now: Time, node: NodeId) -> bool {
        let Some(place) = self.members.place(&node) else { return false };
        self.change(now, place, |entry, silence| {
            if entry.presence == Presence::Down {
                entry.forget();
            }
            entry.connected = true;
            entry.refused = false;
            entry.heard = now;
            let changed = entry.set(now, Presence::Alive);
            Table::watch(entry, silence);
            changed
        })
    }

    /// The last connection to `node` closed.
    pub fn disconnected(&mut self, now: Time, node: NodeId) -> bool {
        let Some(place) = self.members.place(&node) else { return false };
        self.change(now, place, |entry, silence| {
            entry.connected = false;
            Table::watch(entry, silence);
            entry.presence != Presence::Down && entry.set(now, Presence::Suspect)
        })
    }

    /// A redial failed; `refused`: nothing listens there any more.
    pub fn dial_failed(&mut self, now: Time, node: NodeId, refused: bool) -> bool {
        let Some(place) = self.members.place(&node) else { return false };
        self.change(now, place, |entry, _| {
            if entry.connected || !refused {
                return false;
            }
            entry.refused = true;
            entry.set(now, Presence::Down)
        })
    }

    /// Lets silence speak; true if a presence changed.
    pub fn expire(&mut self, now: Time) -> bool {
        if self.silence.is_none_or(|at| now < at) {
            return false;
        }
        let is_silent = |entry: &Entry| entry.presence != Presence::Down && now.since(entry.heard) >= entry.life();
        let silent = self.entries.iter().enumerate().filter(|(_, entry)| entry.as_ref().is_some_and(is_silent));
        let silent: Vec<usize> = silent.map(|(place, _)| place).collect();
        let changed = !silent.is_empty();
        for place in silent {
            self.change(now, place, |entry, _| entry.set(now, Presence::Down));
        }
        let there = self.entries.iter().flatten().filter(|entry| entry.presence != Presence::Down);
        self.silence = there.map(|entry| entry.heard.after(entry.life())).min();
        changed
    }

    /// Members whose connection is open and who have said nothing for the life of an advertisement: it carries pings perhaps,
    /// and nothing else.
    pub fn mute(&self) -> impl Iterator<Item = NodeId> {
        self.iter().filter(|(_, entry)| entry.connected && entry.presence == Presence::Down).map(|(node, _)| *node)
    }

    /// Has `node` missed an advertisement? It may be stopped, or cut off, although its connection looks open still.
    pub fn is_quiet(&self, now: Time, node: &NodeId) -> bool {
        let missed = |entry: &Entry| now.since(entry.heard) >= Duration(entry.life().0 / limits::QUIET_OF_LIFE);
        self.get(node).is_none_or(missed)
    }

    /// When silence will next speak, or sooner.
    pub fn next_deadline(&self) -> Option<Time> {
        self.silence
    }

    /// What is known of `node`.
    pub fn get(&self, node: &NodeId) -> Option<&Entry> {
        self.entries[self.members.place(node)?].as_ref()
    }

    /// What is known of each member, in the roster's order.
    pub fn entries(&self) -> impl Iterator<Item = Option<&Entry>> {
        self.entries.iter().map(Option::as_ref)
    }

    /// All of whom something is known, by node.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Entry)> {
        let members = self.members.members.iter().map(|member| &member.node);
        members.zip(&self.entries).filter_map(|(node, entry)| Some((node, entry.as_ref()?)))
    }

    /// Advertisements of members that are alive.
    pub fn alive(&self) -> impl Iterator<Item = &Advert> {
        let alive = self.entries.iter().flatten().filter(|entry| entry.presence == Presence::Alive);
        alive.filter_map(Entry::advert)
    }

    /// Those of [`Table::alive`] that speak of replicas or external engines.
    pub fn answering(&self) -> impl Iterator<Item = &Advert> {
        self.answering.iter().filter_map(|place| self.entries[*place].as_ref()?.advert())
    }

    /// Replicas of `slot` that are ready on members that are alive.
    pub fn ready<'a>(&'a self, slot: &'a SlotName) -> impl Iterator<Item = (NodeId, &'a ReplicaStatus)> {
        self.answering().flat_map(move |advert| {
            let ready = advert
                .replicas
                .iter()
                .filter(move |replica| &replica.slot == slot && replica.state == ReplicaState::Ready);
            ready.map(|replica| (advert.node, replica))
        })
    }
}

fn wanted(advert: Option<&Arc<Advert>>) -> &[SlotName] {
    advert.map_or(&[], |advert| &advert.wanted)
}

#[cfg(test)]
pub(crate) mod tests;
