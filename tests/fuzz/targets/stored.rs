//! The small files of the data directory, and bitmaps, as a damaged disk may give them back.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    fednode::fuzzing::stored(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});
