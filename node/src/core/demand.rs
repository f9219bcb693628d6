//! How much each slot is asked for. A node counts the requests that enter the federation through it (one that another member
//! forwarded was counted there), and forgets them by half-lives; members tell each other their rates, and the coordinator
//! weighs the sum against what the roster expects.
//!
//! The rule, for a slot the roster expects `s` requests an hour of and `o` an hour were observed of in the whole federation,
//! where `e` (decayed) requests were observed of all slots together: `(s · P + o · e) / (P + e)`, with `P` =
//! `DEMAND_PRIOR_REQUESTS`. Without traffic it is the roster's figure, and from `P` requests on what people do outweighs it.
//! The figure in use follows only when it has doubled or halved (see [`Figures`]), so that a breath of traffic changes nothing.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::roster::SlotRoster;
use crate::core::types::{SlotName, Time};

/// One request, in the fractions that decay leaves of it.
const REQUEST: u64 = 1 << 20;
/// Half-lives are walked in this many steps.
const STEPS: u64 = 64;
/// What one step leaves: 2^(-1/64), in parts of 2^32.
const STEP_LEAVES: u64 = 4_248_701_969;
/// ln 2, in parts of 2^32: a steady rate `r` makes a decayed count of `r` · half-life / ln 2.
const LN_2: u128 = 2_977_044_472;
const HOUR_NS: u128 = 3600 * 1_000_000_000;

/// Requests of each slot that entered the federation here, decayed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meter {
    counts: BTreeMap<SlotName, u64>,
    /// Up to here the counts have decayed: whole steps only.
    at: Time,
}

/// What one node says that a slot is asked for through it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate {
    /// The slot.
    pub slot: SlotName,
    /// Thousandths of a request per hour.
    pub milli_per_hour: u64,
}

impl Meter {
    /// A request for `slot` entered here. The caller knows that the roster has it, which bounds the meter.
    pub fn count(&mut self, now: Time, slot: &SlotName) {
        self.decay(now);
        let count = self.counts.entry(*slot).or_default();
        *count = count.saturating_add(REQUEST);
    }

    /// Lets what was counted before `now` fade.
    pub fn decay(&mut self, now: Time) {
        let step_ns = limits::DEMAND_HALF_LIFE.0 / STEPS;
        let steps = now.since(self.at).0 / step_ns;
        if steps == 0 {
            return;
        }
        self.at = Time(self.at.0 + steps * step_ns);
        for count in self.counts.values_mut() {
            *count = faded(*count, steps);
        }
        self.counts.retain(|_, count| *count > 0);
    }

    /// Forgets slots that no roster has any more.
    pub fn retain(&mut self, is_slot: impl Fn(&SlotName) -> bool) {
        self.counts.retain(|slot, _| is_slot(slot));
    }

    /// The rate of each slot, the most asked for first in a tie of room, in order of slot; at most `DEMANDS_PER_ADVERT_MAX`.
    pub fn rates(&self) -> Vec<Rate> {
        let rates = self.counts.iter().map(|(slot, count)| Rate { slot: *slot, milli_per_hour: rate_of(*count) });
        let mut rates: Vec<Rate> = rates.filter(|rate| rate.milli_per_hour > 0).collect();
        if rates.len() > limits::DEMANDS_PER_ADVERT_MAX {
            rates.sort_by_key(|rate| (std::cmp::Reverse(rate.milli_per_hour), rate.slot));
            rates.truncate(limits::DEMANDS_PER_ADVERT_MAX);
            rates.sort();
        }
        rates
    }
}

fn faded(count: u64, steps: u64) -> u64 {
    let halved = count.checked_shr(u32::try_from(steps / STEPS).unwrap_or(u32::MAX)).unwrap_or(0);
    let one = |count: u64, _| ((u128::from(count) * u128::from(STEP_LEAVES)) >> 32) as u64; // never more than `count`
    (0..steps % STEPS).fold(halved, one)
}

/// Thousandths of a request per hour that keep up a decayed count.
fn rate_of(count: u64) -> u64 {
    let milli = u128::from(count) * 1000 / u128::from(REQUEST);
    let rate = ((milli * LN_2) >> 32) * HOUR_NS / u128::from(limits::DEMAND_HALF_LIFE.0);
    u64::try_from(rate).unwrap_or(u64::MAX).min(limits::DEMAND_PER_HOUR_MAX * 1000)
}

/// Thousandths of requests that a rate, kept up, leaves behind.
fn count_of(milli_per_hour: u64) -> u128 {
    ((u128::from(milli_per_hour) * u128::from(limits::DEMAND_HALF_LIFE.0) / HOUR_NS) << 32) / LN_2
}

