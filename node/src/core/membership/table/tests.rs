//! What is known of a member as it comes, goes, and is spoken of.

use super::*;
use crate::core::external::{ExternalReplica, Verification};
use crate::core::membership::roster::{Member, Role};
use crate::core::types::{Digest, FederationId};

pub(crate) fn advert(node: u8, incarnation: u64, sequence: u64) -> Advert {
    Advert {
        node: NodeId([node; 32]),
        incarnation,
        sequence,
        ttl_ms: 15_000,
        name: format!("n{node}"),
        role: Role::Full,
        on_battery: false,
        priority: 0,
        domains: Vec::new(),
        disk_free_bytes: 0,
        holdings: Vec::new(),
        replicas: Vec::new(),
        member_roster_mark: 0,
        catalog_digest: Digest::default(),
        plan_epoch: 0,
        plan_revision: 0,
        epoch_highest: 0,
        addresses: Vec::new(),
        wanted: Vec::new(),
        demand: Vec::new(),
        plan_author: None,
        wishes_digest: None,
        externals: Vec::new(),
    }
}

fn table() -> Table {
    let member = |node| Member::new(NodeId([node; 32]), format!("n{node}"), Role::Full);
    let roster = MemberRoster::new(FederationId([9; 32]));
    Table::new(Arc::new(MemberRoster { members: (0..4).map(member).collect(), ..roster }))
}

fn seconds(n: u64) -> Time {
    Time::default().after(Duration::from_secs(n))
}

fn check(table: &Table, node: u8, presence: Presence) {
    assert_eq!(table.get(&NodeId([node; 32])).map(|entry| entry.presence), Some(presence));
}

#[test]
fn old_news_changes_nothing() {
    let mut table = table();
    assert!(table.advert(seconds(0), Arc::new(advert(1, 2, 5)), false));
    assert!(!table.advert(seconds(1), Arc::new(advert(1, 2, 5)), false));
    assert!(!table.advert(seconds(1), Arc::new(advert(1, 1, 99)), false));
    assert!(table.advert(seconds(1), Arc::new(advert(1, 3, 1)), false));
}

#[test]
fn what_others_still_say_of_a_dead_member_does_not_resurrect_it() {
    let mut table = table();
    table.connected(seconds(0), NodeId([1; 32]));
    table.advert(seconds(0), Arc::new(advert(1, 1, 1)), false);
    table.disconnected(seconds(1), NodeId([1; 32]));
    check(&table, 1, Presence::Suspect);
    table.dial_failed(seconds(1), NodeId([1; 32]), true);
    check(&table, 1, Presence::Down);
    table.advert(seconds(2), Arc::new(advert(1, 1, 2)), false);
    check(&table, 1, Presence::Down);
    table.advert(seconds(3), Arc::new(advert(1, 2, 1)), false);
    check(&table, 1, Presence::Alive);
}

#[test]
fn who_misses_an_advertisement_is_quiet_long_before_it_is_down() {
    let mut table = table();
    let node = NodeId([1; 32]);
    assert!(table.is_quiet(seconds(0), &node), "nobody has heard of it");
    for second in [0, 2, 4] {
        table.advert(seconds(second), Arc::new(advert(1, 1, second + 1)), false);
        assert!(!table.is_quiet(seconds(second + 2), &node));
    }
    assert!(table.is_quiet(seconds(7), &node));
    check(&table, 1, Presence::Alive);
}

