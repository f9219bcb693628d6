//! Joining, as a person does it: what `fednode invite` and `fednode join` say and do, a lost answer, and two machines on one
//! network of which the second answers with what the first has published. Tickets that admit nobody are in `bad_input`.

#[path = "joining/command.rs"]
mod command;
#[path = "joining/crash.rs"]
mod crash;
#[path = "joining/invite.rs"]
mod invite;
#[path = "joining/join.rs"]
mod join;
#[path = "joining/two_machines.rs"]
mod two_machines;