/// Rates of the whole federation, thousandths of a request per hour.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed(BTreeMap<SlotName, u64>);

impl Observed {
    /// The sum of what every node says.
    pub fn sum<'a>(rates: impl IntoIterator<Item = &'a Rate>) -> Observed {
        let mut sums: BTreeMap<SlotName, u64> = BTreeMap::new();
        for rate in rates {
            let sum = sums.entry(rate.slot).or_default();
            *sum = sum.saturating_add(rate.milli_per_hour);
        }
        Observed(sums)
    }

    /// Thousandths of a request per hour for `slot`.
    pub fn milli_per_hour(&self, slot: &SlotName) -> u64 {
        self.0.get(slot).copied().unwrap_or(0)
    }

    /// Requests behind the rates of the roster's slots, decayed, in thousandths.
    fn evidence(&self, roster: &SlotRoster) -> u128 {
        let rates = roster.slots.iter().map(|slot| self.milli_per_hour(&slot.name));
        rates.map(count_of).fold(0, u128::saturating_add)
    }
}

/// The rule of this file's head, requests per hour.
fn weighed(expected_per_hour: u32, observed_milli: u64, evidence_milli: u128) -> u32 {
    let prior = u128::from(limits::DEMAND_PRIOR_REQUESTS) * 1000;
    let evidence = evidence_milli.min(1 << 64);
    let sum = u128::from(expected_per_hour) * 1000 * prior + u128::from(observed_milli) * evidence;
    let milli = sum / (prior + evidence);
    u32::try_from((milli + 500) / 1000).unwrap_or(u32::MAX)
}

/// The demand a coordinator plans with: a figure is replaced when the fresh one is twice or half of it and differs by
/// `DEMAND_CHANGE_MIN`, or when the roster says something else. It begins with the roster's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures(BTreeMap<SlotName, Figure>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Figure {
    expected: u32,
    used: u32,
}

impl Figures {
    /// Takes what is observed now.
    pub fn follow(&mut self, roster: &SlotRoster, observed: &Observed) {
        let evidence = observed.evidence(roster);
        self.0.retain(|slot, _| roster.slot(slot).is_some());
        for slot in &roster.slots {
            let expected = slot.demand_per_hour;
            let fresh = weighed(expected, observed.milli_per_hour(&slot.name), evidence);
            let figure = self.0.entry(slot.name).or_insert(Figure { expected, used: expected });
            if figure.expected != expected || is_clear(figure.used, fresh) {
                *figure = Figure { expected, used: fresh };
            }
        }
    }

    /// The demand of `slot`, if it has been followed.
    pub fn of(&self, slot: &SlotName) -> Option<u32> {
        self.0.get(slot).map(|figure| figure.used)
    }
}

