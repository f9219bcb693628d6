//! The machine's part in who is there: connections that open and end, and changes of the roster of members. The network may
//! still speak of one that was turned out just now.

use crate::core::limits;
use crate::core::machine::{Machine, Output};
use crate::core::membership::advert::Advert;
use crate::core::membership::roster::MemberRoster;
use crate::core::types::{NodeId, Time};

impl Machine {
    /// A newer roster of members: whoever is no longer in it is gone, with its seat and whatever was asked of it, and the others
    /// hear of it.
    pub(super) fn members_changed(&mut self, now: Time, roster: MemberRoster, outbox: &mut Vec<Output>) {
        if self.config.members.may_become(&roster).is_err() {
            return;
        }
        self.config.members = roster;
        let (members, me) = (&self.config.members, self.config.me);
        let gone: Vec<NodeId> =
            self.table.iter().map(|(node, _)| *node).filter(|node| members.member(node).is_none()).collect();
        self.table.retain(|node| members.member(node).is_some());
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
            self.synced.insert(node, now);
            outbox.push(Output::Sync(node));
        }
        self.plan_dirty(now);
    }

    pub(super) fn connected(&mut self, now: Time, node: NodeId, outbox: &mut Vec<Output>) {
        if self.config.members.member(&node).is_none() {
            return;
        }
        self.table.connected(now, node);
        self.synced.insert(node, now);
        outbox.push(Output::Sync(node));
        self.advertised = None; // say everything again: the newcomer has heard nothing yet
        self.plan_dirty(now);
    }

    pub(super) fn disconnected(&mut self, now: Time, node: NodeId) {
        if self.config.members.member(&node).is_some() {
            self.table.disconnected(now, node);
        }
        self.transfers.lost(node);
        self.plan_sent.remove(&node);
        self.plan_dirty(now);
    }

    pub(super) fn dial_failed(&mut self, now: Time, node: NodeId, refused: bool) {
        let member = self.config.members.member(&node).is_some();
        if member && self.table.dial_failed(now, node, refused) {
            self.plan_dirty(now);
        }
    }
}
