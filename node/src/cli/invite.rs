//! `fednode invite`: asks the node for a one-use ticket, says what to type on the other machine, and waits until somebody
//! joined. Also takes tickets back.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fednode_proto::v1;
use serde_json::json;

use super::exit::Failure;
use super::invite_wait::Waiting;
use super::run::Out;
use super::{admin, parse, qr};
use crate::core::types::hex;
use crate::wire::join::{Ticket, TicketId};

/// The most an invited machine may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum InvitedRole {
    Full,
    Delegate,
}

/// `fednode invite`.
#[derive(Args, Debug)]
pub(super) struct InviteArgs {
    /// The most the invited machine may become
    #[arg(long, value_enum, default_value = "full")]
    role: InvitedRole,
    /// How long the ticket can be used
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse::seconds)]
    ttl: u64,
    /// Write the ticket to this file, readable by you alone, instead of printing it
    #[arg(long, value_name = "F")]
    ticket_file: Option<PathBuf>,
    /// Draw a QR code also where standard output is no terminal
    #[arg(long)]
    qr: bool,
    /// Return at once, instead of waiting until somebody joined; so it is with --ticket-file and --json
    #[arg(long)]
    no_wait: bool,
    /// Wait also with --ticket-file and with --json, which then prints a second line when somebody joined
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Make no ticket, but take back the open one with this id, or all open ones
    #[arg(long, value_name = "ID", num_args = 0..=1, value_parser = ticket_id,
        conflicts_with_all = ["role", "ttl", "ticket_file", "qr", "wait", "no_wait"])]
    revoke: Option<Option<TicketId>>,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: InviteArgs) -> Result<(), Failure> {
    if let Some(id) = args.revoke {
        return revoke(out, data_dir, id).await;
    }
    if args.qr && out.json {
        return Err(Failure::wrong_use("--qr draws for people and --json prints for scripts; give one of the two"));
    }
    let role = match args.role {
        InvitedRole::Full => "full",
        InvitedRole::Delegate => "delegate",
    };
    // Scripts go on to bring the ticket to where it is used.
    let for_a_script = out.json || args.ticket_file.is_some();
    let waits = if for_a_script { args.wait } else { !args.no_wait };
    let waiting = waits.then(|| Waiting::new(args.ttl)).transpose()?;
    let request = v1::InviteRequest { role: role.to_owned(), ttl_s: args.ttl };
    let mut node = admin::connect(data_dir).await?;
    let reply = node.invite(request).await?.into_inner();
    let file = args.ticket_file.as_deref();
    if let Some(path) = file {
        write_private(path, &reply.ticket)
            .map_err(|error| Failure::failed(format!("cannot write the ticket to {}: {error}", path.display())))?;
    }
    if out.json {
        let ticket = file.is_none().then_some(&reply.ticket);
        out.line(&json!({
            "ticket": ticket, "ticket_file": file, "role": role, "expires_unix_s": reply.expires_unix_s,
            "id": hex(&reply.id),
        }));
    } else {
        // A ticket that goes into a file shall not be seen over a shoulder.
        if args.qr || (file.is_none() && std::io::stdout().is_terminal()) {
            out.text(&picture(&reply.ticket, args.qr));
        }
        out.prose(&explain(&reply.ticket, file, role, args.ttl));
        if leads_nowhere(&reply.ticket) {
            eprintln!(
                "note: this node can be reached from this machine alone; for others start it with --listen 0.0.0.0:7718"
            );
        }
    }
    match waiting {
        Some(waiting) => waiting.until_joined(out, node, reply.id).await,
        None => Ok(()),
    }
}

async fn revoke(out: Out, data_dir: &Path, id: Option<TicketId>) -> Result<(), Failure> {
    let request = v1::WithdrawRequest { id: id.map(Vec::from).unwrap_or_default() };
    let withdrawn = admin::connect(data_dir).await?.withdraw(request).await?.into_inner().withdrawn;
    if id.is_some() && withdrawn == 0 {
        let message = "no open ticket has this id: it was used or has expired; `fednode members` lists who joined";
        return Err(Failure::refused(message));
    }
    out.say(&json!({ "withdrawn": withdrawn }), || taken_back(withdrawn));
    Ok(())
}

fn taken_back(tickets: u32) -> String {
    match tickets {
        0 => "no ticket was open\n".to_owned(),
        1 => "one ticket was taken back\n".to_owned(),
        many => format!("{many} tickets were taken back\n"),
    }
}

