//! The election, one rule at a time, with a clock that only jumps.

use std::sync::Arc;

use super::*;
use crate::core::placement::plan::Strategy;
use crate::core::types::{Digest, Duration};

const ME: NodeId = NodeId([5; 32]);
const LOWER: NodeId = NodeId([1; 32]);
const HIGHER: NodeId = NodeId([9; 32]);

fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

/// As a table would have it.
#[derive(Clone, Copy)]
struct Surroundings {
    rank: u64,
    eligible: bool,
    holder_gone_since: Option<Time>,
    all_accounted: bool,
    alone: bool,
    company: bool,
}

impl Around for Surroundings {
    fn rank(&self, enough: u64) -> u64 {
        self.rank.min(enough)
    }
    fn eligible(&self) -> bool {
        self.eligible
    }
    fn holder_gone_since(&self) -> Option<Time> {
        self.holder_gone_since
    }
    fn all_accounted(&self) -> bool {
        self.all_accounted
    }
    fn alone(&self) -> bool {
        self.alone
    }
    fn company(&self) -> bool {
        self.company
    }
}

fn around() -> Surroundings {
    Surroundings { rank: 0, eligible: true, holder_gone_since: None, all_accounted: true, alone: false, company: true }
}

fn lease(coordinator: NodeId, epoch: u64) -> Lease {
    Lease { coordinator, epoch, plan_revision: 0, resigns: false }
}

fn seated(epoch: u64) -> Coordinator {
    let mut node = Coordinator::new(ME, at(0), epoch - 1);
    let alone = Surroundings { alone: true, ..around() };
    assert_eq!(node.tick(at(0), &alone), [Action::PersistEpoch(epoch)]);
    assert_eq!(node.seated(), None, "an epoch is not used before it is durable");
    assert_eq!(node.persisted(at(0), epoch), [Action::Announce(lease(ME, epoch)), Action::Seated]);
    node
}

fn plan(author: NodeId, epoch: u64, revision: u64) -> Plan {
    Plan {
        author,
        epoch,
        revision,
        inputs_digest: Digest::default(),
        strategy: Strategy::Mixed,
        replicas: Vec::new(),
        stored: Vec::new(),
        roles: Vec::new(),
        shortfalls: Vec::new(),
        refused: Vec::new(),
        distrusted: Vec::new(),
    }
}

#[test]
fn one_machine_alone_sits_at_once() {
    assert_eq!(seated(8).coordinator(), Some((ME, 8)));
}

#[test]
fn a_silent_holder_is_waited_for_and_a_gone_one_is_not() {
    let mut node = Coordinator::new(ME, at(0), 3);
    node.heard(at(10), &lease(LOWER, 4));
    let second = Surroundings { rank: 1, ..around() };
    // Silence: 15 s of lease, 3 s, and one step of 2 s for rank 1.
    assert!(node.tick(at(29), &second).is_empty());
    assert_eq!(node.clone().tick(at(30), &second), [Action::PersistEpoch(5)]);
    // Known to be gone since 12 s: 2 s and the step.
    let gone = Surroundings { holder_gone_since: Some(at(12)), ..second };
    assert!(node.tick(at(15), &gone).is_empty());
    assert_eq!(node.tick(at(16), &gone), [Action::PersistEpoch(5)]);
}

#[test]
fn a_holder_that_others_hear_keeps_its_seat_although_this_node_does_not_reach_it() {
    let mut node = Coordinator::new(ME, at(0), 3);
    node.heard(at(10), &lease(LOWER, 4));
    let apart = Surroundings { holder_gone_since: Some(at(10)), ..around() };
    for second in (11..60).step_by(2) {
        node.heard(at(second), &lease(LOWER, 4));
        assert!(node.tick(at(second + 2), &apart).is_empty(), "renewed at {second} s");
    }
    // Its last words were those of 59 s: one more did not come, and it is as gone as it looks.
    assert!(node.tick(at(62), &apart).is_empty());
    assert_eq!(node.tick(at(63), &apart), [Action::PersistEpoch(5)]);
}

