//! Pins, as somebody may type them or a file may hold them: what passes is the same as text again.
#![no_main]

use fednode::core::pins::Pin;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(pin) = text.parse::<Pin>() {
        assert_eq!(pin.to_string().parse::<Pin>(), Ok(pin));
    }
});
