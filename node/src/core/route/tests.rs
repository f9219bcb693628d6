//! Routing, one rule at a time.

use std::collections::BTreeSet;

use super::*;
use crate::core::limits;
use crate::core::types::Duration;

const ME: NodeId = NodeId([1; 32]);
const OTHER: NodeId = NodeId([2; 32]);

fn ask(local_only: bool) -> Ask {
    let deadline = Time::default().after(Duration::from_secs(10));
    Ask { local_only, ..Ask::new(SlotName::new("UCM").expect("name"), deadline) }
}

fn verified(node: NodeId) -> Place {
    Place { node, verification: Verification::Verified }
}

fn unverified(node: NodeId) -> Place {
    Place { node, verification: Verification::Unverified }
}

fn candidate(at: Place) -> Candidate {
    Candidate { at, advertised: 0, places: u32::MAX, parallel: 1 }
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
    assert_eq!(router.failed(Time(0), 1, died(), true), Failed::Retry);
    let actions = router.schedule(Time(0), ME, |_| ready(&[ME, OTHER]));
    assert_eq!(actions, [Action::Dispatch { request: 1, to: verified(OTHER) }]);
    router.started(Time(0), 1);
    assert_eq!(router.failed(Time(0), 1, died(), true), Failed::Final);
    assert_eq!(router.failed(Time(0), 1, died(), true), Failed::Ended, "once");
    assert_eq!((router.open(), router.counts.failed, router.counts.retried), (0, 1, 1));
}

#[test]
fn a_request_waits_is_wanted_and_ends_at_its_deadline() {
    let mut router = router();
    assert!(router.schedule(Time(0), ME, |_| Knowledge::Waiting).is_empty());
    assert_eq!(router.wanted().count(), 1);
    let deadline = ask(false).deadline;
    assert_eq!(router.next_deadline(Time(0)), Some(deadline), "its patience and its deadline are the same here");
    let actions = router.schedule(deadline, ME, |_| Knowledge::Waiting);
    assert!(matches!(&actions[..], [Action::Reject { request: 1, .. }]), "{actions:?}");
    assert_eq!((router.open(), router.wanted().count()), (0, 0));
}

#[test]
fn the_only_holder_is_tried_again_once_it_is_back() {
    let mut router = router();
    router.schedule(Time(0), ME, |_| ready(&[OTHER]));
    assert_eq!(router.failed(Time(0), 1, died(), true), Failed::Retry);
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
    let failing = |_: &Want| Knowledge::Failing("its engine was killed by signal 9".into());
    assert!(router.schedule(Time(0), ME, failing).is_empty());
    let told = router.next_deadline(Time(0)).expect("it waits");
    assert_eq!(told, Time::default().after(limits::FAILED_PATIENCE));
    let actions = router.schedule(told, ME, failing);
    assert!(matches!(&actions[..], [Action::Reject { request: 1, refusal }] if refusal.message.contains("signal 9")));
}

fn from(client: ClientId) -> Ask {
    Ask { client, ..ask(false) }
}

#[test]
fn queues_are_bounded_by_node_by_slot_and_by_client() {
    let busy = |router: &mut Router, request: u64, ask: Ask| match router.ask(Time(0), request, ask) {
        None => false,
        Some(refusal) => refusal.code == "busy" || panic!("{refusal:?}"),
    };
    let mut router = Router::default();
    let one = (0..2_000).filter(|n| !busy(&mut router, *n, from(1))).count();
    assert_eq!(one, limits::REQUESTS_PER_CLIENT_MAX, "of one client");
    let all = (2_000..4_000).filter(|n| !busy(&mut router, *n, from(*n))).count();
    assert_eq!(one + all, limits::WAITING_PER_SLOT_MAX, "for one slot");
    let other = |n: u64| Ask { slot: SlotName::new("UAM").expect("name"), ..from(n) };
    let rest = (4_000..6_000).filter(|n| !busy(&mut router, *n, other(*n))).count();
    assert_eq!(one + all + rest, limits::REQUESTS_MAX, "in all");
    assert_eq!((router.open(), router.counts.failed), (limits::REQUESTS_MAX, 6_000 - limits::REQUESTS_MAX as u64));
    router.ended(0, false);
    router.ended(0, false);
    assert_eq!(router.open(), limits::REQUESTS_MAX - 1, "a second cancellation says nothing");
    assert!(!busy(&mut router, 7_000, other(1)));
}

