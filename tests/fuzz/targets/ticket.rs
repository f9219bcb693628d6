//! Tickets, as somebody may paste them: what passes is the same as text again.
#![no_main]

use fednode::wire::join::Ticket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Ticket::from_text(&String::from_utf8_lossy(data));
    let Ok(ticket) = Ticket::from_text(&fednode_fuzz::ticket(data)) else { return };
    let again = Ticket::from_text(&ticket.to_text()).expect("our own text");
    assert_eq!(again.to_text(), ticket.to_text());
});