/// Whole or not at all, and never readable by others, not even while it is written.
fn write_private(path: &Path, ticket: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{ticket}")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The QR code, or why there is none; nothing said if it was not asked for.
fn picture(ticket: &str, asked_for: bool) -> String {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(usize::MAX, |size| size.ws_col.into());
    match qr::draw(&for_qr(ticket)) {
        Some(drawing) if asked_for || drawing.width <= columns => drawing.text,
        Some(drawing) => format!("(a QR code needs {} columns)\n", drawing.width),
        None => "(this ticket has too many addresses for a QR code)\n".to_owned(),
    }
}

/// The same ticket in fewer modules: in capitals, and without the addresses that only this machine itself can use.
fn for_qr(text: &str) -> String {
    let shorter = Ticket::from_text(text).ok().and_then(|mut ticket| {
        ticket.addresses.retain(|address| !is_loopback(address));
        (!ticket.addresses.is_empty()).then(|| ticket.to_text())
    });
    shorter.as_deref().unwrap_or(text).to_uppercase()
}

/// Is it of no use on any other machine?
fn leads_nowhere(text: &str) -> bool {
    Ticket::from_text(text).is_ok_and(|ticket| ticket.addresses.iter().all(|address| is_loopback(address)))
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/")
}

fn explain(ticket: &str, file: Option<&Path>, role: &str, ttl_s: u64) -> String {
    let life = match (ttl_s / 60, ttl_s % 60) {
        (minutes, 0) => format!("{minutes} min"),
        _ => format!("{ttl_s} s"),
    };
    match file {
        None => {
            format!("One machine may join as {role} within {life}. On that machine, type:\n\n  fednode join {ticket}\n")
        }
        Some(path) => format!(
            "One machine may join as {role} within {life}. Copy {} to it and type there:\n\n  fednode join --ticket-file {}\n",
            path.display(),
            path.file_name().unwrap_or_default().to_string_lossy(),
        ),
    }
}

/// A ticket's id, as `fednode invite --json` prints it.
fn ticket_id(text: &str) -> Result<TicketId, String> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let bytes = digits.filter(|digits| digits.len() % 2 == 0).map(|digits| {
        let (pairs, _) = digits.as_chunks::<2>();
        pairs.iter().map(|[high, low]| high * 16 + low).collect::<Vec<u8>>()
    });
    let id = bytes.and_then(|bytes| bytes.try_into().ok());
    id.ok_or_else(|| "expected the id of 32 digits that `fednode invite --json` printed".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::golden;
    use crate::cli::table::prose;
    use crate::core::membership::roster::Role;
    use crate::core::types::{FederationId, NodeId};

    #[test]
    fn a_ticket_file_is_readable_by_its_owner_alone_even_over_an_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ticket");
        std::fs::write(&path, "old, and readable by everyone").expect("written");
        write_private(&path, "new").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new\n");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_command_to_type_is_printed() {
        let text = explain("fednode1abc", None, "full", 900);
        let expect =
            "One machine may join as full within 15 min. On that machine, type:\n\n  fednode join fednode1abc\n";
        assert_eq!(text, expect);
        golden::check("invite", |columns| {
            let of_file = explain("", Some(Path::new("/media/stick/ticket")), "delegate", 900);
            let taken: String = [0, 1, 3].map(taken_back).concat();
            prose(&format!("{text}{of_file}{taken}"), columns)
        });
        let text = explain("secret", Some(Path::new("/tmp/t")), "delegate", 90);
        assert!(
            text.contains("within 90 s") && text.ends_with("--ticket-file t\n") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn the_picture_is_of_the_same_ticket_without_addresses_of_no_use_elsewhere() {
        let key = |seed: u8| {
            let secret = libp2p_identity::ed25519::SecretKey::try_from_bytes([seed; 32]).expect("32 bytes");
            libp2p_identity::ed25519::Keypair::from(secret).public().to_bytes()
        };
        let ticket = |addresses: &[&str]| Ticket {
            federation: FederationId(key(1)),
            inviter: NodeId(key(2)),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            secret: [3; 32],
            expires_unix_s: 1_800_000_000,
            role: Role::Full,
        };
        let check = |addresses: &[&str], expect: &[&str]| {
            let text = for_qr(&ticket(addresses).to_text());
            assert_eq!(text, text.to_uppercase());
            assert_eq!(Ticket::from_text(&text), Ok(ticket(expect)));
            assert_eq!(leads_nowhere(&text), expect.contains(&"/ip4/127.0.0.1/tcp/7718"));
        };
        let (lan, own) = ("/ip4/192.168.1.2/tcp/7718", "/ip4/127.0.0.1/tcp/7718");
        check(&[lan, own], &[lan]);
        check(&[own], &[own]);
        let width = qr::draw(&for_qr(&ticket(&[lan, own]).to_text())).expect("it fits").width;
        assert!(width < 80, "it fits on an ordinary terminal: {width}");
    }

    #[test]
    fn an_id_is_read_as_it_is_printed() {
        let id: TicketId = std::array::from_fn(|at| 17 * at as u8);
        assert_eq!(ticket_id(&hex(&id)), Ok(id));
        for bad in ["", "all", "00", &"0".repeat(31), &"g".repeat(32)] {
            assert!(ticket_id(bad).is_err(), "{bad}");
        }
    }
}