#[test]
fn a_life_that_ended_is_not_believed_again_after_a_connection_that_said_nothing() {
    let (mut table, node) = (table(), NodeId([1; 32]));
    table.connected(seconds(0), node);
    table.advert(seconds(0), Arc::new(advert(1, 5, 9)), false);
    let dies = |table: &mut Table, at: u64| {
        table.disconnected(seconds(at), node);
        table.dial_failed(seconds(at), node, true);
    };
    dies(&mut table, 1);
    // It starts again, is met, and dies before it speaks; what it said in its life before is still on its way.
    table.connected(seconds(2), node);
    assert!(!table.advert(seconds(2), Arc::new(advert(1, 5, 9)), false), "nor is it what it is now");
    assert!(table.get(&node).is_some_and(|entry| entry.advert().is_none()));
    dies(&mut table, 3);
    table.advert(seconds(4), Arc::new(advert(1, 5, 10)), false);
    check(&table, 1, Presence::Down);
    table.advert(seconds(5), Arc::new(advert(1, 6, 1)), false);
    check(&table, 1, Presence::Alive);
}

#[test]
fn who_fell_silent_comes_back_by_a_connection_or_a_new_start_and_not_by_hearsay() {
    let (mut table, node) = (table(), NodeId([1; 32]));
    table.advert(seconds(0), Arc::new(advert(1, 1, 1)), false);
    assert!(table.expire(seconds(15)));
    table.advert(seconds(16), Arc::new(advert(1, 1, 2)), false);
    check(&table, 1, Presence::Down);
    table.connected(seconds(17), node);
    check(&table, 1, Presence::Alive);
    table.advert(seconds(17), Arc::new(advert(1, 1, 3)), false);
    assert_eq!(table.alive().count(), 1);
    // A closed connection makes it suspect at once; a dial that only times out changes nothing.
    table.disconnected(seconds(18), node);
    check(&table, 1, Presence::Suspect);
    assert!(!table.dial_failed(seconds(18), node, false));
    check(&table, 1, Presence::Suspect);
    assert_eq!(table.alive().count(), 0, "and no route leads there");
}

#[test]
fn silence_ends_in_down() {
    let mut table = table();
    table.advert(seconds(0), Arc::new(advert(1, 1, 1)), false);
    assert_eq!(table.next_deadline(), Some(seconds(15)));
    assert!(!table.expire(seconds(14)));
    assert!(table.expire(seconds(15)));
    check(&table, 1, Presence::Down);
}

fn external() -> ExternalReplica {
    let slot = SlotName::new("A").expect("a slot");
    ExternalReplica { slot, ready: true, in_flight: 0, verification: Verification::Verified }
}

proptest::proptest! {
    /// Who answers and what is waited for is kept up to date change by change; it is what a look at everybody finds.
    #[test]
    fn what_is_counted_is_what_is_there(steps in proptest::collection::vec((0u8..6, 0u8..4, 0u8..3, 0u64..4), 1..60)) {
        let mut table = table();
        for (second, (what, node, says, incarnation)) in (0u64..).zip(steps) {
            let (now, id) = (seconds(second), NodeId([node; 32]));
            match what {
                0 => drop(table.connected(now, id)),
                1 => drop(table.disconnected(now, id)),
                2 => drop(table.dial_failed(now, id, true)),
                3 => {
                    let left = (0..4).filter(|n| *n != node).map(|n| Member::new(NodeId([n; 32]), format!("n{n}"), Role::Full));
                    let roster = MemberRoster::new(FederationId([9; 32]));
                    table.enrol(Arc::new(MemberRoster { members: left.collect(), ..roster }));
                }
                _ => {
                    let mut said = advert(node, incarnation, second);
                    said.ttl_ms = 3_000;
                    said.wanted = ["A", "B"].iter().take(usize::from(says)).map(|slot| SlotName::new(slot).expect("a slot")).collect();
                    said.externals = (0..says / 2).map(|_| external()).collect();
                    table.advert(now, Arc::new(said), what == 4);
                }
            }
            table.expire(now);
            let speaks = |advert: &&Advert| !(advert.replicas.is_empty() && advert.externals.is_empty());
            proptest::prop_assert!(table.answering().eq(table.alive().filter(speaks)));
            let wanted: BTreeSet<&SlotName> = table.alive().flat_map(|advert| &advert.wanted).collect();
            proptest::prop_assert!(table.wanted().eq(wanted));
        }
    }
}
