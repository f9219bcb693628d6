//! What is particular to `fednode join`: where its ticket comes from, and what it says on stderr until the node runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::exit::Failure;
use super::run::remark;
use super::up::{read_file, read_text};
use crate::core::membership::roster::Member;
use crate::driver::{Enrolment, JoinStep};

const TICKET_BYTES_MAX: u64 = 64 << 10;
/// Between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);
/// Where a ticket may stand that should be in no process list.
pub(super) const VARIABLE: &str = "FEDNODE_TICKET";

/// Where a ticket comes from.
#[derive(Args, Debug)]
pub(super) struct TicketArgs {
    /// The ticket that `fednode invite` printed; `-` reads it from stdin; FEDNODE_TICKET if not given
    ticket: Option<String>,
    /// Read the ticket from this file, so that it stands in no process list
    #[arg(long, value_name = "F")]
    ticket_file: Option<PathBuf>,
}

impl TicketArgs {
    /// The ticket's text, from wherever it is. What the command line says outweighs the environment.
    pub(super) fn read(self, environment: Option<String>) -> Result<String, Failure> {
        let text = match (self.ticket, self.ticket_file) {
            (Some(_), Some(_)) => {
                return Err(Failure::wrong_use("two tickets: give TICKET or --ticket-file F, not both"));
            }
            (None, Some(path)) => read_file(&path, TICKET_BYTES_MAX)?,
            (Some(ticket), None) if ticket == "-" => read_text(std::io::stdin(), "stdin", TICKET_BYTES_MAX)?,
            (Some(ticket), None) => ticket,
            (None, None) => environment.ok_or_else(|| {
                let message = "no ticket: give TICKET, --ticket-file F, - for stdin, or FEDNODE_TICKET; \
                               `fednode invite` on a member makes one";
                Failure::wrong_use(message)
            })?,
        };
        match text.trim() {
            "" => Err(Failure::wrong_use("the ticket is empty; `fednode invite` on a member makes one")),
            ticket => Ok(ticket.to_owned()),
        }
    }
}

/// Says on stderr how joining goes: a spinner where that is a terminal, and one line when it is done.
pub(super) fn progress() -> impl Fn(Enrolment<'_>) + Send + Sync {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let spinner = spinner.with_style(ProgressStyle::default_spinner()).with_finish(ProgressFinish::AndClear);
    move |enrolment| match enrolment {
        Enrolment::Step(step) => {
            spinner.set_message(words(step));
            spinner.enable_steady_tick(TICK);
        }
        Enrolment::Joined { me, inviter, members } => {
            spinner.finish_and_clear();
            remark(&joined(me, &inviter, members));
        }
        Enrolment::Already { me } => {
            remark(&already(me));
        }
    }
}

fn words(step: JoinStep) -> &'static str {
    match step {
        JoinStep::Dialling => "looking for the inviter",
        JoinStep::Proving => "showing the ticket",
        JoinStep::Again => "the inviter's answer was lost; asking again",
    }
}

fn already(me: &Member) -> String {
    let (name, role) = (&me.name, me.role.as_str());
    format!("this machine is a member of this federation already, as {name} ({role}); the ticket was not used\n")
}

fn joined(me: &Member, inviter: &str, members: usize) -> String {
    let (name, role) = (&me.name, me.role.as_str());
    format!("joined: this machine is {name} ({role}), let in by {inviter}; the federation has {members} machines\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ticket: Option<&str>, file: Option<&str>, environment: Option<&str>) -> Result<String, String> {
        let args = TicketArgs { ticket: ticket.map(str::to_owned), ticket_file: file.map(PathBuf::from) };
        args.read(environment.map(str::to_owned)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_command_line_outweighs_the_environment_and_names_one_ticket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ticket");
        std::fs::write(&path, "fednode1:file\n").expect("written");
        let file = path.to_str();
        assert_eq!(read(Some("word"), None, Some("variable")).as_deref(), Ok("word"));
        assert_eq!(read(None, file, Some("variable")).as_deref(), Ok("fednode1:file"));
        assert_eq!(read(None, None, Some(" variable\n")).as_deref(), Ok("variable"));
        for (found, why) in [
            (read(Some("word"), file, None), "two tickets"),
            (read(None, None, None), "no ticket"),
            (read(None, None, Some("")), "the ticket is empty"),
            (read(None, Some("/no/such/file"), None), "cannot open /no/such/file"),
        ] {
            assert!(found.as_ref().is_err_and(|text| text.starts_with(why)), "{found:?}");
        }
    }
}
