//! Messages on joining and weight streams, as a peer may write them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    fednode::fuzzing::frames(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});
