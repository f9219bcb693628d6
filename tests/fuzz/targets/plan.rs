//! Plans, as a member may send them; what passes is the same after another journey.
#![no_main]

use fednode::wire::plan;
use fednode_proto::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Ok(proto) = v1::Plan::decode(data) else { return };
    let Ok(known) = plan::from_proto(&proto) else { return };
    assert_eq!(plan::from_proto(&plan::to_proto(&known)).expect("our own words"), known);
});
