//! Rosters of slots in TOML: what passes the check is the same after another journey through the catalog.
#![no_main]

use fednode::core::catalog::Entry;
use fednode::core::roster::SlotRoster;
use fednode::wire::catalog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(roster) = toml::from_str::<SlotRoster>(text) else { return };
    if roster.check().is_err() {
        return;
    }
    let record = catalog::seal(Entry::Roster(roster.clone()), 1, &fednode_fuzz::key());
    assert_eq!(catalog::open(&record.signed).expect("a roster that passed").entry, Entry::Roster(roster));
});
