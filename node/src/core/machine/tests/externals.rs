//! External engines in a household: who hears of them, when they are asked, and that no plan counts them.

use super::*;
use crate::core::external::{ExternalHere, Verification};
use crate::core::route::Place;

/// A server beside a node, for the slot A.
fn server(ready: bool, unverified: bool) -> Input {
    Input::Externals(vec![ExternalHere { slot: slot("A"), ready, unverified, verification: Verification::Unverified }])
}

fn without_floor(world: &mut World) {
    let mut record = roster_record(&["A", "B", "C"]);
    let Entry::Roster(roster) = &mut record.entry else { panic!("a roster") };
    roster.precision_floor = "none".into();
    record.sequence = 2;
    world.tell(id(3), Input::Record(Box::new(record)));
}

fn last(world: &World) -> Option<(u64, Place)> {
    world.dispatched_at.last().copied()
}

fn at(node: u8, verification: Verification) -> Place {
    Place { node: id(node), verification }
}

#[test]
fn a_verified_replica_is_preferred_and_a_server_beside_any_member_answers_when_there_is_none() {
    let mut world = household();
    world.tell(id(3), server(true, true));
    world.run(4);
    world.ask(id(3), 1, "A");
    assert_eq!(last(&world), Some((1, at(1, Verification::Verified))), "though the server is here");
    world.kill(id(1));
    world.ask(id(2), 2, "A");
    assert_eq!(last(&world), Some((2, at(3, Verification::Unverified))), "heard of by advertisement");
    world.ask(id(2), 3, "B");
    assert_eq!(last(&world).map(|(request, _)| request), Some(2), "it stands in for A alone");
    world.tell(id(3), server(false, true));
    world.run_ms(500);
    world.ask(id(2), 4, "A");
    assert!(world.dispatched_at.iter().all(|(request, _)| *request != 4), "it is away");
}

#[test]
fn a_member_that_meant_a_verified_replica_is_never_answered_by_a_server() {
    let mut world = household();
    world.tell(id(3), server(true, true));
    let deadline = world.now.after(limits::REQUEST_WAIT);
    let forwarded = Ask { local_only: true, unverified: false, ..Ask::new(slot("A"), deadline) };
    world.tell(id(3), Input::Request(1, forwarded.clone()));
    assert_eq!((last(&world), world.rejected.last()), (None, Some(&(id(3), 1, "not_resident"))));
    world.tell(id(3), Input::Request(2, Ask { unverified: true, ..forwarded.clone() }));
    assert_eq!(last(&world), Some((2, at(3, Verification::Unverified))));
    let adapter = Ask { unverified: true, domain: Some(slot("core")), ..forwarded };
    world.tell(id(3), Input::Request(3, adapter));
    assert_eq!(world.rejected.last().map(|(_, request, _)| *request), Some(3), "it has no adapters");
}

#[test]
fn under_a_floor_of_f16_a_server_answers_only_by_its_owners_word() {
    let mut world = household();
    world.tell(id(3), server(true, false));
    let says =
        |world: &World| world.nodes[&id(3)].own_advert().externals.iter().map(|there| there.ready).collect::<Vec<_>>();
    assert_eq!(says(&world), [false]);
    world.tell(id(3), server(true, true));
    assert_eq!(says(&world), [true]);
    world.tell(id(3), server(true, false));
    without_floor(&mut world);
    assert_eq!(says(&world), [true], "no floor, no word needed");
}

#[test]
fn no_plan_counts_a_server_and_a_slot_without_weights_is_answered_by_it() {
    let mut world = household();
    let before = (world.plans(), world.nodes[&id(1)].problem());
    world.tell(id(1), server(true, true));
    world.run(30);
    assert_eq!((world.plans(), world.nodes[&id(1)].problem()), before, "nothing to plan anew");
    assert!(world.nodes[&id(1)].is_resident(&slot("A")));
    // Where nothing is published.
    let mut alone = World::new(&[(1, Role::Full, 0), (3, Role::Delegate, 16 * GIB)]);
    alone.tell(id(3), Input::Record(Box::new(roster_record(&["A", "B"]))));
    alone.ask(id(3), 1, "A");
    assert_eq!(alone.rejected.last(), Some(&(id(3), 1, "model_not_found")));
    alone.tell(id(3), server(true, true));
    alone.ask(id(3), 2, "A");
    assert_eq!(last(&alone), Some((2, at(3, Verification::Unverified))));
    assert!(!alone.nodes[&id(3)].is_resident(&slot("A")), "nothing of it is in this node's memory");
    alone.tell(id(3), Input::RequestEnded(2, true));
    alone.tell(id(3), server(false, true));
    alone.ask(id(3), 3, "A");
    assert_eq!(alone.rejected.len(), 1, "it may be back in a moment");
    alone.tell(id(3), server(true, true));
    assert_eq!(last(&alone), Some((3, at(3, Verification::Unverified))));
}
