//! The word by which spans become one trace, as any client or member may send it: what passes is the same as text again.
#![no_main]

use fednode::wire::traceparent::TraceParent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(parent) = TraceParent::parse(text) {
        assert_eq!(TraceParent::parse(&parent.to_text()), Some(parent));
    }
});
