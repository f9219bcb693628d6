//! Connections, gossip and streams between members, and what strangers get.

use std::collections::BTreeMap;

use futures::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::core::membership::roster::Term;

async fn hears(listener: &mut Running, from: NodeId) -> u64 {
    listener
        .wait("gossip", |event| match event {
            NetEvent::Gossip { author, gossip: Gossip::Lease(lease) } if author == from => Some(lease.epoch),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn members_hear_each_other_even_what_was_said_before() {
    let (mut one, mut two) = (running(1, &[1, 2]).await, running(2, &[1, 2]).await);
    one.net.publish(lease(one.id, 4)).await;
    two.net.publish(lease(two.id, 5)).await;
    one.dial(&two).await;
    assert_eq!(hears(&mut two, one.id).await, 4);
    assert_eq!(hears(&mut one, two.id).await, 5);
    one.net.publish(lease(one.id, 6)).await;
    assert_eq!(hears(&mut two, one.id).await, 6);
}

#[tokio::test]
async fn gossip_passes_through_a_member_in_the_middle() {
    let (mut left, mut middle, mut right) =
        (running(1, &[1, 2, 3]).await, running(2, &[1, 2, 3]).await, running(3, &[1, 2, 3]).await);
    left.dial(&middle).await;
    right.dial(&middle).await;
    middle.connected(left.id).await;
    left.connected(middle.id).await;
    right.connected(middle.id).await;
    left.net.publish(lease(left.id, 1)).await;
    assert_eq!(hears(&mut right, left.id).await, 1);
}

#[tokio::test]
async fn nobody_is_believed_who_speaks_for_another() {
    let (one, mut two) = pair().await;
    one.net.publish(lease(two.id, 1)).await;
    one.net.publish(lease(node(9), 2)).await;
    one.net.publish(b"noise".to_vec()).await;
    one.net.publish(lease(one.id, 3)).await;
    let first = two.wait("gossip", |event| matches!(event, NetEvent::Gossip { .. }).then_some(event)).await;
    let expect = Gossip::Lease(Lease { coordinator: one.id, epoch: 3, plan_revision: 0, resigns: false });
    assert_eq!(first, NetEvent::Gossip { author: one.id, gossip: expect });
}

#[tokio::test]
async fn a_stranger_gets_no_connection_and_no_stream() {
    let (one, mut two) = pair().await;
    // The stranger believes that both are members; they do not return the favour.
    let mut stranger = running(3, &[1, 3]).await;
    stranger.dial(&one).await;
    stranger
        .wait("a refusal", |event| {
            let refused = |event: &NetEvent| {
                matches!(event, NetEvent::Disconnected { .. } | NetEvent::DialFailed { refused: false, .. })
            };
            refused(&event).then_some(())
        })
        .await;
    for protocol in Protocol::ALL {
        assert!(stranger.net.open_stream(one.id, protocol).await.is_err(), "{protocol:?}");
    }
    stranger.net.publish(lease(stranger.id, 1)).await;
    one.net.publish(lease(one.id, 2)).await;
    assert_eq!(hears(&mut two, one.id).await, 2);
}

#[tokio::test]
async fn a_guest_reaches_joining_and_nothing_else() {
    let (mut one, mut two) = pair().await;
    one.net.set_invitation_open(true).await;
    let mut guest = running(3, &[1, 3]).await;
    guest.dial(&one).await;
    guest.connected(one.id).await;
    for protocol in [Protocol::Rpc, Protocol::Weights] {
        let refused = guest.net.open_stream(one.id, protocol).await.map(drop);
        assert_eq!(refused, Err(NetError::NotServed { node: one.id, protocol }));
    }
    let mut stream = guest.net.open_stream(one.id, Protocol::Join).await.expect("an open invitation");
    stream.write_all(b"knock").await.expect("a stream");
    stream.close().await.expect("a stream");
    let (who, mut there) = one.incoming.join.recv().await.expect("the network runs");
    let mut said = Vec::new();
    there.read_to_end(&mut said).await.expect("a stream");
    assert_eq!((who, said.as_slice()), (guest.id, b"knock".as_slice()));
    // The member hears; had the guest been told too, it would have been told before the stream below was refused.
    one.net.publish(lease(one.id, 2)).await;
    assert_eq!(hears(&mut two, one.id).await, 2);
    assert!(guest.net.open_stream(one.id, Protocol::Rpc).await.is_err());
    while let Ok(event) = guest.events.try_recv() {
        assert!(!matches!(event, NetEvent::Gossip { .. }), "{event:?}");
    }
    while let Ok(event) = one.events.try_recv() {
        assert!(!matches!(event, NetEvent::Connected { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_revoked_member_is_cut_off_at_once() {
    let (mut one, mut two) = pair().await;
    let mut stream = two.net.open_stream(one.id, Protocol::Rpc).await.expect("a member");
    one.net.set_members(BTreeSet::from([node(1)])).await;
    one.disconnected(two.id).await;
    two.disconnected(one.id).await;
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1..)), "the stream ended with its connection");
    assert!(one.net.open_stream(two.id, Protocol::Rpc).await.is_err());
}

#[tokio::test]
async fn a_member_is_one_until_its_term_ends_and_again_when_it_is_renewed() {
    let (mut one, mut two) = pair().await;
    let mut stream = two.net.open_stream(one.id, Protocol::Rpc).await.expect("a member");
    let until = |unix_s| BTreeMap::from([(node(2), Term { from_unix_s: 0, until_unix_s: unix_s })]);
    // Nothing happens from here on but that time passes.
    one.net.set_members(until(join::unix_seconds() + 2)).await;
    one.disconnected(two.id).await;
    two.disconnected(one.id).await;
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1..)), "the stream ended with its connection");
    two.dial(&one).await;
    let refused = |event: NetEvent| {
        matches!(event, NetEvent::Disconnected { .. } | NetEvent::DialFailed { refused: false, .. }).then_some(())
    };
    two.wait("a refusal", refused).await;
    assert!(two.net.open_stream(one.id, Protocol::Rpc).await.is_err());
    one.net.set_members(until(u64::MAX)).await;
    one.connected(two.id).await;
}

#[tokio::test]
async fn a_member_that_dies_is_soon_known_to_be_gone_and_found_again() {
    let (mut one, two) = pair().await;
    let address = two.net.listen_addresses().remove(0);
    two.net.stop().await;
    one.disconnected(two.id).await;
    let died = std::time::Instant::now();
    one.wait("a refusal", |event| (event == NetEvent::DialFailed { node: node(2), refused: true }).then_some(())).await;
    assert!(died.elapsed() < Duration::from_secs(5), "takeover waits for this");
    let mut again = running_on(2, &[1, 2], &address).await.expect("its old port is free");
    one.connected(again.id).await;
    again.connected(one.id).await;
}

#[tokio::test]
async fn many_streams_at_once_all_arrive() {
    let (mut one, two) = pair().await;
    let opening = (0..40u8).map(|n| {
        let net = two.net.clone();
        async move {
            let mut stream = net.open_stream(node(1), Protocol::Rpc).await.expect("a stream");
            stream.write_all(&[n]).await.expect("a stream");
            stream.close().await.expect("a stream");
        }
    });
    futures::future::join_all(opening).await;
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let (_, mut stream) = one.incoming.rpc.recv().await.expect("the network runs");
        let mut said = [0];
        stream.read_exact(&mut said).await.expect("a stream");
        seen.insert(said[0]);
    }
    assert_eq!(seen.len(), 40);
}

#[tokio::test]
async fn bad_addresses_harm_nobody_and_another_machine_at_an_address_is_not_the_member() {
    let (mut one, two) = (running(1, &[1, 2, 3]).await, running(2, &[1, 2, 3]).await);
    let third = running(3, &[1, 2, 3]).await;
    let mut addresses = vec!["nonsense".to_owned(), "/ip4/127.0.0.1/udp/1".to_owned()];
    addresses.extend(one.net.listen_addresses());
    addresses.extend(third.net.listen_addresses());
    one.net.dial(two.id, addresses.clone()).await;
    one.wait("a failure", |event| (event == NetEvent::DialFailed { node: node(2), refused: true }).then_some(())).await;
    addresses.extend(two.net.listen_addresses());
    one.net.dial(two.id, addresses).await;
    one.connected(two.id).await;
}

#[tokio::test]
async fn a_taken_port_is_refused_at_the_start() {
    let one = running(1, &[1]).await;
    let address = one.net.listen_addresses().remove(0);
    let refused = running_on(2, &[2], &address).await.map(drop);
    assert!(matches!(refused, Err(NetError::PortInUse { .. })), "{refused:?}");
}
