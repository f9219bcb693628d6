//! Routing, one rule at a time.

use super::*;
use crate::core::types::Duration;

const ME: NodeId = NodeId([1; 32]);
const OTHER: NodeId = NodeId([2; 32]);

fn ask(local_only: bool) -> Ask {
    let deadline = Time::default().after(Duration::from_secs(10));
    Ask { slot: SlotName::new("UCM").expect("name"), domain: None, local_only, unverified: true, deadline }
}

fn verified(node: NodeId) -> Place {
    Place { node, verification: Verification::Verified }
}

fn unverified(node: NodeId) -> Place {
    Place { node, verification: Verification::Unverified }
}

fn candidate(at: Place) -> Candidate {
    Candidate { at, advertised: 0, places: u32::MAX }
}

fn ready(nodes: &[NodeId]) -> Knowledge {
    Knowledge::Ready(nodes.iter().map(|&node| candidate(verified(node))).collect())
}

fn died() -> Refusal {
    Refusal { code: "engine_failed", message: "killed by signal 9".into() }
}

fn router() -> Router {
    let mut router = Router::default();
    assert_eq!(router.ask(Time(0), 1, ask(false)), None);
    router
}

#[test]
fn this_nodes_own_replica_comes_first_until_it_is_the_busier() {
    let mut router = router();
    router.ask(Time(0), 2, ask(false));
    let actions = router.schedule(Time(0), ME, |_| ready(&[OTHER, ME]));
    let expect =
        [Action::Dispatch { request: 1, to: verified(ME) }, Action::Dispatch { request: 2, to: verified(OTHER) }];
    assert_eq!(actions, expect);
}

#[test]
fn a_failure_before_the_first_token_goes_to_another_holder_and_after_it_is_final() {
    let mut router = router();
    router.schedule(Time(0), ME, |_| ready(&[ME, OTHER]));
    assert!(router.failed(Time(0), 1, died(), true));
    let actions = router.schedule(Time(0), ME, |_| ready(&[ME, OTHER]));
    assert_eq!(actions, [Action::Dispatch { request: 1, to: verified(OTHER) }]);
    router.started(1);
    assert!(!router.failed(Time(0), 1, died(), true));
    assert_eq!((router.open(), router.counts.failed, router.counts.retried), (0, 1, 1));
}

#[test]
fn a_request_waits_is_wanted_and_ends_at_its_deadline() {
    let mut router = router();
    assert!(router.schedule(Time(0), ME, |_| Knowledge::Waiting).is_empty());
    assert_eq!(router.wanted().len(), 1);
    let deadline = ask(false).deadline;
    assert_eq!(router.next_deadline(Time(0)), Some(deadline), "its patience and its deadline are the same here");
    let actions = router.schedule(deadline, ME, |_| Knowledge::Waiting);
    assert!(matches!(&actions[..], [Action::Reject { request: 1, .. }]), "{actions:?}");
    assert_eq!((router.open(), router.wanted().len()), (0, 0));
}

#[test]
fn the_only_holder_is_tried_again_once_it_is_back() {
    let mut router = router();
    router.schedule(Time(0), ME, |_| ready(&[OTHER]));
    assert!(router.failed(Time(0), 1, died(), true));
    assert!(router.schedule(Time(0), ME, |_| ready(&[OTHER])).is_empty());
    let again = router.next_deadline(Time(0)).expect("it waits");
    let actions = router.schedule(again, ME, |_| ready(&[OTHER]));
    assert_eq!(actions, [Action::Dispatch { request: 1, to: verified(OTHER) }]);
}

#[test]
fn what_another_member_sent_is_never_passed_on() {
    let mut router = Router::default();
    router.ask(Time(0), 1, ask(true));
    let actions = router.schedule(Time(0), ME, |_| ready(&[OTHER]));
    assert!(matches!(&actions[..], [Action::Reject { request: 1, .. }]), "{actions:?}");
}

#[test]
fn a_manager_that_cannot_be_loaded_is_said_so_before_the_deadline() {
    let mut router = Router::default();
    let patient = Ask { deadline: Time::default().after(Duration::from_secs(100)), ..ask(false) };
    router.ask(Time(0), 1, patient);
    let failing = |_: &Ask| Knowledge::Failing("its engine was killed by signal 9".into());
    assert!(router.schedule(Time(0), ME, failing).is_empty());
    let told = router.next_deadline(Time(0)).expect("it waits");
    assert_eq!(told, Time::default().after(limits::FAILED_PATIENCE));
    let actions = router.schedule(told, ME, failing);
    assert!(matches!(&actions[..], [Action::Reject { request: 1, refusal }] if refusal.message.contains("signal 9")));
}

#[test]
fn the_queue_is_bounded() {
    let mut router = Router::default();
    for request in 0..limits::REQUESTS_MAX as u64 {
        assert_eq!(router.ask(Time(0), request, ask(false)), None);
    }
    assert_eq!(router.ask(Time(0), u64::MAX, ask(false)).map(|refusal| refusal.code), Some("busy"));
}

/// Where the next requests go, one after the other, when `places` are ready.
fn sent(router: &mut Router, now: Time, places: &[Place]) -> Vec<Place> {
    let known = |_: &Ask| Knowledge::Ready(places.iter().map(|&at| candidate(at)).collect());
    let to = |action| match action {
        Action::Dispatch { to, .. } => to,
        other => panic!("{other:?}"),
    };
    router.schedule(now, ME, known).into_iter().map(to).collect()
}

#[test]
fn what_nobody_verified_answers_only_while_no_verified_replica_is_ready() {
    let both = [unverified(ME), verified(OTHER)];
    let mut router = router();
    assert_eq!(sent(&mut router, Time(0), &both), [verified(OTHER)], "though the other is here");
    for request in 2..=limits::REQUESTS_PER_REPLICA_MAX as u64 + 2 {
        router.ask(Time(0), request, ask(false));
    }
    let all = sent(&mut router, Time(0), &both);
    assert!(all.iter().all(|at| *at == verified(OTHER)), "a busy verified replica is waited for");
    assert_eq!(all.len(), limits::REQUESTS_PER_REPLICA_MAX as usize - 1);
    let alone = sent(&mut router, Time(0), &[unverified(OTHER), unverified(ME)]);
    assert_eq!(alone, [unverified(ME), unverified(OTHER)]);
    assert_eq!(router.in_flight_here(ME).len(), 0, "an external engine is no replica of this node");
    assert_eq!(router.in_flight_at(unverified(ME)).values().sum::<u32>(), 1);
}

#[test]
fn what_nobody_verified_takes_over_from_verified_replicas_that_failed_and_gives_back() {
    let both = [unverified(ME), verified(ME)];
    let mut router = router();
    assert_eq!(sent(&mut router, Time(0), &both), [verified(ME)]);
    assert!(router.failed(Time(0), 1, died(), true));
    assert_eq!(sent(&mut router, Time(0), &both), [unverified(ME)], "another place of the same node");
    assert!(router.failed(Time(0), 1, died(), true));
    assert!(sent(&mut router, Time(0), &both).is_empty());
    let again = router.next_deadline(Time(0)).expect("it waits");
    assert_eq!(sent(&mut router, again, &both), [verified(ME)], "both failed once: the verified one first");
}
