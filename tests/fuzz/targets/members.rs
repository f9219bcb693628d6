//! Rosters of members from peers and from disk: what passes names no machine twice and is the same after another journey.
#![no_main]

use fednode::core::membership::roster::MemberRoster;
use fednode::wire::members;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let federation = fednode_fuzz::federation();
    let _ = members::open(data, &federation);
    let Ok(verified) = members::open(&fednode_fuzz::roster(data), &federation) else { return };
    assert!(verified.roster.members.windows(2).all(|pair| pair[0].node < pair[1].node));
    let again = members::seal(verified.roster.clone(), &fednode_fuzz::key());
    let read = members::open(&again.signed, &federation).expect("what was sealed here").roster;
    // One roster has many encodings, and so many digests.
    assert_eq!(MemberRoster { digest: verified.roster.digest, ..read }, verified.roster);
});