fn is_clear(used: u32, fresh: u32) -> bool {
    let (less, more) = (used.min(fresh), used.max(fresh));
    more - less >= limits::DEMAND_CHANGE_MIN && u64::from(more) >= 2 * u64::from(less)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::roster::{RosterSlot, SlotPolicy};
    use crate::core::types::Duration;

    fn name(slot: &str) -> SlotName {
        SlotName::new(slot).expect("name")
    }

    fn minutes(n: u64) -> Time {
        Time::default().after(Duration::from_secs(60 * n))
    }

    fn roster(slots: &[(&str, u32)]) -> SlotRoster {
        let slots = slots.iter().map(|(slot, demand_per_hour)| RosterSlot {
            name: name(slot),
            title: String::new(),
            base: None,
            context: 512,
            parallel: 1,
            replicas: 1,
            replicas_max: 0,
            policy: SlotPolicy::Swappable,
            demand_per_hour: *demand_per_hour,
            domains: Vec::new(),
        });
        SlotRoster { name: "test".into(), precision_floor: "f16".into(), slots: slots.collect() }
    }

    fn steady(per_hour: u64, hours: u64) -> Meter {
        let mut meter = Meter::default();
        for request in 0..per_hour * hours {
            meter.count(Time(request * (HOUR_NS as u64) / per_hour), &name("A"));
        }
        meter.decay(minutes(60 * hours));
        meter
    }

    #[test]
    fn a_steady_rate_is_measured_and_then_fades_by_half_lives() {
        let mut meter = steady(120, 12);
        let rate = meter.rates()[0].milli_per_hour;
        assert!((118_000..=122_000).contains(&rate), "{rate}");
        meter.decay(minutes(13 * 60));
        let half = meter.rates()[0].milli_per_hour;
        assert!(half.abs_diff(rate / 2) <= rate / 100, "{rate} {half}");
        meter.decay(minutes(60 * 60));
        assert_eq!(meter.rates(), [], "two days later nothing is left");
    }

    #[test]
    fn it_does_not_matter_how_often_it_is_looked_at() {
        let (mut seldom, mut often) = (steady(60, 2), steady(60, 2));
        (120..600).for_each(|minute| often.decay(minutes(minute)));
        seldom.decay(minutes(599));
        let (seldom, often) = (seldom.rates()[0].milli_per_hour, often.rates()[0].milli_per_hour);
        assert!(seldom.abs_diff(often) <= 1, "{seldom} {often}");
    }

    #[test]
    fn a_node_tells_only_so_many_slots_and_those_most_asked_for() {
        let mut meter = Meter::default();
        for slot in 0..limits::DEMANDS_PER_ADVERT_MAX + 9 {
            let times = if slot < 9 { 1 } else { 2 };
            (0..times).for_each(|_| meter.count(Time(0), &name(&format!("S{slot}"))));
        }
        let rates = meter.rates();
        assert_eq!(rates.len(), limits::DEMANDS_PER_ADVERT_MAX);
        assert!(rates.iter().all(|rate| rate.milli_per_hour > 1000), "those asked for once are left out");
        assert!(rates.windows(2).all(|pair| pair[0].slot < pair[1].slot));
        meter.retain(|slot| slot.as_str() == "S20");
        assert_eq!(meter.rates().len(), 1);
    }

    #[test]
    fn what_people_do_outweighs_the_roster_once_there_is_enough_of_it() {
        // At a half-life of an hour, 100 an hour kept up leave 144 requests.
        assert_eq!(count_of(100_000) / 1000, 144);
        let check = |observed_per_hour: u64, evidence: u128, expect: u32| {
            assert_eq!(weighed(10, observed_per_hour * 1000, evidence * 1000), expect);
        };
        check(0, 0, 10);
        check(100, 0, 10);
        check(100, 32, 55);
        check(100, 320, 92);
        check(0, 32, 5);
        check(0, 10_000, 0);
    }

    #[test]
    fn the_sum_of_all_members_counts_and_liars_overflow_nothing() {
        let rate = |slot: &str, milli_per_hour| Rate { slot: name(slot), milli_per_hour };
        let said = [rate("A", 1500), rate("B", 1), rate("A", 500), rate("C", u64::MAX), rate("C", u64::MAX)];
        let observed = Observed::sum(&said);
        assert_eq!((observed.milli_per_hour(&name("A")), observed.milli_per_hour(&name("C"))), (2000, u64::MAX));
        let mut figures = Figures::default();
        figures.follow(&roster(&[("A", 1), ("C", u32::MAX)]), &observed);
        assert_eq!(figures.of(&name("C")), Some(u32::MAX));
        assert_eq!(figures.of(&name("D")), None);
    }

    #[test]
    fn a_breath_of_traffic_changes_no_figure_and_a_clear_change_does_once() {
        let roster = roster(&[("A", 10), ("B", 10)]);
        let observed = |a: u64, b: u64| {
            let rate = |slot: &str, per_hour| Rate { slot: name(slot), milli_per_hour: per_hour * 1000 };
            Observed::sum(&[rate("A", a), rate("B", b)])
        };
        let mut figures = Figures::default();
        let mut used = |a: u64, b: u64| {
            figures.follow(&roster, &observed(a, b));
            (figures.of(&name("A")), figures.of(&name("B")))
        };
        assert_eq!(used(0, 0), (Some(10), Some(10)));
        assert_eq!(used(12, 3), (Some(10), Some(10)), "not clearly more, not clearly less");
        let (Some(busy), Some(quiet)) = used(100, 0) else { panic!("both are followed") };
        assert!(busy > 80 && quiet < 3, "{busy} {quiet}");
        for wobble in [95, 110, 70, 130] {
            assert_eq!(used(wobble, 0), (Some(busy), Some(quiet)));
        }
        // When nobody asks any more the roster's figures come back, as far as that is a clear change.
        assert_eq!(used(0, 0), (Some(10), Some(10)));
    }

    #[test]
    fn a_new_roster_counts_at_once() {
        let mut figures = Figures::default();
        figures.follow(&roster(&[("A", 10), ("B", 1)]), &Observed::default());
        figures.follow(&roster(&[("A", 11)]), &Observed::default());
        assert_eq!((figures.of(&name("A")), figures.of(&name("B"))), (Some(11), None));
    }
}
