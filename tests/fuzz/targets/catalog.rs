//! Catalog records from peers and from disk: what passes is the same after another journey.
#![no_main]

use fednode::wire::catalog;
use fednode_proto::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let _ = catalog::open(data);
    if let Ok(many) = v1::Catalog::decode(data) {
        let _ = catalog::from_proto(&many);
    }
    let Ok(record) = catalog::open(&fednode_fuzz::record(data)) else { return };
    let again = catalog::seal(record.entry.clone(), record.sequence, &fednode_fuzz::key());
    assert_eq!(catalog::open(&again.signed).expect("what was sealed here").entry, record.entry);
});
