//! What a machine does not do because others are many, or only as they were.

use super::*;
use crate::core::membership::advert::Lease;
use crate::core::membership::table::Presence;

/// What the node `from` said last, said once more.
fn again(world: &World, from: u8, sequences: u64) -> Arc<Advert> {
    let said = world.nodes[&id(from)].greeting().expect("it has spoken");
    Arc::new(Advert { sequence: said.sequence + sequences, ..Advert::clone(&said) })
}

fn heard(world: &mut World, at: u8, input: Input) -> Vec<Output> {
    let mut outbox = Vec::new();
    let now = world.now;
    world.nodes.get_mut(&id(at)).expect("it runs").handle(now, input, &mut outbox);
    outbox
}

#[test]
fn who_says_the_same_again_lives_and_changes_nothing() {
    let mut world = household();
    for step in 1..40 {
        world.now = world.now.after(Duration::from_secs(1));
        for at in [1, 3] {
            heard(&mut world, at, Input::Tick);
            let same = Input::Gossip(Gossip::Advert(again(&world, 2, step)));
            let due = world.nodes[&id(at)].next_deadline();
            assert!(heard(&mut world, at, same).is_empty(), "second {step}");
            assert_eq!(world.nodes[&id(at)].next_deadline(), due);
            let entry = world.nodes[&id(at)].table().get(&id(2)).expect("known");
            assert_eq!((entry.presence, entry.heard), (Presence::Alive, world.now));
        }
    }
    // Another catalog is not the same.
    let other = Advert { catalog_digest: Digest([7; 32]), ..Advert::clone(&again(&world, 2, 99)) };
    let outbox = heard(&mut world, 1, Input::Gossip(Gossip::Advert(Arc::new(other))));
    assert!(outbox.iter().any(|output| matches!(output, Output::Sync(with) if *with == id(2))), "{outbox:?}");
}

#[test]
fn a_lease_that_is_renewed_is_no_reason_to_look_at_anything_but_puts_off_the_takeover() {
    let mut world = household();
    let (holder, epoch) = world.nodes[&id(3)].coordinator().expect("somebody sits");
    let lease = Lease { coordinator: holder, epoch, plan_revision: 0, resigns: false };
    world.nodes.remove(&holder);
    for _ in 0..30 {
        world.now = world.now.after(Duration::from_secs(1));
        heard(&mut world, 2, Input::Tick);
        assert!(heard(&mut world, 2, Input::Gossip(Gossip::Lease(lease))).is_empty());
    }
    assert_eq!(world.nodes[&id(2)].coordinator(), Some((holder, epoch)));
    world.run(30);
    assert_eq!(world.nodes[&id(2)].coordinator().map(|(holder, _)| holder), Some(id(2)));
}

#[test]
fn members_speak_less_often_the_more_they_are_and_are_believed_longer() {
    for (count, period_ms, ttl_ms) in [(3, 2_000, 15_000), (10, 2_000, 15_000), (100, 20_000, 140_000)] {
        let nodes: Vec<(u8, Role)> = (1..=count).map(|node| (node, Role::Full)).collect();
        let world = World::new(&[(1, Role::Full, GIB)]);
        let config = Config { members: Arc::new(members(&nodes)), ..world.nodes[&id(1)].config().clone() };
        let mut machine = Machine::new(Time::default(), config);
        let (mut said, mut now) = (Vec::new(), Time::default());
        while now < Time::default().after(Duration::from_secs(90)) {
            let mut outbox = Vec::new();
            machine.handle(now, Input::Tick, &mut outbox);
            let adverts = outbox.iter().filter_map(|output| match output {
                Output::Gossip(Gossip::Advert(advert)) => Some((now.0 / 1_000_000, advert.ttl_ms)),
                _ => None,
            });
            said.extend(adverts);
            now = machine.next_deadline().expect("a deadline").max(now.after(Duration::from_millis(1)));
        }
        let periods: BTreeSet<u64> = said.windows(2).skip(1).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(periods, BTreeSet::from([period_ms]), "{count} members: {said:?}");
        assert!(said.iter().all(|(_, ttl)| *ttl == ttl_ms), "{said:?}");
    }
}

