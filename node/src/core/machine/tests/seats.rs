//! The coordinator's seat among whole machines: who sits, what is followed, and how two that sat become one again.

use std::sync::Arc;

use super::*;
use crate::core::coordinator::Standing;
use crate::core::placement::plan::Plan;

fn standing(world: &World, node: u8) -> Standing {
    world.nodes[&id(node)].standing()
}

#[test]
fn every_state_of_the_seat_is_taken_and_left() {
    let mut world = World::new(&[(1, Role::Full, 8 * GIB), (2, Role::Full, 8 * GIB), (3, Role::Delegate, 8 * GIB)]);
    assert_eq!(standing(&world, 1), Standing::Waiting);
    world.run(10);
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Coordinator, Standing::Follower));
    assert_eq!(standing(&world, 3), Standing::Follower, "a delegate follows like everybody");
    world.kill(id(1));
    assert_eq!(standing(&world, 2), Standing::Waiting);
    world.run(5);
    assert_eq!(standing(&world, 2), Standing::Solo, "nobody else who could sit is there");
    world.tell(id(2), Input::Leave);
    assert_eq!((standing(&world, 2), world.seats()), (Standing::Draining, BTreeSet::from([None])));
    world.run(60);
    assert_eq!(standing(&world, 2), Standing::Draining, "who is about to end claims nothing any more");
}

#[test]
fn a_follower_acts_on_no_plan_before_its_epoch_is_durable() {
    let mut world = household();
    let plan = world.nodes[&id(2)].plan().expect("a plan").clone();
    world.slow_disk.insert(id(2));
    let next = Plan { epoch: plan.epoch + 1, revision: 1, replicas: Vec::new(), ..plan.clone() };
    world.tell(id(2), Input::PlanOffered { from: next.author, plan: Arc::new(next.clone()) });
    world.run(2);
    assert!(world.nodes[&id(2)].plan().is_none(), "accepted, and not durable yet");
    assert_eq!(world.nodes[&id(2)].own_advert().plan_epoch, plan.epoch, "nor does it say that it follows it");
    world.tell(id(2), Input::EpochPersisted(next.epoch));
    assert_eq!(world.nodes[&id(2)].own_advert().plan_epoch, next.epoch);
}

#[test]
fn a_node_that_slept_is_a_follower_before_it_acts_on_anything() {
    let mut world = household();
    assert_eq!(standing(&world, 1), Standing::Coordinator);
    let epoch = world.nodes[&id(1)].epoch_highest();
    let mut outbox = Vec::new();
    let (now, machine) = (world.now, world.nodes.get_mut(&id(1)).expect("there"));
    machine.handle(now, Input::Slept, &mut outbox);
    assert_eq!(machine.standing(), Standing::Waiting);
    let issued = outbox.iter().any(|output| matches!(output, Output::DeliverPlan(..) | Output::PersistEpoch(_)));
    assert!(!issued, "{outbox:?}");
    world.run(10);
    assert_eq!(world.seats().len(), 1);
    assert!(world.nodes[&id(1)].epoch_highest() > epoch, "whoever sits now took the seat anew");
}

#[test]
fn a_coordinator_whose_clock_stood_still_publishes_nothing_under_its_old_epoch() {
    let mut world = household();
    let before = world.plans();
    // Ten seconds in which it renewed nothing; then something happens that would make a plan.
    world.now = world.now.after(limits::LEASE_SELF_LIFE);
    let mut outbox = Vec::new();
    let (now, machine) = (world.now, world.nodes.get_mut(&id(1)).expect("there"));
    machine.handle(now, Input::Record(Box::new(publication("D"))), &mut outbox);
    machine.handle(now.after(limits::SETTLE), Input::Tick, &mut outbox);
    assert!(!outbox.iter().any(|output| matches!(output, Output::DeliverPlan(..))), "{outbox:?}");
    assert_eq!(world.plans(), before);
}

