//! `fednode members`: who belongs to the federation, and the commands that change it.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use fednode_proto::v1;
use fednode_proto::v1::members_request::Action;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use super::view::peer_end;
use super::{admin, parse};
use crate::core::view::{MemberView, State};

/// What `fednode members` does; lists if nothing is said.
#[derive(Subcommand, Debug)]
pub(super) enum MembersCommand {
    /// List them
    List,
    /// Turn a machine out for good: its connections end everywhere within seconds, and its files stay where they are
    Revoke {
        /// Its name or PeerId
        who: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Call a machine otherwise
    Rename {
        /// Its name or PeerId
        who: String,
        /// Its new name
        #[arg(value_parser = parse::member_name)]
        name: String,
    },
    /// Let a machine invite and revoke in the owner's place; only on the owner's machine
    GrantAdmin {
        /// Its name or PeerId
        who: String,
    },
    /// No longer let it; only on the owner's machine
    RevokeAdmin {
        /// Its name or PeerId
        who: String,
    },
}

/// What the node says it did.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Done {
    action: String,
    member: Named,
    told: Vec<String>,
    not_told: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
}

pub(super) async fn run(out: Out, data_dir: &Path, command: Option<MembersCommand>) -> Result<(), Failure> {
    let action = match command {
        None | Some(MembersCommand::List) => {
            let (value, state) = admin::state(data_dir).await?;
            let document = json!({"members": value["members"]});
            out.either(&document, || members(&state, now_unix_s(), columns()));
            return Ok(());
        }
        Some(MembersCommand::Revoke { who, yes }) => {
            if !yes {
                confirm(out, &who)?;
            }
            Action::Revoke(who)
        }
        Some(MembersCommand::Rename { who, name }) => Action::Rename(v1::RenameMember { who, name }),
        Some(MembersCommand::GrantAdmin { who }) => Action::GrantAdmin(who),
        Some(MembersCommand::RevokeAdmin { who }) => Action::RevokeAdmin(who),
    };
    let request = v1::MembersRequest { action: Some(action) };
    let reply = admin::connect(data_dir).await?.members(request).await?.into_inner();
    let document = admin::json_document(&reply.json)?;
    out.say(&document, || done(&document));
    Ok(())
}

/// Asks at a terminal; without one nobody can have said yes.
fn confirm(out: Out, who: &str) -> Result<(), Failure> {
    if out.json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::wrong_use(
            "nobody can be asked here; say --yes to revoke this machine without a question",
        ));
    }
    out.text(&format!(
        "{who} gets nothing from this federation any more. It can come back only with a new invitation.\n"
    ));
    print!("revoke it? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read.is_ok() && matches!(line.trim(), "y" | "yes") {
        true => Ok(()),
        false => Err(Failure::refused("not confirmed; nothing was changed")),
    }
}

fn done(document: &Value) -> String {
    let done: Done = serde_json::from_value(document.clone()).unwrap_or_default();
    let name = &done.member.name;
    let what = match done.action.as_str() {
        "revoke" => format!("{name} is revoked"),
        "rename" => format!("that machine is called {name} now"),
        "grant-admin" => format!("{name} may invite and revoke in the owner's place now"),
        "revoke-admin" => format!("{name} may no longer invite and revoke"),
        other => format!("done: {other}"),
    };
    let knows = match (done.told.is_empty(), done.not_told.is_empty()) {
        (true, true) => String::new(),
        (false, true) => "; every other member knows".to_owned(),
        (_, false) => format!("; not yet known to {}, who hear it as soon as they are met", done.not_told.join(", ")),
    };
    format!("{what}{knows}\n")
}

pub(super) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The machines as a table.
fn members(state: &State, now_unix_s: u64, columns: usize) -> String {
    let row = |member: &MemberView| {
        let right = match (member.owner, member.admin) {
            (true, _) => ", owner",
            (false, true) => ", admin",
            (false, false) => "",
        };
        vec![
            member.name.clone(),
            format!("{}{right}", member.role),
            member.state.clone(),
            seen(member),
            expires(member, now_unix_s),
            // PeerIds begin alike; their ends tell them apart. --json has them whole.
            peer_end(&member.peer_id),
        ]
    };
    let rows: Vec<Vec<String>> = state.members.iter().map(row).collect();
    table_within(&["MEMBER", "ROLE", "STATE", "SEEN", "EXPIRES", "PEER"], &rows, columns)
}

fn seen(member: &MemberView) -> String {
    match member.seen_s_ago {
        Some(0..5) => "now".to_owned(),
        Some(seconds) => format!("{} ago", span(seconds)),
        None => "-".to_owned(),
    }
}

fn expires(member: &MemberView, now_unix_s: u64) -> String {
    match member.expires_unix_s {
        0 => "never".to_owned(),
        at if at <= now_unix_s => "expired".to_owned(),
        at => format!("in {}", span(at - now_unix_s)),
    }
}

/// A span of time in its largest unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::prose;
    use crate::cli::{golden, sample};

    #[test]
    fn who_belongs_is_shown_with_its_rights_and_how_long() {
        let mut state = sample::federation();
        state.members[3].expires_unix_s = 1_799_999_999;
        state.members[3].seen_s_ago = None;
        golden::check("members", |columns| members(&state, 1_800_000_000, columns));
    }

    #[test]
    fn what_was_done_is_said_with_who_does_not_know_yet() {
        let check = |action: &str, not_told: &[&str], expect: &str| {
            let told = if not_told.is_empty() { vec!["nas"] } else { vec![] };
            let document = json!({"action": action, "member": {"name": "den"}, "told": told, "not_told": not_told});
            assert_eq!(done(&document), expect);
        };
        golden::check("members-changed", |columns| {
            let changed = |action: &str, not_told: &[&str]| {
                done(&json!({"action": action, "member": {"name": "den"}, "told": ["nas"], "not_told": not_told}))
            };
            let rights = changed("grant-admin", &["attic", "laptop"]) + &changed("revoke-admin", &[]);
            prose(&(changed("revoke", &["attic"]) + &changed("rename", &[]) + &rights), columns)
        });
        check("revoke", &[], "den is revoked; every other member knows\n");
        check("revoke", &["nas"], "den is revoked; not yet known to nas, who hear it as soon as they are met\n");
        check("rename", &[], "that machine is called den now; every other member knows\n");
    }
}
