//! The machine's settling: everything that follows from what is known now, and when it must look again by itself.

use crate::core::machine::{Machine, Output};
use crate::core::types::Time;

impl Machine {
    pub(super) fn find_due(&self, now: Time) -> Option<Time> {
        let planning = self.plan_dirty_since.map(|since| since.after(self.plan_settle()));
        [
            Some(self.next_advert()),
            planning.into_iter().chain(self.steady.due).min().filter(|_| self.coordinator.seated().is_some()),
            self.delivery_due,
            self.table.next_deadline(),
            self.resync_at,
            self.next_seat(now),
            self.residency.next_deadline(now),
            self.transfers.next_deadline(now),
            self.router.next_deadline(now),
            self.checks.next_deadline(now),
            self.asked.values().min().copied(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Everything that follows from what is known now. `changed`: this node itself may be otherwise than it was.
    pub(super) fn settle(&mut self, now: Time, mut changed: bool, outbox: &mut Vec<Output>) {
        let before = (self.adopted, outbox.len());
        if self.table.expire(now) {
            self.transfers.holders_changed();
            self.routes_changed = true;
            self.plan_dirty(now);
            outbox.extend(self.table.mute().map(Output::Reconnect));
        }
        self.sync_again(now, outbox);
        let actions = self.tick_seat(now);
        self.seat(now, actions, outbox);
        self.make_way(now, outbox);
        self.meter.decay(now);
        if std::mem::take(&mut self.wants_changed) | self.table.wants_changed() {
            self.note_wants(now);
        }
        self.plan_if_due(now, outbox);
        self.adopt(outbox);
        self.check_if_due(now, outbox);
        self.reside(now, outbox);
        self.transfer(now, outbox);
        self.route(now, outbox);
        changed |= before != (self.adopted, outbox.len()) || !self.residency.is_idle();
        self.advertise(now, changed, outbox);
    }

    /// Follows the newest accepted plan once its epoch is durable.
    fn adopt(&mut self, outbox: &mut Vec<Output>) {
        let Some(plan) = self.coordinator.plan() else { return };
        let name = (plan.epoch, plan.revision, plan.author);
        if plan.epoch > self.epoch_durable || self.adopted == Some(name) {
            return;
        }
        self.adopted = Some(name);
        let me = self.config.me;
        let held = plan.distrusted.iter().filter(|held| held.node == me);
        let held = held.map(|held| (held.slot, held.artifact)).collect();
        if plan.role_of(&me).is_none() {
            return; // made without this node, on the other side of a partition: it says nothing of what is resident here
        }
        self.residency.desire(me, plan.replicas_of(me).cloned());
        self.planned = plan.stored_on(me).chain(self.residency.artifacts_wanted()).collect();
        self.want();
        self.take_accusations(held, outbox);
    }
}
