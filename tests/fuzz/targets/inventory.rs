//! Inventories, as `fednode plan --inventory` reads them: any text ends in a plan or a refusal.
#![no_main]

use fednode::wire::inventory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = inventory::plan_text(text);
});
