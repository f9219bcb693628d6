//! Inventories, as `fednode plan --inventory` reads them: any text ends in a plan or a refusal, and what is an inventory is the
//! same one when it is written and read again.
#![no_main]

use fednode::core::placement::inventory::{Change, answer, what_if};
use fednode::wire::inventory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(read) = inventory::parse(text) else { return };
    let written = serde_json::to_string(&read).expect("an inventory is JSON");
    assert_eq!(inventory::parse(&written).as_ref(), Ok(&read));
    answer(&read).expect("a plan keeps its rules");
    let changes = [Change::Add { name: None, memory_bytes: 64 << 30 }, Change::Context { slot: None, tokens: 512 }];
    let _ = what_if(&read, &changes);
});
