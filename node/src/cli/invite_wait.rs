//! The second half of `fednode invite`: waits until somebody joined, showing how much time is left, or says why nobody did.

use std::time::Duration;

use fednode_proto::v1;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::admin::Client;
use super::exit::Failure;
use super::run::Out;

/// Between two looks at the node.
const LOOK: Duration = Duration::from_millis(250);

/// Somebody who waits for a ticket to be used. Made before the ticket is printed: from then on Ctrl-C only stops waiting.
pub(super) struct Waiting {
    interrupts: Signal,
    left_s: u64,
}

impl Waiting {
    /// For a ticket that lives this long.
    pub(super) fn new(ttl_s: u64) -> Result<Waiting, Failure> {
        let interrupts = signal(SignalKind::interrupt());
        let interrupts = interrupts.map_err(|error| Failure::failed(format!("cannot wait for Ctrl-C: {error}")))?;
        Ok(Waiting { interrupts, left_s: ttl_s })
    }

    /// Until the ticket `id` was used, has expired or was withdrawn, or Ctrl-C.
    pub(super) async fn until_joined(mut self, out: Out, mut node: Client, id: Vec<u8>) -> Result<(), Failure> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = bar.with_style(ProgressStyle::default_spinner()).with_finish(ProgressFinish::AndClear);
        let mut said = out.json;
        loop {
            let request = v1::InvitationRequest { id: id.clone() };
            let reply = tokio::select! {
                reply = node.invitation(request) => reply,
                _ = self.interrupts.recv() => return Err(Failure::interrupted(stopped(self.left_s))),
            };
            let reply = reply.map_err(|status| node_ended(&status))?.into_inner();
            if reply.state != "open" {
                bar.finish_and_clear();
                return ended(out, &reply);
            }
            self.left_s = reply.remaining_s;
            bar.set_message(waiting(self.left_s));
            if bar.is_hidden() && !said {
                said = true;
                eprintln!("{}", waiting(self.left_s));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.interrupts.recv() => return Err(Failure::interrupted(stopped(self.left_s))),
            }
        }
    }
}

fn ended(out: Out, reply: &v1::InvitationReply) -> Result<(), Failure> {
    let v1::InvitationReply { state, name, role, peer_id, .. } = reply;
    match state.as_str() {
        "used" => {
            match out.json {
                true => out.line(&json!({ "joined": { "name": name, "role": role, "peer_id": peer_id } })),
                false => out.prose(&has_joined(name, role, peer_id)),
            }
            Ok(())
        }
        "withdrawn" => {
            let message = "the ticket was taken back before anybody used it; `fednode invite` makes another";
            Err(Failure::refused(message).code("withdrawn"))
        }
        _ => {
            let message = "the ticket expired before anybody used it; `fednode invite` makes another";
            Err(Failure::refused(message).code("expired"))
        }
    }
}

fn has_joined(name: &str, role: &str, peer_id: &str) -> String {
    format!("{name} joined as {role}; its peer id is {peer_id}\n")
}

fn waiting(left_s: u64) -> String {
    format!("waiting for a machine to join; {} left (Ctrl-C keeps the ticket)", clock(left_s))
}

fn stopped(left_s: u64) -> String {
    let left = clock(left_s);
    format!("stopped waiting; the ticket can still be used for {left}, or take it back with `fednode invite --revoke`")
}

fn node_ended(status: &tonic::Status) -> Failure {
    let message =
        "the node ended while a machine could still join; the ticket is good again once it runs, until it expires";
    tracing::debug!(%status, "no answer to a look at an invitation");
    Failure::failed(message)
}

/// `14:05`, or `26:00:00`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;
    use crate::cli::table::prose;

    #[test]
    fn whoever_waits_is_told_who_came() {
        let peer_id = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
        let text = format!("{}\n{}\n{}", waiting(845), stopped(30), has_joined("laptop", "delegate", peer_id));
        golden::check("invite-wait", |columns| prose(&text, columns));
    }

    #[test]
    fn the_time_left_is_shown_as_a_clock_shows_it() {
        for (seconds, expect) in [(0, "0:00"), (65, "1:05"), (900, "15:00"), (93_600, "26:00:00")] {
            assert_eq!(clock(seconds), expect);
        }
        assert!(waiting(65).contains("1:05 left") && stopped(65).contains("1:05, or"));
    }

    #[test]
    fn only_a_machine_that_joined_is_success() {
        let reply = |state: &str| v1::InvitationReply { state: state.to_owned(), ..Default::default() };
        let out = Out { json: true };
        assert_eq!(ended(out, &reply("used")), Ok(()));
        for (state, word) in [("expired", "expired"), ("withdrawn", "withdrawn")] {
            let failure = ended(out, &reply(state)).expect_err(state);
            assert_eq!(
                (&failure.json()["error"]["code"], failure.sentence()[..8].to_owned()),
                (&word.into(), "refused:".to_owned())
            );
        }
    }
}
