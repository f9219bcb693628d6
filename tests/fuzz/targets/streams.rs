//! The frames of many streams over one connection, as a peer may send them: what is kept is bounded by the windows.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    fednode::fuzzing::streams(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});
