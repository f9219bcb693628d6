//! Plans of others, as `fednode plan --evaluate` reads them: any text ends in a verdict or a refusal.
#![no_main]

use fednode::wire::inventory;
use libfuzzer_sys::fuzz_target;

const INVENTORY: &str = include_str!("../../../node/inventories/two-gpus-and-a-laptop.json");

fuzz_target!(|text: &str| {
    let Ok(verdict) = inventory::evaluate_text(INVENTORY, text) else { return };
    assert_eq!(verdict.feasible, verdict.violations.is_empty());
});
