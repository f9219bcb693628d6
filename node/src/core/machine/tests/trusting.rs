//! Spot checks of fingerprints: who looks, what a plan says of whom does not match, who still answers, and the way back.

use std::sync::Arc;

use super::*;
use crate::core::fingerprint::Fingerprint;
use crate::core::placement::plan::Distrust;

/// Two machines with room for manager A, of which two replicas are wanted and whose fingerprint is known.
fn two_holders() -> World {
    let mut world = World::new(&[(1, Role::Full, 8 * GIB), (2, Role::Full, 8 * GIB), (3, Role::Delegate, 0)]);
    let mut roster = roster_record(&["A"]);
    if let Entry::Roster(roster) = &mut roster.entry {
        roster.slots[0].replicas = 2;
        roster.slots[0].policy = SlotPolicy::Pinned;
    }
    let mut record = publication("A");
    if let Entry::Publication(publication) = &mut record.entry {
        let (base, threshold) = (publication.artifact, MicroNats(1_000));
        publication.fingerprint = Some(Arc::new(Fingerprint { base, each: 1, sequences: Vec::new(), threshold }));
    }
    world.tell(id(1), Input::Record(Box::new(roster)));
    world.tell(id(1), Input::Stored(Digest::of(b"A")));
    world.tell(id(1), Input::Record(Box::new(record)));
    world.run(60);
    assert_eq!([1, 2].map(|node| world.resident(id(node))), [vec!["A".to_owned()], vec!["A".to_owned()]]);
    world
}

fn logged(world: &World, node: u8, what: &str) -> usize {
    world.log.iter().filter(|(who, said)| *who == id(node) && said.starts_with(what)).count()
}

/// What each node's plan holds against anybody.
fn held(world: &World) -> Vec<Vec<(u8, String)>> {
    let of = |distrust: &Distrust| (distrust.node.0[0], distrust.slot.to_string());
    let plans = world.nodes.values().map(|machine| machine.plan().map(|plan| plan.distrusted.iter().map(of).collect()));
    plans.map(Option::unwrap_or_default).collect()
}

/// Who answered the requests since the last call.
fn answered(world: &mut World) -> BTreeSet<u8> {
    std::mem::take(&mut world.dispatched).into_iter().map(|(_, _, to)| to.0[0]).collect()
}

fn ask_everywhere(world: &mut World, from: u64) -> BTreeSet<u8> {
    for request in from..from + 12 {
        let node = id(1 + (request % 3) as u8);
        world.ask(node, request, "A");
        world.tell(node, Input::RequestEnded(request, true));
    }
    answered(world)
}

#[test]
fn only_the_coordinator_looks_and_everybody_has_a_turn() {
    let mut world = two_holders();
    world.log.clear();
    world.run(limits::CHECK_PERIOD.as_millis() / 1000 * 12);
    let coordinator = world.nodes[&id(1)].coordinator().expect("one").0.0[0];
    let other = 3 - coordinator;
    assert!((9..=16).contains(&logged(&world, coordinator, "check")), "{:?}", world.log);
    assert!([1, 2].iter().all(|node| logged(&world, coordinator, &format!("check A on {node}")) > 0));
    assert_eq!((logged(&world, other, "check"), held(&world).concat().len()), (0, 0));
}

#[test]
fn whoever_does_not_match_is_asked_by_nobody_reloads_once_and_is_trusted_when_it_matches_again() {
    let mut world = two_holders();
    assert_eq!(ask_everywhere(&mut world, 0), BTreeSet::from([1, 2]));
    let coordinator = world.nodes[&id(1)].coordinator().expect("one").0.0[0];
    for accused in [3 - coordinator, coordinator] {
        let trusted = 3 - accused;
        world.log.clear();
        world.altered.insert(id(accused));
        world.run(limits::CHECK_PERIOD.as_millis() / 1000 * 8);
        assert_eq!(held(&world), vec![vec![(accused, "A".to_owned())]; 3], "every node is told");
        let why = &world.nodes[&id(3)].plan().expect("a plan").distrusted[0].why;
        assert!(why.contains("0.00900") && why.contains("0.00100"), "{why}");
        assert_eq!(ask_everywhere(&mut world, 100), BTreeSet::from([trusted]), "also on the accused node itself");
        let told = ["verify", "unload A", "load A"].map(|what| logged(&world, accused, what));
        assert_eq!(told, [1, 1, 1], "once, whatever the later checks say: {:?}", world.log);
        assert_eq!(logged(&world, trusted, "unload"), 0);
        world.altered.clear();
        world.run(limits::CHECK_PERIOD.as_millis() / 1000 * 2);
        assert!(held(&world).concat().is_empty(), "it matches again");
        assert_eq!(ask_everywhere(&mut world, 200), BTreeSet::from([1, 2]));
    }
}

#[test]
fn a_slot_whose_every_replica_is_distrusted_says_why() {
    let mut world = two_holders();
    world.altered.extend([id(1), id(2)]);
    world.run(limits::CHECK_PERIOD.as_millis() / 1000 * 12);
    assert_eq!(held(&world)[0].len(), 2);
    world.ask(id(3), 7, "A");
    world.run(limits::FAILED_PATIENCE.as_millis() / 1000 + 1);
    assert!(answered(&mut world).is_empty());
    assert_eq!(world.rejected, [(id(3), 7, "not_resident")]);
}

#[test]
fn the_next_coordinator_goes_on_distrusting() {
    let mut world = two_holders();
    let coordinator = world.nodes[&id(1)].coordinator().expect("one").0.0[0];
    let accused = 3 - coordinator;
    world.altered.insert(id(accused));
    world.run(limits::CHECK_PERIOD.as_millis() / 1000 * 8);
    assert_eq!(held(&world)[2], [(accused, "A".to_owned())]);
    world.kill(id(coordinator));
    world.run(60);
    let heir = world.nodes[&id(3)].coordinator().expect("another").0;
    assert_eq!(heir, id(accused), "only full nodes sit");
    assert_eq!(held(&world), vec![vec![(accused, "A".to_owned())]; 2], "what it was accused of stands");
}
