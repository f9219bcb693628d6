//! A packet capture of two nodes, joining and idle: nothing goes to an address outside the federation but mDNS.

use fednode_tests::lan::Lan;

use crate::capture::{Capture, judge};
use crate::{join, seconds};

/// The issue asks for ten minutes: FEDNODE_CAPTURE_S=600.
const CAPTURE_S: u64 = 30;

#[test]
fn nothing_leaves_the_federation_but_mdns() {
    let lan = Lan::new().expect("a network");
    let capture = Capture::new(lan.namespace());
    let (mut one, mut two) = (lan.machine("one").expect("a machine"), lan.machine("two").expect("a machine"));
    one.set_addresses(&["10.77.0.1/24", "fd77::1/64"]).expect("addresses");
    two.set_addresses(&["10.77.0.2/24", "fd77::2/64"]).expect("addresses");
    one.start(&["up", "--role", "full", "--memory", "1MiB"]).expect("up");
    join(&one, &mut two);
    // Nobody is missing, so nothing need be said; the doctor says something to see whether it is heard.
    assert_eq!(one.cli(&["doctor"]).expect("doctor").code, 0);
    std::thread::sleep(seconds("FEDNODE_CAPTURE_S", CAPTURE_S));
    let members = ["10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"].map(|text| text.parse().expect("an address"));
    let verdict = judge(&capture.seen(), &members);
    println!("{verdict}");
    assert_eq!(verdict.stray, Vec::<String>::new());
    for kind in ["TCP between members", "mDNS over IPv4", "mDNS over IPv6"] {
        assert!(verdict.kinds.contains_key(kind), "the capture saw no {kind}");
    }
    // The capture would have seen it: there is a way out, and somebody who takes it.
    one.send_udp("203.0.113.1:53", b"a question to the world").expect("sent");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let verdict = judge(&capture.seen(), &members);
    assert!(verdict.stray.iter().any(|stray| stray.contains("203.0.113.1")), "{:?}", verdict.stray);
}
