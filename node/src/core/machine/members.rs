//! The machine's part in who is there: connections that open and end, and changes of the roster of members. The network may
//! still speak of one that was turned out just now.

use std::sync::Arc;

use crate::core::limits;
use crate::core::machine::{Machine, Output};
use crate::core::membership::advert::Advert;
use crate::core::membership::roster::MemberRoster;
use crate::core::seeded::{Bug, has};
use crate::core::types::{NodeId, Time};

impl Machine {
    /// A newer roster of members: whoever is no longer in it is gone, with its seat and whatever was asked of it, and the others
    /// hear of it.
    pub(super) fn members_changed(&mut self, now: Time, roster: MemberRoster, outbox: &mut Vec<Output>) {
        if self.config.members.may_become(&roster).is_err() {
            return;
        }
        self.config.members = Arc::new(roster);
        self.router.crowd(self.config.members.members.len());
        let me = self.config.me;
        let gone = self.table.enrol(Arc::clone(&self.config.members));
        // First of all: who was turned out hears nothing more.
        outbox.push(Output::Admit);
        for node in gone {
            self.transfers.lost(node);
            self.plan_sent.remove(&node);
            let actions = self.coordinator.turned_out(now, node);
            self.seat(now, actions, outbox);
        }
        let mark = self.config.members.mark();
        let unaware = |advert: &&Advert| advert.node != me && advert.member_roster_mark != mark;
        let told = self.table.alive().filter(unaware).map(|advert| advert.node).take(limits::ROSTER_PUSHES_MAX);
        for node in told.collect::<Vec<_>>() {
            self.sync(now, node, outbox);
        }
        self.plan_dirty(now);
    }

    pub(super) fn connected(&mut self, now: Time, node: NodeId, outbox: &mut Vec<Output>) {
        if self.config.members.member(&node).is_none() {
            return;
        }
        self.table.connected(now, node);
        if self.config.me < node {
            self.sync(now, node, outbox);
        } else {
            // Of two that have just met one begins: a sync brings each what the other has.
            self.note_sync(now, node);
        }
        self.plan_dirty(now);
    }

    pub(super) fn disconnected(&mut self, now: Time, node: NodeId) {
        if self.config.members.member(&node).is_some() {
            self.table.disconnected(now, node);
        }
        self.transfers.lost(node);
        self.router.parted(&node);
        self.plan_sent.remove(&node);
        self.resync.remove(&node);
        self.plan_dirty(now);
    }

    /// Once, now: what was put off is done with it.
    fn sync(&mut self, now: Time, node: NodeId, outbox: &mut Vec<Output>) {
        if !has(Bug::StaysDue) {
            self.resync.remove(&node);
        }
        self.note_sync(now, node);
        outbox.push(Output::Sync(node));
    }

    fn note_sync(&mut self, now: Time, node: NodeId) {
        // With whom it was longer ago, it may be again at once.
        if self.synced.len().is_power_of_two() {
            self.synced.retain(|_, at| now < at.after(limits::SYNC_REST));
        }
        self.synced.insert(node, now);
    }

    /// They agree, whoever brought it about: nothing that was put off is to be made up for.
    pub(super) fn agreed(&mut self, node: &NodeId) {
        if !self.resync.is_empty() && !has(Bug::StaysDue) {
            self.resync.remove(node);
        }
    }

    /// A member has what this node lacks, or the other way round: they sync, at most once in a while. What comes up within that
    /// while is put off and not left to the next advertisement: the member may die before it, and what it alone knows with it.
    pub(super) fn agree(&mut self, now: Time, node: NodeId, outbox: &mut Vec<Output>) {
        let due = self.synced.get(&node).map_or(now, |at| at.after(limits::SYNC_REST));
        if now >= due {
            self.sync(now, node, outbox);
        } else {
            self.put_off(node, due);
        }
    }

    fn put_off(&mut self, node: NodeId, until: Time) {
        self.resync.entry(node).or_insert(until);
        self.resync_at = Some(self.resync_at.map_or(until, |at| at.min(until)));
    }

    /// It is tried again without waiting for the member to speak: what was to be agreed on may be why it says nothing new.
    pub(super) fn sync_failed(&mut self, now: Time, node: NodeId) {
        if self.table.get(&node).is_some_and(|entry| entry.connected) {
            self.put_off(node, now.after(limits::SYNC_RETRY));
        }
    }

    pub(super) fn sync_again(&mut self, now: Time, outbox: &mut Vec<Output>) {
        if self.resync_at.is_none_or(|at| now < at) {
            return;
        }
        let due: Vec<NodeId> = self.resync.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in due {
            // Another may have brought meanwhile what they did not agree on.
            let said = self.table.get(&node).and_then(|entry| entry.advert());
            if said.is_some_and(|advert| !self.disagrees(advert)) {
                self.resync.remove(&node);
            } else {
                self.sync(now, node, outbox);
            }
        }
        self.resync_at = self.resync.values().min().copied();
    }