#[test]
fn a_node_hands_a_replica_few_more_than_it_computes_and_a_member_as_many_as_it_takes() {
    let mut router = Router::default();
    for request in 0..200 {
        router.ask(Time(0), request, Ask { local_only: request >= 100, ..ask(false) });
    }
    let four = |_: &Want| Knowledge::Ready(vec![Candidate { parallel: 4, ..candidate(verified(ME)) }]);
    let actions = router.schedule(Time(0), ME, four);
    let went = |forwarded: bool| {
        let of =
            |action: &&Action| matches!(action, Action::Dispatch { request, .. } if (*request >= 100) == forwarded);
        actions.iter().filter(of).count() as u32
    };
    assert_eq!((went(false), went(true)), (4 + limits::REQUESTS_AHEAD, limits::REQUESTS_PER_REPLICA_MAX - 6));
    let refused =
        actions.iter().filter(|action| matches!(action, Action::Reject { refusal, .. } if refusal.code == "busy"));
    assert_eq!(refused.count() as u32, 100 - went(true), "its sender has others to ask");
    assert_eq!(router.in_flight_here(ME).values().sum::<u32>(), limits::REQUESTS_PER_REPLICA_MAX);
}

#[test]
fn one_clients_five_hundred_do_not_keep_anothers_one_waiting() {
    let mut router = Router::default();
    for request in 0..500 {
        router.ask(Time(0), request, from(1));
    }
    assert_eq!(sent(&mut router, Time(0), &[verified(ME)]).len(), 3);
    router.ask(Time(1), 500, from(2));
    router.ask(Time(1), 501, from(2));
    let mut order = Vec::new();
    for ended in 0..5 {
        router.ended(ended, true);
        let actions = router.schedule(Time(2), ME, |_| ready(&[ME]));
        order.extend(actions.iter().map(|action| match action {
            Action::Dispatch { request, .. } => *request,
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(order, [3, 500, 4, 501, 5], "the first had its turn already");
}

#[test]
fn who_is_asked_for_more_tokens_has_fewer_turns() {
    let mut router = Router::default();
    for request in 0..40 {
        let tokens = if request < 20 { 3 * limits::SHARE_TOKENS } else { 10 };
        router.ask(Time(0), request, Ask { tokens, ..from(request / 20) });
    }
    let many = |_: &Want| Knowledge::Ready(vec![Candidate { parallel: 18, ..candidate(verified(ME)) }]);
    let actions = router.schedule(Time(0), ME, many);
    let long = actions.iter().filter(|action| matches!(action, Action::Dispatch { request: 0..20, .. })).count();
    assert_eq!((actions.len(), long), (20, 4), "four shares each against one");
}

#[test]
fn the_more_members_there_are_the_longer_each_leaves_a_full_replica_alone() {
    for (members, rest) in [(3, limits::HOLDER_REST), (1_000, Duration::from_secs(5))] {
        let mut router = router();
        router.crowd(members);
        sent(&mut router, Time(0), &[verified(OTHER)]);
        let busy = Refusal { code: "busy", message: "full".into() };
        assert_eq!(router.failed(Time(0), 1, busy, true), Failed::Retry);
        assert_eq!(router.next_deadline(Time(0)), Some(Time(0).after(rest)), "{members} members");
        // One that failed otherwise is left alone for as long as an engine takes to start, whoever else there is.
        sent(&mut router, Time(0).after(rest), &[verified(OTHER)]);
        assert_eq!(router.failed(Time(0).after(rest), 1, died(), true), Failed::Retry);
        assert_eq!(router.next_deadline(Time(0).after(rest)), Some(Time(0).after(rest).after(limits::HOLDER_REST)));
    }
}

#[test]
fn a_busy_answer_is_no_attempt_and_the_queue_says_so_at_the_deadline() {
    let mut router = router();
    let mut now = Time(0);
    let busy = || Refusal { code: "busy", message: "full".into() };
    for _ in 0..2 * limits::ATTEMPTS_MAX {
        assert_eq!(sent(&mut router, now, &[verified(OTHER)]), [verified(OTHER)]);
        assert_eq!(router.failed(now, 1, busy(), true), Failed::Retry);
        now = router.next_deadline(now).expect("it waits");
    }
    assert_eq!(now, Time(0).after(limits::HOLDER_REST.times(2 * u64::from(limits::ATTEMPTS_MAX))));
    let full = |_: &Want| Knowledge::Ready(vec![Candidate { places: 0, ..candidate(verified(ME)) }]);
    router.ask(now, 2, ask(false));
    assert!(router.schedule(now, ME, full).is_empty());
    let actions = router.schedule(ask(false).deadline, ME, full);
    assert!(actions.iter().all(|action| matches!(action, Action::Reject { refusal, .. } if refusal.code == "busy")));
    assert_eq!((actions.len(), router.open()), (2, 0));
}

#[test]
fn who_will_not_wait_is_served_at_once_or_refused_at_once() {
    let mut router = Router::default();
    let at_once = |at: Time| Ask { deadline: at, ..ask(false) };
    router.ask(Time(5), 1, at_once(Time(5)));
    assert_eq!(sent(&mut router, Time(5), &[verified(ME)]), [verified(ME)]);
    router.ask(Time(6), 2, at_once(Time(6)));
    let actions = router.schedule(Time(6), ME, |_| Knowledge::Waiting);
    assert!(matches!(&actions[..], [Action::Reject { request: 2, refusal }] if refusal.code == "not_resident"));
}

/// Asks, sends to the only place, and has it answer after `first` and `rest` milliseconds.
fn answered(router: &mut Router, request: u64, at: Time, place: Place, [first, rest]: [u64; 2]) -> Time {
    router.ask(at, request, Ask { conversation: Some(request), deadline: Time(u64::MAX), ..ask(false) });
    assert_eq!(sent(router, at, &[place]), [place]);
    let started = at.after(Duration::from_millis(first));
    router.started(started, request);
    let ended = started.after(Duration::from_millis(rest));
    router.answered(ended, request, Tokens { prompt: 5, answer: 11 });
    ended
}

#[test]
fn the_faster_replica_is_chosen_until_its_queue_is_worth_the_slower_one() {
    let mut router = Router::new(7);
    let (fast, slow) = (verified(NodeId([3; 32])), verified(NodeId([4; 32])));
    let mut now = Time(0);
    for request in 0..20 {
        now = answered(&mut router, 2 * request, now, fast, [100, 100]);
        now = answered(&mut router, 2 * request + 1, now, slow, [500, 500]);
    }
    for request in 100..108 {
        router.ask(now, request, Ask { deadline: Time(u64::MAX), ..ask(false) });
    }
    // 0.2 s an answer against 1 s: four there are still no longer than one here, but three are what it is handed.
    assert_eq!(sent(&mut router, now, &[slow, fast]), [fast, fast, fast, slow, slow, slow]);
}

#[test]
fn a_round_trip_counts_and_is_not_counted_twice() {
    let mut router = Router::new(7);
    let (near, far) = (verified(NodeId([3; 32])), verified(NodeId([4; 32])));
    router.pinged(far.node, Duration::from_millis(400));
    let mut now = Time(0);
    for request in 0..20 {
        now = answered(&mut router, 2 * request, now, near, [100, 100]);
        // What it takes longer is the line.
        now = answered(&mut router, 2 * request + 1, now, far, [500, 100]);
    }
    router.ask(now, 100, ask(false));
    assert_eq!(sent(&mut router, now, &[near, far]), [near]);
    router.pinged(far.node, Duration::from_millis(1));
    for request in 101..103 {
        router.ask(now, request, ask(false));
    }
    assert_eq!(sent(&mut router, now, &[near, far])[0], far, "the line is better now, and it is idle");
}

#[test]
fn what_others_have_there_is_told_from_ones_own() {
    let mut router = Router::new(7);
    let (a, b) = (verified(NodeId([3; 32])), verified(NodeId([4; 32])));
    router.ask(Time(0), 1, ask(false));
    assert_eq!(sent(&mut router, Time(0), &[a]), [a]);
    router.heard(a.node);
    router.ended(1, true);
    router.ask(Time(0), 2, ask(false));
    let one_said = |others: u32| {
        move |_: &Want| {
            Knowledge::Ready(vec![
                Candidate { advertised: 1 + others, ..candidate(a) },
                Candidate { advertised: 1, ..candidate(b) },
            ])
        }
    };
    let mut elsewhere = router.clone();
    let to = |actions: Vec<Action>| match actions[..] {
        [Action::Dispatch { to, .. }] => to,
        _ => panic!("{actions:?}"),
    };
    assert_eq!(to(router.schedule(Time(0), ME, one_said(0))), a, "what it said of was ours, and has ended");
    assert_eq!(to(elsewhere.schedule(Time(0), ME, one_said(3))), b);
}

#[test]
fn a_follow_up_finds_its_replica_while_that_is_ready_and_not_too_busy() {
    let places = [verified(NodeId([3; 32])), verified(NodeId([4; 32]))];
    let mut first = BTreeSet::new();
    for conversation in 0..40 {
        let mut router = Router::new(conversation);
        let ask = || Ask { conversation: Some(77), ..ask(false) };
        router.ask(Time(0), 1, ask());
        let before = sent(&mut router, Time(0), &places)[0];
        router.started(Time(1), 1);
        router.ended(1, true);
        router.ask(Time(2), 2, ask());
        assert_eq!(sent(&mut router, Time(2), &places), [before], "its prefix is there");
        // An answer takes 13.8 s by the estimates, and computing the prompt elsewhere 1 s.
        router.ask(Time(3), 3, ask());
        let other = if before == places[0] { places[1] } else { places[0] };
        assert_eq!(sent(&mut router, Time(3), &places), [other]);
        router.ended(2, true);
        router.ask(Time(4), 4, ask());
        assert_eq!(sent(&mut router, Time(4), &[other]), [other], "it is ready no more");
        first.insert(before);
    }
    assert_eq!(first.len(), 2, "nodes of different seeds begin at different replicas");
}

/// Where the next requests go, one after the other, when `places` are ready.
fn sent(router: &mut Router, now: Time, places: &[Place]) -> Vec<Place> {
    let known = |_: &Want| Knowledge::Ready(places.iter().map(|&at| candidate(at)).collect());
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
    for request in 2..=5 {
        router.ask(Time(0), request, ask(false));
    }
    let all = sent(&mut router, Time(0), &both);
    assert_eq!(all, [verified(OTHER), verified(OTHER)], "a busy verified replica is waited for");
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
    assert_eq!(router.failed(Time(0), 1, died(), true), Failed::Retry);
    assert_eq!(sent(&mut router, Time(0), &both), [unverified(ME)], "another place of the same node");
    assert_eq!(router.failed(Time(0), 1, died(), true), Failed::Retry);
    assert!(sent(&mut router, Time(0), &both).is_empty());
    let again = router.next_deadline(Time(0)).expect("it waits");
    assert_eq!(sent(&mut router, again, &both), [verified(ME)], "both failed once: the verified one first");
}