#[test]
fn what_people_wait_for_is_said_less_often_the_more_members_there_are() {
    for (count, wait_ms) in [(3, 150), (100, 2_000)] {
        let nodes: Vec<(u8, Role)> = (1..=count).map(|node| (node, Role::Full)).collect();
        let world = household();
        let config = Config { members: Arc::new(members(&nodes)), ..world.nodes[&id(1)].config().clone() };
        let mut machine = Machine::new(Time::default(), config);
        let mut at = |now: Time, input: Input| {
            let mut outbox = Vec::new();
            machine.handle(now, input, &mut outbox);
            let adverts = outbox.into_iter().filter_map(|output| match output {
                Output::Gossip(Gossip::Advert(advert)) => Some(advert.wanted.len()),
                _ => None,
            });
            (adverts.collect::<Vec<_>>(), machine.next_deadline().expect("a deadline"))
        };
        // It has weights of what is wished for, so that wishing makes sense.
        let spoke = Time::default();
        let (said, _) = at(spoke, Input::Stored(Digest::of(b"C")));
        assert_eq!(said, [0], "{count} members");
        let (said, _) = at(spoke.after(Duration::from_millis(1)), Input::Want(slot("C")));
        assert!(said.is_empty());
        let (said, _) = at(spoke.after(Duration::from_millis(wait_ms - 1)), Input::Tick);
        assert!(said.is_empty(), "{count} members");
        let (said, _) = at(spoke.after(Duration::from_millis(wait_ms)), Input::Tick);
        assert_eq!(said, [1], "{count} members");
    }
}

#[test]
fn that_nobody_waits_here_any_more_is_said_at_once_only_if_nobody_waits_elsewhere() {
    for others_wait in [false, true] {
        let world = household();
        let mut machine = Machine::new(Time::default(), world.nodes[&id(1)].config().clone());
        let mut at = |ms: u64, input: Input| {
            let mut outbox = Vec::new();
            machine.handle(Time::default().after(Duration::from_millis(ms)), input, &mut outbox);
            let adverts = outbox.into_iter().filter_map(|output| match output {
                Output::Gossip(Gossip::Advert(advert)) => Some(advert.wanted.len()),
                _ => None,
            });
            adverts.collect::<Vec<_>>()
        };
        // It has weights of what is wished for, so that wishing makes sense.
        assert_eq!(at(0, Input::Stored(Digest::of(b"C"))), [0]);
        let wanted = if others_wait { vec![slot("C")] } else { Vec::new() };
        let theirs = Advert { wanted, ..Advert::clone(&again(&world, 2, 1)) };
        assert!(at(1, Input::Gossip(Gossip::Advert(Arc::new(theirs)))).is_empty());
        assert!(at(2, Input::Want(slot("C"))).is_empty());
        assert_eq!(at(150, Input::Tick), [1], "it waits");
        // The wish ends long before the period does.
        machine.asked.clear();
        let mut later = |ms: u64| {
            let mut outbox = Vec::new();
            machine.handle(Time::default().after(Duration::from_millis(ms)), Input::Pins(Pins::default()), &mut outbox);
            outbox.iter().filter(|output| matches!(output, Output::Gossip(Gossip::Advert(_)))).count()
        };
        assert_eq!((later(400), later(2_149)), (usize::from(!others_wait), 0), "others wait: {others_wait}");
        later(2_400);
        assert!(machine.greeting().expect("it has spoken").wanted.is_empty());
    }
}

