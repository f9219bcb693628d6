//! Streams of server-sent events, as whoever listens at an address may send them; cut in two in the middle.
#![no_main]

use fednode::wire::sse::Lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = Lines::new(1 << 20).push(data);
    let (first, second) = data.split_at(data.len() / 2);
    let mut lines = Lines::new(1 << 20);
    let parts = lines.push(first).and_then(|mut begun| {
        begun.extend(lines.push(second)?);
        Ok(begun)
    });
    assert_eq!(whole, parts, "where an answer is cut must not matter");
});
