//! Answers of the API, as the command line reads them from whoever listens there.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    fednode::fuzzing::sse(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});
