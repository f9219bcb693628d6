//! Bodies of chat requests, as any program on this machine may send them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    #[cfg(fuzzing)]
    fednode::fuzzing::chat_request(data);
    #[cfg(not(fuzzing))]
    let _ = data;
});
