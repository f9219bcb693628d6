//! Bad input, given to real nodes from outside: tickets, models, adapters, ports, data directories and HTTP requests
//! that must not be taken. Each is refused with one sentence that says what, why and what to do, with the documented
//! exit code, and nothing changes on disk. Not here: damaged messages between members and faults of disks, which the
//! simulator has.
//!
//! Each test looks at many cases on one small federation and reports all that are wrong, not only the first.

#[path = "bad_input/command.rs"]
mod command;
#[path = "bad_input/http.rs"]
mod http;
#[path = "bad_input/publish.rs"]
mod publish;
#[path = "bad_input/refusal.rs"]
mod refusal;
#[path = "bad_input/snapshot.rs"]
mod snapshot;
#[path = "bad_input/start.rs"]
mod start;
#[path = "bad_input/tickets.rs"]
mod tickets;