#[test]
fn the_lease_is_renewed_every_two_seconds() {
    let mut node = seated(1);
    assert!(node.tick(at(1), &around()).is_empty());
    assert_eq!(node.tick(at(2), &around()), [Action::Announce(lease(ME, 1))]);
    assert_eq!(node.next_deadline(at(2), &around()), Some(at(4)));
}

#[test]
fn a_coordinator_that_slept_issues_nothing_under_its_old_epoch() {
    let mut node = seated(1);
    assert_eq!(node.tick(at(90), &around()), [Action::Unseated]);
    assert!(node.publish(plan(ME, 0, 0)).is_none());
}

#[test]
fn of_two_seats_the_higher_epoch_wins_and_on_a_tie_the_lower_id() {
    assert_eq!(seated(3).heard(at(1), &lease(HIGHER, 4)), [Action::Unseated]);
    assert_eq!(seated(3).heard(at(1), &lease(LOWER, 3)), [Action::Unseated]);
    for outranked in [lease(HIGHER, 3), lease(LOWER, 2)] {
        let mut node = seated(3);
        assert_eq!(node.heard(at(1), &outranked), [Action::Announce(lease(ME, 3))]);
        assert_eq!(node.seated(), Some(3));
    }
}

#[test]
fn plans_of_older_epochs_or_from_messengers_are_refused() {
    let mut node = Coordinator::new(ME, at(0), 3);
    assert_eq!(node.offered(LOWER, Arc::new(plan(LOWER, 2, 1))), Err(PlanRefusal::Stale));
    assert_eq!(node.offered(HIGHER, Arc::new(plan(LOWER, 4, 1))), Err(PlanRefusal::NotCoordinator));
    assert_eq!(node.offered(HIGHER, Arc::new(plan(HIGHER, 4, 2))), Ok(()));
    assert_eq!(node.offered(HIGHER, Arc::new(plan(HIGHER, 4, 2))), Err(PlanRefusal::Stale));
    assert_eq!(node.offered(HIGHER, Arc::new(plan(HIGHER, 4, 1))), Err(PlanRefusal::Stale));
    // On a tie of epochs the lower id's plan wins, whatever its revision.
    assert_eq!(node.offered(LOWER, Arc::new(plan(LOWER, 4, 1))), Ok(()));
    assert_eq!(node.offered(HIGHER, Arc::new(plan(HIGHER, 4, 3))), Err(PlanRefusal::Stale));
}

#[test]
fn an_epoch_that_nobody_could_have_reached_is_a_lie() {
    let mut node = Coordinator::new(ME, at(0), 3);
    node.saw_epoch(u64::MAX);
    node.heard(at(0), &lease(LOWER, u64::MAX));
    assert_eq!(node.offered(LOWER, Arc::new(plan(LOWER, u64::MAX, 1))), Err(PlanRefusal::Stale));
    assert_eq!((node.epoch_highest(), node.coordinator()), (3, None));
}

#[test]
fn a_resignation_opens_the_seat_early() {
    let mut node = Coordinator::new(ME, at(0), 3);
    node.heard(at(1), &lease(LOWER, 4));
    node.heard(at(2), &Lease { resigns: true, ..lease(LOWER, 4) });
    assert_eq!(node.tick(at(4), &around()), [Action::PersistEpoch(5)]);
}

#[test]
fn a_delegate_never_claims() {
    let mut node = Coordinator::new(ME, at(0), 0);
    let barred = Surroundings { eligible: false, alone: true, ..around() };
    assert_eq!((node.tick(at(1000), &barred), node.next_deadline(at(1000), &barred)), (Vec::new(), None));
}

#[test]
fn a_coordinator_that_accepts_another_seats_plan_leaves_its_own() {
    for taken in [plan(HIGHER, 4, 1), plan(LOWER, 3, 1)] {
        let mut node = seated(3);
        node.publish(plan(ME, 0, 0));
        assert_eq!(node.offered(taken.author, Arc::new(taken.clone())), Ok(()));
        assert_eq!(node.tick(at(1), &around()), [Action::Unseated]);
        assert!(node.publish(plan(ME, 0, 0)).is_none());
        assert_eq!(node.plan().map(Arc::as_ref), Some(&taken));
    }
}

