//! The book of members with made-up times.

use super::*;

const NODE: NodeId = NodeId([1; 32]);

fn id(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

fn address(last: usize) -> Multiaddr {
    format!("/ip4/10.0.0.{last}/tcp/1").parse().expect("address")
}

fn dials(ids: &[usize]) -> BTreeMap<ConnectionId, Multiaddr> {
    ids.iter().map(|&n| (id(n), address(n))).collect()
}

fn known(now: Instant) -> Book {
    let mut book = Book::default();
    assert!(book.know(NODE, vec!["/ip4/10.0.0.1/tcp/1".parse().expect("address")], now));
    book
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_lost_member_is_dialled_at_once_and_then_ever_more_rarely() {
    let mut now = Instant::now();
    let mut book = known(now);
    assert_eq!(book.due(now), vec![NODE]);
    book.round_began(NODE, dials(&[1]));
    assert_eq!(book.due(now), vec![], "one dial at a time");
    assert_eq!(book.arrived(NODE, id(1), now), Arrival::First);
    now += seconds(2);
    assert!(book.ended(&NODE, id(1), now));
    assert_eq!(book.due(now), vec![NODE], "at once");
    for pause in [1, 2, 4, 8, 15, 15] {
        book.round_began(NODE, dials(&[2]));
        assert_eq!(book.dial_failed(&NODE, id(2), Absence::Known, now), Some(RoundFailed { refused: true }));
        assert_eq!(book.due(now + seconds(pause) - Duration::from_millis(1)), vec![]);
        now += seconds(pause);
        assert_eq!(book.due(now), vec![NODE], "after {pause} s");
    }
}

#[test]
fn a_connection_that_is_closed_on_arrival_does_not_make_us_spin() {
    let now = Instant::now();
    let mut book = known(now);
    book.round_began(NODE, dials(&[1]));
    book.arrived(NODE, id(1), now);
    assert!(book.ended(&NODE, id(1), now + Duration::from_millis(5)));
    assert_eq!(book.due(now + Duration::from_millis(5)), vec![]);
}

#[test]
fn a_peer_is_known_gone_only_when_every_address_refused() {
    let now = Instant::now();
    use Absence::{Known, NoWay, Possible};
    let cases = [
        (Known, Known, true),
        (Known, Possible, false),
        (Possible, Known, false),
        (Known, NoWay, true),
        (NoWay, NoWay, false),
    ];
    for (first, second, refused) in cases {
        let mut book = known(now);
        book.round_began(NODE, dials(&[1, 2]));
        assert_eq!(book.dial_failed(&NODE, id(1), first, now), None);
        assert_eq!(book.dial_failed(&NODE, id(2), second, now), Some(RoundFailed { refused }));
    }
}

#[test]
fn the_slower_address_of_a_round_is_surplus_and_no_failure_is_told() {
    let now = Instant::now();
    let mut book = known(now);
    book.round_began(NODE, dials(&[1, 2, 3]));
    assert_eq!(book.arrived(NODE, id(2), now), Arrival::First);
    assert_eq!(book.arrived(NODE, id(1), now), Arrival::Surplus);
    assert_eq!(book.dial_failed(&NODE, id(3), Absence::Known, now), None);
    assert_eq!(book.best_link(&NODE), Some(id(2)));
}

#[test]
fn after_a_change_of_the_network_a_connection_must_show_that_it_lives() {
    let now = Instant::now();
    let mut book = known(now);
    book.arrived(NODE, id(1), now);
    book.arrived(NODE, id(2), now);
    book.doubt(now + seconds(1));
    book.heard(&NODE, id(2), now + seconds(6));
    assert_eq!(book.silent(now + seconds(8)), vec![]);
    assert_eq!(book.silent(now + seconds(9)), vec![(NODE, id(1))]);
    book.ended(&NODE, id(1), now + seconds(9));
    assert_eq!(book.silent(now + seconds(21)), vec![]);
    assert_eq!(book.older_than(now), vec![(NODE, id(2))]);
    assert_eq!(book.older_than(now - seconds(1)), vec![], "made since");
}

#[test]
fn what_is_heard_on_the_network_pushes_out_nothing_that_was_told() {
    let now = Instant::now();
    let mut book = known(now);
    for last in 1..=20 {
        assert_eq!(book.found(NODE, address(last), now), last != 1);
    }
    let expect: Vec<Multiaddr> = [20, 19, 18, 17, 1].map(address).into();
    assert_eq!(book.addresses(&NODE), expect);
    assert!(!book.found(NODE, address(17), now), "no news");
}

#[test]
fn a_dial_under_way_is_forgotten_when_all_begins_anew() {
    let now = Instant::now();
    let mut book = known(now);
    book.round_began(NODE, dials(&[1]));
    book.begin_anew(now);
    assert_eq!(book.due(now), vec![NODE]);
    assert_eq!(book.dial_failed(&NODE, id(1), Absence::Known, now), None);
    assert_eq!(book.arrived(NODE, id(1), now), Arrival::First, "it may succeed all the same");
}

#[test]
fn silence_is_noticed_unless_it_was_our_own() {
    let now = Instant::now();
    let mut book = known(now);
    book.arrived(NODE, id(1), now);
    book.heard(&NODE, id(1), now + seconds(5));
    assert_eq!(book.silent(now + seconds(20)), vec![]);
    assert_eq!(book.silent(now + seconds(21)), vec![(NODE, id(1))]);
    book.excuse(seconds(10));
    assert_eq!(book.silent(now + seconds(21)), vec![]);
}
