//! Pressure on this machine's memory, as its kernel measures it: the part of the time in which programs waited for memory. While
//! it is high and lasts, nothing more is loaded, and replicas that nobody uses are let go, one after the other.

use crate::core::limits;
use crate::core::membership::advert::DomainKind;
use crate::core::placement::plan::PlannedReplica;
use crate::core::residency::{Around, Refusal, Residency, State};
use crate::core::types::{SlotName, Time};

/// The part of the time in which some program waited for memory, in hundredths of a percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stall {
    /// Of the last ten seconds.
    pub of_10_s: u32,
    /// Of the last minute.
    pub of_60_s: u32,
}

/// Is memory so short that nothing more may be loaded? Once it is, this lasts until the waiting has all but ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pressure {
    stall: Stall,
    high: bool,
}

impl Pressure {
    /// What the kernel says now; true if that changed whether it is high.
    pub fn observe(&mut self, stall: Stall) -> bool {
        let before = self.high;
        self.high = match before {
            true => stall.of_10_s > limits::PRESSURE_ENDS,
            false => stall.of_10_s.min(stall.of_60_s) >= limits::PRESSURE_BEGINS,
        };
        self.stall = stall;
        self.high != before
    }

    /// Is it high?
    pub fn is_high(&self) -> bool {
        self.high
    }
}

impl Residency {
    /// What the kernel says of pressure on memory now.
    pub fn pressure(&mut self, stall: Stall) {
        self.pressure.observe(stall);
    }

    /// Why `order` may not be loaded while memory is short, whatever the ledger says.
    pub(super) fn pressed(&self, order: &PlannedReplica) -> Result<(), Refusal> {
        let concerned = self.is_host_memory(&order.memory_domain) && self.pressure.is_high();
        if concerned { Err(Refusal::Pressure { stall: self.pressure.stall }) } else { Ok(()) }
    }

    fn is_host_memory(&self, name: &str) -> bool {
        self.domains.iter().any(|domain| domain.name == name && domain.kind != DomainKind::Vram)
    }

    /// Under pressure, lets the replica go that was used the longest ago, if none needs to stay; it comes back when asked for.
    pub(super) fn relieve(&mut self, now: Time, around: &Around<'_>) {
        for (slot, held) in &mut self.actual {
            if around.in_flight.get(slot).is_some_and(|requests| *requests > 0) || around.wanted.contains(slot) {
                held.used = now;
            }
        }
        let rests = self.relieved.is_some_and(|at| now.since(at) < limits::PRESSURE_REST);
        if !self.pressure.is_high() || rests {
            return;
        }
        let idle = self.actual.iter().filter(|(slot, held)| {
            held.state == State::Ready
                && self.is_host_memory(&held.order.memory_domain)
                && now.since(held.used) >= limits::PRESSURE_IDLE
                && self.may_put_away(now, slot, around.kept.contains(*slot)).is_ok()
        });
        let longest = idle.min_by_key(|(slot, held)| (held.used, *(*slot)));
        let longest: Option<SlotName> = longest.map(|(slot, _)| *slot);
        if let Some(slot) = longest {
            self.relieved = Some(now);
            self.put_away.insert(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_when_it_is_high_and_has_been_and_ends_when_it_is_all_but_gone() {
        let mut pressure = Pressure::default();
        let (begins, ends) = (limits::PRESSURE_BEGINS, limits::PRESSURE_ENDS);
        let mut check = |of_10_s, of_60_s, changed, high| {
            assert_eq!((pressure.observe(Stall { of_10_s, of_60_s }), pressure.is_high()), (changed, high));
        };
        check(10_000, begins - 1, false, false); // a moment
        check(begins - 1, 10_000, false, false); // over
        check(begins, begins, true, true);
        check(ends + 1, 10_000, false, true);
        check(ends, 10_000, true, false);
        check(0, 0, false, false);
    }
}