#[test]
fn a_seat_below_an_epoch_that_somebody_has_seen_is_claimed_anew_above_it() {
    // Whoever claimed 7 and died before anybody heard of it would otherwise refuse every plan of 3 for ever.
    let mut node = seated(3);
    node.saw_epoch(7);
    assert_eq!(node.tick(at(1), &around()), [Action::Unseated]);
    assert_eq!(node.tick(at(3), &around()), [Action::PersistEpoch(8)]);
}

#[test]
fn a_coordinator_renews_just_before_ten_seconds_and_not_at_them() {
    let just_before = Time(at(10).0 - 1);
    assert_eq!(seated(1).tick(just_before, &around()), [Action::Announce(lease(ME, 1))]);
    assert_eq!(seated(1).tick(at(10), &around()), [Action::Unseated]);
}

#[test]
fn whoever_claims_and_hears_of_a_seat_or_of_a_higher_epoch_meanwhile_does_not_sit() {
    let claiming = || {
        let mut node = Coordinator::new(ME, at(0), 3);
        assert_eq!(node.tick(at(2), &around()), [Action::PersistEpoch(4)]);
        node
    };
    let mut node = claiming();
    node.heard(at(2), &lease(HIGHER, 4));
    assert_eq!((node.persisted(at(3), 4), node.seated()), (Vec::new(), None), "somebody sits already");
    let mut node = claiming();
    node.saw_epoch(9);
    assert_eq!((node.persisted(at(3), 4), node.seated()), (Vec::new(), None));
    assert_eq!(node.tick(at(3), &around()), [Action::PersistEpoch(10)], "and claims above what was seen");
    // An epoch that was never asked for seats nobody.
    assert_eq!(Coordinator::new(ME, at(0), 3).persisted(at(0), 7), []);
}

#[test]
fn a_lease_that_still_lives_is_not_given_up_for_one_of_a_lower_claim() {
    let mut node = Coordinator::new(ME, at(0), 0);
    node.heard(at(1), &lease(LOWER, 4));
    node.heard(at(2), &lease(HIGHER, 4));
    assert_eq!(node.coordinator(), Some((LOWER, 4)));
    // Once it is void the other one counts.
    node.heard(at(17), &lease(HIGHER, 4));
    assert_eq!(node.coordinator(), Some((HIGHER, 4)));
    node.heard(at(18), &Lease { resigns: true, ..lease(LOWER, 4) });
    assert_eq!(node.coordinator(), Some((HIGHER, 4)), "only the holder can resign");
}

#[test]
fn rank_decides_the_order_and_two_steps_lie_between_two_candidates() {
    let claims_at = |rank: u64, gone: Option<Time>| {
        let mut node = Coordinator::new(ME, at(0), 0);
        node.heard(at(0), &lease(LOWER, 1));
        // Before the first of all could claim, it is enough to know when that is.
        let around = Surroundings { rank, holder_gone_since: gone, ..around() };
        let first = node.next_deadline(at(0), &around).expect("a deadline");
        node.next_deadline(first, &around)
    };
    for rank in 0..5 {
        assert_eq!(claims_at(rank, None), Some(at(18 + 2 * rank)), "silent: 15 s of lease and 3 s");
        assert_eq!(claims_at(rank, Some(at(4))), Some(at(6 + 2 * rank)), "gone: 2 s");
    }
    let unknown = Surroundings { all_accounted: false, ..around() };
    let fresh = Coordinator::new(ME, at(0), 0);
    assert_eq!(fresh.next_deadline(at(2), &unknown), Some(at(18)), "somebody who is not accounted for may sit");
    assert_eq!(fresh.next_deadline(at(0), &around()), Some(at(2)));
}
