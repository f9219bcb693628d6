//! Gossip: advertisements and leases, as a member may send them; what passes is the same after another journey.
#![no_main]

use fednode::wire::gossip;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let author = fednode_fuzz::node();
    let Ok(said) = gossip::decode_from(&author, data) else { return };
    assert_eq!(gossip::decode_from(&author, &gossip::encode(&said)).expect("our own words"), said);
});
