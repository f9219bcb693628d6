//! What strangers say on the local network is not believed, and what members say there is of no use to them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use fednode_tests::lan::Lan;

use crate::capture::{Capture, Packet};
use crate::{forget_addresses, join, sees, two};

/// Some periods of looking, asking and dialling.
const LOOK: Duration = Duration::from_secs(8);

/// Who misses somebody has said so by then.
const SPEAK: Duration = Duration::from_secs(30);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn opened(packets: &[Packet], between: [IpAddr; 2]) -> Vec<&Packet> {
    let opens = |packet: &&Packet| matches!(packet, Packet::Ip { opens: true, from, to, .. } if between.contains(from) && between.contains(to));
    packets.iter().filter(opens).collect()
}

/// Every announcement seen, once.
fn announcements(packets: &[Packet]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for packet in packets {
        if let Packet::Ip { port: 5353, payload, .. } = packet
            && !found.contains(payload)
        {
            found.push(payload.clone());
        }
    }
    found
}

/// A response as `libp2p-mdns` sends it: this peer lives at this address.
fn libp2p_response(peer_id: &str, address: &str) -> Vec<u8> {
    let service = b"\x04_p2p\x04_udp\x05local\0";
    let name = b"\x08stranger\0";
    let text = format!("dnsaddr={address}/p2p/{peer_id}");
    let mut packet = b"\0\0\x84\0\0\0\0\x01\0\0\0\x01".to_vec();
    packet.extend_from_slice(service);
    packet.extend([0, 12, 0, 1, 0, 0, 1, 104, 0, name.len() as u8]);
    packet.extend_from_slice(name);
    packet.extend_from_slice(name);
    packet.extend([0, 16, 128, 1, 0, 0, 1, 104, 0, text.len() as u8 + 1, text.len() as u8]);
    packet.extend_from_slice(text.as_bytes());
    packet
}

#[test]
fn a_strangers_announcement_is_not_dialled_and_a_repeated_one_leads_to_nobody() {
    let lan = Lan::new().expect("a network");
    let capture = Capture::new(lan.namespace());
    let (one, mut two) = two(&lan);
    let peer_id = two.state().expect("state")["node"]["peer_id"].as_str().expect("a peer id").to_owned();
    // `two` is away, so that `one` looks for it, and dials whom it believes.
    two.stop().expect("stopped");
    forget_addresses(&two);

    let mut stranger = lan.machine("stranger").expect("a machine");
    stranger.set_addresses(&["10.77.0.3/24", "fd77::3/64"]).expect("addresses");
    // Of another federation, on the same port: it announces itself, and asks.
    stranger.start(&["up", "--role", "full", "--memory", "1MiB"]).expect("up");
    let mut friend = lan.machine("friend").expect("a machine");
    friend.set_addresses(&["10.77.0.4/24"]).expect("addresses");
    join(&stranger, &mut friend);
    friend.stop().expect("stopped");

    // Both federations look for somebody: over IPv4 and IPv6 each.
    let deadline = Instant::now() + SPEAK;
    let heard = loop {
        let heard = announcements(&capture.seen());
        if heard.len() >= 4 {
            break heard;
        }
        assert!(Instant::now() < deadline, "both federations speak: {} announcements", heard.len());
        std::thread::sleep(Duration::from_millis(100));
    };
    for packet in &heard {
        let says = |secret: &[u8]| packet.windows(secret.len()).any(|part| part == secret);
        assert!(!says(peer_id.as_bytes()) && !says(b"dnsaddr"), "an announcement says who speaks");
        stranger.send_udp("224.0.0.251:5353", packet).expect("repeated");
    }
    let forged = libp2p_response(&peer_id, "/ip4/10.77.0.3/tcp/7718");
    stranger.send_udp("224.0.0.251:5353", &forged).expect("forged");
    std::thread::sleep(LOOK);

    let seen = capture.seen();
    assert_eq!(opened(&seen, [ip("10.77.0.1"), ip("10.77.0.3")]), Vec::<&Packet>::new(), "nobody dials the stranger");
    assert_eq!(opened(&seen, [ip("fd77::1"), ip("fd77::3")]), Vec::<&Packet>::new(), "over IPv6 neither");
    // The capture would have seen it: members do dial each other.
    two.start(&["up"]).expect("up again");
    sees(&one, &two);
    assert!(!opened(&capture.seen(), [ip("10.77.0.1"), ip("10.77.0.2")]).is_empty());
}
