//! Packets of the local network: as they come, and with a seal that holds around what was fuzzed; what passes is the same after
//! another journey.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use fednode::wire::announcement::{Announcement, AnnouncementKeys, is_announcement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let keys = AnnouncementKeys::new(fednode_fuzz::federation());
    if matches!(keys.open(data), Ok(Some(_)) | Err(_)) {
        assert!(is_announcement(data));
    }
    let Some((ip, rest)) = data.split_first_chunk::<16>() else { return };
    let Some((port, rest)) = rest.split_first_chunk::<2>() else { return };
    let Some((nonce, rest)) = rest.split_first_chunk::<24>() else { return };
    let said = Announcement {
        node: fednode_fuzz::node(),
        ip: IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical(),
        port: u16::from_be_bytes(*port),
        asks: rest.is_empty(),
        sent_unix_ms: rest.len() as u64,
    };
    let packet = keys.seal(&said, &fednode_fuzz::key(), nonce);
    assert_eq!(keys.open(&packet), Ok(Some(said)), "our own words");
});