    pub(super) fn dial_failed(&mut self, now: Time, node: NodeId, refused: bool) {
        let member = self.config.members.member(&node).is_some();
        if member && self.table.dial_failed(now, node, refused) {
            self.plan_dirty(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::catalog::Catalog;
    use crate::core::machine::{Config, Input};
    use crate::core::membership::advert::Gossip;
    use crate::core::membership::roster::{Member, Role};
    use crate::core::membership::table::tests::advert;
    use crate::core::placement::plan::Strategy;
    use crate::core::types::{Digest, Duration, FederationId};

    const PEER: NodeId = NodeId([2; 32]);

    fn seconds(n: u64) -> Time {
        Time::default().after(Duration::from_secs(n))
    }

    fn machine() -> Machine {
        machine_of(NodeId([1; 32]))
    }

    fn machine_of(me: NodeId) -> Machine {
        let mut members = MemberRoster::new(FederationId([9; 32]));
        for node in [me, PEER] {
            members = members.admit(Member::new(node, "n", Role::Full)).expect("room");
        }
        let config = Config {
            me,
            name: "n".into(),
            role: Role::Full,
            incarnation: 1,
            epoch_highest: 0,
            priority: 0,
            members: Arc::new(members),
            catalog: Catalog::default(),
            strategy: Strategy::Mixed,
            check_period: limits::CHECK_PERIOD,
        };
        Machine::new(seconds(0), config)
    }

    /// What of syncs and reconnections follows from `input` at second `at`.
    fn check(machine: &mut Machine, at: u64, input: Input, expect: &[&str]) {
        let mut outbox = Vec::new();
        machine.handle(seconds(at), input, &mut outbox);
        let said = outbox.iter().filter_map(|output| match output {
            Output::Sync(node) => Some(("sync", *node)),
            Output::Reconnect(node) => Some(("reconnect", *node)),
            _ => None,
        });
        let said: Vec<_> = said.collect();
        assert_eq!(said, expect.iter().map(|word| (*word, PEER)).collect::<Vec<_>>(), "second {at}");
    }

    #[test]
    fn a_sync_that_failed_is_tried_again_while_the_member_is_connected() {
        let mut machine = machine();
        check(&mut machine, 0, Input::Connected(PEER), &["sync"]);
        check(&mut machine, 10, Input::SyncFailed(PEER), &[]);
        assert!(machine.next_deadline().is_some_and(|at| at <= seconds(11)));
        check(&mut machine, 11, Input::Tick, &["sync"]);
        check(&mut machine, 12, Input::Tick, &[]);
        check(&mut machine, 12, Input::SyncFailed(PEER), &[]);
        check(&mut machine, 12, Input::Disconnected(PEER), &[]);
        check(&mut machine, 14, Input::SyncFailed(PEER), &[]);
        check(&mut machine, 16, Input::Tick, &[]);
    }

    #[test]
    fn of_two_that_meet_one_begins_and_the_other_only_if_they_do_not_agree_after_that() {
        let mut machine = machine_of(NodeId([3; 32]));
        check(&mut machine, 0, Input::Connected(PEER), &[]);
        check(&mut machine, 5, Input::Tick, &[]);
        let differs = Advert { catalog_digest: Digest([7; 32]), ..advert(2, 1, 1) };
        check(&mut machine, 6, Input::Gossip(Gossip::Advert(Arc::new(differs))), &["sync"]);
        // It meets the member anew, which has not caught up yet; and then it has.
        check(&mut machine, 8, Input::Disconnected(PEER), &[]);
        check(&mut machine, 8, Input::Connected(PEER), &[]);
        let behind = Advert { catalog_digest: Digest([8; 32]), ..advert(2, 1, 2) };
        check(&mut machine, 8, Input::Gossip(Gossip::Advert(Arc::new(behind))), &[]);
        let (catalog, mark) = (machine.config.catalog.digest(), machine.config.members.mark());
        let wishes_digest = Some(machine.config.catalog.wishes_digest());
        let agrees = Advert { catalog_digest: catalog, wishes_digest, member_roster_mark: mark, ..advert(2, 1, 3) };
        check(&mut machine, 8, Input::Gossip(Gossip::Advert(Arc::new(agrees))), &[]);
        check(&mut machine, 9, Input::Tick, &[]);
    }

    #[test]
    fn what_a_member_publishes_right_after_a_sync_is_asked_for_before_it_speaks_again() {
        let mut machine = machine();
        check(&mut machine, 0, Input::Connected(PEER), &["sync"]);
        let differs = Advert { catalog_digest: Digest([7; 32]), ..advert(2, 1, 1) };
        let said = Input::Gossip(Gossip::Advert(Arc::new(differs)));
        check(&mut machine, 0, said, &[]);
        let due = seconds(0).after(limits::SYNC_REST);
        assert!(machine.next_deadline().is_some_and(|at| at <= due));
        check(&mut machine, 1, Input::Tick, &["sync"]);
        check(&mut machine, 2, Input::Tick, &[]);
    }

    #[test]
    fn a_connected_member_that_says_nothing_is_dialled_again_once() {
        let mut machine = machine();
        check(&mut machine, 0, Input::Connected(PEER), &["sync"]);
        let said = |sequence| Input::Gossip(Gossip::Advert(Arc::new(advert(2, 1, sequence))));
        machine.handle(seconds(1), said(1), &mut Vec::new());
        check(&mut machine, 15, Input::Tick, &[]);
        check(&mut machine, 16, Input::Tick, &["reconnect"]);
        check(&mut machine, 17, Input::Tick, &[]);
        check(&mut machine, 17, Input::Disconnected(PEER), &[]);
        check(&mut machine, 18, Input::Connected(PEER), &["sync"]);
        check(&mut machine, 32, Input::Tick, &[]);
        check(&mut machine, 33, Input::Tick, &["reconnect"]);
    }
}