#[test]
fn two_that_sat_apart_become_one_and_nothing_is_lost() {
    let mut world = World::new(&[(1, Role::Full, 8 * GIB), (2, Role::Full, 8 * GIB)]);
    world.publish(id(1), &["A"]);
    world.run(20);
    let epoch = world.nodes[&id(1)].epoch_highest();
    world.part(id(1), id(2));
    world.run(60);
    assert_eq!(world.seats(), BTreeSet::from([Some(id(1)), Some(id(2))]), "both go on by themselves");
    assert_eq!(world.resident(id(2)), ["A"], "and keep what they have");
    world.publish(id(2), &["B"]);
    world.tell(id(2), Input::Record(Box::new(Record { sequence: 2, ..roster_record(&["A", "B"]) })));
    world.run(5);
    world.heal(id(1), id(2));
    world.run(20);
    // The one that took over sits under the higher epoch.
    assert_eq!(world.seats(), BTreeSet::from([Some(id(2))]));
    assert_eq!(world.plans().len(), 1);
    assert!(world.nodes[&id(1)].epoch_highest() > epoch);
    let plan = world.nodes[&id(1)].plan().expect("one plan");
    assert!(["A", "B"].iter().all(|name| plan.replicas.iter().any(|replica| replica.slot.as_str() == *name)));
}

#[test]
fn of_two_that_claimed_the_same_epoch_the_lower_node_stays_and_its_plan_reaches_everybody() {
    let mut world = World::new(&[(1, Role::Full, 8 * GIB), (2, Role::Full, 8 * GIB), (3, Role::Full, 8 * GIB)]);
    world.publish(id(3), &["A"]);
    world.run(20);
    world.kill(id(1));
    world.part(id(2), id(3));
    world.run(60);
    let epochs: Vec<u64> = [2, 3].map(|node| world.nodes[&id(node)].epoch_highest()).to_vec();
    assert_eq!((epochs[0], world.seats()), (epochs[1], BTreeSet::from([Some(id(2)), Some(id(3))])));
    world.heal(id(2), id(3));
    world.run(20);
    assert_eq!(world.seats(), BTreeSet::from([Some(id(2))]));
    assert!(world.plans().iter().all(|plan| plan.is_some_and(|(.., author)| author == id(2))), "{:?}", world.plans());
    assert_eq!(world.plans().len(), 1);
}

#[test]
fn who_follows_a_plan_of_the_same_number_by_another_author_is_told() {
    let mut world = household();
    let plan = world.nodes[&id(1)].plan().expect("a plan").clone();
    let theirs = world.nodes[&id(2)].own_advert();
    assert!(theirs.follows(&plan));
    assert!(!theirs.follows(&Plan { author: id(9), ..plan.clone() }));
    world.log.clear();
    let mislead = Advert { sequence: theirs.sequence + 1_000, plan_author: Some(id(9)), ..theirs };
    world.now = world.now.after(limits::SETTLE);
    world.tell(id(1), Input::Gossip(Gossip::Advert(Arc::new(mislead))));
    assert!(world.log.contains(&(id(1), format!("deliver {}.{} to 2", plan.epoch, plan.revision))), "{:?}", world.log);
}

#[test]
fn a_plan_that_was_lost_on_its_way_is_brought_again_and_so_it_is_to_who_comes_back() {
    let mut world = household();
    let follows = |world: &World, node: u8| world.nodes[&id(node)].plan().map(|plan| plan.revision);
    let before = follows(&world, 1);
    world.plans_lost.insert(id(3), 2);
    world.publish(id(1), &["A", "B", "C", "D"]);
    world.tell(id(1), Input::Record(Box::new(Record { sequence: 2, ..roster_record(&["A", "B", "C", "D"]) })));
    world.run(1);
    assert!(follows(&world, 1) > before && follows(&world, 2) == follows(&world, 1));
    assert!(follows(&world, 3) < follows(&world, 1), "two deliveries were lost");
    world.run(4);
    assert_eq!(follows(&world, 3), follows(&world, 1));
    // One that was away while another plan was made.
    world.part(id(1), id(3));
    world.part(id(2), id(3));
    world.publish(id(2), &["E"]);
    world.tell(id(1), Input::Record(Box::new(Record { sequence: 3, ..roster_record(&["A", "B", "E"]) })));
    world.run(3);
    assert!(follows(&world, 3) < follows(&world, 1));
    world.heal(id(1), id(3));
    world.run(2);
    assert_eq!(follows(&world, 3), follows(&world, 1));
}
