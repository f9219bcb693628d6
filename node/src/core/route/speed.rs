//! How fast replicas answer, as this node saw it in requests that it sent there: the time to the first token and the time of
//! each further one. Times are whole microseconds. Before anything was measured the estimates of `core/limits/routing.rs`
//! hold; a replica of which nothing is known, or nothing new, is taken to be as fast as the best of its slot, so that it is
//! tried.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::route::Place;
use crate::core::types::{Duration, SlotName, Time};

/// Tokens of one answer, as its replica counted them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tokens {
    /// Of the prompt.
    pub prompt: u32,
    /// Of the answer.
    pub answer: u32,
}

/// What one replica is expected to do, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    /// From its arrival there to its first token, when nobody is before it.
    pub(super) first_us: u64,
    /// Each further token.
    pub(super) token_us: u64,
    /// Tokens of an answer of this slot.
    pub(super) answer_tokens: u64,
}

impl Pace {
    /// One whole answer.
    pub(super) fn answer_us(&self) -> u64 {
        self.first_us.saturating_add(self.token_us.saturating_mul(self.answer_tokens))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    first_us: Option<u64>,
    token_us: Option<u64>,
    at: Time,
}

#[derive(Clone, Debug, Default)]
struct OfSlot {
    replicas: BTreeMap<Place, Speed>,
    answer_tokens: Option<u64>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Speeds {
    slots: BTreeMap<SlotName, OfSlot>,
}

/// Whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    span.0 / 1_000
}

/// The figure with one more measurement in it.
fn with(figure: Option<u64>, measured: u64) -> u64 {
    let measured = measured.min(micros(limits::SPEED_SAMPLE_MAX));
    figure.map_or(measured, |known| {
        (known * (limits::SPEED_WEIGHT - 1) + measured + limits::SPEED_WEIGHT / 2) / limits::SPEED_WEIGHT
    })
}

impl Speeds {
    /// `place` gave an answer of so many tokens, at least two. `first`: its first one took so long, the line's round trip not
    /// counted, and nobody was before it. `rest`: all the others together.
    pub(super) fn answered(
        &mut self,
        now: Time,
        slot: &SlotName,
        place: Place,
        first: Option<Duration>,
        rest: Duration,
        tokens: u32,
    ) {
        let speed = self.of(now, slot, place);
        if let Some(first) = first {
            speed.first_us = Some(with(speed.first_us, micros(first)));
        }
        speed.token_us = Some(with(speed.token_us, micros(rest) / u64::from(tokens.max(2) - 1)));
        if let Some(of_slot) = self.slots.get_mut(slot) {
            of_slot.answer_tokens = Some(with(of_slot.answer_tokens, u64::from(tokens)));
        }
    }

    fn of(&mut self, now: Time, slot: &SlotName, place: Place) -> &mut Speed {
        let known = self.slots.get(slot).is_some_and(|of_slot| of_slot.replicas.contains_key(&place));
        if !known && self.len() >= limits::SPEEDS_MAX {
            self.forget_oldest();
        }
        let speed = self.slots.entry(*slot).or_default().replicas.entry(place).or_default();
        speed.at = now;
        speed
    }

    fn len(&self) -> usize {
        self.slots.values().map(|of_slot| of_slot.replicas.len()).sum()
    }

    fn forget_oldest(&mut self) {
        let all = self.slots.iter().flat_map(|(slot, of_slot)| of_slot.replicas.iter().map(move |entry| (slot, entry)));
        let oldest = all.min_by_key(|(_, (_, speed))| speed.at).map(|(slot, (place, _))| (*slot, *place));
        let Some((slot, place)) = oldest else { return };
        if let Some(of_slot) = self.slots.get_mut(&slot) {
            of_slot.replicas.remove(&place);
        }
        self.slots.retain(|_, of_slot| !of_slot.replicas.is_empty());
    }