#[test]
fn a_transfers_room_is_not_free_before_the_disk_is_measured_again() {
    let mut world = household();
    let before = world.nodes[&id(1)].own_advert();
    let (artifact, have) = (Digest::of(b"new"), crate::core::artifact::Bitmap::empty(2));
    let node = id(1);
    let machine = world.nodes.get_mut(&node).expect("there");
    machine.transfers.want(&BTreeSet::from([artifact]));
    assert!(machine.transfers.manifest(artifact, vec![4_000, 4_000]));
    for _ in 0..2 {
        heard(&mut world, 1, Input::Begun(artifact, have.clone()));
        assert_eq!(world.nodes[&node].own_advert().disk_free_bytes, before.disk_free_bytes - 8_000, "and only once");
    }
    let (domains, disk_free_bytes) = (before.domains.clone(), before.disk_free_bytes - 8_000);
    heard(&mut world, 1, Input::Hardware { domains, disk_free_bytes, on_battery: false });
    assert_eq!(world.nodes[&node].own_advert().disk_free_bytes, disk_free_bytes);
}

#[test]
fn a_greeting_brings_back_what_silence_made_void_and_hearsay_does_not() {
    let mut world = household();
    let said = again(&world, 2, 0);
    world.nodes.remove(&id(2));
    world.run(20);
    let state = |world: &World| {
        let entry = world.nodes[&id(1)].table().get(&id(2)).expect("known");
        (entry.presence, entry.advert().is_some())
    };
    assert_eq!(state(&world).0, Presence::Down);
    heard(&mut world, 1, Input::Connected(id(2)));
    assert_eq!(state(&world), (Presence::Alive, false));
    heard(&mut world, 1, Input::Gossip(Gossip::Advert(Arc::clone(&said))));
    assert_eq!(state(&world), (Presence::Alive, false), "it may be of a life that has ended");
    heard(&mut world, 1, Input::Greeting(said));
    assert_eq!(state(&world), (Presence::Alive, true));
}

#[test]
fn a_plan_that_was_taken_is_not_brought_again_before_its_taker_could_have_said_so() {
    let mut world = household();
    let plan = world.nodes[&id(1)].plan().expect("a plan").clone();
    let lost = Advert { plan_revision: 0, ..Advert::clone(&again(&world, 2, 1)) };
    world.now = world.now.after(limits::SETTLE);
    let brings =
        |outbox: &[Output]| outbox.iter().any(|output| matches!(output, Output::DeliverPlan(to, _) if *to == id(2)));
    let outbox = heard(&mut world, 1, Input::Gossip(Gossip::Advert(Arc::new(lost))));
    assert!(brings(&outbox));
    let name = (plan.epoch, plan.revision);
    let answer = Input::PlanAnswered { from: id(2), plan: name, taken: true, epoch_highest: plan.epoch };
    heard(&mut world, 1, answer);
    let mut brought = Vec::new();
    for _ in 0..60 {
        world.now = world.now.after(Duration::from_millis(100));
        brought.push(brings(&heard(&mut world, 1, Input::Tick)));
    }
    assert_eq!(brought.iter().position(|brought| *brought), Some(39), "after two periods of 2 s");
}

#[test]
fn who_sits_leaves_an_epoch_in_which_somebody_follows_a_plan_that_goes_before_its_own() {
    let mut world = household();
    // The second sits; somebody follows a plan of the first, which sat under the same epoch and is gone.
    world.kill(id(1));
    world.run(20);
    let (holder, epoch) = world.nodes[&id(2)].coordinator().expect("somebody sits");
    assert_eq!(holder, id(2));
    let plan = world.nodes[&id(2)].plan().expect("a plan").clone();
    let rival = Plan { author: id(1), revision: 1, ..plan };
    let told = Input::PlanOffered { from: id(1), plan: Arc::new(rival) };
    let took = |output: &Output| matches!(output, Output::AnswerPlan(Ok(())));
    assert!(heard(&mut world, 3, told).iter().any(took), "of two under one epoch the lower goes first");
    let keeps = Advert { plan_epoch: epoch, plan_author: Some(id(1)), ..Advert::clone(&again(&world, 3, 1)) };
    world.tell(id(2), Input::Gossip(Gossip::Advert(Arc::new(keeps))));
    world.run(10);
    let (holder, later) = world.nodes[&id(2)].coordinator().expect("somebody sits");
    assert!(holder == id(2) && later > epoch, "epoch {later} after {epoch}");
    assert_eq!(world.nodes[&id(3)].plan().map(|plan| (plan.epoch, plan.author)), Some((later, id(2))));
}
