//! Among replicas that can take a request, which one. In this order: what has not failed this request before what has; what
//! is verified before what is not; the replica that answered this conversation before, unless that costs more than its
//! cached prompt saves; this node's own among equals; and of the other equals the less loaded of two drawn ones, so that
//! nodes that all heard the same do not all run to the same replica.

use crate::core::chance::mix;
use crate::core::limits;
use crate::core::route::Place;
use crate::core::route::speed::{Pace, micros};
use crate::core::types::NodeId;

/// A replica that can take a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    pub(super) at: Place,
    /// It failed this very request before.
    pub(super) failed: bool,
    /// Requests that are there already.
    pub(super) load: u32,
    /// Until the answer is whole, microseconds.
    pub(super) wait_us: u64,
    /// What computing the prompt takes there, microseconds.
    pub(super) first_us: u64,
}

/// How long a request that is sent now waits for its whole answer, microseconds. A replica computes `parallel` answers at
/// once; each that it computes beside this one slows it, a full batch by half; with more there, one ends each
/// answer's time divided by `parallel`.
pub(super) fn wait_us(pace: &Pace, round_trip_us: u64, load: u32, parallel: u32) -> u64 {
    let (answer_us, parallel) = (pace.answer_us(), u64::from(parallel.max(1)));
    let load = u64::from(load);
    let beside = load.min(parallel - 1);
    let before = (load + 1).saturating_sub(parallel);
    let slowed = answer_us.saturating_mul(beside) / (2 * parallel);
    let queued = answer_us.saturating_mul(before) / parallel;
    round_trip_us.saturating_add(answer_us).saturating_add(slowed).saturating_add(queued)
}

/// The rule of this file's head. `draw` is the same for the same request on the same node.
pub(super) fn choose(offers: &[Offer], me: NodeId, affine: Option<Place>, draw: u64) -> Option<Place> {
    let tier = |offer: &Offer| (offer.failed, offer.at.verification);
    let best_tier = offers.iter().map(tier).min()?;
    let offers: Vec<&Offer> = offers.iter().filter(|offer| tier(offer) == best_tier).collect();
    let best = *offers.iter().min_by_key(|offer| (offer.wait_us, offer.at))?;
    let same = offers.iter().find(|offer| Some(offer.at) == affine && !offer.failed);
    if let Some(same) = same.filter(|same| same.wait_us <= best.wait_us.saturating_add(worth_us(best))) {
        return Some(same.at);
    }
    let margin = micros(limits::EQUAL_WAIT).max(best.wait_us / limits::EQUAL_PART);
    let equal = |offer: &&&Offer| offer.wait_us <= best.wait_us.saturating_add(margin);
    let equals: Vec<&Offer> = offers.iter().filter(equal).copied().collect();
    if let Some(mine) = equals.iter().find(|offer| offer.at.node == me) {
        return Some(mine.at);
    }
    less_loaded(&equals, draw)
}

/// How much longer a follow-up waits for the replica that has its prompt: what `best` would need to compute it.
fn worth_us(best: &Offer) -> u64 {
    best.first_us.clamp(micros(limits::AFFINITY_WAIT_MIN), micros(limits::AFFINITY_WAIT_MAX))
}

/// Of two drawn ones the less loaded; the power of two choices (Mitzenmacher 2001).
fn less_loaded(equals: &[&Offer], draw: u64) -> Option<Place> {
    let count = equals.len() as u64;
    let one = draw.checked_rem(count)?;
    let other = match count {
        1 => one,
        _ => (one + 1 + mix(draw) % (count - 1)) % count,
    };
    let drawn = [one, other].map(|at| equals[at as usize]);
    drawn.into_iter().min_by_key(|offer| offer.load).map(|offer| offer.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::external::Verification;

    const ME: NodeId = NodeId([0; 32]);

    fn place(node: u8) -> Place {
        Place { node: NodeId([node; 32]), verification: Verification::Verified }
    }

    fn offer(node: u8, load: u32, wait_ms: u64) -> Offer {
        Offer { at: place(node), failed: false, load, wait_us: wait_ms * 1_000, first_us: 200_000 }
    }

    fn check(offers: &[Offer], affine: Option<u8>, expect: u8) {
        for draw in 0..100 {
            assert_eq!(choose(offers, ME, affine.map(place), mix(draw)), Some(place(expect)), "{offers:?}");
        }
    }

    #[test]
    fn queue_speed_and_round_trip_make_the_wait() {
        let pace = Pace { first_us: 200, token_us: 10, answer_tokens: 80 };
        let wait = |round_trip, load, parallel| wait_us(&pace, round_trip, load, parallel);
        assert_eq!(wait(0, 0, 1), 1_000);
        assert_eq!(wait(70, 0, 1), 1_070);
        assert_eq!(wait(0, 1, 1), 2_000, "after the one that is there");
        assert_eq!(wait(0, 1, 4), 1_125, "beside it");
        assert_eq!(wait(0, 3, 4), 1_375);
        assert_eq!(wait(0, 4, 4), 1_625, "when the first of four has ended");
        assert_eq!(wait(u64::MAX, u32::MAX, 0), u64::MAX);
    }

    #[test]
    fn the_shortest_wait_wins_when_the_difference_is_clear() {
        check(&[offer(1, 0, 900), offer(2, 5, 700), offer(3, 0, 1_000)], None, 2);
        check(&[offer(0, 0, 900), offer(2, 5, 700)], None, 2);
    }

    #[test]
    fn among_equals_ones_own_wins_and_of_others_never_the_most_loaded() {
        check(&[offer(1, 0, 1_000), offer(0, 1, 1_100)], None, 0);
        let three = [offer(1, 0, 1_000), offer(2, 1, 1_000), offer(3, 2, 1_000)];
        let chosen = |draw| choose(&three, ME, None, mix(draw));
        let count = |node| (0..3_000).filter(|draw| chosen(*draw) == Some(place(node))).count();
        assert_eq!(count(3), 0);
        // It is one of the two that are drawn in two of three draws.
        assert!((1_900..2_100).contains(&count(1)), "{}", count(1));
        assert_eq!(count(1) + count(2), 3_000);
    }

    #[test]
    fn a_follow_up_waits_for_its_replica_as_long_as_computing_its_prompt_elsewhere_takes() {
        check(&[offer(1, 0, 1_000), offer(2, 3, 1_200)], Some(2), 2);
        check(&[offer(1, 0, 1_000), offer(2, 3, 1_201)], Some(2), 1);
        check(&[offer(1, 0, 1_000), offer(3, 0, 1_500)], Some(2), 1);
        let failed = Offer { failed: true, ..offer(2, 0, 10) };
        check(&[offer(1, 0, 1_000), failed], Some(2), 1);
        check(&[failed], Some(2), 2);
    }

    #[test]
    fn nothing_is_chosen_from_nothing() {
        assert_eq!(choose(&[], ME, Some(place(1)), 7), None);
    }
}