    /// What is to be expected of the replica of `slot` at `place`.
    pub(super) fn pace(&self, now: Time, slot: &SlotName, place: Place) -> Pace {
        let of_slot = self.slots.get(slot);
        let speed = of_slot.and_then(|of_slot| of_slot.replicas.get(&place)).copied().unwrap_or_default();
        let halvings = now.since(speed.at).0 / limits::SPEED_HALF_LIFE.0;
        let figure = |of: fn(&Speed) -> Option<u64>, estimate: Duration| {
            let all = of_slot.into_iter().flat_map(|of_slot| of_slot.replicas.values());
            let best = all.filter_map(of).min().unwrap_or(micros(estimate));
            let slower = of(&speed).map_or(0, |known| known.saturating_sub(best));
            best + u32::try_from(halvings).ok().and_then(|halvings| slower.checked_shr(halvings)).unwrap_or(0)
        };
        Pace {
            first_us: figure(|speed| speed.first_us, limits::FIRST_TOKEN_ESTIMATE),
            token_us: figure(|speed| speed.token_us, limits::TOKEN_ESTIMATE),
            answer_tokens: of_slot.and_then(|of_slot| of_slot.answer_tokens).unwrap_or(limits::ANSWER_TOKENS_ESTIMATE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::external::Verification;
    use crate::core::types::NodeId;

    fn place(node: u8) -> Place {
        Place { node: NodeId([node; 32]), verification: Verification::Verified }
    }

    fn ucm() -> SlotName {
        SlotName::new("UCM").expect("name")
    }

    /// Ten tokens, of which the first took `first_ms` and each other one 100 ms.
    fn answered(speeds: &mut Speeds, at: u64, node: u8, first_ms: u64) {
        let (first, rest) = (Duration::from_millis(first_ms), Duration::from_millis(900));
        speeds.answered(seconds(at), &ucm(), place(node), Some(first), rest, 10);
    }

    fn seconds(n: u64) -> Time {
        Time::default().after(Duration::from_secs(n))
    }

    #[test]
    fn nothing_measured_is_the_documented_estimate_and_the_unknown_is_as_good_as_the_best() {
        let mut speeds = Speeds::default();
        let fresh = speeds.pace(seconds(1), &ucm(), place(1));
        assert_eq!((fresh.first_us, fresh.token_us, fresh.answer_tokens), (1_000_000, 100_000, 128));
        answered(&mut speeds, 1, 1, 200);
        let other = speeds.pace(seconds(1), &ucm(), place(2));
        assert_eq!((other.first_us, other.token_us, other.answer_tokens), (200_000, 100_000, 10));
        assert_eq!(other.answer_us(), 1_200_000);
    }

    #[test]
    fn four_measurements_make_a_figure_and_one_hiccup_does_not() {
        let mut speeds = Speeds::default();
        for _ in 0..20 {
            answered(&mut speeds, 1, 1, 100);
        }
        answered(&mut speeds, 1, 1, 500);
        assert_eq!(speeds.pace(seconds(1), &ucm(), place(1)).first_us, 200_000);
        for _ in 0..20 {
            answered(&mut speeds, 1, 1, 500);
        }
        assert!(speeds.pace(seconds(1), &ucm(), place(1)).first_us > 498_000);
    }

    #[test]
    fn what_was_slow_once_is_believed_less_and_less() {
        let mut speeds = Speeds::default();
        answered(&mut speeds, 0, 1, 100);
        answered(&mut speeds, 0, 2, 900);
        let first = |at: u64| speeds.pace(seconds(at), &ucm(), place(2)).first_us;
        let life = limits::SPEED_HALF_LIFE.as_millis() / 1000;
        assert_eq!([0, life, 2 * life, 200 * life].map(first), [900_000, 500_000, 300_000, 100_000]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes() {
        let mut speeds = Speeds::default();
        for n in 0..limits::SPEEDS_MAX as u64 + 10 {
            let slot = SlotName::new(&format!("S{}", n / 200)).expect("name");
            speeds.answered(seconds(n), &slot, place((n % 200) as u8), None, Duration::from_millis(1), 2);
        }
        assert_eq!(speeds.len(), limits::SPEEDS_MAX);
        let slot = SlotName::new("S0").expect("name");
        assert!(!speeds.slots[&slot].replicas.contains_key(&place(9)));
        assert!(speeds.slots[&slot].replicas.contains_key(&place(10)));
    }
}
